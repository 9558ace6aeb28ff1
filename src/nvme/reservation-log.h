/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_RESERVATION_LOG_H
#define NVME_RESERVATION_LOG_H

#include "nvme/request.h"

/*
 * Theory of operation
 *
 * Who registers, preempts or releases tells the controllers of other hosts what becomes of them
 * (section 8.19): each *place* of the page that the controllers share (reservation.h) has a word with
 * the number of notices that it got and the types of the last of them. It is changed with the
 * reservations, by the one store that changes them.
 *
 * A controller that is told of a change compares that number with the one it has `seen`, which is in its
 * state, and what is new and not masked becomes a page of the log. Only worker 0 does this, and reads the
 * log; the control thread says that it is due. Each Get Log Page reads one page, the oldest; a page
 * counts as told when the command's result is in the journal. When more come than there is room for, the
 * oldest go, and the count of the next one shows it.
 */
struct nvme_controller;
struct nvme_namespace;

#define NVME_NOTICES_A_WORD 24

/** nvme_reservation_log_append() - a word of a place, with one more notice */
static inline uint64_t nvme_reservation_log_append(uint64_t word, unsigned type)
{
	return (word >> 16 << 2 | type) << 16 | (uint16_t)(word + 1);
}

/** nvme_reservation_log_open() - the namespace comes: what its place was told before is not for us */
void nvme_reservation_log_open(const struct nvme_namespace *ns);

/** nvme_reservation_log_reset() - of the controller, which stands still: the same, of all */
void nvme_reservation_log_reset(struct nvme_controller *ctrl);

/** nvme_reservation_log_adopt() - what a predecessor had read and not told is not read */
void nvme_reservation_log_adopt(struct nvme_controller *ctrl);

/** nvme_reservation_log_poll() - see what is due; worker 0. Return: was there any? */
bool nvme_reservation_log_poll(struct nvme_controller *ctrl);

/** nvme_reservation_log_has_work() - would nvme_reservation_log_poll() look? */
bool nvme_reservation_log_has_work(struct nvme_controller *ctrl);

/** nvme_reservation_log_page() - read one, zeroes if there is none; @page is zeroes */
void nvme_reservation_log_page(struct nvme_request *request, void *page);

/** nvme_reservation_log_get_feature() - 82h and 83h, which a namespace has. @initial: not what it is
 * now, but what it was at first */
nvme_status nvme_reservation_log_get_feature(struct nvme_request *request, bool initial);

/** nvme_reservation_log_set_feature() - 82h */
nvme_status nvme_reservation_log_set_feature(struct nvme_request *request);

#endif
