// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/relay-frame.h"
#include "tests/unit/vfio-user/rig.h"

/* A keeper of the simplest kind. */
#define AREA (2 * RELAY_PAYLOAD_MAX)

struct keeper {
	int fd;
	struct relay_bulk *bulk;
	struct vfio_user_server *server;
	struct rig device;

	/* The last datagram from the controller. */
	struct relay_frame frame;
	struct vfio_user_header header;
	uint8_t data[RELAY_INLINE_MAX];
	size_t data_size;
};

static int greet(struct keeper *keeper, struct relay_hello *hello, int memfd)
{
	struct relay_frame frame = { .kind = RELAY_HELLO, .fd_count = 1 };
	struct iovec iov[2] = { { &frame, sizeof(frame) }, { hello, sizeof(*hello) } };

	return fd_send(keeper->fd, iov, 2, &memfd, 1, 0);
}

static void make_hello(struct relay_hello *hello)
{
	*hello = (struct relay_hello){
		.version = RELAY_VERSION,
		.generation = 1,
		.to_controller_offset = 4096,
		.to_controller_size = AREA,
		.to_keeper_offset = 4096 + AREA,
		.to_keeper_size = AREA,
	};
}

static int setup_raw(void **state)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	struct vfio_user_device_info info;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	keeper->fd = pair[0];
	rig_device_info(&info, -1);
	info.regions[0].size = sizeof(keeper->device.bar0);
	keeper->server = vfio_user_server_new(vfio_user_transport_relay_new(pair[1]), &info,
					      &rig_ops, &keeper->device, NULL);
	keeper->device.server = keeper->server;
	*state = keeper;
	return 0;
}

static int teardown(void **state)
{
	struct keeper *keeper = *state;

	vfio_user_server_free(keeper->server);
	if (keeper->bulk)
		munmap(keeper->bulk, 4096 + 2 * AREA);
	close(keeper->fd);
	free(keeper);
	return 0;
}

static void pass(struct keeper *keeper, uint64_t sequence, uint32_t frame_flags, uint16_t id,
		 uint16_t command, uint32_t flags, const void *payload, size_t size, const int *fds,
		 size_t fd_count)
{
	struct relay_frame frame = { .kind = RELAY_MESSAGE,
				     .flags = frame_flags,
				     .sequence = sequence,
				     .fd_count = fd_count };
	struct vfio_user_header header = {
		.id = id, .command = command, .flags = flags, .size = 16 + size
	};
	struct iovec iov[3] = { { &frame, sizeof(frame) },
				{ &header, sizeof(header) },
				{ (void *)payload, size } };

	if (frame_flags & RELAY_FLAG_BULK) {
		frame.bulk_offset = 4096;
		memcpy((char *)keeper->bulk + 4096, payload, size);
	}
	assert_true(fd_send(keeper->fd, iov, frame_flags & RELAY_FLAG_BULK ? 2 : 3, fds, fd_count,
			    0) > 0);
}

static bool take(struct keeper *keeper)
{
	struct iovec iov[3] = { { &keeper->frame, sizeof(keeper->frame) },
				{ &keeper->header, sizeof(keeper->header) },
				{ keeper->data, sizeof(keeper->data) } };
	size_t count;
	ssize_t n = fd_receive(keeper->fd, iov, 3, NULL, 0, &count, MSG_DONTWAIT);

	if (n < (ssize_t)sizeof(keeper->frame))
		return false;
	keeper->data_size = n - sizeof(keeper->frame);
	if (keeper->frame.kind == RELAY_MESSAGE)
		keeper->data_size -= sizeof(keeper->header);
	return true;
}

static int process(struct keeper *keeper)
{
	return vfio_user_server_process(keeper->server);
}

static int setup(void **state)
{
	_cleanup_close_ int memfd = rig_memfd(4096 + 2 * AREA);
	struct vfio_user_version version = { 0, 1 };
	struct relay_hello hello;
	struct keeper *keeper;

	setup_raw(state);
	keeper = *state;
	keeper->bulk = mmap(NULL, 4096 + 2 * AREA, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	make_hello(&hello);
	assert_true(greet(keeper, &hello, memfd) > 0);
	pass(keeper, 1, 0, 100, VFIO_USER_VERSION, 0, &version, sizeof(version), NULL, 0);
	assert_int_equal(process(keeper), 0);
	assert_true(take(keeper));
	assert_int_equal(keeper->frame.kind, RELAY_MESSAGE);
	assert_int_equal(keeper->frame.sequence, 1);
	assert_int_equal(keeper->header.error, 0);
	return 0;
}

static void a_reply_names_its_command(void **state)
{
	struct keeper *keeper = *state;
	struct vfio_user_region_access read = { .count = 4 };

	/* The client uses one id twice; the numbers tell them apart. */
	pass(keeper, 2, 0, 7, VFIO_USER_REGION_READ, 0, &read, sizeof(read), NULL, 0);
	pass(keeper, 3, 0, 7, VFIO_USER_REGION_READ, 0, &read, sizeof(read), NULL, 0);
	assert_int_equal(process(keeper), 0);
	assert_true(take(keeper));
	assert_int_equal(keeper->frame.sequence, 2);
	assert_int_equal(keeper->header.id, 7);
	assert_int_equal(keeper->data_size, 20);
	assert_true(take(keeper));
	assert_int_equal(keeper->frame.sequence, 3);
	assert_int_equal(keeper->bulk->processed, 0);
}

static void a_reset_is_acknowledged_when_it_is_answered(void **state)
{
	struct keeper *keeper = *state;
	struct vfio_user_region_access read = { .count = 4 };
	uint32_t write[5] = { 0, 0, 0, 4, 1 };

	pass(keeper, 2, 0, 8, VFIO_USER_DEVICE_RESET, 0, NULL, 0, NULL, 0);
	pass(keeper, 3, 0, 9, VFIO_USER_REGION_WRITE, VFIO_USER_FLAG_NO_REPLY, write, sizeof(write),
	     NULL, 0);
	pass(keeper, 4, 0, 10, VFIO_USER_REGION_READ, 0, &read, sizeof(read), NULL, 0);
	assert_int_equal(process(keeper), 0);
	assert_true(take(keeper));
	assert_int_equal(keeper->frame.sequence, 4);
	assert_false(take(keeper));
	assert_int_equal(keeper->bulk->processed, 3);
	vfio_user_server_reset_done(keeper->server);
	assert_true(take(keeper));
	assert_int_equal(keeper->frame.sequence, 2);
	assert_int_equal(keeper->header.id, 8);
}

/* A posted write counts only when the device has it: one that crashes the controller comes again. */
static void it_is_not_acknowledged_yet(struct rig *rig)
{
	struct keeper *keeper = (struct keeper *)((char *)rig - offsetof(struct keeper, device));
	uint64_t previous =
		rig->writes; /* the first has number 2, and no predecessor that counts */

	assert_int_equal(keeper->bulk->processed, previous == 1 ? 0 : previous);
}

static void posted_messages_are_acknowledged_in_memory(void **state)
{
	struct keeper *keeper = *state;
	uint32_t write[5] = { 0, 0, 0, 4, 1 };
	unsigned i;

	keeper->device.on_write = it_is_not_acknowledged_yet;
	for (i = 0; i < RELAY_ACK_INTERVAL; i++) {
		assert_false(take(keeper));
		pass(keeper, 2 + i, 0, i, VFIO_USER_REGION_WRITE, VFIO_USER_FLAG_NO_REPLY, write,
		     sizeof(write), NULL, 0);
		assert_int_equal(process(keeper), 0);
		assert_int_equal(keeper->bulk->processed, 2 + i);
	}
	assert_true(take(keeper));
	assert_int_equal(keeper->frame.kind, RELAY_ACK);
	assert_int_equal(keeper->frame.sequence, 1 + RELAY_ACK_INTERVAL);
	assert_int_equal(keeper->device.writes, RELAY_ACK_INTERVAL);
}

static void large_messages_go_through_the_bulk_file(void **state)
{
	struct keeper *keeper = *state;
	struct vfio_user_region_access read = { .count = 64 * 1024 };
	struct vfio_user_region_access *write;
	size_t size = 8192, i;

	write = calloc(1, sizeof(*write) + size);
	write->count = size;
	memset(write->data, 0x5a, size);
	pass(keeper, 2, RELAY_FLAG_BULK, 1, VFIO_USER_REGION_WRITE, 0, write, sizeof(*write) + size,
	     NULL, 0);
	free(write);
	assert_int_equal(process(keeper), 0);
	assert_true(take(keeper));
	assert_int_equal(keeper->header.error, 0);
	assert_int_equal(keeper->device.bar0[8191], 0x5a);

	for (i = 0; i < 40; i++) {
		uint32_t before = keeper->bulk->released;

		pass(keeper, 3 + i, 0, 2, VFIO_USER_REGION_READ, 0, &read, sizeof(read), NULL, 0);
		assert_int_equal(process(keeper), 0);
		assert_true(take(keeper));
		assert_int_equal(keeper->data_size, 0);
		assert_true(keeper->frame.flags & RELAY_FLAG_BULK);
		assert_in_range(keeper->frame.bulk_offset, 4096 + AREA,
				4096 + 2 * AREA - (keeper->header.size - 16));
		assert_int_equal(keeper->frame.bulk_offset % 8, 0);
		assert_memory_equal((char *)keeper->bulk + keeper->frame.bulk_offset, &read,
				    sizeof(read));
		assert_true(keeper->frame.bulk_release - before >= keeper->header.size - 16);
		keeper->bulk->released = keeper->frame.bulk_release;
	}
}

static void descriptors_travel_with_it(void **state)
{
	struct keeper *keeper = *state;
	_cleanup_close_ int fd = rig_memfd(8192);
	struct vfio_user_dma_map map = { .argsz = sizeof(map), .flags = 3, .size = 8192 };

	pass(keeper, 2, 0, 1, VFIO_USER_DMA_MAP, 0, &map, sizeof(map), &fd, 1);
	assert_int_equal(process(keeper), 0);
	assert_true(take(keeper));
	assert_int_equal(keeper->header.error, 0);
	assert_non_null(vfio_user_dma_resolve(vfio_user_server_dma(keeper->server), 0, 8192,
					      VFIO_USER_ACCESS_WRITE));
}

/* What rebuilds a successor's state is answered with number 0, and acknowledges nothing. */
static void restored_messages_have_no_number(void **state)
{
	struct keeper *keeper = *state;
	struct vfio_user_dma_map map = { .argsz = sizeof(map), .flags = 3, .size = 8192 };

	pass(keeper, 0, RELAY_FLAG_RESTORE, 1, VFIO_USER_DMA_MAP, 0, &map, sizeof(map), NULL, 0);
	assert_int_equal(process(keeper), 0);
	assert_true(take(keeper));
	assert_int_equal(keeper->frame.sequence, 0);
	assert_int_equal(keeper->bulk->processed, 0);
}

static void our_commands_have_no_number(void **state)
{
	struct keeper *keeper = *state;
	struct vfio_user_dma_map map = { .argsz = sizeof(map), .flags = 3, .size = 8192 };

	pass(keeper, 2, 0, 1, VFIO_USER_DMA_MAP, 0, &map, sizeof(map), NULL, 0);
	assert_int_equal(process(keeper), 0);
	assert_true(take(keeper));
	assert_int_equal(
		vfio_user_dma_write_message(vfio_user_server_dma(keeper->server), 0, 0, "x", 1), 0);
	assert_true(take(keeper));
	assert_int_equal(keeper->frame.sequence, 0);
	assert_int_equal(keeper->header.command, VFIO_USER_DMA_WRITE);
	/* The client's answer is acknowledged as handled. */
	pass(keeper, 3, 0, keeper->header.id, VFIO_USER_DMA_WRITE, VFIO_USER_FLAG_REPLY,
	     keeper->data, 16, NULL, 0);
	assert_int_equal(process(keeper), 0);
	assert_int_equal(keeper->bulk->processed, 3);
}

static void the_ring_waits_for_the_keeper(void **state)
{
	struct keeper *keeper = *state;
	struct vfio_user_region_access read = { .count = 60 * 1024 };
	unsigned i;

	/* Two MiB of ring take 34 of these; the server must not overwrite what is not released. */
	for (i = 0; i < 34; i++) {
		pass(keeper, 2 + i, 0, i, VFIO_USER_REGION_READ, 0, &read, sizeof(read), NULL, 0);
		assert_int_equal(process(keeper), 0);
		assert_true(take(keeper));
	}
	pass(keeper, 2 + i, 0, i, VFIO_USER_REGION_READ, 0, &read, sizeof(read), NULL, 0);
	assert_int_not_equal(process(keeper), 0);
	assert_int_equal(keeper->device.disconnects, 1);
}

static void the_end_of_the_channel_is_the_clients(void **state)
{
	struct keeper *keeper = *state;

	shutdown(keeper->fd, SHUT_RDWR);
	assert_int_equal(process(keeper), -ENOTCONN);
	assert_int_equal(keeper->device.disconnects, 1);
}

static void refuses_frames_that_cannot_be(void **state)
{
	unsigned kind;

	for (kind = 0; kind < 6; kind++) {
		struct {
			struct relay_frame frame;
			struct vfio_user_header header;
		} datagram = { { .kind = RELAY_MESSAGE, .sequence = 2 }, { .size = 16 } };
		size_t size = sizeof(datagram);
		struct keeper *keeper;

		setup((void **)&keeper);
		switch (kind) {
		case 0:
			datagram.frame.kind = RELAY_HELLO;
			break;
		case 1:
			datagram.frame.fd_count = 1;
			break;
		case 2:
			datagram.header.size = 17;
			break;
		case 3:
			size = sizeof(datagram.frame) - 1;
			break;
		case 4:
			datagram.frame.flags = RELAY_FLAG_BULK;
			datagram.frame.bulk_offset = 4096 + AREA;
			datagram.header.size = 24;
			break;
		case 5:
			datagram.header.size = 15;
			break;
		}
		assert_int_equal(send(keeper->fd, &datagram, size, 0), size);
		assert_int_equal(process(keeper), -EPROTO);
		teardown((void **)&keeper);
	}
}

static void refuses_a_hello_that_cannot_be(void **state)
{
	unsigned kind;

	for (kind = 0; kind < 5; kind++) {
		_cleanup_close_ int memfd = rig_memfd(4096 + 2 * AREA);
		struct relay_hello hello;
		struct keeper *keeper;

		setup_raw((void **)&keeper);
		make_hello(&hello);
		switch (kind) {
		case 0:
			hello.version++;
			break;
		case 1:
			hello.to_keeper_offset += 8;
			break;
		case 2:
			hello.to_controller_offset = 0;
			break;
		case 3:
			hello.to_keeper_size = AREA / 2;
			break;
		case 4:
			hello.to_keeper_offset = UINT64_MAX - 7;
			break;
		}
		greet(keeper, &hello, memfd);
		assert_int_equal(process(keeper), -EPROTO);
		teardown((void **)&keeper);
	}
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_reply_names_its_command),
		test(a_reset_is_acknowledged_when_it_is_answered),
		test(posted_messages_are_acknowledged_in_memory),
		test(large_messages_go_through_the_bulk_file),
		test(descriptors_travel_with_it),
		test(restored_messages_have_no_number),
		test(our_commands_have_no_number),
		test(the_ring_waits_for_the_keeper),
		test(the_end_of_the_channel_is_the_clients),
		cmocka_unit_test(refuses_frames_that_cannot_be),
		cmocka_unit_test(refuses_a_hello_that_cannot_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
