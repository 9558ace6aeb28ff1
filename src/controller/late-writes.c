// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/late-writes.h"

#include <errno.h>

#include "base/clock.h"

void late_writes_reset(struct late_writes *writes)
{
	writes->complete_since = 0;
	STORE_RELEASE(writes->count, 0);
}

void late_writes_add(struct late_writes *writes, uint64_t iova, uint32_t len)
{
	struct late_write *write = &writes->ring[writes->count % LATE_WRITES];

	/* Whenever this process may die: what is forgotten is not promised. */
	if (writes->count >= LATE_WRITES)
		STORE_RELEASE(writes->complete_since, write->at + 1);
	*write = (struct late_write){ clock_us(CLOCK_MONOTONIC), iova, len };
	STORE_RELEASE(writes->count, writes->count + 1);
}

int late_writes_since(const struct late_writes *writes, uint64_t since,
		      int (*run)(void *opaque, uint64_t iova, uint64_t len), void *opaque)
{
	uint64_t i = writes->count > LATE_WRITES ? writes->count - LATE_WRITES : 0;
	int ret = 0;

	if (since < writes->complete_since)
		return -ENODATA;
	for (; i < writes->count && !ret; i++) {
		const struct late_write *write = &writes->ring[i % LATE_WRITES];

		if (write->at >= since)
			ret = run(opaque, write->iova, write->len);
	}
	return ret;
}
