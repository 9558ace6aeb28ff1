/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_EMULATOR_H
#define BASE_EMULATOR_H

#include "base/error.h"

/**
 * emulator_has() - whether a QEMU lists a type
 * @program: its path
 * @option: "-device" or "-object", whose help is the list
 * @type: name of a type; that it is listed counts, not how the program ends: many exit with 0
 *
 * Runs the program, for 10 seconds at most, with all signals unblocked.
 *
 * Return: 1, 0, or -errno with a sentence.
 */
int emulator_has(const char *program, const char *option, const char *type, struct error **errp);

#endif
