/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_UNIT_VFIO_USER_RIG_H
#define TESTS_UNIT_VFIO_USER_RIG_H

#include "tests/unit/test.h"
#include "vfio-user/server.h"

/* A server with a fake device at one end of a socket pair, the test at the other. */
struct rig {
	int fd;	      /* the client's end */
	int relay_fd; /* the keeper's end, where the rig is one of a relay; else -1 */
	struct vfio_user_server *server;
	struct vfio_user_dma *dma;
	struct vfio_user_irq *irq;
	uint16_t next_id;

	/* What the device saw. */
	uint8_t bar0[64 * 1024];
	unsigned reads, writes, resets, pauses, resumes, disconnects;
	bool reset_at_once;
	int disconnect_error;
	void (*on_pause)(struct rig *rig);
	void (*on_write)(struct rig *rig);

	/* The last reply. */
	struct vfio_user_header header;
	uint8_t reply[VFIO_USER_MAX_MESSAGE];
	size_t reply_size; /* of the payload */
	int reply_fds[16];
	size_t reply_fd_count;
};

#define RIG_VECTORS 33

/* cmocka fixtures; *state is the rig. rig_setup() has negotiated, rig_setup_raw() has not. */
int rig_setup(void **state);
int rig_setup_raw(void **state);
int rig_teardown(void **state);

extern const struct vfio_user_device_ops rig_ops;
void rig_device_info(struct vfio_user_device_info *info, int mmap_fd);

/* Send bytes as they are. */
void rig_send_raw(struct rig *rig, const void *data, size_t len, const int *fds, size_t fd_count);
/* Send a command; returns its id. */
uint16_t rig_send(struct rig *rig, uint16_t command, uint32_t flags, const void *payload,
		  size_t size, const int *fds, size_t fd_count);
/* Let the server work; its result. */
int rig_process(struct rig *rig);
/* Take one message from the server into header and reply; false when there is none, or its end. */
bool rig_receive(struct rig *rig);

/* Send, process, receive: 0 or the errno in the reply (positive); -1: no reply. */
int rig_call(struct rig *rig, uint16_t command, const void *payload, size_t size);
int rig_call_fds(struct rig *rig, uint16_t command, const void *payload, size_t size,
		 const int *fds, size_t fd_count);

int rig_version(struct rig *rig, uint16_t major, const char *json);
int rig_map(struct rig *rig, uint64_t iova, uint64_t size, uint64_t offset, uint32_t flags, int fd);
int rig_unmap(struct rig *rig, uint64_t iova, uint64_t size, uint32_t flags);
int rig_set_irqs(struct rig *rig, uint32_t flags, uint32_t index, uint32_t start, uint32_t count,
		 const void *data, size_t size, const int *fds, size_t fd_count);
int rig_memfd(size_t size);

#endif
