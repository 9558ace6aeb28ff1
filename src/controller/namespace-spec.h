/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_NAMESPACE_SPEC_H
#define CONTROLLER_NAMESPACE_SPEC_H

#include "base/json.h"
#include "block/block.h"
#include "nvme/controller.h"

/* What a namespace is made of, from --namespace or from the keeper. */
enum namespace_type {
	NAMESPACE_FILE,
	NAMESPACE_BLOCK,
	NAMESPACE_MEMORY,
	NAMESPACE_NULL,
	NAMESPACE_FAULT, /* a file with faults, for tests */
};

struct namespace_spec {
	enum namespace_type type;
	char path[4096]; /* file, block, fault; empty: the descriptor comes from the keeper */
	char control[4096], stable[4096]; /* fault; the same; see block/fault.h */
	uint64_t bytes;			  /* memory, null */
	uint64_t limit;			  /* bytes of the image that are not exceeded; 0: none */
	bool reservations;		  /* it comes with a file for them */
	char reservations_path[4096];	  /* that; the same */
	bool persistence;		  /* and with one for what lasts through a loss of power */
	char persistence_path[4096];	  /* that; the same */
	struct block_file_options file;
	struct nvme_namespace_config nvme;
};

/**
 * namespace_spec_parse() - "file:PATH[,cache=...][,read-only][,block-size=N][,discard=unmap]" and
 * so on; a comma in a path is written twice
 */
int namespace_spec_parse(const char *text, struct namespace_spec *ret, struct error **errp);

/** namespace_spec_from_json() - the "namespace" of docs/control.md */
int namespace_spec_from_json(struct json_object *object, struct namespace_spec *ret,
			     struct error **errp);

/** namespace_spec_limits() - the "iotune" of docs/control.md; NULL: none */
void namespace_spec_limits(struct json_object *iotune, struct nvme_limits *ret);

#define NAMESPACE_SPEC_MAX_FDS 3

/** namespace_spec_has_image() - is it one that needs descriptors? */
bool namespace_spec_has_image(const struct namespace_spec *spec);

/**
 * namespace_spec_open() - the block
 * @fds: the image; of a fault namespace also its control file and, if it has one, its stable file.
 * They are owned by the block from here on, also on failure, and -1 afterwards.
 * @fd_count: 0 for memory and null
 *
 * Return: NULL with a sentence.
 */
struct block *namespace_spec_open(const struct namespace_spec *spec, int *fds, size_t fd_count,
				  struct error **errp);

#endif
