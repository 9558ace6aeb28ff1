program_PROGRAMS += src/virtnvme-failed
src_virtnvme_failed_SOURCES = \
	src/failed/device.c src/failed/device.h \
	src/failed/main.c
src_virtnvme_failed_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_CFLAGS) $(SYSTEMD_CFLAGS)
# Of the controller only its sandbox is linked.
src_virtnvme_failed_LDADD = $(CONTROLLER_LIBS)
