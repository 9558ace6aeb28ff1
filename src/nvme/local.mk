noinst_LIBRARIES += src/libnvme.a
src_libnvme_a_SOURCES = \
	src/nvme/abort.c src/nvme/abort.h \
	src/nvme/admin.c src/nvme/admin.h \
	src/nvme/admin-queues.c \
	src/nvme/ana.c src/nvme/ana.h \
	src/nvme/async-event.c src/nvme/async-event.h \
	src/nvme/bounce.c src/nvme/bounce.h \
	src/nvme/compare.c src/nvme/compare.h \
	src/nvme/fused.c src/nvme/fused.h \
	src/nvme/controller.c src/nvme/controller.h src/nvme/controller-private.h \
	src/nvme/copy.c src/nvme/copy.h \
	src/nvme/crash-point.h \
	src/nvme/data-pointer.c src/nvme/data-pointer.h \
	src/nvme/dataset.c src/nvme/dataset.h \
	src/nvme/doorbell.c src/nvme/doorbell.h \
	src/nvme/features.c src/nvme/features.h \
	src/nvme/format.c src/nvme/format.h \
	src/nvme/hold.c src/nvme/hold.h \
	src/nvme/throttle.c src/nvme/throttle.h \
	src/nvme/freeze.c \
	src/nvme/host.h \
	src/nvme/identify.c src/nvme/identify.h \
	src/nvme/interrupt.c src/nvme/interrupt.h \
	src/nvme/io.c src/nvme/io.h \
	src/nvme/journal.c src/nvme/journal.h \
	src/nvme/keep-alive.c src/nvme/keep-alive.h \
	src/nvme/limits.h \
	src/nvme/log-pages.c src/nvme/log-pages.h \
	src/nvme/namespace.c src/nvme/namespace.h \
	src/nvme/queue.c src/nvme/queue.h \
	src/nvme/recovery.c src/nvme/recovery.h \
	src/nvme/registers.c \
	src/nvme/request.c src/nvme/request.h \
	src/nvme/reservation.c src/nvme/reservation.h \
	src/nvme/reservation-durable.c src/nvme/reservation-durable.h \
	src/nvme/reservation-log.c src/nvme/reservation-log.h \
	src/nvme/reservation-state.c src/nvme/reservation-state.h \
	src/nvme/ring.c src/nvme/ring.h \
	src/nvme/share.h \
	src/nvme/sgl.c src/nvme/sgl.h \
	src/nvme/shutdown.c src/nvme/shutdown.h \
	src/nvme/smart.c src/nvme/smart.h \
	src/nvme/spec.h \
	src/nvme/state.c src/nvme/state.h \
	src/nvme/subsystem.c src/nvme/subsystem.h \
	src/nvme/sync.c src/nvme/sync.h \
	src/nvme/worker.c src/nvme/worker.h \
	src/nvme/write-log.c src/nvme/write-log.h
src_libnvme_a_CPPFLAGS = $(AM_CPPFLAGS) $(UUID_CFLAGS)
# A program adds this before BASE_LIBS, and the block layer's between.
NVME_LIBS = src/libnvme.a $(UUID_LIBS)
