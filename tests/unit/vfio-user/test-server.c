// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/json.h"
#include "tests/unit/vfio-user/rig.h"

#define READ_WRITE (VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITEABLE)

static void answers_version_0_0(void **state)
{
	struct rig *rig = *state;
	const struct vfio_user_version *version = (void *)rig->reply;
	struct json_object *capabilities;
	_cleanup_json_ struct json_object *root = NULL;

	assert_int_equal(rig_version(rig, 0,
				     "{\"capabilities\":{\"pgsizes\":4096,\"max_msg_fds\":16,"
				     "\"max_dma_maps\":65535,\"max_data_xfer_size\":1048576,"
				     "\"write_multiple\":true}}"),
			 0);
	assert_int_equal(version->major, 0);
	assert_int_equal(version->minor, 0);
	assert_int_equal(rig->reply[rig->reply_size - 1], 0);
	root = json_parse(version->data, strlen(version->data), NULL);
	assert_non_null(root);
	capabilities = json_child(root, "capabilities", json_type_object);
	assert_non_null(capabilities);
	assert_int_equal(json_u64_or(capabilities, "max_msg_fds", 0), 16);
	assert_int_equal(json_u64_or(capabilities, "max_data_xfer_size", 0), MiB);
	assert_int_equal(json_u64_or(capabilities, "max_dma_maps", 0), 65535);
	assert_true(json_bool_or(capabilities, "write_multiple", false));
}

static void takes_a_client_without_capabilities(void **state)
{
	assert_int_equal(rig_version(*state, 0, NULL), 0);
}

static void refuses_everything_before_version(void **state)
{
	struct rig *rig = *state;
	struct vfio_user_device_info_reply info = { .argsz = sizeof(info) };

	assert_int_equal(rig_call(rig, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info)), EINVAL);
	/* And nothing after it: the connection is over. */
	assert_int_equal(rig->disconnects, 1);
	assert_int_not_equal(rig_process(rig), 0);
	assert_int_equal(rig->disconnects, 1);
}

static void refuses_another_major_version(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(rig_version(rig, 1, "{}"), ENOTSUP);
	assert_int_equal(rig->disconnects, 1);
}

static void refuses_capabilities_that_are_none(void **state)
{
	static const char *const bad[] = {
		"{",
		"[]",
		"{\"capabilities\":[]}",
		"{\"capabilities\":{\"max_msg_fds\":\"many\"}}",
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{\"max_data_xfer_size\":0}}",
		"{\"capabilities\":{\"max_data_xfer_size\":1e3}}",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		void *rig;

		rig_setup_raw(&rig);
		assert_int_equal(rig_version(rig, 0, bad[i]), EINVAL);
		rig_teardown(&rig);
	}
}

static void refuses_a_second_version(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(rig_version(rig, 0, "{}"), EINVAL);
	assert_int_equal(rig->disconnects, 0);
}

static void tells_what_it_is(void **state)
{
	struct rig *rig = *state;
	struct vfio_user_device_info_reply request = { .argsz = sizeof(request) };
	const struct vfio_user_device_info_reply *info = (void *)rig->reply;

	assert_int_equal(rig_call(rig, VFIO_USER_DEVICE_GET_INFO, &request, sizeof(request)), 0);
	assert_int_equal(rig->reply_size, 16);
	assert_int_equal(info->num_regions, VFIO_PCI_NUM_REGIONS);
	assert_int_equal(info->num_irqs, VFIO_PCI_NUM_IRQS);
	assert_int_equal(info->flags, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
}

static void tells_of_regions(void **state)
{
	struct rig *rig = *state;
	struct vfio_region_info request = { .argsz = sizeof(request), .index = 7 };
	const struct vfio_region_info *info = (void *)rig->reply;

	assert_int_equal(rig_call(rig, VFIO_USER_DEVICE_GET_REGION_INFO, &request, sizeof(request)),
			 0);
	assert_int_equal(rig->reply_size, sizeof(*info));
	assert_int_equal(info->size, 4096);
	assert_int_equal(info->flags, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE);
	assert_int_equal(rig->reply_fd_count, 0);
	request.index = VFIO_PCI_NUM_REGIONS;
	assert_int_equal(rig_call(rig, VFIO_USER_DEVICE_GET_REGION_INFO, &request, sizeof(request)),
			 EINVAL);
}

/* The sparse area and its descriptor go only to who has room for the capability. */
static void passes_sparse_areas(void **state)
{
	struct vfio_region_info request = { .argsz = sizeof(request) };
	_cleanup_close_ int memfd = rig_memfd(8192);
	struct vfio_user_device_info device_info;
	struct vfio_region_info_cap_sparse_mmap *cap;
	struct vfio_region_info *info;
	struct rig rig = { .relay_fd = -1 };
	struct rig *heap = calloc(1, sizeof(rig));
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	rig_device_info(&device_info, memfd);
	*heap = rig;
	heap->fd = pair[0];
	heap->server = vfio_user_server_new(vfio_user_transport_socket_new(pair[1]), &device_info,
					    &rig_ops, heap, NULL);
	assert_int_equal(rig_version(heap, 0, "{}"), 0);
	info = (void *)heap->reply;
	assert_int_equal(
		rig_call(heap, VFIO_USER_DEVICE_GET_REGION_INFO, &request, sizeof(request)), 0);
	assert_int_equal(heap->reply_fd_count, 0);
	assert_int_equal(heap->reply_size, sizeof(*info));
	assert_int_equal(info->argsz, sizeof(*info) + sizeof(*cap) + 16);
	assert_int_equal(info->cap_offset, sizeof(*info));

	request.argsz = info->argsz;
	assert_int_equal(
		rig_call(heap, VFIO_USER_DEVICE_GET_REGION_INFO, &request, sizeof(request)), 0);
	assert_int_equal(heap->reply_fd_count, 1);
	assert_int_equal(info->cap_offset, sizeof(*info));
	assert_true(info->flags & VFIO_REGION_INFO_FLAG_MMAP);
	assert_true(info->flags & VFIO_REGION_INFO_FLAG_CAPS);
	cap = (void *)(info + 1);
	assert_int_equal(cap->header.id, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
	assert_int_equal(cap->nr_areas, 1);
	assert_int_equal(cap->areas[0].offset, 4096);
	assert_int_equal(cap->areas[0].size, 4096);
	rig_teardown((void **)&heap);
}

static void tells_of_interrupts(void **state)
{
	struct rig *rig = *state;
	struct vfio_irq_info request = { .argsz = sizeof(request), .index = 2 };
	const struct vfio_irq_info *info = (void *)rig->reply;

	assert_int_equal(rig_call(rig, VFIO_USER_DEVICE_GET_IRQ_INFO, &request, sizeof(request)),
			 0);
	assert_int_equal(info->count, RIG_VECTORS);
	assert_true(info->flags & VFIO_IRQ_INFO_EVENTFD);
	request.index = VFIO_PCI_NUM_IRQS;
	assert_int_equal(rig_call(rig, VFIO_USER_DEVICE_GET_IRQ_INFO, &request, sizeof(request)),
			 EINVAL);
}

static void gives_no_io_fds(void **state)
{
	struct rig *rig = *state;
	struct vfio_user_region_io_fds request = { .argsz = sizeof(request) };
	const struct vfio_user_region_io_fds *answer = (void *)rig->reply;

	assert_int_equal(
		rig_call(rig, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &request, sizeof(request)), 0);
	assert_int_equal(answer->count, 0);
	assert_int_equal(rig->reply_fd_count, 0);
}

static void has_no_features(void **state)
{
	struct rig *rig = *state;
	struct vfio_device_feature feature = { .argsz = sizeof(feature),
					       .flags = VFIO_DEVICE_FEATURE_PROBE |
							VFIO_DEVICE_FEATURE_GET |
							VFIO_DEVICE_FEATURE_MIGRATION };

	assert_int_equal(rig_call(rig, VFIO_USER_DEVICE_FEATURE, &feature, sizeof(feature)),
			 ENOTTY);
	assert_int_equal(rig_call(rig, VFIO_USER_DEVICE_FEATURE, &feature, 4), EINVAL);
	assert_int_equal(rig_call(rig, VFIO_USER_MIG_DATA_READ, NULL, 0), ENOTSUP);
	assert_int_equal(rig_call(rig, VFIO_USER_MIG_DATA_WRITE, NULL, 0), ENOTSUP);
}

static void refuses_unknown_commands(void **state)
{
	static const uint16_t unknown[] = {
		0, 14, 19, 100, 65535, VFIO_USER_DMA_READ, VFIO_USER_DMA_WRITE
	};
	struct rig *rig = *state;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_int_equal(rig_call(rig, unknown[i], NULL, 0), EINVAL);
	assert_int_equal(rig->disconnects, 0);
}

static void reads_and_writes_regions(void **state)
{
	struct rig *rig = *state;
	struct {
		uint64_t offset;
		uint32_t region, count, value;
	} write = { 8188, 0, 4, 0x12345678 };
	struct vfio_user_region_access read = { .offset = 8188, .region = 0, .count = 4 };

	assert_int_equal(rig_call(rig, VFIO_USER_REGION_WRITE, &write, 20), 0);
	assert_int_equal(rig->reply_size, sizeof(read));
	assert_int_equal(rig_call(rig, VFIO_USER_REGION_READ, &read, sizeof(read)), 0);
	assert_int_equal(rig->reply_size, sizeof(read) + 4);
	assert_memory_equal(rig->reply, &read, sizeof(read));
	assert_memory_equal(rig->reply + sizeof(read), &write.value, 4);
}

static void refuses_accesses_out_of_bounds(void **state)
{
	static const struct vfio_user_region_access bad[] = {
		{ .offset = 8189, .region = 0, .count = 4 },
		{ .offset = 8192, .region = 0, .count = 1 },
		{ .offset = UINT64_MAX, .region = 0, .count = 1 },
		{ .offset = UINT64_MAX - 3, .region = 0, .count = 4 },
		{ .offset = 0, .region = 0, .count = 8193 },
		{ .offset = 0, .region = 0, .count = UINT32_MAX },
		{ .offset = 0, .region = 1, .count = 4 },
		{ .offset = 0, .region = VFIO_PCI_NUM_REGIONS, .count = 4 },
		{ .offset = 0, .region = UINT32_MAX, .count = 4 },
	};
	struct rig *rig = *state;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_free_ uint8_t *write = calloc(1, sizeof(bad[i]) + 9000);
		size_t size = MIN(bad[i].count, 9000u);

		assert_int_equal(rig_call(rig, VFIO_USER_REGION_READ, &bad[i], sizeof(bad[i])),
				 EINVAL);
		memcpy(write, &bad[i], sizeof(bad[i]));
		assert_int_equal(rig_call(rig, VFIO_USER_REGION_WRITE, write,
					  sizeof(bad[i]) + size),
				 EINVAL);
	}
	assert_int_equal(rig->reads, 0);
	assert_int_equal(rig->writes, 0);
}

static void refuses_a_write_to_a_region_for_reading(void **state)
{
	uint32_t write[5] = { 0, 0, VFIO_PCI_BAR2_REGION_INDEX, 4, 0 };

	assert_int_equal(rig_call(*state, VFIO_USER_REGION_WRITE, write, sizeof(write)), EINVAL);
	assert_int_equal(rig_call(*state, VFIO_USER_REGION_READ, write, 16), 0);
}

static void refuses_a_write_of_another_size(void **state)
{
	uint32_t write[6] = { 0, 0, 0, 4, 1, 2 };

	assert_int_equal(rig_call(*state, VFIO_USER_REGION_WRITE, write, 16), EINVAL);
	assert_int_equal(rig_call(*state, VFIO_USER_REGION_WRITE, write, 19), EINVAL);
	assert_int_equal(rig_call(*state, VFIO_USER_REGION_WRITE, write, 24), EINVAL);
	assert_int_equal(rig_call(*state, VFIO_USER_REGION_WRITE, write, 15), EINVAL);
	assert_int_equal(rig_call(*state, VFIO_USER_REGION_WRITE, NULL, 0), EINVAL);
}

static void writes_many_at_once_or_none(void **state)
{
	struct rig *rig = *state;
	struct {
		uint64_t count;
		struct vfio_user_region_write_one writes[3];
	} multi = { 3,
		    { { .offset = 0, .count = 4, .data = { 1, 2, 3, 4 } },
		      { .offset = 4096, .count = 8, .data = { 8, 7, 6, 5, 4, 3, 2, 1 } },
		      { .offset = 4, .count = 2, .data = { 9, 9 } } } };

	assert_int_equal(rig_call(rig, VFIO_USER_REGION_WRITE_MULTI, &multi, sizeof(multi)), 0);
	assert_int_equal(rig->reply_size, 8);
	assert_int_equal(*(uint64_t *)(void *)rig->reply, 3);
	assert_int_equal(rig->writes, 3);
	assert_memory_equal(rig->bar0, "\1\2\3\4\11\11", 6);
	assert_int_equal(rig->bar0[4096], 8);

	multi.writes[2].offset = 8192;
	assert_int_equal(rig_call(rig, VFIO_USER_REGION_WRITE_MULTI, &multi, sizeof(multi)),
			 EINVAL);
	multi.writes[2].offset = 0;
	multi.writes[2].count = 9;
	assert_int_equal(rig_call(rig, VFIO_USER_REGION_WRITE_MULTI, &multi, sizeof(multi)),
			 EINVAL);
	multi.writes[2].count = 8;
	multi.count = 2;
	assert_int_equal(rig_call(rig, VFIO_USER_REGION_WRITE_MULTI, &multi, sizeof(multi)),
			 EINVAL);
	multi.count = UINT64_MAX / 8;
	assert_int_equal(rig_call(rig, VFIO_USER_REGION_WRITE_MULTI, &multi, sizeof(multi)),
			 EINVAL);
	assert_int_equal(rig->writes, 3);
}

static void does_not_answer_no_reply(void **state)
{
	struct rig *rig = *state;
	uint32_t write[5] = { 0, 0, 0, 4, 0x55555555 };

	rig_send(rig, VFIO_USER_REGION_WRITE, VFIO_USER_FLAG_NO_REPLY, write, sizeof(write), NULL,
		 0);
	write[0] = 8192;
	rig_send(rig, VFIO_USER_REGION_WRITE, VFIO_USER_FLAG_NO_REPLY, write, sizeof(write), NULL,
		 0);
	assert_int_equal(rig_process(rig), 0);
	assert_false(rig_receive(rig));
	assert_int_equal(rig->writes, 1);
}

static void refuses_unknown_flags(void **state)
{
	struct rig *rig = *state;

	rig_send(rig, VFIO_USER_DEVICE_RESET, 0x40, NULL, 0, NULL, 0);
	rig_process(rig);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->header.error, EINVAL);
	rig_send(rig, VFIO_USER_DEVICE_RESET, VFIO_USER_FLAG_ERROR, NULL, 0, NULL, 0);
	rig_process(rig);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->header.error, EINVAL);
	assert_int_equal(rig->resets, 0);
}

static void refuses_descriptors_where_none_belong(void **state)
{
	struct rig *rig = *state;
	struct vfio_user_region_access read = { .count = 4 };
	int fds[2] = { rig->fd, rig->fd };
	struct vfio_user_dma_map map = { .argsz = sizeof(map), .size = 4096 };

	assert_int_equal(rig_call_fds(rig, VFIO_USER_REGION_READ, &read, sizeof(read), fds, 1),
			 EINVAL);
	assert_int_equal(rig_call_fds(rig, VFIO_USER_DMA_MAP, &map, sizeof(map), fds, 2), EINVAL);
}

static void answers_a_reset_when_it_is_done(void **state)
{
	struct rig *rig = *state;
	struct vfio_user_region_access read = { .count = 4 };
	uint16_t id = rig_send(rig, VFIO_USER_DEVICE_RESET, 0, NULL, 0, NULL, 0);

	assert_int_equal(rig_process(rig), 0);
	assert_int_equal(rig->resets, 1);
	assert_false(rig_receive(rig));
	/* Others are served meanwhile; a second reset is not. */
	assert_int_equal(rig_call(rig, VFIO_USER_REGION_READ, &read, sizeof(read)), 0);
	assert_int_equal(rig_call(rig, VFIO_USER_DEVICE_RESET, NULL, 0), EBUSY);
	vfio_user_server_reset_done(rig->server);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->header.id, id);
	assert_int_equal(rig->header.command, VFIO_USER_DEVICE_RESET);
	assert_int_equal(rig->header.flags, VFIO_USER_FLAG_REPLY);
	rig->reset_at_once = true;
	assert_int_equal(rig_call(rig, VFIO_USER_DEVICE_RESET, NULL, 0), 0);
	assert_int_equal(rig->resets, 2);
}

static void tells_of_the_end_once(void **state)
{
	struct rig *rig = *state;
	struct pollfd wait = { .fd = vfio_user_server_fd(rig->server), .events = POLLIN };

	shutdown(rig->fd, SHUT_RDWR);
	assert_int_equal(poll(&wait, 1, 1000), 1);
	assert_int_equal(rig_process(rig), -ENOTCONN);
	assert_int_equal(rig_process(rig), -ENOTCONN);
	assert_int_equal(rig->disconnects, 1);
	/* And it does not go on asking for attention. */
	assert_int_equal(poll(&wait, 1, 0), 0);
}

#define test(f)	    cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
#define test_raw(f) cmocka_unit_test_setup_teardown(f, rig_setup_raw, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_raw(answers_version_0_0),
		test_raw(takes_a_client_without_capabilities),
		test_raw(refuses_everything_before_version),
		test_raw(refuses_another_major_version),
		cmocka_unit_test(refuses_capabilities_that_are_none),
		test(refuses_a_second_version),
		test(tells_what_it_is),
		test(tells_of_regions),
		cmocka_unit_test(passes_sparse_areas),
		test(tells_of_interrupts),
		test(gives_no_io_fds),
		test(has_no_features),
		test(refuses_unknown_commands),
		test(reads_and_writes_regions),
		test(refuses_accesses_out_of_bounds),
		test(refuses_a_write_to_a_region_for_reading),
		test(refuses_a_write_of_another_size),
		test(writes_many_at_once_or_none),
		test(does_not_answer_no_reply),
		test(refuses_unknown_flags),
		test(refuses_descriptors_where_none_belong),
		test(answers_a_reset_when_it_is_done),
		test(tells_of_the_end_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
