/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_LIMITS_H
#define NVME_LIMITS_H

/*
 * What this controller offers. They bound memory and sizes in the state, so raising one is a new
 * state version.
 */
#define NVME_MAX_IO_QUEUES     64
#define NVME_MAX_QUEUES	       (NVME_MAX_IO_QUEUES + 1) /* with the admin queue, which is 0 */
#define NVME_MAX_WORKERS       64
#define NVME_MAX_NAMESPACES    64 /* Identify NN: SeaBIOS asks for each of 1 to NN */
#define NVME_MAX_CNTLID	       63
#define NVME_MAX_ADMIN_ENTRIES 4096 /* what AQA can say */
#define NVME_MAX_IO_ENTRIES    1024 /* CAP.MQES + 1 */
#define NVME_MAX_ASYNC_EVENTS  4    /* outstanding requests; AERL + 1 */
#define NVME_ERROR_LOG_ENTRIES 64
#define NVME_NOTICES	       64 /* reservation notifications that are kept */
#define NVME_MDTS_SHIFT	       8  /* in pages */
#define NVME_MAX_TRANSFER      (1u << 20)
#define NVME_COPY_MAX_RANGES   64
#define NVME_KEEP_ALIVE_UNITS  10 /* KAS: the timer counts so many times 100 ms */

/* CAP.TO, in 500 ms. A reset waits for what the host's storage has in hand. */
#define NVME_TIMEOUT 60

#endif
