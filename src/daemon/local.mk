sbin_PROGRAMS += src/virtnvmed
noinst_LIBRARIES += src/libdaemon.a

DAEMON_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_CFLAGS) $(SYSTEMD_CFLAGS) $(LIBVIRT_CFLAGS) $(LIBXML_CFLAGS)

src_libdaemon_a_SOURCES = \
	src/daemon/attach.c src/daemon/attach.h \
	src/daemon/capabilities.c src/daemon/capabilities.h \
	src/daemon/config.c src/daemon/config.h \
	src/daemon/definition.c src/daemon/definition.h \
	src/daemon/format.c src/daemon/format.h \
	src/daemon/domain.c src/daemon/domain.h \
	src/daemon/hooks.c src/daemon/hooks.h \
	src/daemon/hugepages.c src/daemon/hugepages.h \
	src/daemon/incoming.c src/daemon/incoming.h \
	src/daemon/instance.c src/daemon/instance.h \
	src/daemon/keeper.c src/daemon/keeper.h \
	src/daemon/keeper-config.c src/daemon/keeper-config.h \
	src/daemon/keeper-status.c src/daemon/keeper-status.h \
	src/daemon/libvirt.c src/daemon/libvirt.h \
	src/daemon/live.c src/daemon/live.h \
	src/daemon/loop.c src/daemon/loop.h \
	src/daemon/migration-rules.c src/daemon/migration-rules.h \
	src/daemon/monitor.c src/daemon/monitor.h \
	src/daemon/permit.c src/daemon/permit.h \
	src/daemon/pool.c src/daemon/pool.h \
	src/daemon/probe.c src/daemon/probe.h \
	src/daemon/reconcile.c src/daemon/reconcile.h \
	src/daemon/request.h \
	src/daemon/request-disk.c \
	src/daemon/request-domain.c \
	src/daemon/request-upgrade.c \
	src/daemon/request-info.c \
	src/daemon/request-resize.c \
	src/daemon/resize.c src/daemon/resize.h \
	src/daemon/request-migrate.c \
	src/daemon/requests.c src/daemon/requests.h \
	src/daemon/shared-storage.c src/daemon/shared-storage.h \
	src/daemon/source.c src/daemon/source.h \
	src/daemon/volumes.c src/daemon/volumes.h
src_libdaemon_a_CPPFLAGS = $(DAEMON_CPPFLAGS)

src_virtnvmed_SOURCES = src/daemon/main.c
src_virtnvmed_CPPFLAGS = $(DAEMON_CPPFLAGS)
DAEMON_LIBS = src/libdaemon.a $(DOMAIN_XML_LIBS) $(QMP_LIBS) $(CONTROL_LIBS) $(BASE_LIBS) \
	$(LIBVIRT_LIBS) $(LIBXML_LIBS)
src_virtnvmed_LDADD = $(DAEMON_LIBS)
