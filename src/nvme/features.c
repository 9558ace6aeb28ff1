// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/features.h"

#include "base/clock.h"
#include "nvme/async-event.h"
#include "nvme/controller-private.h"
#include "nvme/identify.h"
#include "nvme/keep-alive.h"
#include "nvme/reservation-log.h"
#include "nvme/reservation.h"
#include "nvme/smart.h"

enum select {
	SELECT_CURRENT,
	SELECT_DEFAULT,
	SELECT_SAVED,
	SELECT_SUPPORTED,
};

#define OF_NAMESPACE (1u << 1)
#define CHANGEABLE   (1u << 2)

/* Temperature Threshold, figure 273 */
#define THRESHOLD(cdw11) ((cdw11)&0xffff)
#define SENSOR(cdw11)	 (((cdw11) >> 16) & 15) /* 0: composite, 15: all */
#define TYPE(cdw11)	 (((cdw11) >> 20) & 3)	/* 0: over, 1: under */

/*
 * Theory of operation
 *
 * Most features are one number each; a few come with data, which is read once into a buffer. None
 * is saveable, so that the default is also what is saved. All are in the state: setting one twice is
 * the same as setting it once.
 */

static uint64_t now_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

#define TIMESTAMP_SET	 1u
#define TIMESTAMP_ORIGIN (1u << 1) /* of the byte behind the time: set by the host */
#define TIMESTAMP_BYTES	 6

void nvme_features_reset(struct nvme_state_features *features)
{
	*features = (struct nvme_state_features){
		.over_temperature = NVME_WARNING_TEMPERATURE,
		.write_cache = 1,
		.timestamp = now_ms() << 1, /* it is 0 now */
	};
}

static uint32_t queues(const struct nvme_controller *ctrl)
{
	return (ctrl->config.queues - 1) | (ctrl->config.queues - 1) << 16;
}

static bool vector_is_valid(const struct nvme_controller *ctrl, uint32_t cdw11)
{
	return (cdw11 & 0xffff) < ctrl->config.vectors;
}

/* Features that are one number each, with the bits of it that can be set. */
static uint32_t *number(struct nvme_state_features *features, uint8_t id, uint32_t *ret_bits)
{
	switch (id) {
	case NVME_FEATURE_ARBITRATION:
		*ret_bits = 0xffffff07;
		return &features->arbitration;
	case NVME_FEATURE_POWER:
		*ret_bits = 0xe0; /* workload hint; the only state is 0 */
		return &features->power;
	case NVME_FEATURE_ERROR_RECOVERY:
		*ret_bits = 0xffff;
		return &features->error_recovery;
	case NVME_FEATURE_WRITE_CACHE:
		*ret_bits = 1;
		return &features->write_cache;
	case NVME_FEATURE_COALESCING:
		*ret_bits = 0xffff;
		return &features->coalescing;
	case NVME_FEATURE_WRITE_ATOMICITY:
		*ret_bits = 1;
		return &features->write_atomicity;
	case NVME_FEATURE_ASYNC_EVENT:
		*ret_bits = 0xff | NVME_EVENT_NAMESPACE_MASK;
		return &features->async_event;
	default:
		return NULL;
	}
}

static uint32_t *threshold(struct nvme_state_features *features, uint32_t cdw11, bool set)
{
	if (SENSOR(cdw11) && !(set && SENSOR(cdw11) == 15))
		return NULL;
	switch (TYPE(cdw11)) {
	case 0:
		return &features->over_temperature;
	case 1:
		return &features->under_temperature;
	default:
		return NULL;
	}
}

/* How many bytes of data a feature comes with; 0: none. */
static size_t data_bytes(const struct nvme_command *command)
{
	switch (command->cdw10 & 0xff) {
	case NVME_FEATURE_TIMESTAMP:
		return 8;
	case NVME_FEATURE_HOST_BEHAVIOR:
		return NVME_HOST_BEHAVIOR_BYTES;
	case NVME_FEATURE_HOST_ID:
		return command->cdw11 & NVME_HOST_ID_EXTENDED ? 16 : 8;
	default:
		return 0;
	}
}

static nvme_result get_data(struct nvme_request *request,
			    const struct nvme_state_features *features, size_t bytes)
{
	uint8_t data[NVME_HOST_BEHAVIOR_BYTES] = { 0 };
	uint64_t now;

	switch (request->command.cdw10 & 0xff) {
	case NVME_FEATURE_TIMESTAMP:
		now = now_ms() - (features->timestamp >> 1);
		memcpy(data, &now, TIMESTAMP_BYTES);
		data[TIMESTAMP_BYTES] = features->timestamp & TIMESTAMP_SET ? TIMESTAMP_ORIGIN : 0;
		break;
	case NVME_FEATURE_HOST_BEHAVIOR:
		memcpy(data, features->host_behavior, sizeof(features->host_behavior));
		break;
	case NVME_FEATURE_HOST_ID:
		memcpy(data, features->host_id, bytes);
		break;
	}
	return nvme_data_pointer_reply(request, data, bytes);
}

static nvme_result set_data(struct nvme_request *request, struct nvme_state_features *features,
			    size_t bytes)
{
	uint8_t data[NVME_HOST_BEHAVIOR_BYTES];
	nvme_result result = nvme_data_pointer_fetch(request, data, bytes);
	uint64_t then = 0;

	if (result)
		return result;
	switch (request->command.cdw10 & 0xff) {
	case NVME_FEATURE_TIMESTAMP:
		memcpy(&then, data, TIMESTAMP_BYTES);
		NVME_STORE(features->timestamp, (now_ms() - then) << 1 | TIMESTAMP_SET);
		break;
	case NVME_FEATURE_HOST_BEHAVIOR:
		for (size_t i = 0; i < sizeof(features->host_behavior); i++)
			if (data[i] > 1)
				return nvme_invalid_field(request, prp1);
		memcpy(features->host_behavior, data, sizeof(features->host_behavior));
		break;
	case NVME_FEATURE_HOST_ID:
		memset(features->host_id, 0, sizeof(features->host_id));
		memcpy(features->host_id, data, bytes);
		features->host_id_bytes = bytes;
		nvme_reservation_host_changed(request->worker->ctrl);
		break;
	}
	return 0;
}

static uint64_t *vector_word(struct nvme_state_features *features, unsigned vector)
{
	return &features->vectors_uncoalesced[vector / 64];
}

static nvme_status get(struct nvme_request *request, struct nvme_state_features *features)
{
	const struct nvme_controller *ctrl = request->worker->ctrl;
	uint32_t cdw11 = request->command.cdw11, bits, *value;
	uint8_t id = request->command.cdw10 & 0xff;

	switch (id) {
	case NVME_FEATURE_QUEUES:
		request->result = queues(ctrl);
		return 0;
	case NVME_FEATURE_TEMPERATURE:
		value = threshold(features, cdw11, false);
		break;
	case NVME_FEATURE_VECTOR:
		if (!vector_is_valid(ctrl, cdw11))
			return nvme_invalid_field(request, cdw11);
		cdw11 &= 0xffff;
		request->result = cdw11 | (*vector_word(features, cdw11) >> (cdw11 % 64) & 1) << 16;
		return 0;
	case NVME_FEATURE_KEEP_ALIVE:
		request->result =
			features == &ctrl->state->features ? READ_ONCE(ctrl->state->keep_alive) : 0;
		return 0;
	case NVME_FEATURE_NOTIFICATION_MASK:
	case NVME_FEATURE_PERSISTENCE:
		return nvme_reservation_log_get_feature(request,
							features != &ctrl->state->features);
	default:
		value = number(features, id, &bits);
		if (!value)
			return nvme_invalid_field(request, cdw10);
	}
	if (!value)
		return nvme_invalid_field(request, cdw11);
	request->result = *value;
	return 0;
}

static nvme_result get_from(struct nvme_request *request, struct nvme_state_features *features)
{
	size_t bytes = data_bytes(&request->command);

	return bytes ? get_data(request, features, bytes) : get(request, features);
}

static bool is_of_namespace(uint8_t id)
{
	return id == NVME_FEATURE_NOTIFICATION_MASK || id == NVME_FEATURE_PERSISTENCE;
}

/* What may be set, and nothing is transferred. */
static nvme_status get_supported(struct nvme_request *request, struct nvme_state_features *features)
{
	nvme_status status = data_bytes(&request->command) ? 0 : get(request, features);

	request->result = CHANGEABLE | (is_of_namespace(request->command.cdw10) ? OF_NAMESPACE : 0);
	return status;
}

void nvme_features_get(struct nvme_request *request)
{
	struct nvme_state_features defaults;
	struct nvme_state_features *current = &request->worker->ctrl->state->features;
	nvme_result result;

	nvme_features_reset(&defaults);
	switch (request->command.cdw10 >> 8 & 7) {
	case SELECT_CURRENT:
		result = get_from(request, current);
		break;
	case SELECT_DEFAULT:
	case SELECT_SAVED: /* nothing was ever saved: section 5.15 says the default then */
		result = get_from(request, &defaults);
		break;
	case SELECT_SUPPORTED:
		result = get_supported(request, current);
		break;
	default:
		result = nvme_invalid_field(request, cdw10);
	}
	if (result)
		request->result = 0;
	nvme_request_finish(request, result);
}

/* Section 5.21.1.7: once, and before there are any I/O queues. */
static nvme_status set_queues(struct nvme_request *request)
{
	struct nvme_controller *ctrl = request->worker->ctrl;
	uint32_t cdw11 = request->command.cdw11;

	if ((cdw11 & 0xffff) == 0xffff || cdw11 >> 16 == 0xffff)
		return nvme_invalid_field(request, cdw11);
	for (unsigned id = 1; id < NVME_MAX_QUEUES; id++)
		if (ctrl->state->sqs[id].entries || ctrl->state->cqs[id].entries)
			return NVME_COMMAND_SEQUENCE_ERROR | NVME_DNR;
	request->result = queues(ctrl);
	return 0;
}

static nvme_status set_vector(struct nvme_request *request)
{
	struct nvme_controller *ctrl = request->worker->ctrl;
	unsigned vector = request->command.cdw11 & 0xffff;
	uint64_t bit = 1ULL << (vector % 64), *word;

	if (!vector_is_valid(ctrl, vector))
		return nvme_invalid_field(request, cdw11);
	word = vector_word(&ctrl->state->features, vector);
	if (request->command.cdw11 >> 16 & 1)
		*word |= bit;
	else
		*word &= ~bit;
	return 0;
}

static nvme_status set(struct nvme_request *request)
{
	struct nvme_state_features *features = &request->worker->ctrl->state->features;
	uint32_t cdw11 = request->command.cdw11, bits, *value;
	uint8_t id = request->command.cdw10 & 0xff;

	switch (id) {
	case NVME_FEATURE_QUEUES:
		return set_queues(request);
	case NVME_FEATURE_VECTOR:
		return set_vector(request);
	case NVME_FEATURE_TEMPERATURE:
		value = threshold(features, cdw11, true);
		if (!value)
			return nvme_invalid_field(request, cdw11);
		WRITE_ONCE(*value, THRESHOLD(cdw11));
		if (nvme_smart_is_too_hot(features))
			nvme_async_event_raise(request->worker->ctrl, NVME_EVENT_TEMPERATURE);
		return 0;
	case NVME_FEATURE_KEEP_ALIVE:
		return nvme_keep_alive_set(request);
	case NVME_FEATURE_NOTIFICATION_MASK:
		return nvme_reservation_log_set_feature(request);
	case NVME_FEATURE_PERSISTENCE:
		return 0; /* it was judged: no namespace can, and none shall */
	case NVME_FEATURE_POWER:
		if (cdw11 & 0x1f)
			return nvme_invalid_field(request, cdw11);
		break;
	}
	value = number(features, id, &bits);
	if (!value)
		return nvme_invalid_field(request, cdw10);
	WRITE_ONCE(*value, cdw11 & bits);
	return 0;
}

nvme_status nvme_features_judge(struct nvme_request *request)
{
	uint32_t cdw10 = request->command.cdw10;

	if ((cdw10 & 0xff) != NVME_FEATURE_PERSISTENCE || cdw10 & NVME_FEATURE_SAVE)
		return 0;
	return nvme_reservation_judge_persistence(request);
}

void nvme_features_set(struct nvme_request *request)
{
	size_t bytes = data_bytes(&request->command);
	nvme_result result;

	if (request->command.cdw10 & NVME_FEATURE_SAVE)
		result = NVME_FEATURE_NOT_SAVEABLE | NVME_DNR;
	else if (bytes)
		result = set_data(request, &request->worker->ctrl->state->features, bytes);
	else
		result = set(request);
	nvme_request_finish(request, result);
}

void nvme_features_effects(struct nvme_controller *ctrl, uint32_t *effects)
{
	static const uint8_t others[] = { NVME_FEATURE_TEMPERATURE, NVME_FEATURE_QUEUES,
					  NVME_FEATURE_VECTOR,	    NVME_FEATURE_TIMESTAMP,
					  NVME_FEATURE_KEEP_ALIVE,  NVME_FEATURE_HOST_BEHAVIOR,
					  NVME_FEATURE_HOST_ID };
	struct nvme_state_features unused;
	uint32_t bits;

	for (unsigned id = 0; id < 256; id++)
		if (number(&unused, id, &bits) || memchr(others, id, sizeof(others)))
			effects[id] = NVME_SUPPORTED | NVME_SCOPE_CONTROLLER;
		else if (is_of_namespace(id) && nvme_reservation_is_offered(ctrl))
			effects[id] = NVME_SUPPORTED | NVME_SCOPE_NAMESPACE;
}
