/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_HAND_OVER_INTERNAL_H
#define KEEPER_HAND_OVER_INTERNAL_H

#include "keeper/hand-over.h"
#include "keeper/keeper.h"
#include "keeper/pci-half.h"
#include "keeper/qtest.h"
#include "keeper/replay.h"

#define HAND_OVER_MAX_DEVICES 32u /* config.c: an index is lower */

/* What was read of a device's half in QEMU, and when. */
struct hand_over_half {
	struct pci_half half;
	uint64_t irq_changes; /* before the table was read */
};

/* Where a device's state is in `whole`. */
struct hand_over_arrival {
	struct device *device;
	struct pci_half half;
	const char *state, *overlay;
	size_t state_size, overlay_size;
};

struct hand_over {
	struct keeper *keeper;

	/* The source. */
	struct hand_over_half halves[HAND_OVER_MAX_DEVICES]; /* by index */
	enum migration_action freezing;			     /* MIGRATION_REST or _FREEZE */
	sd_event_source *quiet_timer;			     /* until all is read before it */

	/* The destination. */
	struct blob whole;
	struct json_object *description;
	struct hand_over_arrival arrivals[HAND_OVER_MAX_DEVICES];
	unsigned arrival_count, adopting;
	struct qtest *qtest;
	struct replay *replay;
	bool replay_running;
	bool replay_sent; /* to this QEMU, in this migration or one that came to nothing */
	unsigned replay_tries;
	sd_event_source *replay_timer;
};

/* An action that takes several answers: it ends with the last, and with the first error. */
struct hand_over_job {
	struct hand_over *hand_over;
	enum migration_action action;
	unsigned open;
	struct error *err;
	int overlays[HAND_OVER_MAX_DEVICES]; /* MIGRATION_COLLECT: memfds by index, -1: none */
	struct pci_half halves[HAND_OVER_MAX_DEVICES];
	uint64_t irq_changes[HAND_OVER_MAX_DEVICES];
	uint64_t bytes; /* MIGRATION_COUNT_IDS: what there is; UINT64_MAX: not known */
	/* Called at the end when nothing has failed; may set `err`. */
	void (*finish)(struct hand_over_job *job);
};

/** hand_over_job_new() - one answer is open, the caller's */
struct hand_over_job *hand_over_job_new(struct hand_over *hand_over, enum migration_action action);

/** hand_over_job_end_one() - an answer has come; @err is borrowed */
void hand_over_job_end_one(struct hand_over_job *job, const struct error *err);

/**
 * hand_over_call() - ask the controller, and if it dies, or just has, its successor
 * @command: one that may be executed twice
 * @arguments: reference taken over; may be NULL
 * @done: may run from inside, when there is no controller
 */
void hand_over_call(struct hand_over *hand_over, const char *command, struct json_object *arguments,
		    device_done done, void *opaque);

/** hand_over_call_with() - ask the controller of the moment, and give it @fds; else the same */
void hand_over_call_with(struct hand_over *hand_over, const char *command,
			 struct json_object *arguments, const int *fds, size_t fd_count,
			 device_done done, void *opaque);

/** hand_over_index() - {"index": ...} for a device */
struct json_object *hand_over_index(const struct device *device);

/** hand_over_finished() - tell the migration; @err is borrowed */
void hand_over_finished(struct hand_over *hand_over, enum migration_action action,
			const struct error *err);

/* hand-over-source.c */
void hand_over_ask_qemu(struct hand_over *hand_over);
void hand_over_read_pci(struct hand_over *hand_over);
void hand_over_collect(struct hand_over *hand_over);

/** hand_over_description_bytes() - at most so much is said of a device beside its state */
size_t hand_over_description_bytes(const struct device *device);

/* hand-over-ids.c */
void hand_over_count_ids(struct hand_over *hand_over);

/* hand-over-destination.c */
int hand_over_judge(void *opaque, const struct blob *whole, struct error **errp);
void hand_over_adopt(struct hand_over *hand_over);
void hand_over_abandon(struct hand_over *hand_over);
void hand_over_forget_arrivals(struct hand_over *hand_over);

/* hand-over-replay.c */
void hand_over_begin_replay(struct hand_over *hand_over);
void hand_over_loaded(void *opaque);
void hand_over_make_qtest(struct hand_over *hand_over);
void hand_over_end_replay(struct hand_over *hand_over);

#endif
