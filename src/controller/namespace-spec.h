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
};

struct namespace_spec {
	enum namespace_type type;
	char path[4096]; /* file, block; empty: the descriptor comes from the keeper */
	uint64_t bytes;	 /* memory, null */
	bool shareable;
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

/**
 * namespace_spec_open() - the block
 * @fd: of the image, owned from here on, also on failure; -1 for memory and null
 *
 * Return: NULL with a sentence.
 */
struct block *namespace_spec_open(const struct namespace_spec *spec, int fd, struct error **errp);

#endif
