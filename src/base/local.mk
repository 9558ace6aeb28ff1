noinst_LIBRARIES += src/libbase.a
src_libbase_a_SOURCES = \
	src/base/clock.h \
	src/base/cpuset.c src/base/cpuset.h \
	src/base/crc32c.c src/base/crc32c.h \
	src/base/emulator.c src/base/emulator.h \
	src/base/error.c src/base/error.h \
	src/base/fd.c src/base/fd.h \
	src/base/i18n.h \
	src/base/json.c src/base/json.h \
	src/base/log.c src/base/log.h \
	src/base/options.c src/base/options.h \
	src/base/relay-frame.h \
	src/base/util.h
src_libbase_a_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_CFLAGS) $(SYSTEMD_CFLAGS)
BASE_LIBS = src/libbase.a $(JSON_LIBS) $(SYSTEMD_LIBS)
