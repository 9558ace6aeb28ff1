// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "base/json.h"
#include "base/log.h"
#include "vfio-user/dma-internal.h"
#include "vfio-user/handlers.h"

#define MAX_JSON     (64 * KiB) /* of a client's capabilities; QEMU's are 200 bytes */
#define MIN_TRANSFER 4096	/* of max_data_xfer_size: DMA by message goes in such pieces */

struct client_capabilities {
	uint64_t max_fds;
	uint64_t max_transfer;
};

/* A number that the client may leave out, but must not give as anything else. */
static int optional_u64(struct json_object *object, const char *key, uint64_t *value)
{
	_cleanup_error_ struct error *err = NULL;

	if (!json_object_object_get_ex(object, key, NULL))
		return 0;
	return json_u64(object, key, value, &err);
}

static int parse_capabilities(const char *text, size_t len, struct client_capabilities *ret)
{
	_cleanup_error_ struct error *err = NULL;
	_cleanup_json_ struct json_object *root = NULL;
	struct json_object *capabilities;
	int r;

	if (len > MAX_JSON)
		return -EINVAL;
	root = json_parse(text, len, &err);
	if (!root || !json_object_is_type(root, json_type_object))
		return -EINVAL;
	if (!json_object_object_get_ex(root, "capabilities", &capabilities))
		return 0;
	if (!json_object_is_type(capabilities, json_type_object))
		return -EINVAL;
	r = optional_u64(capabilities, "max_msg_fds", &ret->max_fds);
	if (r == 0)
		r = optional_u64(capabilities, "max_data_xfer_size", &ret->max_transfer);
	if (r < 0)
		return -EINVAL;
	return ret->max_transfer < MIN_TRANSFER ? -EINVAL : 0;
}

static size_t put_capabilities(char *buf, size_t room)
{
	_cleanup_json_ struct json_object *root = json_object_new_object();
	struct json_object *capabilities = json_object_new_object();
	int n;

	json_add_u64(capabilities, "max_msg_fds", VFIO_USER_MAX_FDS);
	json_add_u64(capabilities, "max_data_xfer_size", VFIO_USER_MAX_DATA);
	json_add_u64(capabilities, "pgsizes", 4096);
	json_add_u64(capabilities, "max_dma_maps", VFIO_USER_DMA_MAX_REGIONS);
	json_add_bool(capabilities, "write_multiple", true);
	json_add(root, "capabilities", capabilities);
	n = snprintf(buf, room, "%s", json_text(root));
	return n + 1;
}

int vfio_user_handle_version(struct vfio_user_server *server, struct vfio_user_message *message,
			     struct vfio_user_reply *reply)
{
	const struct vfio_user_version *version = message->payload;
	struct vfio_user_version *answer = server->scratch;
	/* What the specification has a client mean that says nothing. */
	struct client_capabilities client = { .max_fds = 1, .max_transfer = VFIO_USER_MAX_DATA };
	size_t len = message->payload_size - sizeof(*version);

	if (len && parse_capabilities(version->data, len - 1, &client) < 0) {
		log_warning("the client's capabilities make no sense");
		return -EINVAL;
	}
	server->client_max_fds = MIN(client.max_fds, (uint64_t)VFIO_USER_MAX_FDS);
	vfio_user_dma_set_max_transfer(server->dma,
				       MIN(client.max_transfer, (uint64_t)VFIO_USER_MAX_DATA));
	server->negotiated = true;
	/* 0.0, whatever the client offers: QEMU takes no other. */
	*answer = (struct vfio_user_version){ .major = 0, .minor = 0 };
	reply->data = answer;
	reply->size = sizeof(*answer) + put_capabilities(answer->data, 4096);
	return 0;
}
