// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/words.h"

#include <stdio.h>

const char *const words_disk_type[] = {
	[METADATA_DISK_FILE] = "file",
	[METADATA_DISK_BLOCK] = "block",
	[METADATA_DISK_VOLUME] = "volume",
	[METADATA_DISK_MEMORY] = "memory",
	NULL,
};

const char *const words_cache[] = {
	[METADATA_CACHE_DEFAULT] = "",
	[METADATA_CACHE_NONE] = "none",
	[METADATA_CACHE_WRITEBACK] = "writeback",
	[METADATA_CACHE_WRITETHROUGH] = "writethrough",
	NULL,
};

const char *const words_io[] = {
	[METADATA_IO_DEFAULT] = "",
	[METADATA_IO_URING] = "io_uring",
	[METADATA_IO_THREADS] = "threads",
	NULL,
};

const char *const words_discard[] = {
	[METADATA_DISCARD_DEFAULT] = "",
	[METADATA_DISCARD_IGNORE] = "ignore",
	[METADATA_DISCARD_UNMAP] = "unmap",
	NULL,
};

const char *const words_error_policy[] = {
	[METADATA_ERROR_POLICY_DEFAULT] = "",
	[METADATA_ERROR_POLICY_REPORT] = "report",
	[METADATA_ERROR_POLICY_STOP] = "stop",
	[METADATA_ERROR_POLICY_ENOSPACE] = "enospace",
	NULL,
};

const char *const words_doorbells[] = {
	[METADATA_DOORBELLS_DEFAULT] = "",
	[METADATA_DOORBELLS_AUTO] = "auto",
	[METADATA_DOORBELLS_TRAPPED] = "trapped",
	[METADATA_DOORBELLS_MAPPED] = "mapped",
	NULL,
};

const char *const words_state[] = {
	[METADATA_STATE_NONE] = "",
	[METADATA_STATE_ATTACHED] = "attached",
	[METADATA_STATE_FAILED] = "failed",
	NULL,
};

#define LIMIT(name)                                                                                \
	{                                                                                          \
#name, offsetof(struct metadata_iotune, name)                                      \
	}
const struct words_limit words_iotune[] = {
	LIMIT(total_bytes_sec),
	LIMIT(read_bytes_sec),
	LIMIT(write_bytes_sec),
	LIMIT(total_iops_sec),
	LIMIT(read_iops_sec),
	LIMIT(write_iops_sec),
	LIMIT(total_bytes_sec_max),
	LIMIT(read_bytes_sec_max),
	LIMIT(write_bytes_sec_max),
	LIMIT(total_iops_sec_max),
	LIMIT(read_iops_sec_max),
	LIMIT(write_iops_sec_max),
	{ NULL },
};

int words_find(const char *const *words, const char *word)
{
	int i;

	for (i = 0; words[i]; i++)
		if (*words[i] && !strcmp(words[i], word))
			return i;
	return -1;
}

char *words_list(const char *const *words)
{
	char *text = NULL;
	size_t size;
	bool first = true;
	FILE *out = open_memstream(&text, &size);
	int i;

	if (!out)
		return NULL;
	for (i = 0; words[i]; i++) {
		if (!*words[i])
			continue;
		fprintf(out, "%s%s", first ? "" : words[i + 1] ? ", " : " or ", words[i]);
		first = false;
	}
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

const char *metadata_disk_type_name(enum metadata_disk_type type)
{
	return words_disk_type[type];
}

const char *metadata_cache_name(enum metadata_cache cache)
{
	return words_cache[cache];
}

const char *metadata_io_name(enum metadata_io io)
{
	return words_io[io];
}

const char *metadata_discard_name(enum metadata_discard discard)
{
	return words_discard[discard];
}

const char *metadata_doorbells_name(enum metadata_doorbells doorbells)
{
	return words_doorbells[doorbells];
}

const char *metadata_error_policy_name(enum metadata_error_policy policy)
{
	return words_error_policy[policy];
}

void metadata_iotune_each(const struct metadata_iotune *iotune,
			  void (*fn)(void *opaque, const char *name, uint64_t value), void *opaque)
{
	const struct words_limit *limit;

	for (limit = words_iotune; limit->name; limit++) {
		uint64_t value = *words_limit((struct metadata_iotune *)iotune, limit);

		if (value)
			fn(opaque, limit->name, value);
	}
}
