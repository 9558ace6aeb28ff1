noinst_LIBRARIES += src/libvfio-user.a
src_libvfio_user_a_SOURCES = \
	src/vfio-user/device-info.c \
	src/vfio-user/dma.c src/vfio-user/dma.h src/vfio-user/dma-internal.h \
	src/vfio-user/dma-message.c \
	src/vfio-user/handlers.h \
	src/vfio-user/irq.c src/vfio-user/irq.h src/vfio-user/irq-internal.h \
	src/vfio-user/listener.c src/vfio-user/listener.h \
	src/vfio-user/mapping.c src/vfio-user/mapping.h \
	src/vfio-user/message.c src/vfio-user/message.h \
	src/vfio-user/pci-config.c src/vfio-user/pci-config.h \
	src/vfio-user/protocol.h \
	src/vfio-user/region.c \
	src/vfio-user/server.c src/vfio-user/server.h \
	src/vfio-user/transport.h src/vfio-user/transport-relay.c src/vfio-user/transport-socket.c \
	src/vfio-user/version.c
src_libvfio_user_a_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_CFLAGS)
# Before $(BASE_LIBS) on a program's link line.
VFIO_USER_LIBS = src/libvfio-user.a
