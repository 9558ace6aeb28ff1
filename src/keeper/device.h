/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_DEVICE_H
#define KEEPER_DEVICE_H

#include "keeper/images.h"
#include "keeper/listener.h"
#include "keeper/relay.h"
#include "keeper/supervise.h"

/*
 * An NVMe controller of the domain, as the keeper has it: its socket, its relay, its state file and
 * its namespaces' images. ("Controller" alone is the process that plays it.)
 */
struct device_namespace {
	struct device_namespace *next;
	struct json_object *json; /* `config` borrows from it */
	struct namespace_config config;
	struct image image;
	uint64_t capacity; /* bytes, as the controller says */
	bool persistent;   /* its reservations can outlast a loss of power */
	char *problem;	   /* what has failed, while its commands are held; see io-errors.h */
};

struct device {
	struct device *next;
	struct supervisor *supervisor;
	struct json_object *json;
	struct controller_config config;
	struct device_namespace *namespaces;
	struct listener *listener;
	struct relay *relay;
	int state_fd;
	int doorbell_fd;      /* the registers that QEMU maps; -1: it maps none */
	uint64_t state_bytes; /* so much of the file travels; the rest is of this host */
	bool removing;	      /* the relay's end is our own doing */
};

struct device_options {
	sd_event *event;
	const struct keeper_config *config;
	struct supervisor *supervisor;
	struct peer *peer;
	bool unlocked; /* the image locks are another host's, until device_lock_images() */
};

/* Told once, later, and whatever happens to the controller meanwhile; @err: NULL on success, and borrowed like @result. */
typedef void (*device_done)(void *opaque, struct json_object *result, const struct error *err);

/** device_new() - open its images, lock them, make its socket; the controller does not know it yet.
 * @json: borrowed. NULL with a sentence */
struct device *device_new(const struct device_options *options, struct json_object *json,
			  struct error **errp);

/** device_save() - for device_load() in the program that this process becomes; no call is open */
struct json_object *device_save(const struct device *device);
struct device *device_load(const struct device_options *options, struct json_object *json,
			   struct error **errp);

/** device_find_namespace() - NULL: it has no such */
struct device_namespace *device_find_namespace(struct device *device, uint32_t nsid);

/** device_free() - the images are unlocked and the socket is gone; no call may be under way */
void device_free(struct device *device);

/** device_lock_images() - all of them or none; 0, or -errno with a sentence */
int device_lock_images(struct device *device, struct error **errp);
void device_unlock_images(struct device *device);

/**
 * device_start() - add it, with its namespaces, to the controller of the moment
 * @flags: enum device_start_flags
 *
 * For a first generation as for a successor, which gets the state file and what the relay
 * remembers.
 */
void device_start(struct device *device, unsigned flags, device_done done, void *opaque);

/**
 * device_leave() - have the controller that runs leave it as it stands
 *
 * The state file is what it was and nobody's meanwhile, the client's messages wait; device_start()
 * goes on with it, with the images opened anew.
 */
void device_leave(struct device *device, device_done done, void *opaque);

/** device_remove() - take it from the controller again; the caller frees it when that is done */
void device_remove(struct device *device, device_done done, void *opaque);

/** device_add_namespace() - @json: borrowed. Nothing is left of it after a failure. */
void device_add_namespace(struct device *device, struct json_object *json, device_done done,
			  void *opaque);
void device_remove_namespace(struct device *device, uint32_t nsid, device_done done, void *opaque);
/** device_set_iotune() - other limits, which a successor of the controller is told as well; @iotune:
 * borrowed */
void device_set_iotune(struct device *device, uint32_t nsid, struct json_object *iotune,
		       device_done done, void *opaque);
/**
 * device_resize_namespace() - the image has been resized: tell the guest
 * @limit: it is about to be made as small as that: the guest's disk ends there, and when this is
 * done nothing writes behind it any more. It counts until it is done again without (0).
 */
void device_resize_namespace(struct device *device, uint32_t nsid, uint64_t limit, device_done done,
			     void *opaque);

/** device_next_block_size() - that is being recorded, see formats.c; 0: none */
uint64_t device_next_block_size(const struct device_namespace *ns);

/** device_set_block_size() - that is recorded, for the controller and its successors; 0: it cannot
 * be, it stays what it is */
void device_set_block_size(struct device *device, uint32_t nsid, uint64_t block_size,
			   device_done done, void *opaque);

/** device_check_size() - 0, or -EBUSY with a sentence when one of its disks is half resized, or half
 * formatted to another block size */
int device_check_size(const struct device *device, struct error **errp);

#endif
