/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_METADATA_H
#define DOMAIN_XML_METADATA_H

#include "base/error.h"

/*
 * What the user writes into a domain's <metadata>, parsed:
 *
 *   <nvme:devices xmlns:nvme="urn:virtnvme:domain:1"> ... </nvme:devices>
 *
 * The words are libvirt's own for a <disk>. xml/virtnvme.rng is the schema; what a schema cannot
 * say is judged here, so a `struct metadata` that parsed holds all rules of a single domain. A
 * sentence begins with the path of the element it is about, counted from 0:
 *
 *   devices/controller[0]/disk[1]/target: dev="nvme0" has no namespace number
 *
 * The same element carries in a *running* domain's metadata what is live (<nvme:live>): where the
 * controllers are on the PCI bus, which of them are parked, and which disks could not be attached.
 */
#define METADATA_NAMESPACE	 "urn:virtnvme:domain:1"
#define METADATA_PREFIX		 "nvme" /* the key for virDomainSetMetadata() */

#define METADATA_MAX_CONTROLLERS 16
#define METADATA_MAX_DISKS	 64 /* of a controller; namespace ids are 1 to this */
#define METADATA_MAX_QUEUES	 64
#define METADATA_MAX_IOTHREADS	 16 /* what a controller process takes */
#define METADATA_MAX_SERIAL	 20 /* printable ASCII, NVMe Base 2.0 figure 275 */
#define METADATA_MAX_STRING	 4095
#define METADATA_MAX_TEXT	 (1024 * 1024)	   /* of the element alone */
#define METADATA_MAX_XML	 (4 * 1024 * 1024) /* of a domain */

enum metadata_disk_type {
	METADATA_DISK_FILE,   /* source_path */
	METADATA_DISK_BLOCK,  /* source_path */
	METADATA_DISK_VOLUME, /* source_pool, source_volume */
	METADATA_DISK_MEMORY, /* capacity */
};

enum metadata_cache {
	METADATA_CACHE_DEFAULT, /* the controller's choice: none where O_DIRECT works */
	METADATA_CACHE_NONE,
	METADATA_CACHE_WRITEBACK,
	METADATA_CACHE_WRITETHROUGH,
};

enum metadata_io {
	METADATA_IO_DEFAULT, /* io_uring, else threads */
	METADATA_IO_URING,
	METADATA_IO_THREADS,
};

enum metadata_discard {
	METADATA_DISCARD_DEFAULT, /* ignore, as libvirt's */
	METADATA_DISCARD_IGNORE,
	METADATA_DISCARD_UNMAP,
};

enum metadata_doorbells {
	METADATA_DOORBELLS_DEFAULT,
	METADATA_DOORBELLS_AUTO,
	METADATA_DOORBELLS_TRAPPED,
	METADATA_DOORBELLS_MAPPED,
};

enum metadata_error_policy {
	METADATA_ERROR_POLICY_DEFAULT, /* report */
	METADATA_ERROR_POLICY_REPORT,
	METADATA_ERROR_POLICY_STOP,
	METADATA_ERROR_POLICY_ENOSPACE,
};

/* What a running domain's metadata says of a disk. */
enum metadata_state {
	METADATA_STATE_NONE, /* nothing: a wish */
	METADATA_STATE_ATTACHED,
	METADATA_STATE_FAILED, /* `reason` says why */
};

/* <iotune>, libvirt's names. 0: no limit. total excludes read and write. */
struct metadata_iotune {
	uint64_t total_bytes_sec, read_bytes_sec, write_bytes_sec;
	uint64_t total_iops_sec, read_iops_sec, write_iops_sec;
	uint64_t total_bytes_sec_max, read_bytes_sec_max, write_bytes_sec_max;
	uint64_t total_iops_sec_max, read_iops_sec_max, write_iops_sec_max;
};

/* A function's place on the PCI bus as QEMU names it. */
struct metadata_placement {
	char bus[32];  /* id of the bus: "virtnvme-port0", "pci.0", "pci.7"; empty: not placed */
	unsigned slot; /* 0 to 31 */
	unsigned function; /* 0 to 7 */
};

struct metadata_disk {
	unsigned nsid; /* from target dev="nvmeXnY": Y */
	enum metadata_disk_type type;
	char *source_path; /* absolute */
	char *source_pool, *source_volume;
	uint64_t capacity;   /* bytes; 0: not given, the source must exist */
	uint64_t allocation; /* bytes, only when has_allocation */
	bool has_allocation;

	enum metadata_cache cache;
	enum metadata_io io;
	enum metadata_discard discard;
	enum metadata_error_policy error_policy;
	unsigned logical_block_size; /* 512, 4096; 0: not given */
	unsigned boot_order;	     /* from 1; 0: none */
	bool readonly, shareable;
	bool has_iotune;
	struct metadata_iotune iotune;

	/* Ids of the namespace that the user gave; else see identity.h. */
	bool has_uuid, has_nguid, has_eui64;
	uint8_t uuid[16], nguid[16], eui64[8];

	enum metadata_state state;
	char *reason; /* one line; only with METADATA_STATE_FAILED */
};

struct metadata_controller {
	unsigned index;	    /* X of nvmeXnY; 0 to METADATA_MAX_CONTROLLERS - 1 */
	unsigned queues;    /* I/O queue pairs; 0: not given */
	unsigned iothreads; /* 0: not given */
	enum metadata_doorbells doorbells;
	bool has_subsystem;	     /* else it is alone in one of its own */
	unsigned subsystem;	     /* 0 to METADATA_MAX_CONTROLLERS - 1 */
	char *serial;		     /* NULL: see identity.h */
	struct metadata_disk *disks; /* sorted by nsid */
	size_t disk_count;

	struct metadata_placement live; /* where it is in the running guest */
	bool parked; /* in the guest without namespaces; gone at the next cold start */
};

struct metadata {
	struct metadata_controller *controllers; /* sorted by index */
	size_t controller_count;

	/* <cputune>: the host processors of each I/O thread, by its number in the XML less 1, as
	 * cpuset_format() writes them; NULL: any */
	char *iothreadpin[METADATA_MAX_IOTHREADS];
};

/**
 * metadata_parse() - from the element alone, as virDomainGetMetadata() returns it
 * @text: XML whose root is <devices>, of our namespace or of none (libvirt strips it); at most
 *	METADATA_MAX_TEXT bytes
 * @ret: the caller's, metadata_free()
 *
 * Return: 0, -EINVAL, -E2BIG or -ENOMEM with a sentence.
 */
int metadata_parse(const char *text, size_t len, struct metadata **ret, struct error **errp);

/**
 * metadata_parse_domain() - from a whole <domain> document
 *
 * A domain without our element gives a `struct metadata` without controllers.
 */
int metadata_parse_domain(const char *xml, size_t len, struct metadata **ret, struct error **errp);

/**
 * metadata_format() - the element as virDomainSetMetadata() takes it
 *
 * What metadata_parse() makes of it is equal to @metadata. Without a namespace, as
 * virDomainGetMetadata() shows it: libvirt adds ours with METADATA_PREFIX as its key argument, and
 * refuses a text that declares that prefix itself.
 *
 * Return: malloc()ed text, NULL with a sentence (no memory).
 */
char *metadata_format(const struct metadata *metadata, struct error **errp);

/** metadata_new() - without controllers; NULL when out of memory */
struct metadata *metadata_new(void);

/** metadata_copy() - a deep copy; NULL when out of memory */
struct metadata *metadata_copy(const struct metadata *metadata);

void metadata_free(struct metadata *metadata);

static inline void cleanup_metadata(struct metadata **metadata)
{
	metadata_free(*metadata);
}

#define _cleanup_metadata_ _cleanup_(cleanup_metadata)

/** metadata_controller() - by index; NULL when there is none. Valid until one is added or removed.
 */
struct metadata_controller *metadata_controller(const struct metadata *metadata, unsigned index);

/** metadata_controller_failed() - it has disks, and all of them have failed: it waits for the user */
bool metadata_controller_failed(const struct metadata_controller *controller);

/** metadata_controller_boot_order() - its device's: the one that a disk of it has; 0: none has */
unsigned metadata_controller_boot_order(const struct metadata_controller *controller);

/** metadata_has_live() - does it say where a controller is in the guest? Only what runs does. */
bool metadata_has_live(const struct metadata *metadata);

/** metadata_disk() - by controller and nsid; NULL when there is none. Valid until one is added or
 * removed. */
struct metadata_disk *metadata_disk(const struct metadata *metadata, unsigned index, unsigned nsid);

/**
 * metadata_add_controller() - a new controller of that index, kept sorted
 *
 * Return: it, or NULL with a sentence when the index is taken or too high.
 */
struct metadata_controller *metadata_add_controller(struct metadata *metadata, unsigned index,
						    struct error **errp);

/**
 * metadata_add_disk() - a new disk of that nsid, kept sorted; the caller fills in the rest
 *
 * Return: it, or NULL with a sentence when the nsid is taken, 0 or too high.
 */
struct metadata_disk *metadata_add_disk(struct metadata_controller *controller, unsigned nsid,
					struct error **errp);

/** metadata_remove_controller() - false when there is none */
bool metadata_remove_controller(struct metadata *metadata, unsigned index);

/** metadata_remove_disk() - false when there is none */
bool metadata_remove_disk(struct metadata_controller *controller, unsigned nsid);

/**
 * metadata_parse_target() - "nvme0n1" to 0 and 1
 *
 * Return: 0, -EINVAL with a sentence (without an element path).
 */
int metadata_parse_target(const char *target, unsigned *ret_index, unsigned *ret_nsid,
			  struct error **errp);

/**
 * metadata_parse_disk() - one <disk> element alone, of our namespace or of none
 * @ret_index: of the controller that its target names
 * @ret: the caller's, metadata_disk_free()
 */
int metadata_parse_disk(const char *text, size_t len, unsigned *ret_index,
			struct metadata_disk **ret, struct error **errp);
void metadata_disk_free(struct metadata_disk *disk);

/** metadata_disk_source() - the source as a user would name it: a path, "pool/volume", "memory";
 * malloc()ed, NULL when out of memory */
char *metadata_disk_source(const struct metadata_disk *disk);

/** metadata_same_source() - the same path, pool and volume, whatever the types */
bool metadata_same_source(const struct metadata_disk *a, const struct metadata_disk *b);

/** metadata_same_subsystem() - are two controllers of the same one? */
bool metadata_same_subsystem(const struct metadata_controller *a,
			     const struct metadata_controller *b);

/**
 * metadata_disk_is_path() - may two disks of the same number, of two controllers of a subsystem, be
 * two paths to one?
 *
 * Return: NULL, or what of them has to be the same, or has to be there: the names of XML elements.
 */
const char *metadata_disk_is_path(const struct metadata_disk *a, const struct metadata_disk *b);

/** metadata_disk_equal() - the same wish (what is live left out) */
bool metadata_disk_equal(const struct metadata_disk *a, const struct metadata_disk *b);

/**
 * metadata_source_clash() - may two disks not use their sources at the same time?
 *
 * True for the same file, device or volume, at least one of them writable, unless both are
 * shareable. Compared as written: "a/../b" is not seen to be "b".
 */
bool metadata_source_clash(const struct metadata_disk *a, const struct metadata_disk *b);

/**
 * metadata_carry_live() - give a new wish the live record of the one before
 *
 * `virsh metadata --live --set` replaces the whole element, the record with it. Controllers get
 * their placement back by index, disks that are equal their state; a controller that is placed but
 * not wished any more comes back parked, without disks.
 *
 * Return: 0 or -ENOMEM.
 */
int metadata_carry_live(struct metadata *wish, const struct metadata *before);

/** metadata_iotune_each() - @fn for each limit that is given, with the name that it has in the XML */
void metadata_iotune_each(const struct metadata_iotune *iotune,
			  void (*fn)(void *opaque, const char *name, uint64_t value), void *opaque);

/* The words of the XML, for messages and JSON; "" for a _DEFAULT. */
const char *metadata_disk_type_name(enum metadata_disk_type type);
const char *metadata_cache_name(enum metadata_cache cache);
const char *metadata_io_name(enum metadata_io io);
const char *metadata_discard_name(enum metadata_discard discard);
const char *metadata_error_policy_name(enum metadata_error_policy policy);
const char *metadata_doorbells_name(enum metadata_doorbells doorbells);

#endif
