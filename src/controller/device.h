/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_DEVICE_H
#define CONTROLLER_DEVICE_H

#include <systemd/sd-event.h>

#include "controller/host.h"
#include "nvme/controller.h"
#include "vfio-user/server.h"

/*
 * One NVMe controller as a PCI function on a vfio-user connection: joins the server, the controller
 * model and the images. Control thread only.
 */
struct device;

struct device_config {
	unsigned index; /* names it in logs */
	struct nvme_controller_config nvme;
};

struct device_events {
	/* Every thread serves it now: device_connect() and namespaces_attach() may follow; or, with
	 * @err (owned by the receiver), it is gone. */
	void (*ready)(void *opaque, struct device *device, struct error *err);
	/* The client has gone and its work is over: device_connect() may follow. */
	void (*disconnected)(void *opaque, struct device *device);
	/* Commands are held, see nvme_host_io_error(): device_retry() ends that. Only where a
	 * namespace has an error policy that asks for it. */
	void (*io_error)(void *opaque, struct device *device, uint32_t nsid, enum block_op op,
			 int error);
	/* The guest has said nothing for its Keep Alive Timeout: device_guest_ran() answers. NULL:
	 * nobody knows when it is stopped, and it is taken to run. */
	void (*silent)(void *opaque, struct device *device);
	/* A namespace shall have that block size: namespaces_set_block_size() when that is recorded. NULL:
	 * the next start knows nothing of this one. */
	void (*block_size)(void *opaque, struct device *device, uint32_t nsid, uint32_t block_size);
	void *opaque;
};

/**
 * device_new() - asynchronous, see device_events.ready
 * @state_fd: where the state lives (state-file.h), owned from here on; an empty file is a new device; -1: private
 * memory
 * @doorbell_fd: of a device with mapped doorbells (doorbell-page.h), owned from here on; else -1
 *
 * Return: NULL with a sentence.
 */
struct device *device_new(sd_event *event, struct io_threads *threads,
			  const struct device_config *config, int state_fd, int doorbell_fd,
			  const struct device_events *events, struct error **errp);

/** device_connect() - serve a client on @transport (owned from here on); there is none */
int device_connect(struct device *device, struct vfio_user_transport *transport,
		   struct error **errp);

/** device_connected() - false: device_connect() may be called */
bool device_connected(const struct device *device);

/** device_draining() - the client has gone, and disconnected() will be called when its work is over
 */
bool device_draining(const struct device *device);

/** device_retry() - execute again what is held after an error, or @give_up: fail it */
void device_retry(struct device *device, bool give_up);

/** device_guest_ran() - see nvme_controller_guest_ran() */
void device_guest_ran(struct device *device, uint64_t ms);

/** device_controller() - the controller model of a device that is ready */
struct nvme_controller *device_controller(const struct device *device);

struct namespaces *device_namespaces(struct device *device);
struct message_mode *device_message_mode(struct device *device);

/** device_travelling_size() - see state_file_travelling_size() */
size_t device_travelling_size(const struct device *device);

/** device_overlay_bound(), device_export_overlay(), device_apply_overlay() - see overlay.h */
uint64_t device_overlay_bound(const struct device *device);
int device_export_overlay(const struct device *device, int fd, uint64_t stopped, uint64_t limit,
			  uint32_t *ret_ranges, uint64_t *ret_bytes, struct error **errp);
int device_apply_overlay(struct device *device, int fd, uint32_t *ret_ranges, struct error **errp);

/**
 * device_freeze() - see nvme_controller_freeze(); then give back the generation locks
 * @sync: flush the images
 * @done: with 0, or -errno of the flush; then it should be thawed
 *
 * Return: 0, or -EBUSY: it is being frozen or closed.
 */
int device_freeze(struct device *device, bool sync, void (*done)(void *opaque, int error),
		  void *opaque);

/** device_thaw() - go on, each namespace when it has its lock again; those of a predecessor that
 * were not attached are gone */
void device_thaw(struct device *device);

/** device_close() - disconnect the client, drain, close the images, free; @done at the end. A frozen
 * one leaves its state to a successor, else it is reset. */
void device_close(struct device *device, void (*done)(void *opaque), void *opaque);

/** device_read_pci_config() - the first 256 bytes, as the guest has written them, and whether the
 * interrupt line is raised */
void device_read_pci_config(const struct device *device, uint8_t ret[256]);

/** device_describe() - {"index","cc","csts","namespaces":[...]} as docs/control.md has it */
struct json_object *device_describe(const struct device *device);

#endif
