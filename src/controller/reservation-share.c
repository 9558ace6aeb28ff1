// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/reservation-share.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"
#include "block/block.h"
#include "block/lock.h"
#include "nvme/controller.h"
#include "vfio-user/mapping.h"

/* How soon to look again for the end of a predecessor's requests. */
#define RETRY_USEC 50000

struct reservation_share {
	struct nvme_share nvme;
	const struct generation_lock *lock;
	struct vfio_user_mapping *mapping;
	struct reservation_fds fds; /* durable: of the block's description */

	sd_event_source *watch; /* NULL: not watched */
	sd_event_source
		*timer; /* off, but for the first look and when a predecessor is waited for */
	struct io_threads *threads;
	struct nvme_controller *ctrl;
	uint32_t nsid;

	struct io_operation operation;
	bool under_way; /* the operation is */
	bool closed;
	uint32_t change; /* that it is about */
};

static struct reservation_share *share_of(struct nvme_share *nvme)
{
	return container_of(nvme, struct reservation_share, nvme);
}

static int set_lock(int fd, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &lock);
}

static bool share_lock(struct nvme_share *nvme)
{
	const struct reservation_fds *fds = &share_of(nvme)->fds;

	if (set_lock(fds->file, F_WRLCK) < 0)
		return false;
	if (fds->durable < 0 || set_lock(fds->durable, F_WRLCK) == 0)
		return true;
	set_lock(fds->file, F_UNLCK);
	return false;
}

static void share_unlock(struct nvme_share *nvme)
{
	const struct reservation_fds *fds = &share_of(nvme)->fds;

	if (fds->durable >= 0)
		set_lock(fds->durable, F_UNLCK);
	set_lock(fds->file, F_UNLCK);
}

static int share_recall(struct nvme_share *nvme, void *buffer)
{
	memset(buffer, 0, NVME_SHARE_DURABLE_BYTES);
	return pread(share_of(nvme)->fds.durable, buffer, NVME_SHARE_DURABLE_BYTES, 0) < 0 ? -errno
											   : 0;
}

/* A write behind the page, of which the others' inotify tells: they need not look for themselves. */
static void share_changed(struct nvme_share *nvme)
{
	struct reservation_share *share = share_of(nvme);

	if (pwrite(share->fds.file, "", 1, NVME_SHARE_BYTES) != 1)
		log_guest(LOG_ERR, "cannot tell of a changed reservation: %s", strerror(errno));
}

static bool share_is_alive(struct nvme_share *nvme, uint64_t key)
{
	const struct generation_lock *lock = share_of(nvme)->lock;

	return block_lock_generation_is_held(lock->fd, (key - 1) % BLOCK_LOCK_GENERATION_KEYS);
}

/* A file that is new is as large as the first one makes it. */
static int map(struct reservation_share *share)
{
	struct stat st;

	if (fstat(share->fds.file, &st) < 0)
		return -errno;
	if (st.st_size == 0 && ftruncate(share->fds.file, NVME_SHARE_BYTES) < 0)
		return -errno;
	return vfio_user_mapping_get(&share->mapping, share->fds.file, NVME_SHARE_BYTES, true,
				     &share->mapping);
}

static int open_durable(struct reservation_share *share, struct error **errp)
{
	const struct block_file_options options = { .cache = BLOCK_CACHE_WRITEBACK };
	struct stat st;
	int fd;

	if (share->fds.durable < 0)
		return 0;
	if (fstat(share->fds.durable, &st) < 0)
		return error_set_errno(errp, errno, _("cannot read what is kept of reservations"));
	/* One that is new. */
	if (st.st_size == 0 && ftruncate(share->fds.durable, NVME_SHARE_DURABLE_BYTES) < 0)
		return error_set_errno(errp, errno, _("cannot keep reservations"));
	fd = fcntl(share->fds.durable, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return error_set_errno(errp, errno, _("cannot keep reservations"));
	share->nvme.durable = block_open_file(fd, &options, errp);
	return share->nvme.durable ? 0 : -EINVAL;
}

void reservation_fds_close(struct reservation_fds *fds)
{
	cleanup_close(&fds->file);
	cleanup_close(&fds->watch);
	cleanup_close(&fds->durable);
}

struct reservation_share *reservation_share_open(struct reservation_fds fds,
						 const struct generation_lock *lock,
						 struct error **errp)
{
	struct reservation_share *share = calloc(1, sizeof(*share));
	int ret;

	if (!share) {
		reservation_fds_close(&fds);
		error_set(errp, ENOMEM, _("out of memory"));
		return NULL;
	}
	share->fds = fds;
	share->lock = lock;
	ret = map(share);
	if (ret < 0) {
		error_set_errno(errp, -ret, _("cannot map the reservations"));
		reservation_share_close(share);
		return NULL;
	}
	share->nvme = (struct nvme_share){
		.page = share->mapping->base,
		.key = lock->key + 1,
		.lock = share_lock,
		.unlock = share_unlock,
		.changed = share_changed,
		.is_alive = share_is_alive,
		.recall = share_recall,
	};
	if (open_durable(share, errp) < 0) {
		reservation_share_close(share);
		return NULL;
	}
	return share;
}

struct nvme_share *reservation_share_nvme(struct reservation_share *share)
{
	return &share->nvme;
}

static void share_free(struct reservation_share *share)
{
	if (share->nvme.durable)
		block_close(share->nvme.durable);
	vfio_user_mapping_release(&share->mapping, true);
	reservation_fds_close(&share->fds);
	free(share);
}

static void look(struct reservation_share *share);

static void nothing_under_way(struct io_operation *operation)
{
	struct reservation_share *share =
		container_of(operation, struct reservation_share, operation);

	share->under_way = false;
	if (share->closed) {
		share_free(share);
	} else if (share->watch) {
		/* A predecessor's requests: it has the generation lock until they are over. */
		if (share->lock->held)
			nvme_controller_reservation_seen(share->ctrl, share->nsid, share->change);
		look(share);
	}
}

static void look(struct reservation_share *share)
{
	if (share->under_way ||
	    !nvme_controller_reservation_unseen(share->ctrl, share->nsid, &share->change))
		return;
	if (share->lock->held) {
		share->under_way = true;
		io_threads_after_in_flight(share->threads, &share->operation, nothing_under_way);
	} else {
		sd_event_source_set_time_relative(share->timer, RETRY_USEC);
		sd_event_source_set_enabled(share->timer, SD_EVENT_ONESHOT);
	}
}

static int on_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct reservation_share *share = opaque;

	nvme_controller_reservation_changed(share->ctrl);
	look(share);
	return 0;
}

static int on_change(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct reservation_share *share = opaque;
	char events[4096];

	while (read(fd, events, sizeof(events)) > 0)
		continue;
	nvme_controller_reservation_changed(share->ctrl);
	look(share);
	return 0;
}

void reservation_share_watch(struct reservation_share *share, sd_event *event,
			     struct io_threads *threads, struct nvme_controller *ctrl,
			     uint32_t nsid)
{
	share->threads = threads;
	share->ctrl = ctrl;
	share->nsid = nsid;
	/* The first look is when the controller knows of the namespace. */
	if (sd_event_add_io(event, &share->watch, share->fds.watch, EPOLLIN, on_change, share) <
		    0 ||
	    sd_event_add_time_relative(event, &share->timer, CLOCK_MONOTONIC, 0, 0, on_timer,
				       share) < 0)
		abort();
}

static void reservation_share_unwatch(struct reservation_share *share)
{
	share->watch = sd_event_source_disable_unref(share->watch);
	share->timer = sd_event_source_disable_unref(share->timer);
}

void reservation_share_close(struct reservation_share *share)
{
	if (!share)
		return;
	reservation_share_unwatch(share);
	share->closed = true;
	if (!share->under_way)
		share_free(share);
}
