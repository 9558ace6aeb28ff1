NVME_TESTS = \
	tests/unit/nvme/test-abort \
	tests/unit/nvme/test-admin \
	tests/unit/nvme/test-ana \
	tests/unit/nvme/test-coalescing \
	tests/unit/nvme/test-compare \
	tests/unit/nvme/test-copy \
	tests/unit/nvme/test-crash \
	tests/unit/nvme/test-data-pointer \
	tests/unit/nvme/test-format \
	tests/unit/nvme/test-format-size \
	tests/unit/nvme/test-fused \
	tests/unit/nvme/test-hold \
	tests/unit/nvme/test-keep-alive \
	tests/unit/nvme/test-doorbell \
	tests/unit/nvme/test-io \
	tests/unit/nvme/test-model \
	tests/unit/nvme/test-namespaces \
	tests/unit/nvme/test-post \
	tests/unit/nvme/test-queues \
	tests/unit/nvme/test-recovery \
	tests/unit/nvme/test-registers \
	tests/unit/nvme/test-reservation \
	tests/unit/nvme/test-reservation-durable \
	tests/unit/nvme/test-reservation-log \
	tests/unit/nvme/test-reset \
	tests/unit/nvme/test-sgl \
	tests/unit/nvme/test-throttle \
	tests/unit/nvme/test-write-log \
	tests/unit/nvme/test-version-2 \
	tests/unit/nvme/test-zeroes
check_PROGRAMS += $(NVME_TESTS)
TESTS += $(NVME_TESTS)

# The fake machine. It has the functions of block.h too, so the block layer is not linked.
check_LIBRARIES += tests/unit/nvme/libmachine.a
tests_unit_nvme_libmachine_a_SOURCES = \
	tests/unit/nvme/disk.c \
	tests/unit/nvme/machine.c tests/unit/nvme/machine.h
tests_unit_nvme_libmachine_a_CPPFLAGS = $(UNIT_CPPFLAGS)
GUESTS = tests/unit/nvme/guests.c tests/unit/nvme/guests.h
# The controller model with its crash points.
check_LIBRARIES += tests/unit/nvme/libcrash.a
tests_unit_nvme_libcrash_a_SOURCES = $(src_libnvme_a_SOURCES)
tests_unit_nvme_libcrash_a_CPPFLAGS = $(src_libnvme_a_CPPFLAGS) -DNVME_CRASH_POINTS
MACHINE_LIBS = tests/unit/nvme/libmachine.a src/libnvme.a tests/unit/nvme/libmachine.a \
	$(BASE_LIBS) $(UUID_LIBS) $(CMOCKA_LIBS)

tests_unit_nvme_test_abort_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_abort_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_admin_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_admin_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_copy_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_copy_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_crash_CPPFLAGS = $(UNIT_CPPFLAGS) -DNVME_CRASH_POINTS
tests_unit_nvme_test_crash_LDADD = tests/unit/nvme/libmachine.a tests/unit/nvme/libcrash.a \
	tests/unit/nvme/libmachine.a $(BASE_LIBS) $(UUID_LIBS) $(CMOCKA_LIBS)
tests_unit_nvme_test_ana_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_ana_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_coalescing_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_coalescing_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_compare_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_compare_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_data_pointer_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_data_pointer_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_format_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_format_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_format_size_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_format_size_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_fused_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_fused_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_hold_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_hold_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_keep_alive_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_keep_alive_LDFLAGS = -Wl,--wrap=clock_gettime
tests_unit_nvme_test_keep_alive_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_throttle_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_throttle_LDFLAGS = -Wl,--wrap=clock_gettime
tests_unit_nvme_test_throttle_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_doorbell_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_doorbell_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_io_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_io_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_model_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_model_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_namespaces_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_namespaces_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_post_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_post_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_queues_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_queues_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_recovery_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_recovery_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_registers_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_registers_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_reservation_CPPFLAGS = $(UNIT_CPPFLAGS) -DNVME_CRASH_POINTS
tests_unit_nvme_test_reservation_LDADD = $(tests_unit_nvme_test_crash_LDADD)
tests_unit_nvme_test_reservation_SOURCES = tests/unit/nvme/test-reservation.c $(GUESTS)
tests_unit_nvme_test_reservation_durable_SOURCES = tests/unit/nvme/test-reservation-durable.c $(GUESTS)
tests_unit_nvme_test_reservation_durable_CPPFLAGS = $(tests_unit_nvme_test_reservation_CPPFLAGS)
tests_unit_nvme_test_reservation_durable_LDADD = $(tests_unit_nvme_test_reservation_LDADD)
tests_unit_nvme_test_reservation_log_SOURCES = tests/unit/nvme/test-reservation-log.c $(GUESTS)
tests_unit_nvme_test_reservation_log_CPPFLAGS = $(tests_unit_nvme_test_reservation_CPPFLAGS)
tests_unit_nvme_test_reservation_log_LDADD = $(tests_unit_nvme_test_reservation_LDADD)
tests_unit_nvme_test_reset_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_reset_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_sgl_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_sgl_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_write_log_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_write_log_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_version_2_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_version_2_LDADD = $(MACHINE_LIBS)
tests_unit_nvme_test_zeroes_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_nvme_test_zeroes_LDADD = $(MACHINE_LIBS)
