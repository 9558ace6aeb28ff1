noinst_LIBRARIES += src/libblock.a
src_libblock_a_SOURCES = \
	src/block/alignment.c src/block/alignment.h \
	src/block/backend.h \
	src/block/block.c src/block/block.h \
	src/block/call.c \
	src/block/create.c src/block/create.h \
	src/block/fault.c src/block/fault.h \
	src/block/file.c \
	src/block/lock.c src/block/lock.h \
	src/block/memory.c \
	src/block/null.c \
	src/block/open.c src/block/open.h \
	src/block/ring.c src/block/ring.h \
	src/block/ring-threads.c \
	src/block/ring-uring.c \
	src/block/stream.c src/block/stream.h
src_libblock_a_CPPFLAGS = $(AM_CPPFLAGS) $(URING_CFLAGS)
BLOCK_LIBS = src/libblock.a $(BASE_LIBS) $(URING_LIBS)
