noinst_LIBRARIES += src/libcontrol.a
src_libcontrol_a_SOURCES = \
	src/control/channel.c src/control/channel.h \
	src/control/commands.c src/control/commands.h \
	src/control/connection.c \
	src/control/frame.c src/control/frame.h
src_libcontrol_a_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_CFLAGS) $(SYSTEMD_CFLAGS)
# Before BASE_LIBS on the link line.
CONTROL_LIBS = src/libcontrol.a
