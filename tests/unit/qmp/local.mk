check_PROGRAMS += tests/unit/qmp/test-qmp
TESTS += tests/unit/qmp/test-qmp
tests_unit_qmp_test_qmp_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_qmp_test_qmp_LDADD = $(QMP_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)
