/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_RELAY_H
#define KEEPER_RELAY_H

#include <systemd/sd-event.h>

#include "base/error.h"
#include "base/json.h"

/* One vfio-user device between its client (QEMU) and its controller of the moment. */
struct relay;

/* Not called from inside a call of the owner's; the relay must not be freed in them. */
struct relay_ops {
	/* The client has gone, or was cut off for breaking the protocol. The channel to the
	 * controller is closed as well. */
	void (*client_closed)(void *opaque);
	/* The controller closed its end (@why: NULL) or broke the protocol: nothing is taken from it
	 * or sent to it any more, and the client's messages are kept for the next one. Its channel
	 * stays open until relay_detach(): the end of it would tell it that the client has gone. */
	void (*controller_closed)(void *opaque, const char *why);
};

struct relay *relay_new(sd_event *event, unsigned index, const struct relay_ops *ops, void *opaque);
void relay_free(struct relay *relay);

/** relay_set_client() - the accepted connection of QEMU, owned from here on; once in a relay's
 * life. 0 or -errno */
int relay_set_client(struct relay *relay, int fd);

/**
 * relay_attach() - make the channel to a new generation of the controller
 * @bare: it is one that does nothing: what could not be remembered does not matter to it
 * @ret_channel: the controller's end, to be sent to it and closed
 * @ret_bulk: the bulk file, to be sent along; still the relay's
 *
 * What the new one must be told again, and the client's messages that its predecessor has not
 * acknowledged, are sent to it.
 *
 * Return: 0; -ENOTRECOVERABLE when not everything could be remembered; or -errno.
 */
int relay_attach(struct relay *relay, unsigned generation, bool bare, int *ret_channel,
		 int *ret_bulk);

/**
 * relay_detach() - the controller is dead
 *
 * What it has answered and acknowledged before counts, and its answers still go out: a message that
 * was handled must not be handled again after later ones. Its own commands that have not been sent
 * are dropped; it has not seen them acknowledged.
 */
void relay_detach(struct relay *relay);

/** relay_close_client() - end the device: both sides are closed; no callback */
void relay_close_client(struct relay *relay);

bool relay_has_client(const struct relay *relay);

/** relay_is_quiet() - has everything that the client has sent so far been handled? */
bool relay_is_quiet(struct relay *relay);

/** relay_is_handled() - has the controller handled everything that it was sent? */
bool relay_is_handled(struct relay *relay);

/** relay_irq_changes() - counts how often the client has set interrupt eventfds: when a guest
 * changes an MSI-X vector, QEMU sets the vector's */
uint64_t relay_irq_changes(const struct relay *relay);

/** relay_is_recoverable() - could another controller be told all that this one knows? */
bool relay_is_recoverable(const struct relay *relay);

/** relay_may_be_carried() - no message has come or gone in part */
bool relay_may_be_carried(const struct relay *relay);

/** relay_save() - for relay_load() in the program that this process becomes; with its channel */
struct json_object *relay_save(const struct relay *relay);

/** relay_load() - into a new relay; the descriptors are its own. 0 or -errno */
int relay_load(struct relay *relay, struct json_object *json);

#endif
