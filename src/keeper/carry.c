// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/carry.h"

#include <errno.h>
#include <fcntl.h>

static int keep_open(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, 0);
	return fd;
}

void carry_fd(struct json_object *json, const char *key, int fd)
{
	if (fd >= 0)
		json_add_u64(json, key, keep_open(fd));
}

void carry_fds(struct json_object *json, const char *key, const int *fds, size_t count)
{
	struct json_object *list = json_object_new_array();
	size_t i;

	for (i = 0; i < count; i++)
		json_object_array_add(list, json_object_new_int(keep_open(fds[i])));
	json_add(json, key, list);
}

void carry_bytes(struct json_object *json, const char *key, const void *bytes, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	_cleanup_free_ char *text = malloc(2 * size + 1);
	const unsigned char *from = bytes;
	size_t i;

	if (!text)
		abort(); /* before anything has been given up */
	for (i = 0; i < size; i++) {
		text[2 * i] = digits[from[i] >> 4];
		text[2 * i + 1] = digits[from[i] & 15];
	}
	text[2 * size] = '\0';
	json_add_string(json, key, text);
}

int carried_fd(struct json_object *json, const char *key)
{
	return json_u64_or(json, key, UINT64_MAX) > INT16_MAX ? -1 : (int)json_u64_or(json, key, 0);
}

size_t carried_fds(struct json_object *json, const char *key, int *fds, size_t max)
{
	struct json_object *list = json_child(json, key, json_type_array);
	size_t i, count = list ? MIN(json_object_array_length(list), max) : 0;

	for (i = 0; i < count; i++)
		fds[i] = json_object_get_int(json_object_array_get_idx(list, i));
	return count;
}

size_t carried_size(struct json_object *json, const char *key)
{
	return strlen(json_string_or(json, key, "")) / 2;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int carried_bytes(struct json_object *json, const char *key, void *bytes, size_t size)
{
	const char *text = json_string_or(json, key, "");
	unsigned char *to = bytes;
	size_t i;

	if (strlen(text) != 2 * size)
		return -EINVAL;
	for (i = 0; i < size; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		to[i] = high << 4 | low;
	}
	return 0;
}
