// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/device.h"

#include <errno.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <poll.h>

#include "base/i18n.h"
#include "base/json.h"
#include "base/log.h"
#include "controller/doorbell-page.h"
#include "controller/message-mode.h"
#include "controller/namespaces.h"
#include "controller/overlay.h"
#include "controller/pci-function.h"
#include "controller/state-file.h"

/*
 * Theory of operation
 *
 * What a client reads and writes is the PCI function (pci-function.h); what must outlive the process
 * is in the state file (state-file.h).
 *
 * The way out has one order, however it begins. Client gone -> the controller resets, so that
 * nothing touches the client's memory -> the server is freed (its mappings with it). When the
 * device is closed as well: -> namespaces leave -> workers leave -> the controller is freed. Each
 * arrow waits for a callback; `closing` says how far to go. A frozen device goes as it is: no reset,
 * and the namespaces are closed at the end, so that the state file can be adopted.
 */

/* So many batches of messages, doorbells above all, may have come before a freeze was asked for. */
#define FREEZE_BATCHES 64

struct device {
	sd_event *event;
	struct io_threads *threads;
	struct device_config config;
	struct device_events events;
	struct host host;

	struct state_file file;
	struct doorbell_page doorbells;
	struct pci_function function;
	struct message_mode message_mode;
	struct nvme_controller *ctrl;
	struct namespaces namespaces;

	struct vfio_user_server *server;
	sd_event_source *server_source;
	bool gone; /* the client has, and the server waits to be freed */
	struct nvme_host_call gone_call;

	struct io_operation threads_operation; /* coming and leaving */
	struct io_operation retire_operation;
	bool retiring;

	void (*frozen)(void *opaque, int error);
	void *frozen_opaque;
	bool sync;   /* when it is frozen */
	bool synced; /* since it is frozen */

	bool closing;
	bool workers_left;
	void (*closed)(void *opaque);
	void *closed_opaque;
};

bool device_connected(const struct device *device)
{
	return device->server;
}

bool device_draining(const struct device *device)
{
	return device->gone;
}

/*
 * The PCI function
 */

void device_read_pci_config(const struct device *device, uint8_t ret[256])
{
	pci_config_read(&device->file.function->pci, 0, ret, 256);
	if (device->host.intx)
		ret[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
}

static void reset_function(struct device *device, void (*done)(void *opaque))
{
	/* It waits until a predecessor's requests are over, so that must be asked also when frozen. */
	namespaces_ask_predecessor(&device->namespaces);
	pci_function_reset(&device->function, done, device);
}

static void nothing_more(void *opaque)
{
}

static void function_level_reset(struct pci_function *function)
{
	reset_function(container_of(function, struct device, function), nothing_more);
}

static void device_region_read(void *opaque, unsigned region, uint64_t offset, void *buf,
			       size_t len)
{
	struct device *device = opaque;

	pci_function_read(&device->function, region, offset, buf, len);
}

static void device_region_write(void *opaque, unsigned region, uint64_t offset, const void *buf,
				size_t len)
{
	struct device *device = opaque;

	pci_function_write(&device->function, region, offset, buf, len);
}

static void reset_done(void *opaque)
{
	struct device *device = opaque;

	if (device->server && !device->gone)
		vfio_user_server_reset_done(device->server);
}

static void device_reset(void *opaque)
{
	struct device *device = opaque;

	log_debug("controller %u: reset", device->config.index);
	nvme_controller_lose_power(device->ctrl);
	reset_function(device, reset_done);
}

/*
 * The DMA map
 */

static void device_closed(struct device *device);

static void retire_done(struct io_operation *operation);

/* Mappings without a region go when the requests that may point into them are over. */
static void retire(struct device *device)
{
	if (device->retiring || !device->host.dma || !vfio_user_dma_mark_retired(device->host.dma))
		return;
	device->retiring = true;
	io_threads_after_in_flight(device->threads, &device->retire_operation, retire_done);
}

static void retire_done(struct io_operation *operation)
{
	struct device *device = container_of(operation, struct device, retire_operation);

	device->retiring = false;
	if (device->workers_left) {
		device_closed(device);
		return;
	}
	/* A client that has come meanwhile has nothing marked. */
	if (device->host.dma)
		vfio_user_dma_release_retired(device->host.dma);
	retire(device);
}

static void device_dma_pause(void *opaque)
{
	struct device *device = opaque;

	host_pause(&device->host);
}

static void device_dma_resume(void *opaque)
{
	struct device *device = opaque;

	host_resume(&device->host);
	retire(device);
}

/*
 * The way out
 */

static void device_closed(struct device *device)
{
	void (*closed)(void *opaque) = device->closed;
	void *opaque = device->closed_opaque;

	nvme_controller_free(device->ctrl);
	namespaces_free(&device->namespaces);
	doorbell_page_unmap(&device->doorbells);
	state_file_unmap(&device->file);
	sd_event_unref(device->event);
	free(device);
	closed(opaque);
}

static void workers_left(struct io_operation *operation)
{
	struct device *device = container_of(operation, struct device, threads_operation);

	device->workers_left = true;
	if (!device->retiring)
		device_closed(device);
}

static void namespaces_closed(void *opaque)
{
	struct device *device = opaque;

	io_threads_remove(device->threads, &device->threads_operation, device->ctrl, workers_left);
}

/* Nothing is in flight. On the way there it is not so yet. */
static bool is_frozen(const struct device *device)
{
	return nvme_controller_is_frozen(device->ctrl) && !device->frozen;
}

/* The last part of it. */
static void leave(struct device *device)
{
	if (is_frozen(device))
		namespaces_closed(device);
	else
		namespaces_close(&device->namespaces, namespaces_closed, device);
}

/* The client has gone, and nothing of ours touches its memory any more. */
static void client_gone(struct nvme_host_call *call)
{
	struct device *device = container_of(call, struct device, gone_call);

	host_connect(&device->host, NULL, NULL);
	vfio_user_server_free(device->server);
	device->server = NULL;
	device->gone = false;
	if (device->closing)
		leave(device);
	else
		device->events.disconnected(device->events.opaque, device);
}

/* Not from here: the controller may call back from within a message's handler. */
static void client_drained(void *opaque)
{
	struct device *device = opaque;

	io_threads_call(device->threads, NVME_HOST_CONTROL, &device->gone_call);
}

static void device_disconnected(void *opaque, int error)
{
	struct device *device = opaque;

	if (device->gone)
		return;
	if (error && error != -ECONNRESET && error != -ENOTCONN)
		log_warning("controller %u: connection ended: %s", device->config.index,
			    strerror(-error));
	else
		log_info("controller %u: the client has disconnected", device->config.index);
	device->gone = true;
	sd_event_source_disable_unref(device->server_source);
	device->server_source = NULL;
	if (is_frozen(device))
		client_drained(device);
	else
		reset_function(device, client_drained);
}

static const struct vfio_user_device_ops device_ops = {
	.region_read = device_region_read,
	.region_write = device_region_write,
	.reset = device_reset,
	.dma_pause = device_dma_pause,
	.dma_resume = device_dma_resume,
	.disconnected = device_disconnected,
};

static int server_readable(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct device *device = opaque;
	struct io_threads *threads = device->threads;

	io_threads_hold_kicks(threads);
	/* A lost connection is told by disconnected(). */
	vfio_user_server_process(device->server);
	io_threads_release_kicks(threads);
	return 0;
}

static void offer_doorbells(const struct device *device, struct vfio_user_region *bar0)
{
	if (device->doorbells.fd < 0)
		return;
	bar0->fd = device->doorbells.fd;
	bar0->area_count = 1;
	bar0->areas[0].offset = NVME_BAR0_DOORBELLS;
	bar0->areas[0].size = RELAY_DOORBELLS_SIZE - NVME_BAR0_DOORBELLS;
}

int device_connect(struct device *device, struct vfio_user_transport *transport,
		   struct error **errp)
{
	const struct pci_config_layout layout = pci_function_layout(device->config.nvme.vectors);
	struct vfio_user_device_info info;
	int ret;

	vfio_user_device_info_init(&info, &layout);
	offer_doorbells(device, &info.regions[VFIO_PCI_BAR0_REGION_INDEX]);
	device->server = vfio_user_server_new(transport, &info, &device_ops, device, errp);
	if (!device->server)
		return -ENOMEM;
	host_connect(&device->host, vfio_user_server_dma(device->server),
		     vfio_user_server_irq(device->server));
	ret = sd_event_add_io(device->event, &device->server_source,
			      vfio_user_server_fd(device->server), EPOLLIN, server_readable,
			      device);
	if (ret < 0) {
		host_connect(&device->host, NULL, NULL);
		vfio_user_server_free(device->server);
		device->server = NULL;
		return error_set_errno(errp, -ret, "cannot wait for the client");
	}
	return 0;
}

void device_retry(struct device *device, bool give_up)
{
	nvme_controller_retry(device->ctrl, give_up);
}

static void io_error(struct host *host, uint32_t nsid, enum block_op op, int error)
{
	struct device *device = container_of(host, struct device, host);

	device->events.io_error(device->events.opaque, device, nsid, op, error);
}

void device_guest_ran(struct device *device, uint64_t ms)
{
	nvme_controller_guest_ran(device->ctrl, ms);
}

static void silent(struct host *host)
{
	struct device *device = container_of(host, struct device, host);

	if (device->events.silent)
		device->events.silent(device->events.opaque, device);
	else
		device_guest_ran(device, UINT64_MAX);
}

static void block_size(struct host *host, uint32_t nsid, uint32_t size)
{
	struct device *device = container_of(host, struct device, host);

	if (device->events.block_size)
		device->events.block_size(device->events.opaque, device, nsid, size);
	else
		namespaces_set_block_size(&device->namespaces, nsid, size);
}

struct nvme_controller *device_controller(const struct device *device)
{
	return device->ctrl;
}

struct namespaces *device_namespaces(struct device *device)
{
	return &device->namespaces;
}

struct message_mode *device_message_mode(struct device *device)
{
	return &device->message_mode;
}

int device_export_overlay(const struct device *device, int fd, uint64_t stopped, uint64_t limit,
			  uint32_t *ret_ranges, uint64_t *ret_bytes, struct error **errp)
{
	return overlay_export(&device->message_mode, device->ctrl, fd, stopped, limit, ret_ranges,
			      ret_bytes, errp);
}

size_t device_travelling_size(const struct device *device)
{
	return state_file_travelling_size(device->config.nvme.queues);
}

uint64_t device_overlay_bound(const struct device *device)
{
	return overlay_bound(&device->message_mode, device->ctrl);
}

/* What the client has sent, or the keeper repeated, before we were asked. A client can go on
 * sending: @batches at most. */
static void process_messages(struct device *device, unsigned batches)
{
	while (device->server && !device->gone && batches--) {
		struct pollfd wait = { .fd = vfio_user_server_fd(device->server),
				       .events = POLLIN };

		if (poll(&wait, 1, 0) <= 0)
			return;
		/* A lost connection is told by disconnected(). */
		vfio_user_server_process(device->server);
	}
}

int device_apply_overlay(struct device *device, int fd, uint32_t *ret_ranges, struct error **errp)
{
	/* Above all its memory, of however many regions. */
	process_messages(device, UINT_MAX);
	return overlay_apply(&device->host, fd, ret_ranges, errp);
}

struct json_object *device_describe(const struct device *device)
{
	struct json_object *object = json_object_new_object();
	uint32_t cc, csts;

	nvme_controller_status(device->ctrl, &cc, &csts);
	json_add_u64(object, "index", device->config.index);
	json_add_u64(object, "cc", cc);
	json_add_u64(object, "csts", csts);
	json_add(object, "namespaces", namespaces_describe(&device->namespaces));
	return object;
}

/*
 * Freezing
 */

static void frozen(struct device *device, int error)
{
	void (*done)(void *opaque, int error) = device->frozen;

	device->frozen = NULL;
	if (!error)
		namespaces_release_locks(&device->namespaces);
	done(device->frozen_opaque, error);
}

static void synced(void *opaque, int result)
{
	struct device *device = opaque;

	device->synced = !result;
	frozen(device, result);
}

static void drained(void *opaque)
{
	struct device *device = opaque;

	process_messages(device, FREEZE_BATCHES);
	if (device->sync && !device->synced)
		nvme_controller_sync(device->ctrl, synced, device);
	else
		frozen(device, 0);
}

int device_freeze(struct device *device, bool sync, void (*done)(void *opaque, int error),
		  void *opaque)
{
	if (device->frozen || device->closing)
		return -EBUSY;
	device->frozen = done;
	device->frozen_opaque = opaque;
	device->sync = sync;
	process_messages(device, FREEZE_BATCHES);
	nvme_controller_freeze(device->ctrl, drained, device);
	return 0;
}

void device_thaw(struct device *device)
{
	device->synced = false;
	nvme_controller_await_no_more(device->ctrl);
	namespaces_take_locks(&device->namespaces);
	nvme_controller_thaw(device->ctrl);
}

/*
 * Coming and going
 */

static void start_failed(struct io_operation *operation)
{
	struct device *device = container_of(operation, struct device, threads_operation);
	struct device_events events = device->events;
	struct error *err = NULL;

	device->closed = nothing_more;
	device_closed(device);
	error_set(&err, ENOMEM, _("out of memory"));
	events.ready(events.opaque, NULL, err);
}

static void workers_there(struct io_operation *operation)
{
	struct device *device = container_of(operation, struct device, threads_operation);

	if (operation->failed) {
		io_threads_remove(device->threads, operation, device->ctrl, start_failed);
		return;
	}
	nvme_controller_begin(device->ctrl);
	pci_function_adopt(&device->function);
	device->events.ready(device->events.opaque, device, NULL);
}

static int map_doorbells(struct device *device, int fd, struct error **errp)
{
	struct nvme_controller_config *nvme = &device->config.nvme;
	int r = doorbell_page_map(&device->doorbells, fd, errp);

	if (r < 0)
		return r;
	nvme->doorbells = NVME_DOORBELLS_MAPPED;
	nvme->doorbell_page = doorbell_page_registers(&device->doorbells);
	nvme->doorbell_page_is_new = doorbell_page_is_new(&device->doorbells);
	return 0;
}

struct device *device_new(sd_event *event, struct io_threads *threads,
			  const struct device_config *config, int state_fd, int doorbell_fd,
			  const struct device_events *events, struct error **errp)
{
	_cleanup_close_ int fd = state_fd, page = doorbell_fd;
	struct device *device = calloc(1, sizeof(*device));

	if (!device) {
		error_set(errp, ENOMEM, _("out of memory"));
		return NULL;
	}
	device->threads = threads;
	device->config = *config;
	device->config.nvme.vectors = state_file_vectors(config->nvme.queues);
	device->events = *events;
	device->gone_call.run = client_gone;
	host_init(&device->host, threads);
	device->host.io_error = io_error;
	device->host.silent = silent;
	device->host.block_size = block_size;
	device->doorbells.fd = -1;
	if (page >= 0 && map_doorbells(device, steal_fd(&page), errp) < 0)
		goto no_doorbells;
	if (state_file_map(&device->file, fd, device->config.nvme.vectors, errp) < 0)
		goto no_state;
	device->ctrl = nvme_controller_new(&device->config.nvme, &device->host.nvme,
					   device->file.controller, errp);
	if (!device->ctrl)
		goto no_controller;
	if (device->doorbells.fd >= 0)
		doorbell_page_begin(&device->doorbells);
	device->function = (struct pci_function){
		.state = device->file.function,
		.ctrl = device->ctrl,
		.function_level_reset = function_level_reset,
	};
	message_mode_init(&device->message_mode, &device->host, device->file.local);
	device->event = sd_event_ref(event);
	device->namespaces = (struct namespaces){
		.event = event,
		.host = &device->host,
		.ctrl = device->ctrl,
		.controller = config->index,
		.uuid = device->config.nvme.uuid,
	};
	io_threads_add(threads, &device->threads_operation, device->ctrl, workers_there);
	return device;

no_controller:
	state_file_unmap(&device->file);
no_state:
	doorbell_page_unmap(&device->doorbells);
no_doorbells:
	free(device);
	return NULL;
}

void device_close(struct device *device, void (*done)(void *opaque), void *opaque)
{
	device->closing = true;
	device->closed = done;
	device->closed_opaque = opaque;
	if (!device->server)
		leave(device);
	else if (!device->gone)
		device_disconnected(device, 0);
}
