daemon_check_programs = \
	tests/unit/daemon/test-config \
	tests/unit/daemon/test-definition \
	tests/unit/daemon/test-domain \
	tests/unit/daemon/test-instance \
	tests/unit/daemon/test-keeper-config \
	tests/unit/daemon/test-libvirt \
	tests/unit/daemon/test-migration \
	tests/unit/daemon/test-shared-storage
daemon_check_files = \
	tests/unit/daemon/hook-calls.sh \
	tests/unit/daemon/hook-script.sh
check_PROGRAMS += $(daemon_check_programs)
TESTS += $(daemon_check_programs) $(daemon_check_files)
EXTRA_DIST += $(daemon_check_files)

tests_unit_daemon_test_config_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_daemon_test_config_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)
tests_unit_daemon_test_definition_CPPFLAGS = $(UNIT_CPPFLAGS) $(LIBVIRT_CFLAGS)
tests_unit_daemon_test_definition_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)
tests_unit_daemon_test_domain_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_daemon_test_domain_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)
tests_unit_daemon_test_instance_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_daemon_test_instance_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)
tests_unit_daemon_test_keeper_config_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_daemon_test_keeper_config_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)
tests_unit_daemon_test_libvirt_CPPFLAGS = $(UNIT_CPPFLAGS) $(LIBVIRT_CFLAGS)
tests_unit_daemon_test_libvirt_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)
tests_unit_daemon_test_migration_CPPFLAGS = $(UNIT_CPPFLAGS) $(LIBVIRT_CFLAGS)
tests_unit_daemon_test_migration_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)
tests_unit_daemon_test_shared_storage_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_daemon_test_shared_storage_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)
