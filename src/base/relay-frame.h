/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_RELAY_FRAME_H
#define BASE_RELAY_FRAME_H

#include <assert.h>
#include <stdint.h>

/*
 * What the keeper and a controller say to each other on the channel of one vfio-user device: a
 * SOCK_SEQPACKET socket pair, one channel a connected client, and one shared file for bulk.
 *
 * Theory of operation
 *
 * A datagram is a `struct relay_frame`, then the body of its kind. For RELAY_MESSAGE the body is
 * one whole vfio-user message: its 16-byte header always, then its payload (header.size - 16
 * bytes), in the datagram when it is at most RELAY_INLINE_MAX bytes, else in the bulk file at
 * frame.bulk_offset (RELAY_FLAG_BULK). Descriptors of the message travel with the datagram
 * (SCM_RIGHTS, frame.fd_count of them). Both ends treat a frame that breaks these rules as the end
 * of the channel.
 *
 * The first datagram is the keeper's RELAY_HELLO: body `struct relay_hello`, with the bulk file (a
 * sealed memfd) as its one descriptor. End of file on the channel means: the client has gone; the
 * controller ends its work in order. The controller closes its end to have the client disconnected.
 *
 * To the controller. The keeper numbers the client's messages from 1 and keeps each one with its
 * descriptors until it is acknowledged:
 *  - a command that wants a reply, by the RELAY_MESSAGE that is its reply, whose frame.sequence
 *    names the command. So "answered" and "acknowledged" are one datagram: there is no moment in
 *    which a crash could make a reply be lost or sent twice;
 *  - everything else (a command with NO_REPLY, a client's reply to a command of ours) when it has
 *    been handled: relay_bulk.processed covers its number, as one store without a system call; a
 *    RELAY_ACK with that number follows once in RELAY_ACK_INTERVAL messages, so that a keeper whose
 *    store has room for more than that never has to look.
 * Answers may come out of order (DEVICE_RESET waits for I/O; others overtake it). `processed` says
 * nothing of commands that want a reply.
 * A successor gets the messages that are not acknowledged again, in order, with their old numbers,
 * after those that rebuild what is not in the state file (VERSION, the live DMA_MAPs, SET_IRQS with
 * eventfds): these carry RELAY_FLAG_RESTORE and the number 0, are handled like any other, and their
 * replies (number 0) are dropped by the keeper. The numbers go on across generations.
 *
 * To the keeper. Replies, and commands of the controller (DMA_READ, DMA_WRITE), whose ids the
 * keeper rewrites. Sent to the client in the order of the datagrams.
 *
 * Bulk. The file begins with `struct relay_bulk`. Each direction has an area in it, managed by the
 * sender alone. To the controller: the keeper may use a piece again once its message is
 * acknowledged. To the keeper: a ring; a message's payload is contiguous in it, frame.bulk_offset
 * is its place in the file, and when the keeper has written it to the client (or dropped it) it
 * stores frame.bulk_release to relay_bulk.released and wakes the futex there. Messages are released
 * in the order of the datagrams. A new generation begins with an empty ring and released = 0.
 */

/* Of the file whose second page is the doorbells' registers, where a client maps them. */
#define RELAY_DOORBELLS_SIZE 8192

#define RELAY_VERSION	     1u
#define RELAY_INLINE_MAX     (32u * 1024)
#define RELAY_HEADER_SIZE    16u /* of a vfio-user message */
#define RELAY_PAYLOAD_MAX    (1024u * 1024 + 4096 - RELAY_HEADER_SIZE)
#define RELAY_MAX_FDS	     16u
#define RELAY_ACK_INTERVAL   64u

enum relay_kind {
	RELAY_HELLO = 1,   /* keeper to controller, first */
	RELAY_MESSAGE = 2, /* both ways */
	RELAY_ACK = 3,	   /* controller to keeper: no body */
};

#define RELAY_FLAG_BULK	   (1u << 0) /* the payload is in the bulk file */
#define RELAY_FLAG_RESTORE (1u << 1) /* the client has had its answer: drop the reply */

struct relay_frame {
	uint32_t kind;
	uint32_t flags;
	/* To the controller: the message's number. To the keeper: the number of the command that
	 * this reply answers, else 0; RELAY_ACK: everything up to it that wants no reply is
	 * handled. */
	uint64_t sequence;
	uint64_t bulk_offset;  /* RELAY_FLAG_BULK: of the payload in the file, 8-aligned; else 0 */
	uint32_t bulk_release; /* to the keeper, RELAY_FLAG_BULK: for relay_bulk.released */
	uint32_t fd_count;
};

struct relay_hello {
	uint32_t version;    /* RELAY_VERSION */
	uint32_t generation; /* of the controller, from 1 */
	/* Areas in the file: 8-aligned, behind struct relay_bulk, not overlapping; sizes are at
	 * least 2 * RELAY_PAYLOAD_MAX and at most 1 GiB. */
	uint64_t to_controller_offset, to_controller_size;
	uint64_t to_keeper_offset, to_keeper_size;
};

/* Start of the bulk file. Plain stores and loads with release and acquire. */
struct relay_bulk {
	/* Controller: every message up to this number that wants no reply has been handled. */
	uint64_t processed;
	uint64_t pad[7];
	/* Keeper: free-running count of ring bytes released, modulo 2^32; a (shared) futex word. */
	uint32_t released;
};

static_assert(sizeof(struct relay_frame) == 32, "wire format");
static_assert(sizeof(struct relay_hello) == 40, "wire format");

#endif
