CONTROLLER_TESTS = \
	tests/unit/controller/test-io-thread \
	tests/unit/controller/test-namespace-spec \
	tests/unit/controller/test-polling \
	tests/unit/controller/test-sandbox \
	tests/unit/controller/test-state-file
check_PROGRAMS += $(CONTROLLER_TESTS)
TESTS += $(CONTROLLER_TESTS)
CONTROLLER_TEST_CPPFLAGS = $(UNIT_CPPFLAGS) $(SYSTEMD_CFLAGS)

# The workers are the test's own: without libnvme.
tests_unit_controller_test_io_thread_CPPFLAGS = $(CONTROLLER_TEST_CPPFLAGS)
tests_unit_controller_test_io_thread_LDADD = src/libcontroller.a $(BLOCK_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_unit_controller_test_io_thread_LDFLAGS = -Wl,--wrap=io_uring_submit
tests_unit_controller_test_namespace_spec_CPPFLAGS = $(CONTROLLER_TEST_CPPFLAGS)
tests_unit_controller_test_namespace_spec_LDADD = $(CONTROLLER_LIBS) $(CMOCKA_LIBS)
tests_unit_controller_test_polling_CPPFLAGS = $(CONTROLLER_TEST_CPPFLAGS)
tests_unit_controller_test_polling_LDADD = src/libcontroller.a $(BASE_LIBS) $(CMOCKA_LIBS)
tests_unit_controller_test_sandbox_CPPFLAGS = $(CONTROLLER_TEST_CPPFLAGS)
tests_unit_controller_test_sandbox_LDADD = $(CONTROLLER_LIBS) $(CMOCKA_LIBS)
tests_unit_controller_test_state_file_CPPFLAGS = $(CONTROLLER_TEST_CPPFLAGS)
tests_unit_controller_test_state_file_LDADD = $(CONTROLLER_LIBS) $(CMOCKA_LIBS)
