// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/formats.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/i18n.h"
#include "base/log.h"
#include "control/commands.h"
#include "keeper/keeper.h"
#include "keeper/requests-internal.h"

/*
 * Theory of operation
 *
 * A guest's Format to another block size (nvme/format.c) ends when the size is in the domain's
 * definition, for that is where the next start takes it from. Who writes there is the daemon, which may
 * be away.
 *
 * The controller has erased the disk and says which size it shall have. From then on the namespace has a
 * `next_block_size`, which a successor of the controller and of this program are given, and the
 * controller lets nobody read or write. The daemon is asked to look, again and again; a daemon that
 * starts looks by itself. In `status` it finds what is to be recorded, records it and says so
 * (`set-block-size`); then it is the block size. It may do that twice, or die in between. When the domain ends before
 * that, its disk has zeroes, which are the same in blocks of every size.
 *
 * While a migration is under way nothing is begun, and one that is not over when the state is
 * collected makes the migration fail (device_check_size()): the other side would take the size from
 * the definition that it was given.
 */
#define LOOK_AGAIN_US (2u * 1000000)
/* A guest may format again and again. */
#define LOOK_PAUSE_US (1u * 1000000)

static void on_told(void *opaque, struct json_object *result, const struct error *err)
{
	if (err)
		log_info("block size: %s", error_message(err));
}

static bool is_pending(const struct keeper *keeper)
{
	const struct device *device;
	const struct device_namespace *ns;

	for (device = keeper->devices; device; device = device->next)
		for (ns = device->namespaces; ns; ns = ns->next)
			if (device_next_block_size(ns))
				return true;
	return false;
}

static void on_closed(void *opaque)
{
	struct formats *formats = opaque;

	formats->daemon = NULL;
}

static const struct control_handler_ops daemon_ops = { .closed = on_closed };

static void hang_up(struct formats *formats)
{
	if (formats->daemon)
		control_connection_free(steal_pointer(formats->daemon));
}

/* Its socket is beside our directory. It may hang, so nothing here waits for it. */
static int connect_daemon(const char *runtime_dir)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	size_t size = sizeof(address.sun_path);

	if (fd < 0)
		return -errno;
	if ((size_t)snprintf(address.sun_path, size, "%s/../virtnvmed.sock", runtime_dir) >= size)
		return -ENAMETOOLONG;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return steal_fd(&fd);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	formats_look(opaque);
	return 0;
}

static void look_in(struct keeper *keeper, uint64_t usec)
{
	struct formats *formats = &keeper->formats;

	formats->timer = sd_event_source_disable_unref(formats->timer);
	if (sd_event_add_time_relative(keeper->event, &formats->timer, CLOCK_MONOTONIC, usec, 0,
				       on_timer, keeper) < 0)
		log_error("a block size may stay unrecorded until virtnvmed is started again");
}

void formats_look(struct keeper *keeper)
{
	struct formats *formats = &keeper->formats;
	struct json_object *arguments;
	uint64_t now;
	int fd;

	formats->timer = sd_event_source_disable_unref(formats->timer);
	hang_up(formats);
	if (!is_pending(keeper) || sd_event_now(keeper->event, CLOCK_MONOTONIC, &now) < 0)
		return;
	if (formats->asked && now - formats->asked < LOOK_PAUSE_US) {
		look_in(keeper, LOOK_PAUSE_US);
		return;
	}
	formats->asked = now;
	fd = connect_daemon(keeper->config.runtime_dir);
	if (fd >= 0)
		formats->daemon = control_connection_new(keeper->event, fd, CONTROL_NONE,
							 &daemon_ops, formats);
	else
		log_info("virtnvmed: %s", strerror(-fd));
	if (formats->daemon) {
		arguments = json_object_new_object();
		json_add_string(arguments, "domain", keeper->config.uuid);
		control_connection_call(formats->daemon, "look", arguments, NULL, 0, on_told, NULL);
	}
	look_in(keeper, LOOK_AGAIN_US);
}

void formats_handle(struct keeper *keeper, struct device *device, struct json_object *data)
{
	struct device_namespace *ns = device_find_namespace(device, json_u64_or(data, "nsid", 0));
	uint64_t size = json_u64_or(data, "block_size", 0);

	/* The controller knows better, if it is ours. */
	if (!ns || ns->config.shareable || ns->config.read_only || (size != 512 && size != 4096))
		return;
	if (migration_is_under_way(keeper->migration)) {
		log_info("%s: no other block size during a migration", ns->config.target);
		device_set_block_size(device, ns->config.nsid, 0, on_told, NULL);
		return;
	}
	log_guest(LOG_NOTICE, "%s: the guest has formatted it to blocks of %u bytes",
		  ns->config.target, (unsigned)size);
	json_add_u64(ns->json, "next_block_size", size);
	formats_look(keeper);
}

void formats_done(struct formats *formats)
{
	formats->timer = sd_event_source_disable_unref(formats->timer);
	hang_up(formats);
}
