// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "tests/unit/vfio-user/rig.h"

#define READ_WRITE (VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITEABLE)
#define SIZE	   (16 * MiB)

/* A worker that reads; the test is client and control thread in one. */
struct reader {
	pthread_t thread;
	struct rig *rig;
	uint64_t iova;
	size_t len;
	uint8_t *buf;
	int result;
	bool done;
};

static void *reader_main(void *opaque)
{
	struct reader *reader = opaque;

	reader->result = vfio_user_dma_read_message(reader->rig->dma, reader->iova, reader->buf,
						    reader->len);
	STORE_RELEASE(reader->done, true);
	return NULL;
}

static void reader_start(struct reader *reader, struct rig *rig, uint64_t iova, size_t len)
{
	*reader = (struct reader){ .rig = rig, .iova = iova, .len = len };
	reader->buf = calloc(1, len);
	assert_int_equal(pthread_create(&reader->thread, NULL, reader_main, reader), 0);
}

static int reader_end(struct reader *reader)
{
	pthread_join(reader->thread, NULL);
	free(reader->buf);
	return reader->result;
}

/* The next command of the server, waited for. */
static const struct vfio_user_dma_access *next_command(struct rig *rig, uint16_t command)
{
	struct pollfd wait = { .fd = rig->fd, .events = POLLIN };

	assert_int_equal(poll(&wait, 1, 5000), 1);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->header.command, command);
	assert_int_equal(rig->header.flags, VFIO_USER_FLAG_COMMAND);
	return (void *)rig->reply;
}

static bool is_quiet(struct rig *rig)
{
	struct pollfd wait = { .fd = rig->fd, .events = POLLIN };

	return poll(&wait, 1, 50) == 0;
}

/* Answer the command in rig->header as QEMU does; @fill: what the memory holds. */
static void answer(struct rig *rig, uint8_t fill)
{
	const struct vfio_user_dma_access *access = (void *)rig->reply;
	size_t size = sizeof(*access);
	struct vfio_user_header header = rig->header;

	header.flags = VFIO_USER_FLAG_REPLY;
	if (header.command == VFIO_USER_DMA_READ) {
		memset(rig->reply + size, fill, access->count);
		size += access->count;
	}
	header.size = sizeof(header) + size;
	rig_send_raw(rig, &header, sizeof(header), NULL, 0);
	rig_send_raw(rig, rig->reply, size, NULL, 0);
}

static void answer_error(struct rig *rig, uint32_t error)
{
	struct vfio_user_header header = rig->header;

	header.flags = VFIO_USER_FLAG_REPLY | VFIO_USER_FLAG_ERROR;
	header.error = error;
	header.size = sizeof(header);
	rig_send_raw(rig, &header, sizeof(header), NULL, 0);
}

static int setup(void **state)
{
	rig_setup(state);
	return rig_map(*state, 0, SIZE, 0, READ_WRITE, -1);
}

static void reads_by_message(void **state)
{
	struct rig *rig = *state;
	const struct vfio_user_dma_access *access;
	struct reader reader;

	reader_start(&reader, rig, 0x1234, 100);
	access = next_command(rig, VFIO_USER_DMA_READ);
	assert_int_equal(access->addr, 0x1234);
	assert_int_equal(access->count, 100);
	assert_int_equal(rig->reply_size, sizeof(*access));
	answer(rig, 0xab);
	assert_int_equal(rig_process(rig), 0);
	pthread_join(reader.thread, NULL);
	assert_int_equal(reader.result, 0);
	assert_int_equal(reader.buf[0], 0xab);
	assert_int_equal(reader.buf[99], 0xab);
	free(reader.buf);
}

/* Over all workers together: QEMU cuts longer replies short. */
static void asks_for_64_kib_at_a_time(void **state)
{
	struct rig *rig = *state;
	struct vfio_user_header first;
	struct reader readers[2];
	size_t outstanding;

	reader_start(&readers[0], rig, 0, 100 * KiB);
	outstanding = next_command(rig, VFIO_USER_DMA_READ)->count;
	first = rig->header;
	reader_start(&readers[1], rig, MiB, 40 * KiB);
	while (!is_quiet(rig))
		outstanding += next_command(rig, VFIO_USER_DMA_READ)->count;
	assert_in_range(outstanding, 1, 64 * KiB);

	rig->header = first;
	((struct vfio_user_dma_access *)(void *)rig->reply)->addr = 0;
	((struct vfio_user_dma_access *)(void *)rig->reply)->count = outstanding;
	answer(rig, 1);
	assert_int_equal(rig_process(rig), 0);
	while (!LOAD_ACQUIRE(readers[0].done) || !LOAD_ACQUIRE(readers[1].done)) {
		size_t count = 0;

		if (is_quiet(rig))
			continue;
		count = next_command(rig, VFIO_USER_DMA_READ)->count;
		assert_in_range(count, 1, 64 * KiB);
		answer(rig, 1);
		assert_int_equal(rig_process(rig), 0);
	}
	assert_int_equal(reader_end(&readers[0]), 0);
	assert_int_equal(reader_end(&readers[1]), 0);
}

static void reads_only_what_is_mapped(void **state)
{
	struct rig *rig = *state;
	char buf[16];

	assert_int_equal(vfio_user_dma_read_message(rig->dma, SIZE - 8, buf, 16), -EFAULT);
	assert_int_equal(vfio_user_dma_write_message(rig->dma, 0, SIZE - 8, buf, 16), -EFAULT);
	assert_true(is_quiet(rig));
}

static void tells_the_clients_error(void **state)
{
	struct rig *rig = *state;
	struct reader reader;

	reader_start(&reader, rig, 0, 16);
	next_command(rig, VFIO_USER_DMA_READ);
	answer_error(rig, EINVAL);
	assert_int_equal(rig_process(rig), 0);
	assert_int_equal(reader_end(&reader), -EIO);
	assert_int_equal(rig->disconnects, 0);
}

static void ends_reads_when_cancelled(void **state)
{
	struct rig *rig = *state;
	struct reader reader;
	char buf[16];

	reader_start(&reader, rig, 0, 16);
	next_command(rig, VFIO_USER_DMA_READ);
	vfio_user_dma_cancel(rig->dma, true);
	assert_int_equal(reader_end(&reader), -ECANCELED);
	assert_int_equal(vfio_user_dma_read_message(rig->dma, 0, buf, 16), -ECANCELED);
	/* Its answer may still come, and belongs to nobody. */
	answer(rig, 1);
	assert_int_equal(rig_process(rig), 0);
	vfio_user_dma_cancel(rig->dma, false);
	reader_start(&reader, rig, 0, 64 * KiB);
	next_command(rig, VFIO_USER_DMA_READ);
	answer(rig, 1);
	assert_int_equal(rig_process(rig), 0);
	assert_int_equal(reader_end(&reader), 0);
}

static void ends_reads_with_the_connection(void **state)
{
	struct rig *rig = *state;
	struct reader reader;

	reader_start(&reader, rig, 0, 16);
	next_command(rig, VFIO_USER_DMA_READ);
	shutdown(rig->fd, SHUT_RDWR);
	assert_int_equal(rig_process(rig), -ENOTCONN);
	assert_int_equal(reader_end(&reader), -ENOTCONN);
}

/* Each way in which an answer can be wrong ends the connection, and the reader gets no data. */
static void a_nonsense_reply_ends_the_connection(void **state)
{
	unsigned kind;

	for (kind = 0; kind < 6; kind++) {
		struct vfio_user_dma_access *access;
		struct reader reader;
		struct rig *rig;

		setup((void **)&rig);
		access = (void *)rig->reply;
		reader_start(&reader, rig, 4096, 16);
		next_command(rig, VFIO_USER_DMA_READ);
		switch (kind) {
		case 0:
			rig->header.id ^= 1;
			break;
		case 1:
			rig->header.command = VFIO_USER_DMA_WRITE;
			break;
		case 2:
			access->addr = 0;
			break;
		case 3:
			access->count = 15;
			break;
		case 4:
			access->count = 17;
			break;
		}
		if (kind == 5) { /* no payload at all */
			rig->header.flags = VFIO_USER_FLAG_REPLY;
			rig->header.size = sizeof(rig->header);
			rig_send_raw(rig, &rig->header, sizeof(rig->header), NULL, 0);
		} else {
			answer(rig, 0xee);
		}
		assert_int_equal(rig_process(rig), -EPROTO);
		assert_int_equal(rig->disconnects, 1);
		assert_int_equal(reader_end(&reader), -ENOTCONN);
		rig_teardown((void **)&rig);
	}
}

static void an_unasked_reply_ends_the_connection(void **state)
{
	struct rig *rig = *state;

	rig_send(rig, VFIO_USER_DMA_READ, VFIO_USER_FLAG_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(rig_process(rig), -EPROTO);
}

static unsigned called;

static void count_call(void *opaque, unsigned value)
{
	called += value;
}

static void writes_are_posted_and_counted(void **state)
{
	struct rig *rig = *state;
	const struct vfio_user_dma_access *access;

	called = 0;
	/* Nothing is under way: at once. */
	vfio_user_dma_after_writes(rig->dma, 3, count_call, NULL, 1);
	assert_int_equal(called, 1);

	assert_int_equal(vfio_user_dma_write_message(rig->dma, 3, 0x2000, "data", 4), 0);
	vfio_user_dma_after_writes(rig->dma, 3, count_call, NULL, 10);
	vfio_user_dma_after_writes(rig->dma, 4, count_call, NULL, 100);
	assert_int_equal(called, 101);
	assert_int_equal(vfio_user_dma_writes_posted(rig->dma, 3), 1);
	assert_int_equal(vfio_user_dma_writes_acknowledged(rig->dma, 3), 0);
	access = next_command(rig, VFIO_USER_DMA_WRITE);
	assert_int_equal(access->addr, 0x2000);
	assert_int_equal(access->count, 4);
	assert_memory_equal(access->data, "data", 4);
	answer(rig, 0);
	assert_int_equal(rig_process(rig), 0);
	assert_int_equal(called, 111);
	assert_int_equal(vfio_user_dma_writes_acknowledged(rig->dma, 3), 1);
	assert_int_equal(vfio_user_dma_writes_posted(rig->dma, 4), 0);
}

static void waits_for_the_last_of_the_stream(void **state)
{
	struct rig *rig = *state;
	struct vfio_user_header first;
	struct vfio_user_dma_access *access = (void *)rig->reply;

	called = 0;
	vfio_user_dma_write_message(rig->dma, 0, 0x1000, "1", 1);
	vfio_user_dma_after_writes(rig->dma, 0, count_call, NULL, 1);
	vfio_user_dma_write_message(rig->dma, 0, 0x2000, "2", 1);
	vfio_user_dma_after_writes(rig->dma, 0, count_call, NULL, 10);
	next_command(rig, VFIO_USER_DMA_WRITE);
	first = rig->header;
	next_command(rig, VFIO_USER_DMA_WRITE);
	rig->header = first;
	access->addr = 0x1000;
	answer(rig, 0);
	assert_int_equal(rig_process(rig), 0);
	assert_int_equal(called, 1);
	/* An error counts as executed: a posted write has no one to tell. */
	rig->header.id++;
	answer_error(rig, EIO);
	assert_int_equal(rig_process(rig), 0);
	assert_int_equal(called, 11);
}

/* Of what a predecessor of this process has posted nothing is known but that it is before us. */
static void a_fence_is_behind_everything(void **state)
{
	struct rig *rig = *state;

	called = 0;
	vfio_user_dma_fence(rig->dma, count_call, NULL, 1);
	assert_int_equal(called, 0);
	next_command(rig, VFIO_USER_DMA_READ);
	answer(rig, 0);
	assert_int_equal(rig_process(rig), 0);
	assert_int_equal(called, 1);
	/* An error is an answer, and so is the end. */
	vfio_user_dma_fence(rig->dma, count_call, NULL, 10);
	next_command(rig, VFIO_USER_DMA_READ);
	answer_error(rig, EINVAL);
	assert_int_equal(rig_process(rig), 0);
	assert_int_equal(called, 11);
	vfio_user_dma_fence(rig->dma, count_call, NULL, 100);
	shutdown(rig->fd, SHUT_RDWR);
	assert_int_equal(rig_process(rig), -ENOTCONN);
	assert_int_equal(called, 111);
	vfio_user_dma_fence(rig->dma, count_call, NULL, 1000);
	assert_int_equal(called, 1111);
}

struct writer {
	pthread_t thread;
	struct rig *rig;
	unsigned count;
	size_t size;
	unsigned done;
};

static void *writer_main(void *opaque)
{
	struct writer *writer = opaque;
	_cleanup_free_ char *buf = calloc(1, writer->size);
	unsigned i;

	for (i = 0; i < writer->count; i++) {
		if (vfio_user_dma_write_message(writer->rig->dma, 0, 0, buf, writer->size) < 0)
			break;
		STORE_RELEASE(writer->done, i + 1);
	}
	return NULL;
}

static size_t drain(struct rig *rig)
{
	size_t bytes = 0;

	while (!is_quiet(rig))
		bytes += next_command(rig, VFIO_USER_DMA_WRITE)->count;
	return bytes;
}

static unsigned room_calls;

static void room(void *opaque)
{
	room_calls++;
}

static void write_in_thread(struct rig *rig, unsigned count, size_t size)
{
	struct writer writer = { .rig = rig, .count = count, .size = size };

	assert_int_equal(pthread_create(&writer.thread, NULL, writer_main, &writer), 0);
	while (LOAD_ACQUIRE(writer.done) < count)
		drain(rig);
	drain(rig);
	pthread_join(writer.thread, NULL);
}

/* Answer the oldest writes; their ids count from @id. */
static void acknowledge(struct rig *rig, uint16_t *id, unsigned count, size_t size)
{
	struct vfio_user_dma_access *access = (void *)rig->reply;

	while (count--) {
		rig->header.id = (*id)++;
		access->addr = 0;
		access->count = size;
		answer(rig, 0);
		assert_int_equal(rig_process(rig), 0);
	}
}

/* Nobody is made to wait: the client may execute nothing until it has an answer of ours. */
static void room_ends_and_comes_back(void **state)
{
	static const struct {
		unsigned count, to_half;
		size_t size;
	} windows[] = { { 4, 2, MiB }, { 256, 128, 16 } };
	struct rig *rig = *state;
	uint16_t id = 0;
	unsigned i;

	vfio_user_dma_set_room_hook(rig->dma, room, NULL);
	for (i = 0; i < ARRAY_SIZE(windows); i++) {
		unsigned count = windows[i].count, half = windows[i].to_half;
		size_t size = windows[i].size;

		room_calls = 0;
		write_in_thread(rig, count - 1, size);
		assert_true(vfio_user_dma_write_room(rig->dma));
		write_in_thread(rig, 1, size);
		assert_false(vfio_user_dma_write_room(rig->dma));
		write_in_thread(rig, 3, size);
		acknowledge(rig, &id, 3 + half - 1, size);
		assert_int_equal(room_calls, 0);
		acknowledge(rig, &id, 1, size);
		assert_int_equal(room_calls, 1);
		assert_true(vfio_user_dma_write_room(rig->dma));
		acknowledge(rig, &id, count - half, size);
		assert_int_equal(room_calls, 1);
		/* The most that there were, and each of the small ones is a page; not in all. */
		assert_int_equal(vfio_user_dma_most_written(rig->dma), 7 * MiB);
	}
}

static void the_end_of_the_connection_is_room_too(void **state)
{
	struct rig *rig = *state;

	called = room_calls = 0;
	vfio_user_dma_set_room_hook(rig->dma, room, NULL);
	write_in_thread(rig, 256, 16);
	vfio_user_dma_after_writes(rig->dma, 0, count_call, NULL, 1);
	assert_false(vfio_user_dma_write_room(rig->dma));
	assert_true(vfio_user_dma_writes_pending(rig->dma, 0));
	shutdown(rig->fd, SHUT_RDWR);
	assert_int_equal(rig_process(rig), -ENOTCONN);
	assert_int_equal(room_calls, 1);
	assert_int_equal(called, 1);
	assert_true(vfio_user_dma_write_room(rig->dma));
	assert_false(vfio_user_dma_writes_pending(rig->dma, 0));
}

/* A client that answers nothing has no slot for one more. To leave it out would be silent
 * corruption. */
static void a_write_that_finds_no_slot_ends_the_connection(void **state)
{
	struct rig *rig = *state;

	write_in_thread(rig, 1024, 16);
	assert_int_equal(rig_process(rig), 0);
	assert_int_equal(vfio_user_dma_write_message(rig->dma, 0, 0, "x", 1), -ENOTCONN);
	assert_true(rig_process(rig) < 0);
	assert_int_equal(rig->disconnects, 1);
}

static unsigned entered, left;

static void enter(void *opaque)
{
	entered++;
}

static void leave(void *opaque)
{
	left++;
}

static void a_read_stands_at_a_pause_point(void **state)
{
	struct rig *rig = *state;
	struct reader reader;

	entered = left = 0;
	vfio_user_dma_set_wait_hooks(rig->dma, enter, leave, NULL);
	reader_start(&reader, rig, 0, 16);
	next_command(rig, VFIO_USER_DMA_READ);
	assert_int_equal(entered, 1);
	assert_int_equal(left, 0);
	answer(rig, 0);
	rig_process(rig);
	assert_int_equal(reader_end(&reader), 0);
	assert_int_equal(left, 1);
}

static void holds_to_the_clients_transfer_size(void **state)
{
	struct rig *rig;
	struct reader reader;

	rig_setup_raw((void **)&rig);
	assert_int_equal(rig_version(rig, 0, "{\"capabilities\":{\"max_data_xfer_size\":4096}}"),
			 0);
	assert_int_equal(rig_map(rig, 0, SIZE, 0, READ_WRITE, -1), 0);
	reader_start(&reader, rig, 0, 8192);
	assert_int_equal(next_command(rig, VFIO_USER_DMA_READ)->count, 4096);
	answer(rig, 0);
	rig_process(rig);
	assert_int_equal(next_command(rig, VFIO_USER_DMA_READ)->count, 4096);
	answer(rig, 0);
	rig_process(rig);
	assert_int_equal(reader_end(&reader), 0);
	rig_teardown((void **)&rig);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(reads_by_message),
		test(asks_for_64_kib_at_a_time),
		test(reads_only_what_is_mapped),
		test(tells_the_clients_error),
		test(ends_reads_when_cancelled),
		test(ends_reads_with_the_connection),
		cmocka_unit_test(a_nonsense_reply_ends_the_connection),
		test(an_unasked_reply_ends_the_connection),
		test(writes_are_posted_and_counted),
		test(waits_for_the_last_of_the_stream),
		test(a_fence_is_behind_everything),
		test(room_ends_and_comes_back),
		test(the_end_of_the_connection_is_room_too),
		test(a_write_that_finds_no_slot_ends_the_connection),
		test(a_read_stands_at_a_pause_point),
		cmocka_unit_test(holds_to_the_clients_transfer_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
