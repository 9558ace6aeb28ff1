/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROL_FRAME_H
#define CONTROL_FRAME_H

#include "base/fd.h"
#include "base/json.h"

/*
 * The framing of docs/control.md, for both kinds of channel: 32-bit little-endian length, then that
 * many bytes of JSON; descriptors with the length.
 */
struct control_frame {
	unsigned char length_bytes[4];
	char *text;	     /* NULL until the length is known */
	size_t length, done; /* done: of length_bytes first, then of text */
	int fds[FD_MAX_PASSED];
	size_t fd_count;
};

void control_frame_reset(struct control_frame *frame);

/**
 * control_frame_receive() - take what is there, never a byte beyond the message
 *
 * Return: 1 when the message is complete (parse it, then reset), -EAGAIN when more must come,
 * -ECONNRESET at end of stream, -EPROTO for an oversize or empty message or descriptors in the
 * middle of one, or -errno.
 */
int control_frame_receive(struct control_frame *frame, int fd);

/** control_frame_parse() - the JSON object of a complete message; owned by the caller */
struct json_object *control_frame_parse(const struct control_frame *frame, struct error **errp);

/** control_frame_build() - the bytes to send, malloc()ed; 0, -EMSGSIZE or -ENOMEM */
int control_frame_build(struct json_object *message, char **ret_bytes, size_t *ret_size);

/** control_frame_request() - {"id", "command", "arguments"}; @arguments' reference is taken over */
struct json_object *control_frame_request(uint64_t id, const char *command,
					  struct json_object *arguments);

/**
 * control_frame_answer() - what an answer says
 * @ret_result: borrowed from @message; NULL when the peer gave none
 *
 * Return: 0, or -errno with the peer's sentence.
 */
int control_frame_answer(struct json_object *message, struct json_object **ret_result,
			 struct error **errp);

#endif
