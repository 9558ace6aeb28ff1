// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/shared-storage.h"

#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <sys/statfs.h>

#define FUSE_MAGIC 0x65735546u

/* linux/magic.h has the half of them. */
static const struct {
	uint32_t magic;
	enum shared_storage kind;
} kinds[] = {
	{ 0x00006969, SHARED_STORAGE_SHARED },	 /* NFS */
	{ 0x01161970, SHARED_STORAGE_COHERENT }, /* GFS2 */
	{ 0x7461636f, SHARED_STORAGE_COHERENT }, /* OCFS2 */
	{ 0x00c36400, SHARED_STORAGE_COHERENT }, /* Ceph */
	{ 0x5346414f, SHARED_STORAGE_SHARED },	 /* AFS */
	{ 0x0000517b, SHARED_STORAGE_SHARED },	 /* SMB */
	{ 0xfe534d42, SHARED_STORAGE_SHARED },	 /* SMB2 */
	{ 0xff534d42, SHARED_STORAGE_SHARED },	 /* CIFS */
	{ 0x47504653, SHARED_STORAGE_SHARED },	 /* GPFS */
	{ 0x61636673, SHARED_STORAGE_SHARED },	 /* ACFS */
	{ 0x19830326, SHARED_STORAGE_SHARED },	 /* BeeGFS */
	{ 0x51626d6e, SHARED_STORAGE_SHARED },	 /* Quobyte */
};

static char *const *shared_paths;

void shared_storage_init(char *const *paths)
{
	shared_paths = paths;
}

enum shared_storage shared_storage_kind(uint32_t magic, const char *type)
{
	size_t i;

	if (magic == FUSE_MAGIC)
		return string_equal(type, "fuse.glusterfs") || string_equal(type, "fuse.quobyte")
			       ? SHARED_STORAGE_SHARED
			       : SHARED_STORAGE_LOCAL;
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].magic == magic)
			return kinds[i].kind;
	return SHARED_STORAGE_LOCAL;
}

/* Is @path @directory, or in it? */
static bool is_below(const char *path, const char *directory)
{
	size_t len = strlen(directory);

	while (len > 1 && directory[len - 1] == '/')
		len--;
	if (strncmp(path, directory, len) != 0)
		return false;
	return len == 1 || path[len] == '/' || path[len] == '\0';
}

/* The longest mount point that @path is below is the file system it is on; of two mounts on one
 * point, the last. */
static char *mount_type(const char *path)
{
	FILE *table = setmntent("/proc/self/mounts", "re");
	char *type = NULL, buffer[4096];
	struct mntent entry;
	size_t longest = 0;

	while (table && getmntent_r(table, &entry, buffer, sizeof(buffer)))
		if (is_below(path, entry.mnt_dir) && strlen(entry.mnt_dir) >= longest) {
			longest = strlen(entry.mnt_dir);
			free(type);
			type = strdup(entry.mnt_type);
		}
	if (table)
		endmntent(table);
	return type;
}

static bool is_declared(const char *path)
{
	size_t i;

	for (i = 0; shared_paths && shared_paths[i]; i++) {
		_cleanup_free_ char *real = realpath(shared_paths[i], NULL);

		if (is_below(path, real ? real : shared_paths[i]))
			return true;
	}
	return false;
}

/* Without symbolic links; of the nearest directory when there is no such file. */
static char *resolve(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	char *real, *slash;

	while (copy) {
		real = realpath(copy, NULL);
		if (real)
			return real;
		slash = strrchr(copy, '/');
		if (!slash || slash == copy)
			return strdup("/");
		*slash = '\0';
	}
	return NULL;
}

enum shared_storage shared_storage_of(const char *path)
{
	_cleanup_free_ char *real = resolve(path);
	_cleanup_free_ char *type = NULL;
	enum shared_storage kind;
	struct statfs st;

	if (!real || statfs(real, &st) < 0)
		return SHARED_STORAGE_LOCAL;
	if ((uint32_t)st.f_type == FUSE_MAGIC)
		type = mount_type(real);
	kind = shared_storage_kind((uint32_t)st.f_type, type);
	if (kind == SHARED_STORAGE_LOCAL && is_declared(real))
		return SHARED_STORAGE_SHARED;
	return kind;
}
