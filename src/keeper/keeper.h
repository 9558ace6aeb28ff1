/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include "keeper/device.h"
#include "keeper/formats.h"
#include "keeper/hand-over.h"
#include "keeper/monitor.h"
#include "keeper/requests.h"
#include "keeper/vmstate.h"

enum keeper_phase {
	KEEPER_STARTING,
	KEEPER_RUNNING,
	KEEPER_STOPPING,
};

/* A domain's keeper. */
struct keeper {
	sd_event *event;
	struct keeper_config config;
	enum keeper_phase phase;
	int ready_fd; /* -1 once the answer has been given */
	struct peer peer;
	struct supervisor supervisor;
	struct device *devices;
	struct monitor *monitor;
	struct vmstate *vmstate;
	struct migration *migration;
	struct hand_over *hand_over;
	struct requests *requests;
	struct formats formats;
	int64_t running_since_ms; /* see keep-alive.c; CLOCK_MONOTONIC */
	unsigned adopting;	  /* devices that the controller has not accepted yet */
	sd_event_source *start_timer, *sigterm;
	const char *program; /* our own file's path */
	int lock_fd;	     /* of the runtime directory; carried along */
};

/**
 * keeper_start() - make everything; the ready line is written when the controller has its devices
 * @config: taken over
 *
 * Return: 0, or -errno with a sentence; then keeper_done() cleans up.
 */
int keeper_start(struct keeper *keeper, sd_event *event, const struct keeper_config *config,
		 int ready_fd, struct error **errp);

/** keeper_may_be_carried() - could this process become another program now? Nothing has come or
 * gone in part, and nobody waits for an answer but @request. */
bool keeper_may_be_carried(const struct keeper *keeper, const struct control_request *request);

/** keeper_save() - for keeper_load() in the program that this process becomes, which answers
 * @request */
struct json_object *keeper_save(const struct keeper *keeper, const struct control_request *request);

/**
 * keeper_load() - go on from there
 * @config: taken over
 * @ret_request: NULL: nobody waits for the answer any more
 */
int keeper_load(struct keeper *keeper, sd_event *event, const struct keeper_config *config,
		struct json_object *json, struct control_request **ret_request,
		struct error **errp);

/** keeper_stop() - end the domain's I/O and leave the event loop; harmless the second time */
void keeper_stop(struct keeper *keeper, const char *why);

/** keeper_done() - release everything, images last */
void keeper_done(struct keeper *keeper);

/** keeper_report() - one line on the ready descriptor, which is closed; err NULL: success */
void keeper_report(int *ready_fd, const struct error *err);

struct device *keeper_find_device(struct keeper *keeper, uint64_t index);

/** keeper_add_device() - not yet known to the controller; NULL with a sentence */
struct device *keeper_add_device(struct keeper *keeper, struct json_object *json,
				 struct error **errp);
void keeper_drop_device(struct keeper *keeper, struct device *device);

#endif
