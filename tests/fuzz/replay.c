// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/util.h"

/*
 * Stands in for libFuzzer's main: give each file of the folders (or files) named to the target;
 * without arguments, those of its own corpus, FUZZ_CORPUS below the source tree.
 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *data = NULL;
	size_t size;

	if (fd < 0 || fd_read_all(fd, 16 * MiB, &data, &size) < 0) {
		fprintf(stderr, "%s: cannot be read\n", path);
		return -1;
	}
	LLVMFuzzerTestOneInput((const uint8_t *)data, size);
	return 1;
}

/* Return: files replayed, or -1. */
static int replay(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int count = 0;

	if (!dir)
		return replay_file(path);
	while (count >= 0 && (entry = readdir(dir))) {
		char name[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		count = replay_file(name) < 0 ? -1 : count + 1;
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	const char *top = getenv("top_srcdir");
	char corpus[4096], *own[] = { argv[0], corpus };
	int i, total = 0;

	log_open("replay", LOG_EMERG);
	if (argc < 2) {
		snprintf(corpus, sizeof(corpus), "%s/%s", top ? top : ".", FUZZ_CORPUS);
		argv = own;
		argc = 2;
	}
	for (i = 1; i < argc; i++) {
		int count = replay(argv[i]);

		if (count <= 0) {
			fprintf(stderr, "%s: no corpus\n", argv[i]);
			return 1;
		}
		total += count;
	}
	printf("%d inputs\n", total);
	return 0;
}
