noinst_LIBRARIES += src/libcontroller.a
src_libcontroller_a_SOURCES = \
	src/controller/device.c src/controller/device.h \
	src/controller/doorbell-page.c src/controller/doorbell-page.h \
	src/controller/generation-lock.c src/controller/generation-lock.h \
	src/controller/host.c src/controller/host.h \
	src/controller/io-thread.c src/controller/io-thread.h \
	src/controller/late-writes.c src/controller/late-writes.h \
	src/controller/mailbox.c src/controller/mailbox.h \
	src/controller/message-mode.c src/controller/message-mode.h \
	src/controller/namespace-spec.c src/controller/namespace-spec.h \
	src/controller/namespaces.c src/controller/namespaces.h \
	src/controller/options.c src/controller/options.h \
	src/controller/overlay.c src/controller/overlay.h \
	src/controller/pci-function.c src/controller/pci-function.h \
	src/controller/pinning.c src/controller/pinning.h \
	src/controller/polling.c src/controller/polling.h \
	src/controller/refusal.c src/controller/refusal.h \
	src/controller/request-controller.c src/controller/request-hand-over.c \
	src/controller/request-namespace.c src/controller/request-resize.c \
	src/controller/requests.c src/controller/requests.h src/controller/requests-internal.h \
	src/controller/reservation-share.c src/controller/reservation-share.h \
	src/controller/sandbox.c src/controller/sandbox.h \
	src/controller/standalone.c src/controller/standalone.h \
	src/controller/state-file.c src/controller/state-file.h
src_libcontroller_a_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_CFLAGS) $(SYSTEMD_CFLAGS) $(UUID_CFLAGS) $(SECCOMP_CFLAGS)
CONTROLLER_LIBS = src/libcontroller.a $(NVME_LIBS) $(VFIO_USER_LIBS) $(CONTROL_LIBS) $(BLOCK_LIBS) \
	$(BASE_LIBS) $(UUID_LIBS) $(SECCOMP_LIBS)

program_PROGRAMS += src/virtnvme-controller
src_virtnvme_controller_SOURCES = src/controller/main.c
src_virtnvme_controller_CPPFLAGS = $(src_libcontroller_a_CPPFLAGS)
src_virtnvme_controller_LDADD = $(CONTROLLER_LIBS)
