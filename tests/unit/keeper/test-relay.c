// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/util.h"
#include "keeper/message.h"
#include "keeper/relay.h"
#include "tests/unit/test.h"

/*
 * A relay between a fake QEMU (`qemu`, reading as QEMU does) and a fake controller (`channel`,
 * `bulk`). Both are blocking sockets; run() lets the relay do what there is to do.
 */
#define REGION_READ  9
#define REGION_WRITE 10

static sd_event *loop;
static struct relay *relay;
static int qemu, channel;
static char *bulk;
static size_t bulk_size;
static struct relay_hello hello;
static unsigned clients_closed, controllers_closed;

static void on_client_closed(void *opaque)
{
	clients_closed++;
}

static void on_controller_closed(void *opaque, const char *why)
{
	controllers_closed++;
}

static const struct relay_ops ops = { on_client_closed, on_controller_closed };

static void run(void)
{
	int i;

	for (i = 0; i < 2000; i++)
		if (sd_event_run(loop, 1000) == 0)
			break;
}

struct received {
	struct relay_frame frame;
	struct message_header header;
	char payload[RELAY_INLINE_MAX];
	size_t size; /* of the datagram; 0: end of file */
	int fds[RELAY_MAX_FDS];
	size_t fd_count;
};

static struct received *receive(void)
{
	static struct received got;
	struct iovec iov = { &got, offsetof(struct received, size) };
	ssize_t n;

	n = fd_receive(channel, &iov, 1, got.fds, RELAY_MAX_FDS, &got.fd_count, MSG_DONTWAIT);
	if (n == -EAGAIN)
		return NULL;
	assert_true(n >= 0);
	got.size = n;
	return &got;
}

static void detach(void)
{
	if (bulk)
		munmap(bulk, bulk_size);
	bulk = NULL;
	if (channel >= 0)
		close(steal_fd(&channel));
}

static void attach(unsigned generation)
{
	struct received *got;
	int bulk_fd;

	detach();
	assert_int_equal(relay_attach(relay, generation, false, &channel, &bulk_fd), 0);
	got = receive();
	assert_non_null(got);
	assert_int_equal(got->frame.kind, RELAY_HELLO);
	assert_int_equal(got->fd_count, 1);
	memcpy(&hello, (char *)got + sizeof(got->frame), sizeof(hello));
	assert_int_equal(hello.version, RELAY_VERSION);
	assert_int_equal(hello.generation, generation);
	bulk_size = hello.to_keeper_offset + hello.to_keeper_size;
	bulk = mmap(NULL, bulk_size, PROT_READ | PROT_WRITE, MAP_SHARED, got->fds[0], 0);
	assert_ptr_not_equal(bulk, MAP_FAILED);
	close(got->fds[0]);
}

static int setup(void **state)
{
	int pair[2];

	clients_closed = controllers_closed = 0;
	channel = -1;
	bulk = NULL;
	if (sd_event_new(&loop) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	relay = relay_new(loop, 0, &ops, NULL);
	if (!relay)
		return -1;
	attach(1);
	qemu = pair[1];
	return relay_set_client(relay, pair[0]);
}

static int teardown(void **state)
{
	relay_free(relay);
	detach();
	if (qemu >= 0)
		close(qemu);
	sd_event_unref(loop);
	return 0;
}

static void qemu_send(uint16_t id, uint16_t command, uint32_t flags, const void *payload,
		      size_t size, const int *fds, size_t fd_count)
{
	struct message_header header = { id, command, sizeof(header) + size, flags, 0 };
	struct iovec iov[2] = { { &header, sizeof(header) }, { (void *)payload, size } };

	assert_int_equal(fd_send(qemu, iov, 2, fds, fd_count, 0), header.size);
}

/* As QEMU does: the header with one read, which must be whole. */
static bool qemu_receive(struct message_header *header, void *payload, size_t room)
{
	ssize_t n = recv(qemu, header, sizeof(*header), MSG_DONTWAIT);

	if (n < 0)
		return false;
	assert_int_equal(n, sizeof(*header));
	assert_true(header->size - sizeof(*header) <= room);
	if (header->size > sizeof(*header))
		assert_int_equal(fd_read_full(qemu, payload, header->size - sizeof(*header)), 0);
	return true;
}

static bool qemu_is_connected(void)
{
	char byte;

	return recv(qemu, &byte, 1, MSG_DONTWAIT | MSG_PEEK) != 0;
}

static void controller_send(uint32_t kind, uint64_t sequence, const struct message_header *header,
			    const void *payload, size_t size)
{
	struct relay_frame frame = { .kind = kind, .sequence = sequence };
	struct iovec iov[3] = { { &frame, sizeof(frame) },
				{ (void *)header, header ? sizeof(*header) : 0 },
				{ (void *)payload, size } };

	assert_true(fd_send(channel, iov, 3, NULL, 0, 0) > 0);
}

static void reply_to(const struct received *got, const void *payload, size_t size)
{
	struct message_header header = got->header;

	header.flags = MESSAGE_REPLY;
	header.size = sizeof(header) + size;
	controller_send(RELAY_MESSAGE, got->frame.sequence, &header, payload, size);
}

static void relays_a_command_and_its_reply(void **state)
{
	struct message_header header;
	struct received *got;
	char payload[16];

	qemu_send(7, REGION_READ, 0, "where", 5, NULL, 0);
	run();
	got = receive();
	assert_int_equal(got->frame.kind, RELAY_MESSAGE);
	assert_int_equal(got->frame.sequence, 1);
	assert_int_equal(got->header.id, 7);
	assert_memory_equal(got->payload, "where", 5);
	reply_to(got, "there", 5);
	run();
	assert_true(qemu_receive(&header, payload, sizeof(payload)));
	assert_int_equal(header.id, 7);
	assert_int_equal(header.flags, MESSAGE_REPLY);
	assert_memory_equal(payload, "there", 5);
}

static void reassembles_a_split_header(void **state)
{
	struct message_header header = { 3, REGION_READ, sizeof(header) + 4, 0, 0 };
	char bytes[sizeof(header) + 4];
	size_t i;

	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), "abcd", 4);
	for (i = 0; i < sizeof(bytes); i++) {
		assert_null(receive());
		assert_int_equal(fd_write_full(qemu, bytes + i, 1), 0);
		run();
	}
	assert_int_equal(receive()->size, sizeof(struct relay_frame) + sizeof(bytes));
}

/* Half a message is in no state that another program is told of. */
static void is_carried_between_messages_only(void **state)
{
	struct message_header header = { 3, REGION_READ, sizeof(header) + 4, 0, 0 };
	char bytes[sizeof(header) + 4] = {};
	size_t i;

	memcpy(bytes, &header, sizeof(header));
	for (i = 0; i < sizeof(bytes); i++) {
		assert_int_equal(relay_may_be_carried(relay), i == 0);
		assert_int_equal(fd_write_full(qemu, bytes + i, 1), 0);
		run();
	}
	assert_true(relay_may_be_carried(relay));
}

/* Only then is its sender's end nothing that has to be waited for. */
static void knows_what_is_handled(void **state)
{
	struct received *got;

	assert_true(relay_is_handled(relay));
	qemu_send(1, REGION_READ, 0, NULL, 0, NULL, 0);
	qemu_send(2, REGION_WRITE, MESSAGE_NO_REPLY, NULL, 0, NULL, 0);
	run();
	assert_false(relay_is_handled(relay));
	reply_to(receive(), NULL, 0);
	run();
	got = receive();
	assert_false(relay_is_handled(relay));
	STORE_RELEASE(((struct relay_bulk *)bulk)->processed, got->frame.sequence);
	assert_true(relay_is_handled(relay));
	qemu_send(3, REGION_READ, 0, NULL, 0, NULL, 0);
	run();
	reply_to(receive(), NULL, 0);
	assert_false(relay_is_handled(relay));
	run();
	assert_true(relay_is_handled(relay));
}

static void second_reply_is_not_sent(void **state)
{
	struct message_header header;
	struct received *got;
	char payload[16];

	qemu_send(1, REGION_READ, 0, NULL, 0, NULL, 0);
	run();
	got = receive();
	reply_to(got, "a", 1);
	reply_to(got, "a", 1);
	run();
	assert_true(qemu_receive(&header, payload, sizeof(payload)));
	assert_false(qemu_receive(&header, payload, sizeof(payload)));
	assert_int_equal(controllers_closed, 1);
	assert_int_equal(clients_closed, 0);
	assert_true(qemu_is_connected());
}

/* What the controller must not send. Each closes its channel, never QEMU's connection. */
static void expect_channel_closed(void)
{
	struct message_header header;
	char payload[16];

	run();
	assert_int_equal(controllers_closed, 1);
	assert_int_equal(clients_closed, 0);
	assert_false(qemu_receive(&header, payload, sizeof(payload)));
	assert_true(qemu_is_connected());
}

static void wrong_reply_closes_the_channel(void **state)
{
	static const struct message_header wrong[] = {
		{ 6, REGION_READ, 16, MESSAGE_REPLY, 0 },		     /* id */
		{ 5, REGION_WRITE, 16, MESSAGE_REPLY, 0 },		     /* command */
		{ 5, REGION_READ, 15, MESSAGE_REPLY, 0 },		     /* size */
		{ 5, REGION_READ, 17, MESSAGE_REPLY, 0 },		     /* not what came */
		{ 5, REGION_READ, 0x7fffffff, MESSAGE_REPLY, 0 },	     /* size */
		{ 5, REGION_READ, 16, 2, 0 },				     /* type */
		{ 5, REGION_READ, 16, MESSAGE_REPLY | MESSAGE_NO_REPLY, 0 }, /* flags */
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		if (i) {
			teardown(state);
			assert_int_equal(setup(state), 0);
		}
		qemu_send(5, REGION_READ, 0, NULL, 0, NULL, 0);
		run();
		controller_send(RELAY_MESSAGE, receive()->frame.sequence, &wrong[i], NULL, 0);
		expect_channel_closed();
	}
}

static void reply_to_nothing_closes_the_channel(void **state)
{
	const struct message_header header = { 5, REGION_READ, 16, MESSAGE_REPLY, 0 };

	controller_send(RELAY_MESSAGE, 9, &header, NULL, 0);
	expect_channel_closed();
}

static void restore_reply_without_restore_closes_the_channel(void **state)
{
	const struct message_header header = { 5, REGION_READ, 16, MESSAGE_REPLY, 0 };

	controller_send(RELAY_MESSAGE, 0, &header, NULL, 0);
	expect_channel_closed();
}

static void wrong_frames_close_the_channel(void **state)
{
	controller_send(99, 0, NULL, NULL, 0);
	expect_channel_closed();
}

static void acknowledging_too_much_closes_the_channel(void **state)
{
	controller_send(RELAY_ACK, 5, NULL, NULL, 0);
	expect_channel_closed();
}

static void only_dma_commands_go_to_qemu(void **state)
{
	const struct message_header header = { 5, REGION_READ, 16, MESSAGE_COMMAND, 0 };

	controller_send(RELAY_MESSAGE, 0, &header, NULL, 0);
	expect_channel_closed();
}

static void bulk_outside_its_area_closes_the_channel(void **state)
{
	const struct message_header header = { 5, MESSAGE_DMA_WRITE, 16 + 4096, MESSAGE_COMMAND,
					       0 };
	struct relay_frame frame = { .kind = RELAY_MESSAGE, .flags = RELAY_FLAG_BULK };
	struct iovec iov[2] = { { &frame, sizeof(frame) }, { (void *)&header, sizeof(header) } };

	frame.bulk_offset = hello.to_keeper_offset + hello.to_keeper_size - 4088;
	assert_true(fd_send(channel, iov, 2, NULL, 0, 0) > 0);
	expect_channel_closed();
}

static void wrong_client_is_cut_off(void **state)
{
	static const struct message_header wrong[] = {
		{ 1, REGION_READ, 15, 0, 0 },
		{ 1, REGION_READ, 2 * 1024 * 1024, 0, 0 },
		{ 1, REGION_READ, 16, 2, 0 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		if (i) {
			teardown(state);
			assert_int_equal(setup(state), 0);
		}
		assert_int_equal(fd_write_full(qemu, &wrong[i], sizeof(wrong[i])), 0);
		run();
		assert_int_equal(clients_closed, 1);
		assert_int_equal(controllers_closed, 0);
		assert_false(qemu_is_connected());
		/* The controller sees the client go. */
		assert_int_equal(receive()->size, 0);
	}
}

static void closing_client_closes_the_channel(void **state)
{
	close(steal_fd(&qemu));
	run();
	assert_int_equal(clients_closed, 1);
	assert_int_equal(receive()->size, 0);
}

static void posted_write_is_kept_until_processed(void **state)
{
	struct relay_bulk *head = (struct relay_bulk *)bulk;
	unsigned i, got;

	/* More than the store holds, processed by a store without a datagram, as the controller
	 * does. */
	for (i = 1, got = 0; i <= 1000; i++) {
		qemu_send(i, REGION_WRITE, MESSAGE_NO_REPLY, "x", 1, NULL, 0);
		run();
		while (receive())
			STORE_RELEASE(head->processed, ++got);
	}
	assert_int_equal(got, 1000);
	/* All of them are forgotten: a successor gets only what was not processed. */
	qemu_send(5, REGION_WRITE, MESSAGE_NO_REPLY, "y", 1, NULL, 0);
	run();
	STORE_RELEASE(head->processed, 1000);
	controller_send(RELAY_ACK, 1000, NULL, NULL, 0);
	run();
	attach(2);
	assert_int_equal(receive()->frame.sequence, 1001);
	assert_null(receive());
}

static void full_store_stops_reading(void **state)
{
	struct received *got;
	unsigned i, count = 0;

	for (i = 0; i < 400; i++) {
		qemu_send(1, REGION_READ, 0, NULL, 0, NULL, 0);
		run();
	}
	for (;;) {
		run();
		got = receive();
		if (!got)
			break;
		count++;
	}
	assert_int_equal(count, 256);
	/* One answer, one more command. */
	for (i = 1; i <= 144; i++) {
		const struct message_header header = { 1, REGION_READ, 16, MESSAGE_REPLY, 0 };

		controller_send(RELAY_MESSAGE, i, &header, NULL, 0);
		run();
		got = receive();
		assert_non_null(got);
		assert_int_equal(got->frame.sequence, 256 + i);
	}
	assert_int_equal(controllers_closed, 0);
}

static void successor_gets_what_was_not_acknowledged(void **state)
{
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct message_header header;
	struct received *got;
	char payload[64];

	qemu_send(1, REGION_READ, 0, "one", 3, NULL, 0);
	qemu_send(2, REGION_WRITE, MESSAGE_NO_REPLY, "two", 3, NULL, 0);
	qemu_send(3, MESSAGE_SET_IRQS, 0, "three", 5, &event, 1);
	run();
	reply_to(receive(), "answer", 6);
	receive();
	got = receive();
	fd_close_all(got->fds, got->fd_count);
	run();
	detach(); /* it dies */
	run();
	assert_int_equal(controllers_closed, 1);
	qemu_send(4, REGION_READ, 0, "four", 4, NULL, 0);
	run();
	attach(2);
	got = receive();
	assert_int_equal(got->frame.sequence, 2);
	assert_memory_equal(got->payload, "two", 3);
	got = receive();
	assert_int_equal(got->frame.sequence, 3);
	assert_int_equal(got->header.id, 3);
	assert_int_equal(got->fd_count, 1);
	fd_eventfd_signal(got->fds[0]);
	close(got->fds[0]);
	assert_true(fd_eventfd_drain(event));
	reply_to(got, NULL, 0);
	got = receive();
	assert_int_equal(got->frame.sequence, 4);
	reply_to(got, NULL, 0);
	run();
	/* Three commands, three replies, each once. */
	assert_true(qemu_receive(&header, payload, sizeof(payload)));
	assert_int_equal(header.id, 1);
	assert_true(qemu_receive(&header, payload, sizeof(payload)));
	assert_int_equal(header.id, 3);
	assert_true(qemu_receive(&header, payload, sizeof(payload)));
	assert_int_equal(header.id, 4);
	assert_false(qemu_receive(&header, payload, sizeof(payload)));
	assert_int_equal(clients_closed, 0);
	close(event);
}

/* It died with its answers on the way: what it has answered has happened, in that order. */
/* As over an execve: the descriptors stay. */
static void become_another_program(void)
{
	static const char *const keys[] = { "client", "bulk", "channel" };
	_cleanup_json_ struct json_object *json = relay_save(relay);
	int fds[ARRAY_SIZE(keys)], kept[ARRAY_SIZE(keys)];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		fds[i] = json_u64_or(json, keys[i], 0);
		kept[i] = fds[i] ? fcntl(fds[i], F_DUPFD_CLOEXEC, 3) : -1;
	}
	relay_free(relay);
	for (i = 0; i < ARRAY_SIZE(keys); i++)
		if (fds[i])
			assert_int_equal(dup3(kept[i], fds[i], O_CLOEXEC), fds[i]);
	fd_close_all(kept, ARRAY_SIZE(kept));
	relay = relay_new(loop, 0, &ops, NULL);
	assert_int_equal(relay_load(relay, json), 0);
}

static void what_nobody_has_handled_is_carried(void **state)
{
	struct message_header header;
	struct received *got;
	char payload[64];

	qemu_send(1, REGION_READ, 0, "one", 3, NULL, 0);
	run();
	assert_non_null(receive());
	relay_detach(relay);
	detach(); /* it ends before it answers */
	qemu_send(2, REGION_WRITE, MESSAGE_NO_REPLY, "two", 3, NULL, 0);
	run();
	assert_true(relay_may_be_carried(relay));
	become_another_program();
	attach(2);
	run();
	got = receive();
	assert_non_null(got);
	assert_int_equal(got->header.id, 1);
	assert_memory_equal(got->payload, "one", 3);
	reply_to(got, "answer", 6);
	got = receive();
	assert_non_null(got);
	assert_memory_equal(got->payload, "two", 3);
	run();
	assert_true(qemu_receive(&header, payload, sizeof(payload)));
	assert_int_equal(header.id, 1);
}

/* The controller goes on, and notices nothing. */
static void a_channel_is_carried(void **state)
{
	static char large[RELAY_INLINE_MAX + 8], answer[64];
	struct message_header header = { 77, MESSAGE_DMA_WRITE, sizeof(header), 0, 0 };
	struct received one, three, *got;

	memset(large, 'l', sizeof(large));
	qemu_send(1, REGION_READ, 0, "one", 3, NULL, 0);
	run();
	one = *receive();
	qemu_send(2, REGION_WRITE, MESSAGE_NO_REPLY, "two", 3, NULL, 0);
	qemu_send(3, REGION_WRITE, 0, large, sizeof(large), NULL, 0);
	run();
	controller_send(RELAY_MESSAGE, 0, &header, NULL, 0);
	run();
	assert_true(qemu_receive(&header, answer, sizeof(answer)));
	assert_true(relay_may_be_carried(relay));
	become_another_program();

	reply_to(&one, NULL, 0);
	qemu_send(header.id, MESSAGE_DMA_WRITE, MESSAGE_REPLY, NULL, 0, NULL, 0);
	got = receive();
	assert_memory_equal(got->payload, "two", 3);
	three = *receive();
	memset(large, 'L', sizeof(large));
	qemu_send(4, REGION_WRITE, 0, large, sizeof(large), NULL, 0);
	run();
	got = receive();
	assert_int_equal(got->header.command, MESSAGE_DMA_WRITE);
	assert_int_equal(got->header.id, 77);
	got = receive();
	assert_int_equal(got->header.id, 4);
	assert_int_not_equal(got->frame.bulk_offset, three.frame.bulk_offset);
	assert_memory_equal(bulk + got->frame.bulk_offset, large, sizeof(large));
	assert_int_equal(bulk[three.frame.bulk_offset], 'l');
	reply_to(&three, NULL, 0);
	run();
	assert_true(qemu_receive(&header, answer, sizeof(answer)));
	assert_int_equal(header.id, 1);
	assert_true(qemu_receive(&header, answer, sizeof(answer)));
	assert_int_equal(header.id, 3);
	assert_int_equal(controllers_closed, 0);
}

/* What did not fit into the channel is sent later, and nothing twice. */
static void each_is_sent_once_over_an_exec(void **state)
{
	static char payload[2000];
	struct received *got;
	unsigned i;

	for (i = 0; i < 250; i++) {
		memcpy(payload, &i, sizeof(i));
		qemu_send(1, REGION_WRITE, MESSAGE_NO_REPLY, payload, sizeof(payload), NULL, 0);
		run();
	}
	assert_true(relay_may_be_carried(relay));
	become_another_program();
	for (i = 0; i < 250; i++) {
		got = receive();
		if (!got) {
			run();
			got = receive();
		}
		assert_non_null(got);
		assert_memory_equal(got->payload, &i, sizeof(i));
	}
	run();
	assert_null(receive());
	assert_int_equal(controllers_closed, 0);
}

static void answers_of_the_dead_go_out(void **state)
{
	struct message_header header;
	struct received *got;
	char payload[64] = "", name[2] = "";
	uint64_t sequence[3];
	uint16_t i;

	for (i = 0; i < 3; i++)
		qemu_send(i, REGION_WRITE, 0, NULL, 0, NULL, 0);
	qemu_send(3, REGION_WRITE, MESSAGE_NO_REPLY, "posted", 6, NULL, 0);
	run();
	for (i = 0; i < 3; i++) {
		got = receive();
		sequence[i] = got->frame.sequence;
		name[0] = 'a' + i;
		if (i < 2)
			reply_to(got, name, 1);
	}
	/* It has handled the posted one, and says so where no datagram is needed. */
	STORE_RELEASE(((struct relay_bulk *)bulk)->processed, receive()->frame.sequence);
	attach(2);
	run();
	for (i = 0; i < 2; i++) {
		assert_true(qemu_receive(&header, payload, sizeof(payload)));
		assert_int_equal(header.id, i);
		assert_int_equal(payload[0], 'a' + i);
	}
	assert_false(qemu_receive(&header, payload, sizeof(payload)));
	got = receive();
	assert_int_equal(got->frame.sequence, sequence[2]);
	reply_to(got, "c", 1);
	assert_null(receive());
	run();
	assert_true(qemu_receive(&header, payload, sizeof(payload)));
	assert_int_equal(header.id, 2);
	assert_int_equal(controllers_closed, 0);
}

/* More answers than the client takes at once, the first one written in part. */
static void answers_of_the_dead_wait_for_the_client(void **state)
{
	static char payload[60000], room[sizeof(payload)];
	struct message_header header;
	struct received *got;
	const uint16_t count = 20;
	uint16_t i;

	for (i = 0; i < count; i++)
		qemu_send(i, REGION_READ, 0, NULL, 0, NULL, 0);
	run();
	for (i = 0; i < count; i++) {
		got = receive();
		memset(payload, i, sizeof(payload));
		reply_to(got, payload, RELAY_INLINE_MAX - 100);
		if (i % 4 == 3)
			run();
		if (i == count / 2)
			attach(2);
		if (i == count / 2)
			break;
	}
	for (i = 0; i < count; i++) {
		run();
		if (!qemu_receive(&header, room, sizeof(room))) {
			got = receive();
			assert_non_null(got);
			memset(payload, got->header.id, sizeof(payload));
			reply_to(got, payload, RELAY_INLINE_MAX - 100);
			run();
			assert_true(qemu_receive(&header, room, sizeof(room)));
		}
		assert_int_equal(header.id, i);
		assert_int_equal(header.size, sizeof(header) + RELAY_INLINE_MAX - 100);
		assert_int_equal(room[0], i);
		assert_int_equal(room[RELAY_INLINE_MAX - 101], i);
	}
	assert_int_equal(controllers_closed, 0);
}

static void a_broken_channel_stays_open_until_it_is_detached(void **state)
{
	controller_send(99, 0, NULL, NULL, 0);
	expect_channel_closed();
	/* To the controller the end of it would mean that the client has gone. */
	qemu_send(1, REGION_READ, 0, NULL, 0, NULL, 0);
	run();
	assert_null(receive());
	relay_detach(relay);
	assert_int_equal(receive()->size, 0);
	attach(2);
	run();
	assert_int_equal(receive()->header.id, 1);
}

static void successor_is_told_memory_and_interrupts(void **state)
{
	struct message_dma_map map = { sizeof(map), 3, 0, 0x1000, 0x2000 };
	struct message_dma_unmap unmap = { sizeof(unmap), 0, 0x1000, 0x2000 };
	struct {
		struct vfio_irq_set set;
	} irqs = { { .argsz = sizeof(irqs),
		     .flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD,
		     .index = VFIO_PCI_MSIX_IRQ_INDEX,
		     .start = 1,
		     .count = 2 } };
	int memory = memfd_create("guest", MFD_CLOEXEC);
	int events[2] = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC) };
	struct message_header header;
	struct received *got;
	char payload[64];
	int i;

	qemu_send(1, MESSAGE_VERSION, 0, "version", 7, NULL, 0);
	qemu_send(2, MESSAGE_DMA_MAP, 0, &map, sizeof(map), &memory, 1);
	qemu_send(3, MESSAGE_DMA_UNMAP, 0, &unmap, sizeof(unmap), NULL, 0);
	map.address = 0x5000;
	qemu_send(4, MESSAGE_DMA_MAP, 0, &map, sizeof(map), &memory, 1);
	qemu_send(5, MESSAGE_SET_IRQS, 0, &irqs, sizeof(irqs), events, 2);
	run();
	for (i = 0; i < 5; i++) {
		got = receive();
		fd_close_all(got->fds, got->fd_count);
		reply_to(got, NULL, 0);
	}
	run();
	while (qemu_receive(&header, payload, sizeof(payload)))
		;
	qemu_send(6, REGION_READ, 0, NULL, 0, NULL, 0);
	run();
	attach(2);

	got = receive();
	assert_int_equal(got->header.command, MESSAGE_VERSION);
	assert_int_equal(got->frame.flags, RELAY_FLAG_RESTORE);
	assert_int_equal(got->frame.sequence, 0);
	assert_memory_equal(got->payload, "version", 7);
	reply_to(got, "v", 1);
	got = receive();
	assert_int_equal(got->header.command, MESSAGE_DMA_MAP);
	assert_memory_equal(got->payload, &map, sizeof(map));
	assert_int_equal(got->fd_count, 1);
	close(got->fds[0]);
	reply_to(got, NULL, 0);
	got = receive();
	assert_int_equal(got->header.command, MESSAGE_SET_IRQS);
	assert_int_equal(((struct vfio_irq_set *)got->payload)->start, 1);
	assert_int_equal(got->fd_count, 2);
	fd_close_all(got->fds, got->fd_count);
	reply_to(got, NULL, 0);
	got = receive();
	assert_int_equal(got->frame.sequence, 6);
	assert_int_equal(got->frame.flags, 0);
	reply_to(got, "six", 3);
	run();
	/* Only the last is QEMU's: the others had their answer. */
	assert_true(qemu_receive(&header, payload, sizeof(payload)));
	assert_int_equal(header.id, 6);
	assert_false(qemu_receive(&header, payload, sizeof(payload)));
	assert_int_equal(controllers_closed, 0);
	close(memory);
	close(events[0]);
	close(events[1]);
}

static void ids_of_the_controller_are_its_own(void **state)
{
	const struct message_header command = { 500, MESSAGE_DMA_WRITE, 17, MESSAGE_COMMAND, 0 };
	struct message_header first, second, header;
	struct received *got;
	char payload[16];

	controller_send(RELAY_MESSAGE, 0, &command, "a", 1);
	controller_send(RELAY_MESSAGE, 0, &command, "b", 1);
	run();
	assert_true(qemu_receive(&first, payload, sizeof(payload)));
	assert_true(qemu_receive(&second, payload, sizeof(payload)));
	assert_int_not_equal(first.id, second.id);
	qemu_send(second.id, MESSAGE_DMA_WRITE, MESSAGE_REPLY, "B", 1, NULL, 0);
	run();
	got = receive();
	assert_int_equal(got->header.id, 500);
	assert_int_equal(got->header.flags, MESSAGE_REPLY);
	assert_memory_equal(got->payload, "B", 1);
	/* A reply that nobody waits for, and one of another command, are dropped. */
	qemu_send(second.id, MESSAGE_DMA_WRITE, MESSAGE_REPLY, "B", 1, NULL, 0);
	qemu_send(first.id, MESSAGE_DMA_READ, MESSAGE_REPLY, "A", 1, NULL, 0);
	qemu_send(60000, MESSAGE_DMA_WRITE, MESSAGE_REPLY, "C", 1, NULL, 0);
	run();
	assert_null(receive());
	/* The reply to a dead generation is dropped, and that which it had not acknowledged. */
	attach(2);
	assert_null(receive());
	controller_send(RELAY_MESSAGE, 0, &command, "c", 1);
	run();
	assert_true(qemu_receive(&header, payload, sizeof(payload)));
	assert_int_not_equal(header.id, first.id);
	qemu_send(first.id, MESSAGE_DMA_WRITE, MESSAGE_REPLY, "A", 1, NULL, 0);
	run();
	assert_null(receive());
	qemu_send(header.id, MESSAGE_DMA_WRITE, MESSAGE_REPLY, "C", 1, NULL, 0);
	run();
	assert_memory_equal(receive()->payload, "C", 1);
}

static void bulk_goes_through_the_file(void **state)
{
	const size_t size = 300 * 1000;
	char *data = malloc(size), *back = malloc(size);
	struct message_header header;
	struct relay_frame frame = { .kind = RELAY_MESSAGE, .flags = RELAY_FLAG_BULK };
	struct iovec iov[2] = { { &frame, sizeof(frame) }, { &header, sizeof(header) } };
	struct received *got;
	size_t i, done = 0;

	for (i = 0; i < size; i++)
		data[i] = i * 7 + i / 251;
	/* QEMU's socket does not hold it all: the relay reads while we write. */
	header = (struct message_header){ 1, REGION_WRITE, sizeof(header) + size, 0, 0 };
	assert_int_equal(fd_write_full(qemu, &header, sizeof(header)), 0);
	while (done < size) {
		ssize_t n = send(qemu, data + done, MIN(size - done, (size_t)50000), 0);

		assert_true(n > 0);
		done += n;
		run();
	}
	got = receive();
	assert_int_equal(got->size, sizeof(struct relay_frame) + sizeof(header));
	assert_int_equal(got->frame.flags, RELAY_FLAG_BULK);
	assert_true(got->frame.bulk_offset >= hello.to_controller_offset);
	assert_true(got->frame.bulk_offset + size <=
		    hello.to_controller_offset + hello.to_controller_size);
	assert_memory_equal(bulk + got->frame.bulk_offset, data, size);

	/* And back, larger than QEMU's socket holds; the controller dies in the middle of it. */
	memcpy(bulk + hello.to_keeper_offset, data, size);
	frame.sequence = got->frame.sequence;
	frame.bulk_offset = hello.to_keeper_offset;
	frame.bulk_release = size;
	header.flags = MESSAGE_REPLY;
	assert_true(fd_send(channel, iov, 2, NULL, 0, 0) > 0);
	run();
	memset(bulk + hello.to_keeper_offset, 0, size - 100000);
	assert_int_equal(LOAD_ACQUIRE(((struct relay_bulk *)bulk)->released), 0);
	memcpy(bulk + hello.to_keeper_offset, data, size);
	attach(2);
	memset(bulk + hello.to_keeper_offset, 0xee, size);
	assert_int_equal(recv(qemu, &header, sizeof(header), MSG_DONTWAIT), sizeof(header));
	for (done = 0; done < size;) {
		ssize_t n = recv(qemu, back + done, size - done, MSG_DONTWAIT);

		if (n > 0)
			done += n;
		else
			assert_int_equal(errno, EAGAIN);
		run();
	}
	assert_memory_equal(back, data, size);
	assert_int_equal(controllers_closed, 0);
	assert_null(receive());
	free(data);
	free(back);
}

static void ring_is_released(void **state)
{
	struct message_header header = { 1, MESSAGE_DMA_WRITE, sizeof(header) + 40000,
					 MESSAGE_COMMAND, 0 };
	struct relay_frame frame = { .kind = RELAY_MESSAGE,
				     .flags = RELAY_FLAG_BULK,
				     .bulk_offset = hello.to_keeper_offset,
				     .bulk_release = 40000 };
	struct iovec iov[2] = { { &frame, sizeof(frame) }, { &header, sizeof(header) } };
	static char payload[40000];

	assert_true(fd_send(channel, iov, 2, NULL, 0, 0) > 0);
	run();
	assert_true(qemu_receive(&header, payload, sizeof(payload)));
	assert_int_equal(LOAD_ACQUIRE(((struct relay_bulk *)bulk)->released), 40000);
}

/* Large payloads wait for room in the bulk file, and get it by a store that nobody announces. */
static void waits_for_bulk_room(void **state)
{
	static char payload[40000];
	struct relay_bulk *head = (struct relay_bulk *)bulk;
	unsigned i, got = 0;

	for (i = 0; i < 12; i++) {
		qemu_send(1, REGION_WRITE, MESSAGE_NO_REPLY, payload, sizeof(payload), NULL, 0);
		run();
		while (receive())
			got++;
		assert_true(got <= 4 || i > 4);
		if (i < 5)
			continue;
		STORE_RELEASE(head->processed, got);
		usleep(10000);
		run();
	}
	usleep(10000);
	run();
	while (receive())
		got++;
	assert_int_equal(got, 12);
}

static void reply_carries_descriptors(void **state)
{
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), fds[4];
	struct relay_frame frame = { .kind = RELAY_MESSAGE, .sequence = 1, .fd_count = 1 };
	struct message_header header = { 1, REGION_READ, 16, MESSAGE_REPLY, 0 };
	struct iovec iov[2] = { { &frame, sizeof(frame) }, { &header, sizeof(header) } };
	struct iovec in = { &header, sizeof(header) };
	size_t count;

	qemu_send(1, REGION_READ, 0, NULL, 0, NULL, 0);
	run();
	receive();
	assert_true(fd_send(channel, iov, 2, &event, 1, 0) > 0);
	run();
	assert_int_equal(fd_receive(qemu, &in, 1, fds, 4, &count, 0), sizeof(header));
	assert_int_equal(count, 1);
	fd_eventfd_signal(fds[0]);
	assert_true(fd_eventfd_drain(event));
	close(fds[0]);
	close(event);
}

/* Nothing is lost in a burst that fills every buffer on the way; each header comes whole. */
static void headers_come_whole(void **state)
{
	static char data[30000], back[30000];
	struct message_header header = { 1, MESSAGE_DMA_WRITE, 16, MESSAGE_COMMAND, 0 };
	unsigned sent = 0, got = 0, turns;

	while (got < 200) {
		size_t size = 1 + (sent * 7919) % sizeof(data);
		struct relay_frame frame = { .kind = RELAY_MESSAGE };
		struct iovec iov[3] = { { &frame, sizeof(frame) },
					{ &header, sizeof(header) },
					{ data, size } };
		struct message_header in;

		header.size = sizeof(header) + size;
		if (sent < 200 && fd_send(channel, iov, 3, NULL, 0, MSG_DONTWAIT) > 0) {
			sent++;
			continue;
		}
		run();
		/* The payload may come in parts, but only behind a whole header. */
		if (recv(qemu, &in, sizeof(in), MSG_DONTWAIT | MSG_PEEK) < 0)
			continue;
		assert_int_equal(recv(qemu, &in, sizeof(in), MSG_DONTWAIT), sizeof(in));
		/* Where a header is torn, what is taken for the next one is something else. */
		assert_int_equal(in.command, MESSAGE_DMA_WRITE);
		assert_in_range(in.size, sizeof(in), sizeof(in) + sizeof(data));
		for (size = 0, turns = 0; size < in.size - sizeof(in); turns++) {
			ssize_t n = recv(qemu, back, in.size - sizeof(in) - size, MSG_DONTWAIT);

			assert_true(turns < 1000);
			if (n > 0)
				size += n;
			run();
		}
		got++;
		qemu_send(in.id, MESSAGE_DMA_WRITE, MESSAGE_REPLY, NULL, 0, NULL, 0);
		run();
		while (receive())
			;
	}
	assert_int_equal(controllers_closed, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(relays_a_command_and_its_reply),
		TEST(reassembles_a_split_header),
		TEST(is_carried_between_messages_only),
		TEST(knows_what_is_handled),
		TEST(second_reply_is_not_sent),
		TEST(wrong_reply_closes_the_channel),
		TEST(reply_to_nothing_closes_the_channel),
		TEST(restore_reply_without_restore_closes_the_channel),
		TEST(wrong_frames_close_the_channel),
		TEST(acknowledging_too_much_closes_the_channel),
		TEST(only_dma_commands_go_to_qemu),
		TEST(bulk_outside_its_area_closes_the_channel),
		TEST(wrong_client_is_cut_off),
		TEST(closing_client_closes_the_channel),
		TEST(posted_write_is_kept_until_processed),
		TEST(full_store_stops_reading),
		TEST(successor_gets_what_was_not_acknowledged),
		TEST(what_nobody_has_handled_is_carried),
		TEST(a_channel_is_carried),
		TEST(each_is_sent_once_over_an_exec),
		TEST(answers_of_the_dead_go_out),
		TEST(answers_of_the_dead_wait_for_the_client),
		TEST(a_broken_channel_stays_open_until_it_is_detached),
		TEST(successor_is_told_memory_and_interrupts),
		TEST(ids_of_the_controller_are_its_own),
		TEST(bulk_goes_through_the_file),
		TEST(ring_is_released),
		TEST(waits_for_bulk_room),
		TEST(reply_carries_descriptors),
		TEST(headers_come_whole),
	};

	alarm(60); /* a wait for what never comes is a failure */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
