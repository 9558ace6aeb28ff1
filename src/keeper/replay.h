/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_REPLAY_H
#define KEEPER_REPLAY_H

#include "keeper/blob.h"
#include "keeper/pci-half.h"

/*
 * What is said to QEMU's qtest protocol to put QEMU's half of the controllers back, and whether its
 * answers show that it is. Pure functions.
 */
struct replay;

/** replay_new() - one script
 *
 * @again: another one has been sent to this QEMU; else its half is as after a reset
 * @last: the one that was of no use; NULL: none
 */
struct replay *replay_new(bool again, const struct replay *last);
void replay_free(struct replay *replay);

/** replay_add() - a controller; 0 or -ENOMEM */
int replay_add(struct replay *replay, const struct pci_half *half);

/** replay_script() - the lines, to be sent in one piece; borrowed */
const struct blob *replay_script(const struct replay *replay);

/**
 * replay_answer() - QEMU's next line
 *
 * Return: 0: more are to come; 1: that was the last one.
 */
int replay_answer(struct replay *replay, const char *line);

/** replay_end() - what is sent after the last answer. @ret: 32 bytes */
void replay_end(const struct replay *replay, char ret[32]);

/** replay_mismatch() - the first thing that was not as it should be; NULL: all was. Borrowed. */
const char *replay_mismatch(const struct replay *replay);

#endif
