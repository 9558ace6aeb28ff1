noinst_LIBRARIES += src/libqmp.a
src_libqmp_a_SOURCES = \
	src/qmp/device.c src/qmp/device.h \
	src/qmp/object.c src/qmp/object.h \
	src/qmp/qmp.c src/qmp/qmp.h
src_libqmp_a_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_CFLAGS)
QMP_LIBS = src/libqmp.a
