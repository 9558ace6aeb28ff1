/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_BLOB_H
#define KEEPER_BLOB_H

#include "base/json.h"

/*
 * The state of all devices as it travels in QEMU's stream. Pure functions on memory; what comes in
 * has been on a network or in a file, and nothing of it is believed.
 *
 *	parts	one an Id, at most BLOB_PARTS of at most BLOB_PART_MAX bytes, each with a header and
 *		a checksum
 *	whole	what is in them: the size of a JSON object, the object, and bytes that it describes
 */
#define BLOB_PARTS    16u
#define BLOB_PART_MAX (1u * 1024 * 1024)

/* Bytes that grow. */
struct blob {
	char *data;
	size_t size, room;
};

void blob_free(struct blob *blob);
#define _cleanup_blob_ _cleanup_(blob_free)

/** blob_append() - 0 or -ENOMEM */
int blob_append(struct blob *blob, const void *data, size_t size);

/** blob_append_memory() - the first @size bytes of a memfd, without its pages that are zero; 0 or
 * -errno */
int blob_append_memory(struct blob *blob, int fd, size_t size);

/** blob_capacity() - what so many parts together can hold, bytes */
size_t blob_capacity(unsigned parts);

/**
 * blob_split() - into parts
 * @parts: empty; freed by the caller
 * @count: 1 to BLOB_PARTS
 *
 * Return: 0, or -E2BIG or -ENOMEM with a sentence.
 */
int blob_split(const struct blob *whole, struct blob *parts, unsigned count, struct error **errp);

/** blob_pad() - a part beyond those of a state, @first its first, for an Id that may be left out. 0 or
 * -errno with a sentence */
int blob_pad(const struct blob *first, unsigned number, struct blob *part, struct error **errp);

/**
 * blob_check_part() - is this part number @number of a state that this version can read, and whole?
 *
 * Return: how many parts it has; 0: this is none of them, but blob_pad()'s; or -EINVAL with a sentence.
 */
int blob_check_part(const void *data, size_t size, unsigned number, struct error **errp);

/**
 * blob_join() - the whole, of parts that have been checked and may be of different states
 * @count: of each of them
 * @whole: empty; freed by the caller
 *
 * Return: 0, or -EINVAL or -ENOMEM with a sentence.
 */
int blob_join(const struct blob *parts, unsigned count, struct blob *whole, struct error **errp);

/** blob_begin() - the description in front of everything else; 0 or -ENOMEM */
int blob_begin(struct blob *whole, struct json_object *description);

/**
 * blob_open() - the description and what follows it
 * @ret: owned by the caller
 * @ret_data, @ret_size: into @whole
 *
 * Return: 0 or -EINVAL with a sentence.
 */
int blob_open(const struct blob *whole, struct json_object **ret, const char **ret_data,
	      size_t *ret_size, struct error **errp);

/**
 * blob_memory_size() - how large was the memory in what blob_append_memory() wrote?
 *
 * Return: bytes, or -EINVAL with a sentence when it is damaged; otherwise blob_read_memory() cannot
 * fail.
 */
int64_t blob_memory_size(const char *data, size_t size, struct error **errp);

/** blob_read_memory() - @memory: of blob_memory_size() zeroes */
void blob_read_memory(const char *data, char *memory);

#endif
