BLOCK_TESTS = tests/unit/block/test-memory tests/unit/block/test-file tests/unit/block/test-ring \
	tests/unit/block/test-model tests/unit/block/test-lock tests/unit/block/test-open \
	tests/unit/block/test-device tests/unit/block/test-fault
check_PROGRAMS += $(BLOCK_TESTS)
TESTS += $(BLOCK_TESTS)
BLOCK_TEST_IMAGE = tests/unit/block/image.c tests/unit/block/image.h

tests_unit_block_test_memory_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_block_test_memory_LDADD = $(BLOCK_LIBS) $(CMOCKA_LIBS)
tests_unit_block_test_memory_LDFLAGS = -Wl,--wrap=block_stream_fence
tests_unit_block_test_file_SOURCES = tests/unit/block/test-file.c $(BLOCK_TEST_IMAGE)
tests_unit_block_test_file_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_block_test_file_LDADD = $(BLOCK_LIBS) $(CMOCKA_LIBS)
tests_unit_block_test_ring_SOURCES = tests/unit/block/test-ring.c $(BLOCK_TEST_IMAGE)
tests_unit_block_test_ring_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_block_test_ring_LDADD = $(BLOCK_LIBS) $(CMOCKA_LIBS)
tests_unit_block_test_ring_LDFLAGS = -Wl,--wrap=io_uring_submit
tests_unit_block_test_model_SOURCES = tests/unit/block/test-model.c $(BLOCK_TEST_IMAGE)
tests_unit_block_test_model_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_block_test_model_LDADD = $(BLOCK_LIBS) $(CMOCKA_LIBS)
tests_unit_block_test_lock_SOURCES = tests/unit/block/test-lock.c $(BLOCK_TEST_IMAGE)
tests_unit_block_test_lock_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_block_test_lock_LDADD = $(BLOCK_LIBS) $(CMOCKA_LIBS)
tests_unit_block_test_open_SOURCES = tests/unit/block/test-open.c $(BLOCK_TEST_IMAGE)
tests_unit_block_test_open_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_block_test_open_LDADD = $(BLOCK_LIBS) $(CMOCKA_LIBS)
tests_unit_block_test_fault_SOURCES = tests/unit/block/test-fault.c $(BLOCK_TEST_IMAGE)
tests_unit_block_test_fault_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_block_test_fault_LDADD = $(BLOCK_LIBS) $(CMOCKA_LIBS)
tests_unit_block_test_device_SOURCES = tests/unit/block/test-device.c $(BLOCK_TEST_IMAGE)
tests_unit_block_test_device_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_block_test_device_LDADD = $(BLOCK_LIBS) $(CMOCKA_LIBS)
