/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_CONFIG_H
#define KEEPER_CONFIG_H

#include <sys/types.h>

#include "base/json.h"
#include "block/block.h"

/* The configuration of docs/control.md, checked. Strings are borrowed from `json`. */
struct keeper_config {
	struct json_object *json;
	const char *uuid, *name, *runtime_dir, *log_dir;
	uid_t uid;
	gid_t gid;
	const char *peer_pidfile; /* NULL: the first process that connects is the domain's */
	const char *controller_program, *failed_program, *controller_user;
	unsigned io_threads;
	struct json_object *iothreadpin; /* array of what the controller is told; or NULL */
	bool without_uring; /* a disk of the start has io="threads"; decided for all disks */
	bool incoming;	    /* a migration comes: the images are locked when it has */
	int log_level;
	struct json_object *controllers; /* array; each for controller_config_parse() */
};

struct controller_config {
	unsigned index;
	const char *serial, *uuid;
	const char *subsystem; /* uuid; NULL: the controller is alone in one of its own */
	unsigned queues;
	const char *doorbells;		/* auto, trapped or mapped */
	struct json_object *namespaces; /* array, or NULL */
};

enum namespace_type {
	NAMESPACE_FILE,
	NAMESPACE_BLOCK,
	NAMESPACE_MEMORY,
};

struct namespace_config {
	uint32_t nsid;
	const char *target;
	enum namespace_type type;
	const char *type_name;
	const char *path;	       /* NULL for memory */
	uint64_t bytes;		       /* of memory */
	uint64_t capacity, allocation; /* bytes; capacity 0: never create */
	uint64_t block_size;	       /* the guest's, bytes; 0: the image's */
	enum block_cache cache;
	bool read_only, shareable;
	const char *reservations; /* a folder for them; NULL: it has none */
	const char *
		persistence; /* one for what lasts of them through a loss of power; NULL: nothing */
};

/** keeper_config_parse() - @json: reference taken over on success. 0 or -EINVAL */
int keeper_config_parse(struct json_object *json, struct keeper_config *ret, struct error **errp);
int controller_config_parse(struct json_object *json, struct controller_config *ret,
			    struct error **errp);
int namespace_config_parse(struct json_object *json, struct namespace_config *ret,
			   struct error **errp);

/** namespace_config_for_controller() - a copy without what only the keeper may know: the path */
struct json_object *namespace_config_for_controller(struct json_object *json);

#endif
