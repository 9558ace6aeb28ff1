/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_SHARE_H
#define NVME_SHARE_H

#include "base/util.h"

struct block;

/*
 * What a namespace has in common with all others that are made of the same image, in this process or in
 * others: some memory, zeroes at first, a lock, and a way to know who is still there.
 */
struct nvme_share {
	void *page;   /* NVME_SHARE_BYTES */
	uint64_t key; /* whose this is: the same for a successor, not 0 */
	/* Who changes the page; false: somebody else does now. */
	bool (*lock)(struct nvme_share *share);
	void (*unlock)(struct nvme_share *share);
	/* Somebody who sleeps has to see a change of the page. */
	void (*changed)(struct nvme_share *share);
	/* May a request of the one with this key, or of its predecessor, be at the image? */
	bool (*is_alive)(struct nvme_share *share, uint64_t key);
	/* Of the same size as this file, where what lasts through a loss of power is written; NULL:
	 * nothing does. Who has the lock writes, and has it until the write is over, though he dies. */
	struct block *durable;
	/* What is there, with the lock; 0 or -errno. */
	int (*recall)(struct nvme_share *share, void *buffer);
};

#define NVME_SHARE_BYTES	 8192
#define NVME_SHARE_DURABLE_BYTES 8192

/* The page's end; all before it is reservation.c's. See format.c. */
struct nvme_share_format {
	uint64_t owner; /* the one whose Format is in progress, 0: nobody; atomic */
	uint32_t left;	/* percent of it */
	uint32_t reserved;
};
#define NVME_SHARE_FORMAT_AT (NVME_SHARE_BYTES - sizeof(struct nvme_share_format))

static inline struct nvme_share_format *nvme_share_format(const struct nvme_share *share)
{
	return (struct nvme_share_format *)((char *)share->page + NVME_SHARE_FORMAT_AT);
}

#endif
