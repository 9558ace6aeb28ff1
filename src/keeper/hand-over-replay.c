// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/hand-over-internal.h"

#include <errno.h>

#include "base/log.h"

/*
 * The script is written before Load is answered, and QEMU takes it in its next turns. Our section
 * of the stream often comes before the PCI bridges', and while QEMU waits for more of the stream
 * it may take the script too early, when there is no way to the devices yet: what is read back
 * then is wrong, and it is sent again.
 */
#define RETRY_US  2000
#define MAX_TRIES 2000u

static void finish(struct hand_over *hand_over, const struct error *err)
{
	replay_free(steal_pointer(hand_over->replay));
	hand_over_forget_arrivals(hand_over);
	hand_over_finished(hand_over, MIGRATION_REPLAY, err);
}

static int make_script(struct hand_over *hand_over)
{
	struct replay *last = hand_over->replay;
	unsigned i;
	int r;

	hand_over->replay = replay_new(hand_over->replay_sent, last);
	replay_free(last);
	r = hand_over->replay ? 0 : -ENOMEM;
	for (i = 0; r == 0 && i < hand_over->arrival_count; i++)
		r = replay_add(hand_over->replay, &hand_over->arrivals[i].half);
	return r;
}

static void send_script(struct hand_over *hand_over)
{
	_cleanup_error_ struct error *err = NULL;
	const struct blob *script = NULL;
	int r = make_script(hand_over);

	sd_event_source_set_enabled(hand_over->replay_timer, SD_EVENT_OFF);
	if (r == 0) {
		script = replay_script(hand_over->replay);
		r = qtest_send(hand_over->qtest, script->data, script->size);
	}
	if (r < 0)
		error_set_errno(&err, -r, "replay");
	if (err || script->size == 0) {
		finish(hand_over, err);
		return;
	}
	hand_over->replay_running = hand_over->replay_sent = true;
	hand_over->replay_tries++;
}

/* What has been read back is what counts; the last line is on its way before the guest runs. */
static void end_script(struct hand_over *hand_over)
{
	const char *mismatch = replay_mismatch(hand_over->replay);
	_cleanup_error_ struct error *err = NULL;
	char line[32];

	if (mismatch && hand_over->replay_tries < MAX_TRIES) {
		hand_over->replay_running = false;
		log_guest(LOG_DEBUG, "replay: %s is not as it was yet", mismatch);
		sd_event_source_set_time_relative(hand_over->replay_timer, RETRY_US);
		sd_event_source_set_enabled(hand_over->replay_timer, SD_EVENT_ONESHOT);
		return;
	}
	replay_end(hand_over->replay, line);
	qtest_send(hand_over->qtest, line, strlen(line));
	if (mismatch)
		error_set(&err, EIO, "%s is not as it was", mismatch);
	else
		log_info("QEMU's half of the NVMe controllers is back, after %u tries",
			 hand_over->replay_tries);
	finish(hand_over, err);
}

static void on_line(void *opaque, const char *line)
{
	struct hand_over *hand_over = opaque;

	if (hand_over->replay && hand_over->replay_running &&
	    replay_answer(hand_over->replay, line))
		end_script(hand_over);
}

static const struct qtest_ops qtest_ops = { .line = on_line };

void hand_over_make_qtest(struct hand_over *hand_over)
{
	_cleanup_error_ struct error *err = NULL;

	hand_over->qtest = qtest_new(hand_over->keeper->event, hand_over->keeper->monitor,
				     &qtest_ops, hand_over, &err);
	if (!hand_over->qtest)
		log_error("%s", err->message);
}

void hand_over_begin_replay(struct hand_over *hand_over)
{
	_cleanup_error_ struct error *err = NULL;

	hand_over->replay_tries = 0;
	if (!hand_over->qtest) {
		error_set(&err, ENOTCONN, "there is no monitor to do it with");
		finish(hand_over, err);
		return;
	}
	send_script(hand_over);
}

void hand_over_loaded(void *opaque)
{
	struct hand_over *hand_over = opaque;

	if (hand_over->replay && !hand_over->replay_running)
		send_script(hand_over);
}

void hand_over_end_replay(struct hand_over *hand_over)
{
	sd_event_source_set_enabled(hand_over->replay_timer, SD_EVENT_OFF);
	replay_free(steal_pointer(hand_over->replay));
	qtest_free(steal_pointer(hand_over->qtest));
}
