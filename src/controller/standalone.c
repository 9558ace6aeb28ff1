// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/standalone.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <uuid/uuid.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"
#include "block/lock.h"
#include "block/open.h"
#include "controller/device.h"
#include "controller/doorbell-page.h"
#include "controller/namespaces.h"
#include "controller/refusal.h"
#include "vfio-user/listener.h"

struct standalone_image {
	int fds[NAMESPACE_SPEC_MAX_FDS]; /* the block's, until it is attached */
	size_t fd_count;
	int lock_fd;			     /* holds the lock; -1: no image */
	int generation_fd;		     /* the device's, until it is attached; -1: none */
	struct reservation_fds reservations; /* the same */
};

struct standalone {
	const struct options *options;
	struct standalone_image *images; /* one a namespace */

	struct vfio_user_listener *listener;
	int doorbell_fd;  /* until the device has it; -1: none */
	int directory_fd; /* of the socket: its path is out of sight later */
	char *socket_name;
	char *socket_path; /* absolute */

	sd_event *event;
	sd_event_source *listener_source;
	struct device *device;
	bool stopping;
};

/* Namespace of the ids that are derived from a standalone controller's serial number. */
static const uuid_t id_namespace = { 0x3c, 0x6f, 0x22, 0x9a, 0x51, 0x0b, 0x4d, 0x6e,
				     0x9d, 0x1f, 0x0f, 0x5a, 0x7e, 0xc3, 0x84, 0x21 };

/* Of a fault namespace, for tests. */
static int open_fault_files(const struct namespace_spec *spec, struct standalone_image *image,
			    struct error **errp)
{
	const char *const paths[] = { spec->control, spec->stable };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(paths) && *paths[i]; i++) {
		int fd = open(paths[i], O_RDWR | O_CLOEXEC);

		if (fd < 0)
			return error_set_errno(errp, errno, "%s", paths[i]);
		image->fds[image->fd_count++] = fd;
	}
	return 0;
}

/* Who else has the image must see whether we are at work on it. */
static int open_reservations(const struct namespace_spec *spec, struct standalone_image *image,
			     struct error **errp)
{
	if (!spec->reservations)
		return 0;
	image->reservations.file =
		open(spec->reservations_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (image->reservations.file < 0)
		return error_set_errno(errp, errno, "%s", spec->reservations_path);
	image->reservations.watch = fd_watch_writes(spec->reservations_path);
	if (image->reservations.watch < 0)
		return error_set_errno(errp, -image->reservations.watch, "%s",
				       spec->reservations_path);
	if (spec->persistence) {
		image->reservations.durable =
			open(spec->persistence_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (image->reservations.durable < 0)
			return error_set_errno(errp, errno, "%s", spec->persistence_path);
	}
	image->generation_fd = fcntl(image->fds[0], F_DUPFD_CLOEXEC, 3);
	if (image->generation_fd < 0)
		return error_set_errno(errp, errno, "%s", spec->path);
	return 0;
}

static int open_image(const struct namespace_spec *spec, struct standalone_image *image,
		      struct error **errp)
{
	struct block_path_options options = {
		.expect = spec->type == NAMESPACE_BLOCK ? BLOCK_PATH_DEVICE : BLOCK_PATH_FILE,
		.cache = spec->file.cache,
		.read_only = spec->file.read_only,
	};
	enum block_lock_mode mode = BLOCK_LOCK_EXCLUSIVE_WRITE;
	int ret;

	if (!namespace_spec_has_image(spec))
		return 0;
	ret = block_open_path(spec->path, &options, &image->fds[0], errp);
	if (ret < 0)
		return ret;
	image->fd_count = 1;
	ret = open_fault_files(spec, image, errp);
	if (ret == 0)
		ret = open_reservations(spec, image, errp);
	if (ret < 0)
		return ret;
	/* On a description of its own, as the keeper does it. */
	options.cache = BLOCK_CACHE_WRITEBACK;
	ret = block_open_path(spec->path, &options, &image->lock_fd, errp);
	if (ret < 0)
		return ret;
	if (spec->file.read_only)
		mode = BLOCK_LOCK_READ_ONLY;
	else if (spec->nvme.shareable)
		mode = BLOCK_LOCK_SHARED_WRITE;
	ret = block_lock_acquire(image->lock_fd, mode, errp);
	if (ret < 0)
		error_prefix(errp, "%s", spec->path);
	return ret;
}

static int listen_at(struct standalone *standalone, const char *path, struct error **errp)
{
	_cleanup_free_ char *copy = NULL;

	standalone->listener = vfio_user_listener_new(path, errp);
	if (!standalone->listener)
		return -EADDRINUSE;
	standalone->socket_path = realpath(path, NULL);
	copy = standalone->socket_path ? strdup(standalone->socket_path) : NULL;
	if (!copy)
		return error_set_errno(errp, errno, "%s", path);
	standalone->socket_name = strdup(basename(standalone->socket_path));
	standalone->directory_fd = open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (!standalone->socket_name || standalone->directory_fd < 0)
		return error_set_errno(errp, errno, "%s", path);
	return 0;
}

struct standalone *standalone_open(const struct options *options, struct error **errp)
{
	struct standalone *standalone = calloc(1, sizeof(*standalone));
	unsigned i;

	if (standalone)
		standalone->images = calloc(options->namespace_count, sizeof(*standalone->images));
	if (!standalone || !standalone->images) {
		free(standalone);
		error_set(errp, ENOMEM, _("out of memory"));
		return NULL;
	}
	standalone->options = options;
	standalone->directory_fd = standalone->doorbell_fd = -1;
	for (i = 0; i < options->namespace_count; i++)
		standalone->images[i] = (struct standalone_image){
			.lock_fd = -1, .generation_fd = -1, .reservations = RESERVATION_FDS_NONE
		};
	for (i = 0; i < options->namespace_count; i++)
		if (open_image(&options->namespaces[i], &standalone->images[i], errp) < 0)
			goto fail;
	if (options->doorbells == NVME_DOORBELLS_MAPPED) {
		standalone->doorbell_fd =
			fd_sealed_memfd("virtnvme-doorbells", RELAY_DOORBELLS_SIZE);
		if (standalone->doorbell_fd < 0) {
			error_set_errno(errp, -standalone->doorbell_fd, "doorbells");
			goto fail;
		}
	}
	/* Last: who sees the socket may connect. */
	if (listen_at(standalone, options->socket, errp) < 0)
		goto fail;
	return standalone;

fail:
	standalone_free(standalone);
	return NULL;
}

static void all_closed(void *opaque)
{
	struct standalone *standalone = opaque;

	standalone->device = NULL;
	sd_event_exit(standalone->event, 0);
}

static int client_waits(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct standalone *standalone = opaque;
	struct vfio_user_transport *transport;
	_cleanup_error_ struct error *err = NULL;
	int client;

	if (device_draining(standalone->device)) {
		/* The next client is early: it waits in the backlog until disconnected(). */
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
		return 0;
	}
	client = vfio_user_listener_accept(standalone->listener);
	if (client < 0)
		return 0;
	if (device_connected(standalone->device)) {
		log_guest(LOG_NOTICE, "a second client was refused");
		refusal_send(standalone->event, client);
		return 0;
	}
	transport = vfio_user_transport_socket_new(client);
	if (!transport)
		error_set(&err, ENOMEM, "out of memory");
	else
		device_connect(standalone->device, transport, &err);
	if (err)
		log_error("cannot serve the client: %s", error_message(err));
	else
		log_info("a client has connected");
	return 0;
}

static void device_disconnected(void *opaque, struct device *device)
{
	struct standalone *standalone = opaque;

	sd_event_source_set_enabled(standalone->listener_source, SD_EVENT_ON);
}

static int attach_all(struct standalone *standalone, struct error **errp)
{
	const struct options *options = standalone->options;
	unsigned i;

	for (i = 0; i < options->namespace_count; i++) {
		const struct namespace_spec *spec = &options->namespaces[i];
		struct standalone_image *image = &standalone->images[i];
		struct block *block = namespace_spec_open(spec, image->fds, image->fd_count, errp);

		if (!block ||
		    namespaces_attach(device_namespaces(standalone->device), &spec->nvme, block,
				      steal_fd(&image->generation_fd),
				      reservation_fds_steal(&image->reservations), errp) < 0) {
			error_prefix(errp, _("namespace %u"), i + 1);
			return -EINVAL;
		}
	}
	return 0;
}

static void device_ready(void *opaque, struct device *device, struct error *err)
{
	struct standalone *standalone = opaque;
	int ret;

	if (!err)
		attach_all(standalone, &err);
	if (!err) {
		ret = sd_event_add_io(standalone->event, &standalone->listener_source,
				      vfio_user_listener_fd(standalone->listener), EPOLLIN,
				      client_waits, standalone);
		if (ret < 0)
			error_set_errno(&err, -ret, "cannot listen");
	}
	if (err) {
		log_error("%s", error_message(err));
		error_free(err);
		sd_event_exit(standalone->event, EXIT_FAILURE);
		return;
	}
	log_info("serving %u namespace(s) at %s", standalone->options->namespace_count,
		 standalone->socket_path);
	if (standalone->stopping)
		standalone_stop(standalone);
}

static int set_serial(const struct standalone *standalone, struct nvme_controller_config *config,
		      struct error **errp)
{
	const char *serial = standalone->options->serial;
	uuid_t id;

	if (!serial) {
		uuid_generate_sha1(id, id_namespace, standalone->socket_path,
				   strlen(standalone->socket_path));
		snprintf(config->serial, sizeof(config->serial), "VN%02X%02X%02X%02X%02X%02X",
			 id[0], id[1], id[2], id[3], id[4], id[5]);
	} else {
		if (strlen(serial) >= sizeof(config->serial))
			return error_set(errp, EINVAL,
					 _("the serial number \"%s\" is longer than 20 characters"),
					 serial);
		memcpy(config->serial, serial, strlen(serial) + 1);
	}
	uuid_generate_sha1(config->uuid, id_namespace, config->serial, strlen(config->serial));
	return 0;
}

int standalone_start(struct standalone *standalone, sd_event *event, struct io_threads *threads,
		     struct error **errp)
{
	struct device_config config = { .nvme = { .queues = standalone->options->queues,
						  .doorbells = standalone->options->doorbells } };
	const struct device_events events = { .ready = device_ready,
					      .disconnected = device_disconnected,
					      .opaque = standalone };
	int ret;

	ret = set_serial(standalone, &config.nvme, errp);
	if (ret < 0)
		return ret;
	standalone->event = event;
	standalone->device = device_new(event, threads, &config, -1,
					steal_fd(&standalone->doorbell_fd), &events, errp);
	return standalone->device ? 0 : -EINVAL;
}

void standalone_stop(struct standalone *standalone)
{
	standalone->stopping = true;
	if (!standalone->listener_source)
		return; /* not ready yet: device_ready() comes back here */
	sd_event_source_set_enabled(standalone->listener_source, SD_EVENT_OFF);
	device_close(standalone->device, all_closed, standalone);
}

void standalone_free(struct standalone *standalone)
{
	unsigned i;

	if (!standalone)
		return;
	sd_event_source_disable_unref(standalone->listener_source);
	if (standalone->directory_fd >= 0) {
		unlinkat(standalone->directory_fd, standalone->socket_name, 0);
		close(standalone->directory_fd);
	}
	vfio_user_listener_free(standalone->listener);
	cleanup_close(&standalone->doorbell_fd);
	for (i = 0; i < standalone->options->namespace_count; i++) {
		fd_close_all(standalone->images[i].fds, standalone->images[i].fd_count);
		cleanup_close(&standalone->images[i].lock_fd);
		cleanup_close(&standalone->images[i].generation_fd);
		reservation_fds_close(&standalone->images[i].reservations);
	}
	free(standalone->images);
	free(standalone->socket_name);
	free(standalone->socket_path);
	free(standalone);
}
