KEEPER_TESTS = \
	tests/unit/keeper/test-crash-policy \
	tests/unit/keeper/test-blob \
	tests/unit/keeper/test-images \
	tests/unit/keeper/test-listener \
	tests/unit/keeper/test-migration \
	tests/unit/keeper/test-monitor \
	tests/unit/keeper/test-relay \
	tests/unit/keeper/test-replay \
	tests/unit/keeper/test-standstill \
	tests/unit/keeper/test-vmstate
check_PROGRAMS += $(KEEPER_TESTS)
TESTS += $(KEEPER_TESTS)
KEEPER_TEST_CPPFLAGS = $(UNIT_CPPFLAGS) $(SYSTEMD_CFLAGS)

tests_unit_keeper_test_crash_policy_CPPFLAGS = $(KEEPER_TEST_CPPFLAGS)
tests_unit_keeper_test_crash_policy_LDADD = $(KEEPER_LIBS) $(CMOCKA_LIBS)
tests_unit_keeper_test_images_CPPFLAGS = $(KEEPER_TEST_CPPFLAGS)
tests_unit_keeper_test_images_LDADD = $(KEEPER_LIBS) $(CMOCKA_LIBS)
tests_unit_keeper_test_listener_CPPFLAGS = $(KEEPER_TEST_CPPFLAGS)
tests_unit_keeper_test_listener_LDADD = $(KEEPER_LIBS) $(CMOCKA_LIBS)
tests_unit_keeper_test_relay_CPPFLAGS = $(KEEPER_TEST_CPPFLAGS)
tests_unit_keeper_test_relay_LDADD = $(KEEPER_LIBS) $(CMOCKA_LIBS)
tests_unit_keeper_test_vmstate_CPPFLAGS = $(KEEPER_TEST_CPPFLAGS)
tests_unit_keeper_test_vmstate_LDADD = $(KEEPER_LIBS) $(CMOCKA_LIBS)
tests_unit_keeper_test_blob_CPPFLAGS = $(KEEPER_TEST_CPPFLAGS)
tests_unit_keeper_test_blob_LDADD = $(KEEPER_LIBS) $(CMOCKA_LIBS)
tests_unit_keeper_test_migration_CPPFLAGS = $(KEEPER_TEST_CPPFLAGS)
tests_unit_keeper_test_migration_LDADD = $(KEEPER_LIBS) $(CMOCKA_LIBS)
tests_unit_keeper_test_monitor_CPPFLAGS = $(KEEPER_TEST_CPPFLAGS)
tests_unit_keeper_test_monitor_LDADD = $(KEEPER_LIBS) $(CMOCKA_LIBS)
tests_unit_keeper_test_standstill_CPPFLAGS = $(KEEPER_TEST_CPPFLAGS)
tests_unit_keeper_test_standstill_LDADD = $(KEEPER_LIBS) $(CMOCKA_LIBS)
tests_unit_keeper_test_replay_CPPFLAGS = $(KEEPER_TEST_CPPFLAGS)
tests_unit_keeper_test_replay_LDADD = $(KEEPER_LIBS) $(CMOCKA_LIBS)
