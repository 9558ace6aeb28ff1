/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_UPGRADE_H
#define KEEPER_UPGRADE_H

#include "control/channel.h"

struct keeper;

/** upgrade_start() - replace the domain's processes by what is installed now, and answer @request */
void upgrade_start(struct keeper *keeper, struct control_request *request);

/** upgrade_go_on() - in the keeper that was installed, loaded from what the one before has saved
 * @request: NULL: nobody waits for the answer */
void upgrade_go_on(struct control_request *request, uint64_t pause_us);

#endif
