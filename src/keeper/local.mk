program_PROGRAMS += src/virtnvme-keeper
noinst_LIBRARIES += src/libkeeper.a
src_libkeeper_a_SOURCES = \
	src/keeper/blob.c src/keeper/blob.h \
	src/keeper/carry.c src/keeper/carry.h \
	src/keeper/config.c src/keeper/config.h \
	src/keeper/crash-policy.c src/keeper/crash-policy.h \
	src/keeper/device.c src/keeper/device.h \
	src/keeper/device-call.c src/keeper/device-internal.h \
	src/keeper/faults.c src/keeper/faults.h \
	src/keeper/fd-store.c src/keeper/fd-store.h \
	src/keeper/hand-over.c src/keeper/hand-over.h \
	src/keeper/hand-over-destination.c \
	src/keeper/hand-over-ids.c \
	src/keeper/hand-over-internal.h \
	src/keeper/hand-over-replay.c \
	src/keeper/hand-over-source.c \
	src/keeper/images.c src/keeper/images.h \
	src/keeper/formats.c src/keeper/formats.h \
	src/keeper/io-errors.c src/keeper/io-errors.h \
	src/keeper/keep-alive.c src/keeper/keep-alive.h \
	src/keeper/keeper.c src/keeper/keeper.h \
	src/keeper/listener.c src/keeper/listener.h \
	src/keeper/message-store.c src/keeper/message-store.h \
	src/keeper/message.h \
	src/keeper/migration.c src/keeper/migration.h \
	src/keeper/migration-incoming.c \
	src/keeper/migration-internal.h \
	src/keeper/monitor.c src/keeper/monitor.h \
	src/keeper/pci-half.c src/keeper/pci-half.h \
	src/keeper/peer.c src/keeper/peer.h \
	src/keeper/process.c src/keeper/process.h \
	src/keeper/relay.c src/keeper/relay.h \
	src/keeper/qtest.c src/keeper/qtest.h \
	src/keeper/relay-carry.c \
	src/keeper/relay-channel.c \
	src/keeper/relay-client.c \
	src/keeper/relay-generation.c \
	src/keeper/relay-internal.h \
	src/keeper/replay.c src/keeper/replay.h \
	src/keeper/request-device.c src/keeper/request-status.c \
	src/keeper/requests.c src/keeper/requests.h src/keeper/requests-internal.h \
	src/keeper/reservations.c src/keeper/reservations.h \
	src/keeper/runtime-dir.c src/keeper/runtime-dir.h \
	src/keeper/standstill.c src/keeper/standstill.h \
	src/keeper/supervise.c src/keeper/supervise.h \
	src/keeper/upgrade.c src/keeper/upgrade.h \
	src/keeper/vmstate.c src/keeper/vmstate.h
src_libkeeper_a_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_CFLAGS) $(SYSTEMD_CFLAGS)
KEEPER_LIBS = src/libkeeper.a $(CONTROL_LIBS) $(QMP_LIBS) $(BLOCK_LIBS)

src_virtnvme_keeper_SOURCES = src/keeper/main.c
src_virtnvme_keeper_CPPFLAGS = $(src_libkeeper_a_CPPFLAGS)
src_virtnvme_keeper_LDADD = $(KEEPER_LIBS)
