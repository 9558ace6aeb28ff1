// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "base/i18n.h"
#include "control/channel.h"
#include "controller/device.h"
#include "controller/namespaces.h"
#include "controller/requests-internal.h"

/*
 * Theory of operation
 *
 * Growing: somebody has made the image larger, and the guest is told.
 *
 * Shrinking: a write that is at the image when it is cut off would make a file larger again, so the
 * guest goes first. With a limit the namespace and the block end there at once: what is parsed from
 * now on is refused, and what was parsed and waits is refused by block_submit(). What was submitted
 * before is waited for, and then the request is answered: nothing of ours writes behind the limit
 * any more. So long as a dead predecessor's requests may be under way, that cannot be said, and the
 * request is refused with EBUSY. The keeper gives the limit to a successor with the image, and takes
 * it away by a request without one, when the image is as small.
 */
struct resize {
	struct io_operation operation;
	struct control_request *request;
	uint64_t capacity;
};

static void answer(struct control_request *request, uint64_t capacity)
{
	struct json_object *result = json_object_new_object();

	json_add_u64(result, "capacity", capacity);
	control_request_reply(request, result);
}

static void drained(struct io_operation *operation)
{
	struct resize *resize = container_of(operation, struct resize, operation);

	answer(resize->request, resize->capacity);
	free(resize);
}

void request_resize_namespace(struct requests *requests, struct control_request *request,
			      struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = requests_find_ready(requests, request, arguments);
	uint64_t limit = json_u64_or(arguments, "limit", 0);
	struct error *err = NULL;
	struct resize *resize;
	int ret = -ENOMEM;

	if (!entry)
		return;
	resize = calloc(1, sizeof(*resize));
	if (resize)
		ret = namespaces_resize(device_namespaces(entry->device),
					json_u64_or(arguments, "nsid", 0), limit,
					&resize->capacity);
	if (ret == -EBUSY)
		error_set(&err, EBUSY,
			  _("requests of a controller process that died are still under way"));
	else if (ret < 0)
		error_set(&err, -ret, "%s", strerror(-ret));
	if (err) {
		control_request_fail(request, err);
		free(resize);
	} else if (limit) {
		resize->request = request;
		io_threads_after_in_flight(requests->threads, &resize->operation, drained);
	} else {
		answer(request, resize->capacity);
		free(resize);
	}
}
