check_PROGRAMS += tests/unit/control/test-commands tests/unit/control/test-channel
TESTS += tests/unit/control/test-commands tests/unit/control/test-channel

tests_unit_control_test_commands_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_control_test_commands_LDADD = $(CONTROL_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_unit_control_test_channel_CPPFLAGS = $(UNIT_CPPFLAGS) $(SYSTEMD_CFLAGS)
tests_unit_control_test_channel_LDADD = $(CONTROL_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)
