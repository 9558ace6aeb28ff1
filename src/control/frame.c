// SPDX-License-Identifier: LGPL-2.1-or-later
#include "control/frame.h"

#include <endian.h>
#include <errno.h>
#include <sys/socket.h>

#include "base/i18n.h"
#include "control/channel.h"

#define LENGTH_SIZE 4u

void control_frame_reset(struct control_frame *frame)
{
	free(frame->text);
	fd_close_all(frame->fds, frame->fd_count);
	frame->text = NULL;
	frame->length = 0;
	frame->done = 0;
	frame->fd_count = 0;
}

static int receive_length(struct control_frame *frame, int fd)
{
	struct iovec iov = { frame->length_bytes + frame->done, LENGTH_SIZE - frame->done };
	int fds[FD_MAX_PASSED];
	uint32_t length;
	size_t count;
	ssize_t n;

	n = fd_receive(fd, &iov, 1, fds, ARRAY_SIZE(fds), &count, MSG_DONTWAIT);
	if (n < 0)
		return n;
	if (count) {
		/* They travel with the first byte: a second lot is not of this protocol. */
		if (frame->done) {
			fd_close_all(fds, count);
			return -EPROTO;
		}
		memcpy(frame->fds, fds, count * sizeof(int));
		frame->fd_count = count;
	}
	if (n == 0)
		return -ECONNRESET;
	frame->done += n;
	if (frame->done < LENGTH_SIZE)
		return -EAGAIN;
	memcpy(&length, frame->length_bytes, LENGTH_SIZE);
	length = le32toh(length);
	if (length == 0 || length > CONTROL_MAX_MESSAGE)
		return -EPROTO;
	frame->text = malloc(length);
	if (!frame->text)
		return -ENOMEM;
	frame->length = length;
	frame->done = 0;
	return 0;
}

static int receive_text(struct control_frame *frame, int fd)
{
	struct iovec iov = { frame->text + frame->done, frame->length - frame->done };
	size_t count;
	int stray[1];
	ssize_t n;

	n = fd_receive(fd, &iov, 1, stray, ARRAY_SIZE(stray), &count, MSG_DONTWAIT);
	if (n < 0)
		return n == -EMSGSIZE ? -EPROTO : n;
	if (count) {
		fd_close_all(stray, count);
		return -EPROTO;
	}
	if (n == 0)
		return -ECONNRESET;
	frame->done += n;
	return frame->done == frame->length ? 1 : 0;
}

int control_frame_receive(struct control_frame *frame, int fd)
{
	int r;

	do
		r = frame->text ? receive_text(frame, fd) : receive_length(frame, fd);
	while (r == 0);
	return r;
}

struct json_object *control_frame_parse(const struct control_frame *frame, struct error **errp)
{
	struct json_object *message = json_parse(frame->text, frame->length, errp);

	if (message && !json_object_is_type(message, json_type_object)) {
		json_object_put(message);
		error_set(errp, EINVAL, "a message must be a JSON object");
		return NULL;
	}
	return message;
}

int control_frame_build(struct json_object *message, char **ret_bytes, size_t *ret_size)
{
	const char *text = json_text(message);
	size_t length;
	uint32_t wire;
	char *bytes;

	if (!text)
		return -ENOMEM;
	length = strlen(text);
	if (length > CONTROL_MAX_MESSAGE)
		return -EMSGSIZE;
	bytes = malloc(LENGTH_SIZE + length);
	if (!bytes)
		return -ENOMEM;
	wire = htole32(length);
	memcpy(bytes, &wire, LENGTH_SIZE);
	memcpy(bytes + LENGTH_SIZE, text, length);
	*ret_bytes = bytes;
	*ret_size = LENGTH_SIZE + length;
	return 0;
}

struct json_object *control_frame_request(uint64_t id, const char *command,
					  struct json_object *arguments)
{
	struct json_object *message = json_object_new_object();

	json_add_u64(message, "id", id);
	json_add_string(message, "command", command);
	if (arguments)
		json_add(message, "arguments", arguments);
	return message;
}

int control_frame_answer(struct json_object *message, struct json_object **ret_result,
			 struct error **errp)
{
	struct json_object *error = json_child(message, "error", json_type_object);
	uint64_t code;

	if (!error) {
		*ret_result = json_child(message, "result", json_type_object);
		return 0;
	}
	code = json_u64_or(error, "code", EIO);
	if (code == 0 || code > 4095)
		code = EIO;
	return error_set(errp, code, "%s", json_string_or(error, "message", _("unknown error")));
}
