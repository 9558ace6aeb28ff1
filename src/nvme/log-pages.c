// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/log-pages.h"

#include "nvme/admin.h"
#include "nvme/ana.h"
#include "nvme/async-event.h"
#include "nvme/controller-private.h"
#include "nvme/features.h"
#include "nvme/identify.h"
#include "nvme/io.h"
#include "nvme/reservation-log.h"
#include "nvme/reservation.h"
#include "nvme/smart.h"

/* The longest page, and longer than MDTS allows nothing is asked for. */
#define MAX_PAGE 4096
_Static_assert(NVME_ERROR_LOG_ENTRIES * sizeof(struct nvme_error_entry) <= MAX_PAGE, "error log");
_Static_assert(NVME_CHANGED_NAMESPACES_MAX * sizeof(uint32_t) <= MAX_PAGE, "changed namespaces");

/*
 * The error log has many writers and one reader (worker 0). An entry is words; its number is stored
 * last, and read before and after the others.
 */
static void add_entry(struct nvme_state *state, const struct nvme_error_entry *entry)
{
	uint64_t number = __atomic_add_fetch(&state->error_count, 1, __ATOMIC_RELAXED);
	uint64_t *slot = state->errors[number % NVME_ERROR_LOG_ENTRIES], words[8];

	memcpy(words, entry, sizeof(words));
	STORE_RELEASE(slot[0], 0);
	for (unsigned i = 1; i < ARRAY_SIZE(words); i++)
		STORE_RELEASE(slot[i], words[i]);
	STORE_RELEASE(slot[0], number);
}

nvme_status nvme_log_pages_add_error(const struct nvme_request *request, nvme_status status)
{
	const struct nvme_command *command = &request->command;
	bool has_lba = request->sq->id && command->opcode != NVME_IO_FLUSH &&
		       command->opcode != NVME_IO_DATASET_MANAGEMENT;
	const struct nvme_error_entry entry = {
		.sqid = request->sq->id,
		.cid = command->cid,
		.status = (status | NVME_MORE) << 1,
		.location = request->error_location,
		.lba = has_lba ? command->cdw10 | (uint64_t)command->cdw11 << 32 : 0,
		.nsid = command->nsid,
	};

	add_entry(request->worker->ctrl->state, &entry);
	return NVME_MORE;
}

static void add_without_command(struct nvme_controller *ctrl, nvme_status status)
{
	const struct nvme_error_entry entry = {
		.sqid = NVME_ERROR_NO_COMMAND,
		.cid = NVME_ERROR_NO_COMMAND,
		.status = status << 1,
		.location = NVME_ERROR_NO_LOCATION,
	};

	add_entry(ctrl->state, &entry);
}

void nvme_log_pages_add_timeout(struct nvme_controller *ctrl)
{
	add_without_command(ctrl, NVME_KEEP_ALIVE_EXPIRED);
}

void nvme_log_pages_add_doorbell(struct nvme_controller *ctrl, bool there_is)
{
	add_without_command(ctrl, there_is ? NVME_INVALID_FIELD : NVME_INVALID_QUEUE_ID);
}

static bool copy_error(uint64_t *slot, uint64_t number, struct nvme_error_entry *ret)
{
	uint64_t words[8];

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = LOAD_ACQUIRE(slot[i]);
	if (words[0] != number || LOAD_ACQUIRE(slot[0]) != number)
		return false;
	memcpy(ret, words, sizeof(*ret));
	return true;
}

/* The newest first. */
static void error_page(struct nvme_state *state, void *page)
{
	struct nvme_error_entry *entry = page;
	uint64_t newest = LOAD_ACQUIRE(state->error_count);

	for (uint64_t i = 0; i < NVME_ERROR_LOG_ENTRIES && i < newest; i++) {
		uint64_t number = newest - i;

		if (copy_error(state->errors[number % NVME_ERROR_LOG_ENTRIES], number, entry))
			entry++;
	}
}

static void firmware_page(void *page)
{
	struct nvme_firmware_log *firmware = page;

	firmware->active = 1;
	nvme_identify_pad(firmware->revision[0], sizeof(firmware->revision[0]), NVME_FIRMWARE);
}

/* What was read is put away, and forgotten only when the guest's command is executed. */
static uint64_t take_changed(struct nvme_state *state)
{
	uint64_t *changed = &state->events.changed_namespaces;
	uint64_t bits = __atomic_load_n(changed, __ATOMIC_ACQUIRE);

	NVME_STORE(state->events.taken_namespaces, state->events.taken_namespaces | bits);
	__atomic_fetch_and(changed, ~bits, __ATOMIC_ACQ_REL);
	nvme_crash_point();
	return bits;
}

static void forget_taken(struct nvme_request *request)
{
	struct nvme_state_events *events = &request->worker->ctrl->state->events;

	if (request->status)
		__atomic_fetch_or(&events->changed_namespaces, events->taken_namespaces,
				  __ATOMIC_ACQ_REL);
	NVME_STORE(events->taken_namespaces, 0);
}

static void changed_page(struct nvme_state *state, void *page, bool retain)
{
	uint64_t *changed = &state->events.changed_namespaces, bits;
	uint32_t *list = page;

	bits = retain ? __atomic_load_n(changed, __ATOMIC_ACQUIRE) : take_changed(state);
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++)
		if (bits >> (nsid - 1) & 1)
			*list++ = nsid;
}

static size_t page_size(struct nvme_controller *ctrl, uint8_t id)
{
	switch (id) {
	case NVME_LOG_ERROR:
		return NVME_ERROR_LOG_ENTRIES * sizeof(struct nvme_error_entry);
	case NVME_LOG_SMART:
		return sizeof(struct nvme_smart_log);
	case NVME_LOG_FIRMWARE:
		return sizeof(struct nvme_firmware_log);
	case NVME_LOG_CHANGED_NAMESPACES:
		return NVME_CHANGED_NAMESPACES_MAX * sizeof(uint32_t);
	case NVME_LOG_ANA:
		return nvme_ana_is_used(ctrl) ? NVME_ANA_LOG_BYTES : 0;
	case NVME_LOG_SUPPORTED:
	case NVME_LOG_FEATURES:
		return 256 * sizeof(uint32_t);
	case NVME_LOG_EFFECTS:
		return sizeof(struct nvme_effects_log);
	case NVME_LOG_RESERVATION:
		return nvme_reservation_is_offered(ctrl) ? sizeof(struct nvme_reservation_log) : 0;
	default:
		return 0;
	}
}

static void supported_page(struct nvme_controller *ctrl, uint32_t *page)
{
	for (unsigned id = 0; id < 256; id++)
		if (page_size(ctrl, id))
			page[id] = NVME_SUPPORTED;
}

static void effects_page(struct nvme_controller *ctrl, struct nvme_effects_log *effects)
{
	nvme_admin_effects(ctrl, effects->admin);
	nvme_io_effects(ctrl, effects->io);
}

static void fill(struct nvme_request *request, void *page)
{
	struct nvme_controller *ctrl = request->worker->ctrl;
	const struct nvme_command *command = &request->command;
	bool retain = command->cdw10 & NVME_LOG_RAE;
	uint8_t id = command->cdw10 & 0xff;

	/* Before the page is read: what happens from here on is a new event. */
	if (!retain)
		nvme_async_event_log_read(ctrl, id);
	switch (id) {
	case NVME_LOG_SUPPORTED:
		supported_page(ctrl, page);
		break;
	case NVME_LOG_ERROR:
		error_page(ctrl->state, page);
		break;
	case NVME_LOG_SMART:
		nvme_smart_page(ctrl, page);
		break;
	case NVME_LOG_FIRMWARE:
		firmware_page(page);
		break;
	case NVME_LOG_CHANGED_NAMESPACES:
		changed_page(ctrl->state, page, retain);
		break;
	case NVME_LOG_EFFECTS:
		effects_page(ctrl, page);
		break;
	case NVME_LOG_ANA:
		nvme_ana_log(ctrl, command->cdw10 & NVME_LOG_ANA_GROUPS_ONLY, page);
		break;
	case NVME_LOG_FEATURES:
		nvme_features_effects(ctrl, page);
		break;
	case NVME_LOG_RESERVATION:
		nvme_reservation_log_page(request, page);
		break;
	}
}

static nvme_status judge(struct nvme_request *request, uint64_t bytes, uint64_t offset)
{
	const struct nvme_command *command = &request->command;
	uint8_t id = command->cdw10 & 0xff;
	size_t size = page_size(request->worker->ctrl, id);

	if (!size)
		return nvme_invalid_field(request, cdw10); /* section 5.16 */
	/* LPA says that there is no SMART log for a namespace. */
	if (id == NVME_LOG_SMART && command->nsid && command->nsid != NVME_NSID_ALL)
		return nvme_invalid_field(request, nsid);
	if (bytes > NVME_MAX_TRANSFER)
		return nvme_invalid_field(request, cdw10);
	/* The index of an entry as offset. The command set that is asked for counts only when CC.CSS is
	 * 110b, which CAP does not offer. */
	if (command->cdw14 & NVME_LOG_INDEX_OFFSET)
		return nvme_invalid_field(request, cdw14);
	if (offset % sizeof(uint32_t) || offset > size)
		return nvme_invalid_field(request, cdw12);
	return 0;
}

void nvme_log_pages_get(struct nvme_request *request)
{
	const struct nvme_command *command = &request->command;
	uint64_t dwords = (command->cdw10 >> 16 | (uint64_t)(command->cdw11 & 0xffff) << 16) + 1;
	uint64_t offset = command->cdw12 | (uint64_t)command->cdw13 << 32, bytes = dwords * 4;
	uint8_t id = command->cdw10 & 0xff;
	_cleanup_free_ uint8_t *page = NULL;
	nvme_result result = judge(request, bytes, offset);

	if (!result) {
		if (id == NVME_LOG_CHANGED_NAMESPACES && !(command->cdw10 & NVME_LOG_RAE))
			request->on_executed = forget_taken;
		/* What is asked for beyond the end reads as zeroes. */
		page = calloc(1, MAX_PAGE + bytes);
		if (page)
			fill(request, page);
		result = page ? nvme_data_pointer_reply(request, page + offset, bytes)
			      : NVME_INTERNAL_ERROR;
	}
	nvme_request_finish(request, result);
}
