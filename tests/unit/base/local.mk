check_PROGRAMS += tests/unit/base/test-cpuset tests/unit/base/test-emulator tests/unit/base/test-error tests/unit/base/test-options tests/unit/base/test-json tests/unit/base/test-fd
TESTS += tests/unit/base/test-cpuset tests/unit/base/test-emulator tests/unit/base/test-error tests/unit/base/test-options tests/unit/base/test-json tests/unit/base/test-fd
UNIT_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(JSON_CFLAGS)

tests_unit_base_test_cpuset_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_base_test_cpuset_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)
tests_unit_base_test_emulator_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_base_test_emulator_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)
tests_unit_base_test_error_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_base_test_error_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)
tests_unit_base_test_options_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_base_test_options_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)
tests_unit_base_test_json_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_base_test_json_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)
tests_unit_base_test_fd_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_base_test_fd_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)
