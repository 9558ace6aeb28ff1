// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "tests/unit/vfio-user/rig.h"

#define READ_WRITE (VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITEABLE)
#define R	   VFIO_USER_ACCESS_READ
#define W	   VFIO_USER_ACCESS_WRITE

static void resolves_what_is_mapped(void **state)
{
	struct rig *rig = *state;
	_cleanup_close_ int fd = rig_memfd(64 * KiB);
	char *guest = mmap(NULL, 64 * KiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unsigned generation = vfio_user_dma_generation(rig->dma);
	char *p;

	assert_int_equal(rig_map(rig, 0x100000, 8192, 4096, READ_WRITE, fd), 0);
	assert_int_equal(rig->pauses, 1);
	assert_int_equal(rig->resumes, 1);
	assert_int_not_equal(vfio_user_dma_generation(rig->dma), generation);
	p = vfio_user_dma_resolve(rig->dma, 0x100010, 5, R | W);
	assert_non_null(p);
	strcpy(guest + 4096 + 0x10, "here");
	assert_string_equal(p, "here");
	assert_non_null(vfio_user_dma_resolve(rig->dma, 0x100000, 8192, R));
	assert_null(vfio_user_dma_resolve(rig->dma, 0x100000, 8193, R));
	assert_null(vfio_user_dma_resolve(rig->dma, 0xfffff, 2, R));
	assert_null(vfio_user_dma_resolve(rig->dma, 0x102000, 1, R));
	assert_null(vfio_user_dma_resolve(rig->dma, UINT64_MAX, 2, R));
	munmap(guest, 64 * KiB);
}

static void holds_to_permissions(void **state)
{
	struct rig *rig = *state;
	_cleanup_close_ int fd = rig_memfd(8192);

	assert_int_equal(rig_map(rig, 0, 4096, 0, VFIO_USER_DMA_READABLE, fd), 0);
	assert_non_null(vfio_user_dma_resolve(rig->dma, 0, 4096, R));
	assert_null(vfio_user_dma_resolve(rig->dma, 0, 4096, W));
	assert_true(vfio_user_dma_contains(rig->dma, 0, 4096, R));
	assert_false(vfio_user_dma_contains(rig->dma, 0, 4096, W));
	/* A writable neighbour in the same mapping does not make it so. */
	assert_int_equal(rig_map(rig, 0x10000, 4096, 0, READ_WRITE, fd), 0);
	assert_int_equal(rig_map(rig, 0x11000, 4096, 4096, VFIO_USER_DMA_READABLE, fd), 0);
	assert_non_null(vfio_user_dma_resolve(rig->dma, 0x10000, 8192, R));
	assert_null(vfio_user_dma_resolve(rig->dma, 0x10000, 8192, W));
	assert_false(vfio_user_dma_contains(rig->dma, 0x10000, 8192, W));
}

static void merges_neighbours_of_one_file(void **state)
{
	struct rig *rig = *state;
	_cleanup_close_ int fd = rig_memfd(64 * KiB), other = rig_memfd(64 * KiB);

	/* Given out of order, to see the list sorted. */
	assert_int_equal(rig_map(rig, 0x2000, 4096, 0x2000, READ_WRITE, fd), 0);
	assert_int_equal(rig_map(rig, 0x0000, 4096, 0x0000, READ_WRITE, fd), 0);
	assert_int_equal(rig_map(rig, 0x1000, 4096, 0x1000, READ_WRITE, fd), 0);
	assert_non_null(vfio_user_dma_resolve(rig->dma, 0x800, 0x2800, R | W));
	assert_ptr_equal((char *)vfio_user_dma_resolve(rig->dma, 0, 1, R) + 0x2000,
			 vfio_user_dma_resolve(rig->dma, 0x2000, 1, R));
	/* A neighbour of another file, or of another place in this one, is not one range. */
	assert_int_equal(rig_map(rig, 0x3000, 4096, 0x3000, READ_WRITE, other), 0);
	assert_int_equal(rig_map(rig, 0x4000, 4096, 0x6000, READ_WRITE, fd), 0);
	assert_null(vfio_user_dma_resolve(rig->dma, 0x2000, 0x2000, R));
	assert_null(vfio_user_dma_resolve(rig->dma, 0x3000, 0x2000, R));
	assert_true(vfio_user_dma_contains(rig->dma, 0, 0x5000, R | W));
	assert_false(vfio_user_dma_contains(rig->dma, 0, 0x5001, R | W));
}

static void refuses_overlaps(void **state)
{
	struct rig *rig = *state;
	_cleanup_close_ int fd = rig_memfd(64 * KiB);

	assert_int_equal(rig_map(rig, 0x4000, 0x4000, 0, READ_WRITE, fd), 0);
	assert_int_equal(rig_map(rig, 0x4000, 0x4000, 0, READ_WRITE, fd), EEXIST);
	assert_int_equal(rig_map(rig, 0x7000, 0x4000, 0, READ_WRITE, -1), EEXIST);
	assert_int_equal(rig_map(rig, 0x1000, 0x3001, 0, READ_WRITE, -1), EEXIST);
	assert_int_equal(rig_map(rig, 0x0000, 0x10000, 0, READ_WRITE, fd), EEXIST);
	assert_int_equal(rig_map(rig, 0x5000, 0x1000, 0, READ_WRITE, fd), EEXIST);
	assert_int_equal(rig_map(rig, 0x1000, 0x3000, 0, READ_WRITE, fd), 0);
	assert_int_equal(rig_map(rig, 0x8000, 0x1000, 0, READ_WRITE, fd), 0);
}

static void refuses_ranges_that_cannot_be(void **state)
{
	struct rig *rig = *state;
	_cleanup_close_ int fd = rig_memfd(8192);
	struct vfio_user_dma_map map = { .argsz = sizeof(map) - 1, .size = 4096 };

	assert_int_equal(rig_map(rig, 0, 0, 0, READ_WRITE, fd), EINVAL);
	assert_int_equal(rig_map(rig, UINT64_MAX - 4094, 4096, 0, READ_WRITE, fd), EINVAL);
	assert_int_equal(rig_map(rig, 0, 8193, 0, READ_WRITE, fd), EINVAL);
	assert_int_equal(rig_map(rig, 0, 4096, 8192, READ_WRITE, fd), EINVAL);
	assert_int_equal(rig_map(rig, 0, 4096, UINT64_MAX - 4095, READ_WRITE, fd), EINVAL);
	assert_int_equal(rig_map(rig, 0, 4096, 0, 4, fd), EINVAL);
	assert_int_equal(rig_call(rig, VFIO_USER_DMA_MAP, &map, sizeof(map)), EINVAL);
	assert_int_equal(rig_call(rig, VFIO_USER_DMA_MAP, &map, sizeof(map) - 1), EINVAL);
	assert_int_equal(rig->pauses, 2); /* for the two that only the file's size refuses */
	/* The last byte of the address space is one. */
	assert_int_equal(rig_map(rig, UINT64_MAX - 4095, 4096, 0, READ_WRITE, fd), 0);
	assert_non_null(vfio_user_dma_resolve(rig->dma, UINT64_MAX - 4095, 4096, R));
	assert_true(vfio_user_dma_contains(rig->dma, UINT64_MAX, 1, R));
	assert_false(vfio_user_dma_contains(rig->dma, UINT64_MAX, 2, R));
}

static void refuses_what_cannot_be_mapped(void **state)
{
	struct rig *rig = *state;
	int pipes[2];

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(rig_map(rig, 0, 4096, 0, READ_WRITE, pipes[0]), EINVAL);
	assert_int_equal(rig_map(rig, 0, 4096, 0, READ_WRITE, rig->fd), EINVAL);
	assert_int_equal(rig->disconnects, 0);
	fd_close_all(pipes, 2);
}

static void unmaps_exactly_what_was_mapped(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(rig_map(rig, 0x1000, 0x2000, 0, READ_WRITE, -1), 0);
	assert_int_equal(rig_unmap(rig, 0x1000, 0x1000, 0), ENOENT);
	assert_int_equal(rig_unmap(rig, 0x2000, 0x1000, 0), ENOENT);
	assert_int_equal(rig_unmap(rig, 0x0000, 0x3000, 0), ENOENT);
	assert_int_equal(rig_unmap(rig, 0x9000, 0x1000, 0), ENOENT);
	assert_int_equal(rig_unmap(rig, UINT64_MAX, UINT64_MAX, 0), ENOENT);
	assert_int_equal(rig_unmap(rig, 0x1000, 0x2000, 0), 0);
	assert_int_equal(rig->reply_size, sizeof(struct vfio_user_dma_unmap));
	assert_int_equal(rig_unmap(rig, 0x1000, 0x2000, 0), ENOENT);
	assert_false(vfio_user_dma_contains(rig->dma, 0x1000, 1, R));
}

static void unmaps_all_only_when_so_told(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(rig_map(rig, 0x1000, 0x1000, 0, READ_WRITE, -1), 0);
	assert_int_equal(rig_map(rig, 0x3000, 0x1000, 0, READ_WRITE, -1), 0);
	assert_int_equal(rig_unmap(rig, 0x1000, 0, VFIO_USER_UNMAP_ALL), EINVAL);
	assert_int_equal(rig_unmap(rig, 0, 0x1000, VFIO_USER_UNMAP_ALL), EINVAL);
	assert_int_equal(rig_unmap(rig, 0, 0, VFIO_USER_UNMAP_ALL | VFIO_USER_UNMAP_DIRTY_BITMAP),
			 EINVAL);
	assert_int_equal(rig_unmap(rig, 0x1000, 0x1000, VFIO_USER_UNMAP_DIRTY_BITMAP), EINVAL);
	assert_int_equal(rig_unmap(rig, 0x1000, 0x1000, 4), EINVAL);
	assert_int_equal(rig_unmap(rig, 0, 0, VFIO_USER_UNMAP_ALL), 0);
	assert_false(vfio_user_dma_contains(rig->dma, 0x3000, 1, R));
	assert_int_equal(rig_map(rig, 0x1000, 0x1000, 0, READ_WRITE, -1), 0);
}

static void knows_memory_without_a_file(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(rig_map(rig, 0xfffc0000, 0x40000, 0, VFIO_USER_DMA_READABLE, -1), 0);
	assert_null(vfio_user_dma_resolve(rig->dma, 0xfffc0000, 16, R));
	assert_true(vfio_user_dma_contains(rig->dma, 0xfffc0000, 16, R));
	assert_false(vfio_user_dma_contains(rig->dma, 0xfffc0000, 16, W));
}

/* What was handed to the kernel must stay mapped when QEMU takes the region away. */
static void retires_a_mapping_before_it_goes(void **state)
{
	struct rig *rig = *state;
	_cleanup_close_ int fd = rig_memfd(8192);
	volatile char *p, *again;

	assert_int_equal(rig_map(rig, 0, 8192, 0, READ_WRITE, fd), 0);
	p = vfio_user_dma_resolve(rig->dma, 0, 1, R);
	assert_int_equal(rig_unmap(rig, 0, 8192, 0), 0);
	assert_true(vfio_user_dma_mark_retired(rig->dma));
	assert_null(vfio_user_dma_resolve(rig->dma, 0, 1, R));
	*p = 'x';
	/* Put back in other pieces, it is the same mapping, and no longer retired. */
	assert_int_equal(rig_map(rig, 0, 4096, 0, READ_WRITE, fd), 0);
	again = vfio_user_dma_resolve(rig->dma, 0, 1, R);
	assert_ptr_equal(p, again);
	assert_false(vfio_user_dma_mark_retired(rig->dma));
	vfio_user_dma_release_retired(rig->dma);
	*again = 'y';
	/* Marked, and in use and away again: the mark was about an earlier time. */
	assert_int_equal(rig_unmap(rig, 0, 4096, 0), 0);
	assert_true(vfio_user_dma_mark_retired(rig->dma));
	assert_int_equal(rig_map(rig, 0, 4096, 0, READ_WRITE, fd), 0);
	assert_int_equal(rig_unmap(rig, 0, 4096, 0), 0);
	vfio_user_dma_release_retired(rig->dma);
	*again = 'z';
	assert_true(vfio_user_dma_mark_retired(rig->dma));
	vfio_user_dma_release_retired(rig->dma);
	assert_false(vfio_user_dma_mark_retired(rig->dma));
	assert_int_equal(msync((void *)(uintptr_t)p, 4096, MS_ASYNC), -1);
}

static void survives_a_file_that_shrinks(void **state)
{
	struct rig *rig = *state;
	_cleanup_close_ int fd = rig_memfd(3 * 4096);
	volatile char *p;

	assert_int_equal(vfio_user_dma_handle_sigbus(), 0);
	assert_int_equal(rig_map(rig, 0, 3 * 4096, 0, READ_WRITE, fd), 0);
	p = vfio_user_dma_resolve(rig->dma, 0, 3 * 4096, R | W);
	p[0] = 'a';
	p[4096] = 'b';
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(p[4096], 0);
	p[2 * 4096 + 5] = 'c';
	assert_int_equal(p[2 * 4096 + 5], 'c');
	assert_int_equal(p[0], 'a');
}

static void bounds_the_number_of_regions(void **state)
{
	struct rig *rig = *state;
	unsigned i;

	for (i = 0; i < 65535; i++)
		assert_int_equal(rig_map(rig, i * 8192ULL, 4096, 0, READ_WRITE, -1), 0);
	assert_int_equal(rig_map(rig, i * 8192ULL, 4096, 0, READ_WRITE, -1), ENOSPC);
	assert_true(vfio_user_dma_contains(rig->dma, 40000 * 8192ULL, 4096, R));
	assert_false(vfio_user_dma_contains(rig->dma, 40000 * 8192ULL + 4096, 1, R));
}

#define test(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(resolves_what_is_mapped),	      test(holds_to_permissions),
		test(merges_neighbours_of_one_file),  test(refuses_overlaps),
		test(refuses_ranges_that_cannot_be),  test(refuses_what_cannot_be_mapped),
		test(unmaps_exactly_what_was_mapped), test(unmaps_all_only_when_so_told),
		test(knows_memory_without_a_file),    test(retires_a_mapping_before_it_goes),
		test(survives_a_file_that_shrinks),   test(bounds_the_number_of_regions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
