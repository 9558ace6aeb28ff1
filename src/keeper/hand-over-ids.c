// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/hand-over-internal.h"

#include <stdio.h>

/*
 * Theory of operation
 *
 * A domain is defined with VMSTATE_ID_COUNT Ids, so that its state always has room, and QEMU wants
 * all that are in its id-list from both sides. But with each it exchanges a dozen messages while
 * the guest stands still, and one is enough for most states. So while memory is copied we look how
 * large the state is, and shorten the source's id-list. The destination's stays as it is: what
 * loads demands that all Ids are there, not that something comes for each.
 *
 * What counts is what the list was when QEMU read it. It answers a command some time after it has
 * executed it, and may read the list in between: until the answer is there the list is the one or the
 * other. Then the longer one is offered, and the state has to be in the parts that are in both
 * (collect(), hand-over-source.c).
 *
 * It is the state with all queues that there can be, what was written before message mode, which
 * does not grow any more, and what may be late, as it is seen then: more is refused.
 */

/* Of the description: what is said of the domain, and how long the parts of each controller are. */
#define SHORT_BYTES 4096u

struct setting {
	struct hand_over *hand_over;
	unsigned count;
};

static void on_set(void *opaque, struct json_object *result, const struct error *err)
{
	struct setting *setting = opaque;

	if (!err)
		vmstate_offer(setting->hand_over->keeper->vmstate, setting->count);
	else
		vmstate_try(setting->hand_over->keeper->vmstate, 0);
	free(setting);
}

static void set_id_list(struct hand_over *hand_over, unsigned count)
{
	struct json_object *arguments = json_object_new_object();
	struct setting *setting = malloc(sizeof(*setting));
	char list[VMSTATE_ID_COUNT * 16];
	size_t length = 0;
	unsigned i;

	if (!setting)
		abort(); /* QEMU's list and ours would not be the same */
	*setting = (struct setting){ hand_over, count };
	vmstate_try(hand_over->keeper->vmstate, count);
	for (i = 0; i < count; i++)
		length += snprintf(list + length, sizeof(list) - length, "%s" VMSTATE_ID,
				   i ? "," : "", i);
	json_add_string(arguments, "path", "/objects/" VMSTATE_OBJECT);
	json_add_string(arguments, "property", "id-list");
	json_add_string(arguments, "value", list);
	monitor_execute(hand_over->keeper->monitor, "qom-set", arguments, -1, on_set, setting);
}

static unsigned ids_for(uint64_t bytes)
{
	const uint64_t room = blob_capacity(1);

	return bytes > VMSTATE_ID_COUNT * room ? VMSTATE_ID_COUNT : DIV_ROUND_UP(bytes, room);
}

static void set_ids(struct hand_over_job *job)
{
	const unsigned count = ids_for(job->bytes);

	if (count != vmstate_offered(job->hand_over->keeper->vmstate) &&
	    !vmstate_tries(job->hand_over->keeper->vmstate))
		set_id_list(job->hand_over, count);
}

static void on_bound(void *opaque, struct json_object *result, const struct error *err)
{
	struct hand_over_job *job = opaque;
	const uint64_t bytes = json_u64_or(result, "bytes", UINT64_MAX);

	/* Not known, be it for an error: as much as can be. */
	job->bytes = bytes > UINT64_MAX - job->bytes ? UINT64_MAX : job->bytes + bytes;
	hand_over_job_end_one(job, NULL);
}

void hand_over_count_ids(struct hand_over *hand_over)
{
	struct hand_over_job *job = hand_over_job_new(hand_over, MIGRATION_COUNT_IDS);
	const struct device *device;

	job->finish = set_ids;
	job->bytes = SHORT_BYTES;
	for (device = hand_over->keeper->devices; device; device = device->next) {
		job->bytes += device->state_bytes + hand_over_description_bytes(device);
		job->open++;
		hand_over_call(hand_over, "overlay-bound", hand_over_index(device), on_bound, job);
	}
	hand_over_job_end_one(job, NULL);
}
