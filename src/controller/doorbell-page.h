/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_DOORBELL_PAGE_H
#define CONTROLLER_DOORBELL_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/relay-frame.h"

/*
 * The registers of the doorbells as a file that the client maps (nvme/doorbell.h): its second page, as
 * they are BAR0's. In the first page, which no guest sees, is only whether the second is in use: when
 * it is not, the state knows better. A client that writes there harms its own guest.
 */
struct doorbell_page {
	int fd;	      /* -1: there is none, doorbells are trapped */
	void *memory; /* of the file */
};

/**
 * doorbell_page_map() - owns @fd from here on, also on failure
 * @fd: of RELAY_DOORBELLS_SIZE bytes that stay; zeroes when it is new
 *
 * Return: 0, or -errno with a sentence.
 */
int doorbell_page_map(struct doorbell_page *page, int fd, struct error **errp);
void doorbell_page_unmap(struct doorbell_page *page);

uint32_t *doorbell_page_registers(const struct doorbell_page *page);

/** doorbell_page_is_new() - until doorbell_page_begin(): it says now what the state does */
bool doorbell_page_is_new(const struct doorbell_page *page);
void doorbell_page_begin(struct doorbell_page *page);

#endif
