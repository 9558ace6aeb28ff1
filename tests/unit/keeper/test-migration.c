// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "keeper/migration-internal.h"
#include "tests/unit/test.h"

/*
 * The order of things in a migration. What is done is only written down: `told` has a word for each
 * action, in order; the test says when one ends.
 */
struct vmstate_call {
	bool answered;
	char error[200];
};

static struct migration *migration;
static sd_event *loop;
static char told[1000];
static int lock_result;
static const char *judgement;
static struct vmstate_call calls[VMSTATE_ID_COUNT];
static const struct monitor_time when = { 1700000000, 123456 };

static void tell(const char *word)
{
	strcat(told, *told ? " " : "");
	strcat(told, word);
}

/* What was told since the last time. */
static const char *news(void)
{
	static char copy[sizeof(told)];

	strcpy(copy, told);
	*told = '\0';
	return copy;
}

/* In vmstate.c's place. */
void vmstate_answer(struct vmstate_call *call, const struct error *err)
{
	assert_false(call->answered);
	call->answered = true;
	snprintf(call->error, sizeof(call->error), "%s", err ? err->message : "");
	tell(err ? "no" : "yes");
}

static void start(void *opaque, enum migration_action action, uint64_t since)
{
	static const char *const words[] = {
		[MIGRATION_ASK_QEMU] = "ask",	    [MIGRATION_READ_PCI] = "pci",
		[MIGRATION_MESSAGE_MODE_ON] = "on", [MIGRATION_MESSAGE_MODE_OFF] = "off",
		[MIGRATION_COUNT_IDS] = "count",    [MIGRATION_REST] = "rest",
		[MIGRATION_FREEZE] = "freeze",	    [MIGRATION_COLLECT] = "collect",
		[MIGRATION_THAW] = "thaw",	    [MIGRATION_ADOPT] = "adopt",
		[MIGRATION_REPLAY] = "replay",	    [MIGRATION_ABANDON] = "abandon",
	};

	tell(words[action]);
}

static int lock(void *opaque, struct error **errp)
{
	tell(lock_result ? "locked-out" : "lock");
	return lock_result ? error_set(errp, -lock_result, "somebody else has it") : 0;
}

static void unlock(void *opaque)
{
	tell("unlock");
}

static int judge(void *opaque, const struct blob *whole, struct error **errp)
{
	tell("judge");
	return judgement ? error_set(errp, EINVAL, "%s", judgement) : 0;
}

static void loaded(void *opaque)
{
	tell("loaded");
}

static const struct migration_ops ops = { start, lock, unlock, judge, loaded };

static void done(enum migration_action action)
{
	assert_true(migration->running[action]);
	migration_done(migration, action, NULL);
}

static void ends_with(enum migration_action action, int code)
{
	_cleanup_error_ struct error *err = NULL;

	assert_true(migration->running[action]);
	error_set(&err, code, "it broke");
	migration_done(migration, action, err);
}

static void breaks(enum migration_action action)
{
	ends_with(action, EIO);
}

/* Its controller process does. */
static void dies(enum migration_action action)
{
	ends_with(action, ENOTCONN);
}

static void status(const char *name)
{
	struct json_object *data = json_object_new_object();

	json_add_string(data, "status", name);
	migration_event(migration, "MIGRATION", data, &when);
	json_object_put(data);
}

static void event(const char *name)
{
	migration_event(migration, name, NULL, &when);
}

static void permit(const char *refused)
{
	const struct migration_permit word = { when, refused };

	migration_permit(migration, &word);
}

static struct vmstate_call *read_id(unsigned number)
{
	calls[number] = (struct vmstate_call){};
	migration_read_id(migration, &calls[number]);
	return &calls[number];
}

static void give_parts(unsigned count)
{
	struct blob whole = {}, parts[BLOB_PARTS] = {};

	blob_append(&whole, "state", 5);
	assert_int_equal(blob_split(&whole, parts, count, NULL), 0);
	migration_set_parts(migration, parts, count);
	blob_free(&whole);
}

static bool saves(void)
{
	const void *data;
	size_t size;

	return migration_save(migration, 0, &data, &size) == 0;
}

/* A timer's time has come. */
static void elapse(sd_event_source *source)
{
	int enabled;

	assert_true(sd_event_source_get_enabled(source, &enabled) > 0);
	sd_event_source_set_time(source, 0);
	assert_true(sd_event_run(loop, 0) > 0);
}

static int begin_as(void **state, bool incoming)
{
	*told = '\0';
	lock_result = 0;
	judgement = NULL;
	sd_event_new(&loop);
	migration = migration_new(loop, incoming, &ops, NULL);
	return migration ? 0 : -1;
}

static int begin(void **state)
{
	return begin_as(state, false);
}

static int begin_incoming(void **state)
{
	return begin_as(state, true);
}

static int finish(void **state)
{
	migration_free(migration);
	sd_event_unref(loop);
	return 0;
}

static void copy_memory(void)
{
	status("setup");
	assert_string_equal(news(), "ask on pci");
	assert_string_equal(migration_state_name(migration), "setup");
	assert_true(migration_is_under_way(migration));
	done(MIGRATION_ASK_QEMU);
	done(MIGRATION_MESSAGE_MODE_ON);
	done(MIGRATION_READ_PCI);
	assert_string_equal(news(), "count");
	status("active");
	assert_string_equal(migration_state_name(migration), "active");
	permit(NULL);
	done(MIGRATION_COUNT_IDS);
	assert_string_equal(news(), "");
}

static void stop_and_save(void)
{
	event("STOP");
	assert_string_equal(news(), "pci rest");
	done(MIGRATION_READ_PCI);
	done(MIGRATION_REST);
	status("device");
	read_id(0);
	assert_string_equal(news(), "freeze");
	assert_false(migration_is_frozen(migration));
	done(MIGRATION_FREEZE);
	assert_string_equal(news(), "collect");
	assert_true(migration_is_frozen(migration));
	give_parts(BLOB_PARTS);
	done(MIGRATION_COLLECT);
	assert_string_equal(news(), "unlock yes");
	assert_string_equal(migration_state_name(migration), "frozen");
}

static void come_home(void)
{
	assert_string_equal(news(), "lock off");
	assert_true(migration_is_frozen(migration));
	done(MIGRATION_MESSAGE_MODE_OFF);
	assert_string_equal(news(), "thaw");
	done(MIGRATION_THAW);
	assert_string_equal(news(), "");
	assert_string_equal(migration_state_name(migration), "none");
	assert_false(migration_is_frozen(migration));
	assert_false(migration_is_under_way(migration));
}

static void saves_what_was_collected(void **state)
{
	unsigned i;

	copy_memory();
	stop_and_save();
	/* The other Ids cost nothing. */
	for (i = 1; i < VMSTATE_ID_COUNT; i++)
		read_id(i);
	assert_string_equal(news(), "yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes");
	assert_true(saves());
	status("completed");
	assert_string_equal(migration_state_name(migration), "completed");
	assert_string_equal(news(), "");
	assert_true(migration_is_frozen(migration));
}

static void saves_as_many_parts_as_there_are(void **state)
{
	const void *data;
	size_t size;

	copy_memory();
	stop_and_save();
	give_parts(2);
	assert_int_equal(migration_save(migration, 1, &data, &size), 0);
	assert_true(size > 0);
	assert_true(migration_save(migration, 2, &data, &size) < 0);
}

static const char *why_it_stands_still(void)
{
	static char words[200];
	unsigned i;

	*words = '\0';
	for (i = 0; i < migration->standstill.count; i++)
		sprintf(words + strlen(words), "%s%s", i ? ", " : "",
			migration->standstill.steps[i].what);
	return words;
}

static void counts_how_long_the_guest_stands_still(void **state)
{
	const void *data;
	size_t size;
	unsigned i;

	copy_memory();
	assert_int_equal(migration->standstill.began, 0);
	stop_and_save();
	for (i = 0; i < VMSTATE_ID_COUNT; i++) {
		assert_string_equal(why_it_stands_still(),
				    "agreement, draining and syncing, collecting");
		migration_save(migration, i, &data, &size);
	}
	assert_string_equal(why_it_stands_still(),
			    "agreement, draining and syncing, collecting, saving");
	news();
	status("failed");
	assert_string_equal(
		why_it_stands_still(),
		"agreement, draining and syncing, collecting, saving, waiting for QEMU");
	come_home();
	assert_int_equal(migration->standstill.began, 0);
}

/* savevm, or an event that was lost. */
static void refuses_what_was_not_announced(void **state)
{
	assert_true(strstr(read_id(0)->error, "libvirt"));
	assert_string_equal(news(), "no");
	assert_false(saves());
	copy_memory();
	stop_and_save();
	status("failed");
	come_home();
	read_id(0);
	assert_string_equal(news(), "no");
	assert_false(saves());
}

static void refuses_without_a_permit(void **state)
{
	status("setup");
	done(MIGRATION_ASK_QEMU);
	done(MIGRATION_MESSAGE_MODE_ON);
	news();
	/* One for another migration is none. */
	migration_permit(migration, &(struct migration_permit){ { when.seconds, 1 }, NULL });
	read_id(0);
	assert_string_equal(news(), "");
	elapse(migration->limit);
	assert_string_equal(news(), "no off");
	assert_true(strstr(calls[0].error, "virtnvmed"));
	/* QEMU reads the others all the same. */
	assert_true(strstr(read_id(1)->error, "virtnvmed"));
}

static void waits_for_a_late_permit(void **state)
{
	status("setup");
	done(MIGRATION_ASK_QEMU);
	done(MIGRATION_MESSAGE_MODE_ON);
	news();
	read_id(0);
	assert_string_equal(news(), "");
	permit(NULL);
	assert_string_equal(news(), "freeze");
}

static void passes_a_refusal_on(void **state)
{
	status("setup");
	done(MIGRATION_ASK_QEMU);
	done(MIGRATION_MESSAGE_MODE_ON);
	permit("it is a snapshot");
	news();
	read_id(0);
	assert_string_equal(calls[0].error, "it is a snapshot");
	assert_string_equal(news(), "no off");
}

/* It cannot answer any more: its main loop waits for us. */
static void refuses_when_qemu_has_not_answered(void **state)
{
	status("setup");
	done(MIGRATION_MESSAGE_MODE_ON);
	permit(NULL);
	news();
	read_id(0);
	assert_string_equal(news(), "no off");
}

static void refuses_what_qemu_may_not_do(void **state)
{
	status("setup");
	done(MIGRATION_MESSAGE_MODE_ON);
	breaks(MIGRATION_ASK_QEMU);
	permit(NULL);
	news();
	assert_string_equal(read_id(0)->error, "it broke");
	assert_string_equal(news(), "no off");
}

static void refuses_without_message_mode(void **state)
{
	status("setup");
	done(MIGRATION_ASK_QEMU);
	permit(NULL);
	news();
	read_id(0);
	assert_string_equal(news(), "");
	breaks(MIGRATION_MESSAGE_MODE_ON);
	assert_string_equal(news(), "no off");
}

static void goes_home_when_it_cannot_collect(void **state)
{
	copy_memory();
	read_id(0);
	done(MIGRATION_FREEZE);
	breaks(MIGRATION_COLLECT);
	assert_string_equal(news(), "freeze collect no off");
	done(MIGRATION_MESSAGE_MODE_OFF);
	assert_string_equal(news(), "thaw");
}

static void a_sync_that_fails_is_an_error(void **state)
{
	copy_memory();
	read_id(0);
	breaks(MIGRATION_FREEZE);
	assert_string_equal(news(), "freeze no off");
	done(MIGRATION_MESSAGE_MODE_OFF);
	assert_string_equal(news(), "");
	assert_string_equal(migration_state_name(migration), "none");
}

/* GDBus waits 25 seconds; what ends later is taken back. */
static void does_not_take_too_long(void **state)
{
	copy_memory();
	read_id(0);
	elapse(migration->limit);
	elapse(migration->limit);
	assert_string_equal(news(), "freeze no");
	done(MIGRATION_FREEZE);
	assert_string_equal(news(), "off");
	assert_false(saves());
	assert_true(read_id(1)->answered);
	assert_true(calls[1].error[0]);
}

static void a_late_collection_is_dropped(void **state)
{
	copy_memory();
	read_id(0);
	done(MIGRATION_FREEZE);
	elapse(migration->limit);
	elapse(migration->limit);
	news();
	give_parts(BLOB_PARTS);
	done(MIGRATION_COLLECT);
	assert_string_equal(news(), "off");
	assert_false(saves());
	assert_true(migration->locked);
}

static void goes_on_after_a_failure(void **state)
{
	copy_memory();
	stop_and_save();
	status("failed");
	come_home();
	assert_false(saves());
	/* QEMU resumes as well. */
	event("RESUME");
	assert_string_equal(news(), "");
	/* And once more. */
	copy_memory();
	stop_and_save();
}

/* QEMU resumes before it says that it failed. */
static void goes_on_when_the_guest_does(void **state)
{
	copy_memory();
	stop_and_save();
	event("RESUME");
	come_home();
	status("failed");
	assert_string_equal(news(), "");
}

static void goes_on_after_a_save(void **state)
{
	copy_memory();
	stop_and_save();
	status("completed");
	event("RESUME");
	come_home();
}

static void cancelled_while_copying(void **state)
{
	copy_memory();
	status("cancelled");
	assert_string_equal(news(), "off");
	done(MIGRATION_MESSAGE_MODE_OFF);
	assert_string_equal(migration_state_name(migration), "none");
}

/* A guest that moves its interrupts about is read again and again. */
static void reads_again_with_each_pass(void **state)
{
	event("MIGRATION_PASS");
	assert_string_equal(news(), "");
	copy_memory();
	event("MIGRATION_PASS");
	assert_string_equal(news(), "pci count");
	done(MIGRATION_READ_PCI);
	done(MIGRATION_COUNT_IDS);
	stop_and_save();
	event("MIGRATION_PASS");
	assert_string_equal(news(), "");
}

/* Before that what the state will take cannot be known, and afterwards QEMU takes no list. */
static void counts_ids_in_message_mode(void **state)
{
	status("setup");
	assert_string_equal(news(), "ask on pci");
	event("MIGRATION_PASS");
	assert_string_equal(news(), "pci");
	done(MIGRATION_ASK_QEMU);
	permit(NULL);
	read_id(0);
	assert_string_equal(news(), "");
	done(MIGRATION_MESSAGE_MODE_ON);
	assert_string_equal(news(), "freeze");
}

/* virsh suspend and resume in mid-copy: the disks work again, and nothing else changes. */
static void resume_in_mid_copy_ends_the_rest(void **state)
{
	copy_memory();
	event("STOP");
	done(MIGRATION_READ_PCI);
	done(MIGRATION_REST);
	assert_false(migration_is_frozen(migration));
	assert_string_equal(news(), "pci rest");
	event("RESUME");
	assert_string_equal(news(), "thaw");
	/* It stands again, and its state is asked for, before that is done. */
	event("STOP");
	done(MIGRATION_READ_PCI);
	read_id(0);
	assert_string_equal(news(), "pci");
	done(MIGRATION_THAW);
	assert_string_equal(news(), "freeze");
	done(MIGRATION_FREEZE);
	assert_string_equal(news(), "collect");
}

static void a_rest_that_comes_too_late_is_ended(void **state)
{
	copy_memory();
	event("STOP");
	done(MIGRATION_READ_PCI);
	event("RESUME");
	/* What the guest has written since it does not know of. */
	event("STOP");
	done(MIGRATION_READ_PCI);
	assert_string_equal(news(), "pci rest pci");
	done(MIGRATION_REST);
	assert_string_equal(news(), "thaw");
	done(MIGRATION_THAW);
	stop_and_save();
}

/* What cannot be synced is not forgotten when the next time it can. */
static void a_rest_that_fails_is_a_problem(void **state)
{
	copy_memory();
	event("STOP");
	done(MIGRATION_READ_PCI);
	breaks(MIGRATION_REST);
	assert_string_equal(news(), "pci rest");
	read_id(0);
	assert_string_equal(news(), "no off");
}

/* It is no more than a head start. */
static void does_without_a_rest(void **state)
{
	copy_memory();
	event("STOP");
	done(MIGRATION_READ_PCI);
	assert_string_equal(news(), "pci rest");
	read_id(0);
	assert_string_equal(news(), "");
	dies(MIGRATION_REST);
	assert_string_equal(news(), "freeze");
	done(MIGRATION_FREEZE);
	assert_string_equal(news(), "collect");
}

static void does_not_rest_without_a_permit(void **state)
{
	status("setup");
	done(MIGRATION_ASK_QEMU);
	done(MIGRATION_MESSAGE_MODE_ON);
	done(MIGRATION_READ_PCI);
	news();
	event("STOP");
	assert_string_equal(news(), "pci");
	done(MIGRATION_READ_PCI);
	permit("not here");
	event("STOP");
	assert_string_equal(news(), "pci");
}

static void a_cancelled_one_ends_the_rest(void **state)
{
	copy_memory();
	event("STOP");
	done(MIGRATION_READ_PCI);
	news();
	status("cancelled");
	assert_string_equal(news(), "");
	done(MIGRATION_REST);
	assert_string_equal(news(), "off");
	done(MIGRATION_MESSAGE_MODE_OFF);
	assert_string_equal(news(), "thaw");
	done(MIGRATION_THAW);
	assert_string_equal(migration_state_name(migration), "none");
}

/* The destination has the locks as long as it lives. */
static void stays_frozen_without_its_locks(void **state)
{
	unsigned i;

	copy_memory();
	stop_and_save();
	lock_result = -EAGAIN;
	event("RESUME");
	assert_string_equal(news(), "locked-out");
	for (i = 0; i < 3; i++) {
		elapse(migration->retry);
		assert_string_equal(news(), "locked-out");
		assert_true(migration_is_frozen(migration));
	}
	lock_result = 0;
	elapse(migration->retry);
	come_home();
}

/* A controller that has just died has a successor, which is frozen too. */
static void thaws_until_it_works(void **state)
{
	copy_memory();
	stop_and_save();
	event("RESUME");
	assert_string_equal(news(), "lock off");
	breaks(MIGRATION_MESSAGE_MODE_OFF);
	assert_string_equal(news(), "");
	elapse(migration->retry);
	assert_string_equal(news(), "off");
	done(MIGRATION_MESSAGE_MODE_OFF);
	breaks(MIGRATION_THAW);
	assert_true(migration_is_frozen(migration));
	news();
	elapse(migration->retry);
	assert_string_equal(news(), "thaw");
}

static void a_new_one_begins_at_home(void **state)
{
	copy_memory();
	stop_and_save();
	lock_result = -EAGAIN;
	status("failed");
	status("setup");
	assert_string_equal(news(), "locked-out");
	lock_result = 0;
	elapse(migration->retry);
	done(MIGRATION_MESSAGE_MODE_OFF);
	done(MIGRATION_THAW);
	assert_string_equal(news(), "lock off thaw ask on pci");
	assert_string_equal(migration_state_name(migration), "setup");
}

static void a_new_one_that_ends_on_the_way_home_does_not_begin(void **state)
{
	copy_memory();
	stop_and_save();
	status("failed");
	status("setup");
	status("cancelled");
	come_home();
}

/* What was written directly before the event came is carried in the overlay. */
static void message_mode_counts_from_the_event(void **state)
{
	struct timespec wall, monotonic;
	struct monitor_time then;
	uint64_t now;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	now = (uint64_t)monotonic.tv_sec * 1000000 + monotonic.tv_nsec / 1000;
	then.seconds = wall.tv_sec - 2;
	then.micros = wall.tv_nsec / 1000;
	{
		struct json_object *data = json_object_new_object();

		json_add_string(data, "status", "setup");
		migration_event(migration, "MIGRATION", data, &then);
		json_object_put(data);
	}
	assert_true(migration->since <= now - 2000000 - 5000);
	assert_true(migration->since >= now - 3000000);
}

/*
 * Incoming
 */
static void load_of(unsigned count, unsigned number, bool last)
{
	struct blob whole = {}, parts[BLOB_PARTS] = {};
	unsigned i;

	blob_append(&whole, "state", 5);
	blob_split(&whole, parts, count, NULL);
	calls[number] = (struct vmstate_call){};
	migration_load(migration, number, parts[number].data, parts[number].size, &calls[number]);
	if (!last)
		assert_true(calls[number].answered && !calls[number].error[0]);
	for (i = 0; i < BLOB_PARTS; i++)
		blob_free(&parts[i]);
	blob_free(&whole);
}

static void load(unsigned number, bool last)
{
	load_of(BLOB_PARTS, number, last);
}

static void load_all(void)
{
	unsigned i;

	/* In any order. */
	for (i = BLOB_PARTS - 1; i > 0; i--)
		load(i, false);
	news();
	load(0, true);
}

/* As many as each of them says. */
static void arrives_in_fewer_parts(void **state)
{
	load_of(2, 1, false);
	news();
	load_of(2, 0, true);
	assert_string_equal(news(), "judge lock adopt");
}

/* QEMU may have taken more Ids than it had to. */
static void pads_change_nothing(void **state)
{
	struct blob whole = {}, part = {}, pad = {};

	blob_append(&whole, "state", 5);
	blob_split(&whole, &part, 1, NULL);
	blob_pad(&part, 1, &pad, NULL);
	for (unsigned i = 0; i < 2; i++) {
		calls[1] = (struct vmstate_call){};
		migration_load(migration, 1, pad.data, pad.size, &calls[1]);
		assert_string_equal(news(), "yes");
		if (i == 0) {
			calls[0] = (struct vmstate_call){};
			migration_load(migration, 0, part.data, part.size, &calls[0]);
			assert_string_equal(news(), "judge lock adopt");
			done(MIGRATION_ADOPT);
			assert_string_equal(news(), "replay yes");
		}
	}
	blob_free(&whole);
	blob_free(&part);
	blob_free(&pad);
}

static void parts_of_other_counts_do_not_mix(void **state)
{
	load_of(2, 1, false);
	news();
	load_of(1, 0, true);
	assert_true(strstr(calls[0].error, "another time"));
}

static void arrives(void **state)
{
	assert_string_equal(migration_state_name(migration), "incoming");
	assert_true(migration_is_frozen(migration));
	assert_true(migration_awaits_state(migration));
	status("setup");
	status("active");
	read_id(0);
	read_id(1);
	assert_string_equal(news(), "yes yes");
	load_all();
	assert_string_equal(news(), "judge lock adopt");
	assert_true(migration_is_frozen(migration));
	assert_false(migration_awaits_state(migration));
	done(MIGRATION_ADOPT);
	/* Written before QEMU is told to go on. */
	assert_string_equal(news(), "replay yes");
	status("completed");
	assert_string_equal(news(), "loaded");
	done(MIGRATION_REPLAY);
	assert_string_equal(news(), "");
	assert_true(migration_is_frozen(migration));
	event("RESUME");
	assert_string_equal(news(), "thaw");
	assert_string_equal(why_it_stands_still(), "loading, judging and locking, adopting, "
						   "QEMU's half, waiting for QEMU");
	done(MIGRATION_THAW);
	assert_string_equal(migration_state_name(migration), "none");
	assert_int_equal(migration->standstill.began, 0);
	/* And may go on to the next host. */
	copy_memory();
	stop_and_save();
}

static void waits_for_the_replay(void **state)
{
	load_all();
	done(MIGRATION_ADOPT);
	news();
	event("RESUME");
	assert_string_equal(news(), "");
	done(MIGRATION_REPLAY);
	assert_string_equal(news(), "thaw");
}

static void refuses_a_wrong_state(void **state)
{
	judgement = "another disk";
	load_all();
	assert_string_equal(calls[0].error, "another disk");
	assert_string_equal(news(), "judge abandon no");
}

static void refuses_a_damaged_part(void **state)
{
	calls[3] = (struct vmstate_call){};
	migration_load(migration, 3, "nonsense", 8, &calls[3]);
	assert_true(calls[3].error[0]);
	load(3, false);
}

static void waits_for_the_locks_a_moment(void **state)
{
	lock_result = -EAGAIN;
	load_all();
	assert_string_equal(news(), "judge locked-out");
	lock_result = 0;
	elapse(migration->retry);
	assert_string_equal(news(), "lock adopt");
}

static void gives_the_locks_up_in_the_end(void **state)
{
	lock_result = -EAGAIN;
	load_all();
	while (!calls[0].answered) {
		elapse(migration->retry);
		news();
	}
	assert_string_equal(calls[0].error, "somebody else has it");
	assert_false(migration->locked);
}

/* The source goes on when it has the answer, and wants the locks. */
static void unlocks_before_it_says_no(void **state)
{
	load_all();
	news();
	breaks(MIGRATION_ADOPT);
	assert_string_equal(news(), "unlock abandon no");
	assert_true(migration_is_frozen(migration));
	assert_true(migration_awaits_state(migration));
}

static void gives_back_when_qemu_fails(void **state)
{
	load_all();
	done(MIGRATION_ADOPT);
	news();
	status("failed");
	assert_string_equal(news(), "unlock abandon");
	/* Of the replay nothing is left to wait for. */
	event("RESUME");
	assert_string_equal(news(), "lock thaw");
}

static void runs_without_a_state(void **state)
{
	event("RESUME");
	assert_string_equal(news(), "lock thaw");
}

/* --suspend, then on to the next host. */
static void leaves_again_without_having_run(void **state)
{
	load_all();
	done(MIGRATION_ADOPT);
	done(MIGRATION_REPLAY);
	status("completed");
	news();
	status("setup");
	assert_string_equal(news(), "thaw");
	done(MIGRATION_THAW);
	assert_string_equal(news(), "ask on pci");
}

/* QEMU does not have what would be read of it, and a thaw would be the end of the replay. */
static void does_not_leave_before_it_is_there(void **state)
{
	load_all();
	done(MIGRATION_ADOPT);
	status("completed");
	news();
	status("setup");
	assert_string_equal(news(), "");
	done(MIGRATION_REPLAY);
	assert_string_equal(news(), "thaw");
	done(MIGRATION_THAW);
	assert_string_equal(news(), "ask on pci");
}

static void is_not_read_before_it_is_there(void **state)
{
	load_all();
	done(MIGRATION_ADOPT);
	status("completed");
	status("setup");
	permit(NULL);
	news();
	assert_true(strstr(read_id(0)->error, "not back yet"));
	status("failed");
	assert_string_equal(news(), "no");
	done(MIGRATION_REPLAY);
	assert_string_equal(news(), "thaw");
	done(MIGRATION_THAW);
	assert_string_equal(migration_state_name(migration), "none");
	copy_memory();
	stop_and_save();
}

/* QEMU may not have made its qtest object. */
static void does_not_wait_for_the_replay_for_ever(void **state)
{
	load_all();
	done(MIGRATION_ADOPT);
	event("RESUME");
	news();
	elapse(migration->retry);
	assert_string_equal(news(), "thaw");
	done(MIGRATION_THAW);
	assert_string_equal(migration_state_name(migration), "none");
}

#define OUTGOING(name) cmocka_unit_test_setup_teardown(name, begin, finish)
#define INCOMING(name) cmocka_unit_test_setup_teardown(name, begin_incoming, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OUTGOING(saves_what_was_collected),
		OUTGOING(saves_as_many_parts_as_there_are),
		OUTGOING(counts_how_long_the_guest_stands_still),
		OUTGOING(refuses_what_was_not_announced),
		OUTGOING(refuses_without_a_permit),
		OUTGOING(waits_for_a_late_permit),
		OUTGOING(passes_a_refusal_on),
		OUTGOING(refuses_when_qemu_has_not_answered),
		OUTGOING(refuses_what_qemu_may_not_do),
		OUTGOING(refuses_without_message_mode),
		OUTGOING(goes_home_when_it_cannot_collect),
		OUTGOING(a_sync_that_fails_is_an_error),
		OUTGOING(does_not_take_too_long),
		OUTGOING(a_late_collection_is_dropped),
		OUTGOING(goes_on_after_a_failure),
		OUTGOING(goes_on_when_the_guest_does),
		OUTGOING(goes_on_after_a_save),
		OUTGOING(cancelled_while_copying),
		OUTGOING(reads_again_with_each_pass),
		OUTGOING(counts_ids_in_message_mode),
		OUTGOING(resume_in_mid_copy_ends_the_rest),
		OUTGOING(a_rest_that_comes_too_late_is_ended),
		OUTGOING(a_rest_that_fails_is_a_problem),
		OUTGOING(does_without_a_rest),
		OUTGOING(does_not_rest_without_a_permit),
		OUTGOING(a_cancelled_one_ends_the_rest),
		OUTGOING(stays_frozen_without_its_locks),
		OUTGOING(thaws_until_it_works),
		OUTGOING(a_new_one_begins_at_home),
		OUTGOING(a_new_one_that_ends_on_the_way_home_does_not_begin),
		OUTGOING(message_mode_counts_from_the_event),
		INCOMING(arrives),
		INCOMING(arrives_in_fewer_parts),
		INCOMING(pads_change_nothing),
		INCOMING(parts_of_other_counts_do_not_mix),
		INCOMING(waits_for_the_replay),
		INCOMING(refuses_a_wrong_state),
		INCOMING(refuses_a_damaged_part),
		INCOMING(waits_for_the_locks_a_moment),
		INCOMING(gives_the_locks_up_in_the_end),
		INCOMING(unlocks_before_it_says_no),
		INCOMING(gives_back_when_qemu_fails),
		INCOMING(runs_without_a_state),
		INCOMING(leaves_again_without_having_run),
		INCOMING(does_not_leave_before_it_is_there),
		INCOMING(is_not_read_before_it_is_there),
		INCOMING(does_not_wait_for_the_replay_for_ever),
	};

	log_open("test-migration", LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
