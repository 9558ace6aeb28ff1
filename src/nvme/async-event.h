/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_ASYNC_EVENT_H
#define NVME_ASYNC_EVENT_H

#include "nvme/request.h"

/*
 * Theory of operation
 *
 * Asynchronous Event Requests are parked: requests that wait for an event. An event is a bit: it
 * stands for "look at the log page" and a second one before the guest has looked says nothing new.
 * Any thread raises one (an atomic or, and a kick); worker 0 delivers it with its next poll. After
 * an event of a type no other of that type is delivered until the guest has read the log page with
 * RAE 0 (section 5.2).
 */
struct nvme_controller;

enum nvme_event {
	NVME_EVENT_DOORBELL_REGISTER,
	NVME_EVENT_DOORBELL_VALUE,
	NVME_EVENT_NAMESPACE,
	NVME_EVENT_TEMPERATURE,
	NVME_EVENT_RESERVATION,
};

/** nvme_async_event_raise() - any thread */
void nvme_async_event_raise(struct nvme_controller *ctrl, enum nvme_event event);

/** nvme_async_event_request() - the admin command */
void nvme_async_event_request(struct nvme_request *request);

/** nvme_async_event_flush() - deliver what can be; worker 0. Return: whether any was. */
bool nvme_async_event_flush(struct nvme_controller *ctrl);

/** nvme_async_event_has_work() - would nvme_async_event_flush() deliver any? */
bool nvme_async_event_has_work(struct nvme_controller *ctrl);

/** nvme_async_event_told() - a request's result is in the journal: no other of the kind for now */
void nvme_async_event_told(struct nvme_controller *ctrl, uint32_t result);

/** nvme_async_event_log_read() - the guest has read a log page with RAE 0: its events may come
 * again */
void nvme_async_event_log_read(struct nvme_controller *ctrl, uint8_t page);

#endif
