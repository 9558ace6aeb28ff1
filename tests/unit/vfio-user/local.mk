check_LIBRARIES += tests/unit/vfio-user/librig.a
tests_unit_vfio_user_librig_a_SOURCES = tests/unit/vfio-user/rig.c tests/unit/vfio-user/rig.h
tests_unit_vfio_user_librig_a_CPPFLAGS = $(UNIT_CPPFLAGS)
VFIO_USER_TEST_LIBS = tests/unit/vfio-user/librig.a $(VFIO_USER_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)

VFIO_USER_TESTS = \
	tests/unit/vfio-user/test-dma \
	tests/unit/vfio-user/test-dma-message \
	tests/unit/vfio-user/test-irq \
	tests/unit/vfio-user/test-listener \
	tests/unit/vfio-user/test-pci-config \
	tests/unit/vfio-user/test-server \
	tests/unit/vfio-user/test-transport-relay \
	tests/unit/vfio-user/test-transport-socket
check_PROGRAMS += $(VFIO_USER_TESTS)
TESTS += $(VFIO_USER_TESTS)

tests_unit_vfio_user_test_dma_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_vfio_user_test_dma_LDADD = $(VFIO_USER_TEST_LIBS)
tests_unit_vfio_user_test_dma_message_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_vfio_user_test_dma_message_LDADD = $(VFIO_USER_TEST_LIBS)
tests_unit_vfio_user_test_irq_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_vfio_user_test_irq_LDADD = $(VFIO_USER_TEST_LIBS)
tests_unit_vfio_user_test_listener_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_vfio_user_test_listener_LDADD = $(VFIO_USER_TEST_LIBS)
tests_unit_vfio_user_test_pci_config_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_vfio_user_test_pci_config_LDADD = $(VFIO_USER_TEST_LIBS)
tests_unit_vfio_user_test_server_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_vfio_user_test_server_LDADD = $(VFIO_USER_TEST_LIBS)
tests_unit_vfio_user_test_transport_relay_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_vfio_user_test_transport_relay_LDADD = $(VFIO_USER_TEST_LIBS)
tests_unit_vfio_user_test_transport_socket_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_vfio_user_test_transport_socket_LDADD = $(VFIO_USER_TEST_LIBS)
