/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_REQUESTS_INTERNAL_H
#define CONTROLLER_REQUESTS_INTERNAL_H

#include "base/json.h"
#include "control/channel.h"
#include "controller/device.h"
#include "controller/requests.h"

/* The keeper's requests: shared by requests.c, which receives them, and request-*.c, which do what
 * they ask. */

/* A device, and who waits for it to come or to go. */
struct entry {
	struct requests *requests;
	struct entry *next;
	unsigned index;
	struct device *device; /* NULL until it is ready */
	int relay_fd;	       /* until then */
	bool closing;
	struct control_request *coming, *going;
};

struct requests {
	sd_event *event;
	struct io_threads *threads;
	struct control_connection *connection; /* NULL: the keeper has gone */
	struct entry *entries;
	bool stopping;
	struct control_request *stop;

	/* request-hand-over.c */
	struct control_request *leaving; /* message mode, of so many devices */
	unsigned leaving_count;
	struct control_request *freeze;
	unsigned freezing; /* devices that have not answered */
	int freeze_error;
};

/**
 * request_fn - does what one command asks and answers @request, at once or later
 * @arguments: checked against the command table
 * @fds: closed by the caller, but for those that were stolen
 */
typedef void request_fn(struct requests *requests, struct control_request *request,
			struct json_object *arguments, int *fds, size_t fd_count);

/* request-controller.c */
request_fn request_add_controller;
request_fn request_remove_controller;
/** request_controller_close() - a device that is not ready yet is closed when it is */
void request_controller_close(struct entry *entry);

/* request-namespace.c */
request_fn request_add_namespace;
request_fn request_remove_namespace;
request_fn request_resize_namespace;
request_fn request_set_block_size;
request_fn request_set_iotune;
request_fn request_retry;
request_fn request_guest_ran;
request_fn request_counters;

/* request-hand-over.c */
request_fn request_message_mode;
request_fn request_freeze;
request_fn request_thaw;
request_fn request_pci_config;
request_fn request_overlay_bound;
request_fn request_overlay_export;
request_fn request_overlay_apply;
request_fn request_judge_state;

/* requests.c */
/** requests_fail() - answer @request with a sentence; @code: positive errno */
void requests_fail(struct control_request *request, int code, const char *sentence);

/** requests_find() - NULL: there is none of that index */
struct entry *requests_find(struct requests *requests, uint64_t index);

/** requests_introduce() - the controllers of a subsystem to each other, when one of them or what it has has
 * changed */
void requests_introduce(struct requests *requests);

/** requests_find_ready() - the one that a request names, if it is neither coming nor going; else the
 * request has failed */
struct entry *requests_find_ready(struct requests *requests, struct control_request *request,
				  struct json_object *arguments);

/** requests_end_when_empty() - after a device has gone: was it what stopping waits for? */
void requests_end_when_empty(struct requests *requests);

#endif
