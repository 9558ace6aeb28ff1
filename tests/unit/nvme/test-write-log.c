// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include "nvme/write-log.h"
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

static void sleep_ms(unsigned ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

static struct nvme_write_log *log_new(void)
{
	struct nvme_write_log *log =
		mmap(NULL, sizeof(*log), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(log, MAP_FAILED);
	nvme_write_log_init(log);
	return log;
}

static void log_free(struct nvme_write_log *log)
{
	munmap(log, sizeof(*log));
}

/* Of the page numbers 0 to 1023, which were told; and how many entries in all. */
struct told {
	uint64_t base;
	bool pages[1024];
	unsigned count;
};

static int tell(void *opaque, uint64_t iova, uint64_t len)
{
	struct told *told = opaque;

	assert_int_equal(iova % NVME_WRITE_LOG_PAGE, 0);
	assert_true(len && len % NVME_WRITE_LOG_PAGE == 0);
	told->count++;
	for (uint64_t page = (iova - told->base) / NVME_WRITE_LOG_PAGE; len;
	     len -= NVME_WRITE_LOG_PAGE, page++)
		if (page < ARRAY_SIZE(told->pages))
			told->pages[page] = true;
	return 0;
}

static int tell_bytes(void *opaque, uint64_t iova, uint64_t len)
{
	uint64_t first = iova & ~4095ULL;

	return tell(opaque, first, (iova + len - first + 4095) & ~4095ULL);
}

static struct told since(struct nvme_write_log *log, uint64_t time)
{
	struct told told = {};

	assert_int_equal(nvme_write_log_since(log, time, tell, &told), 0);
	return told;
}

static void whole_pages_are_told(void **state)
{
	struct nvme_write_log *log = log_new();
	struct told told;

	nvme_write_log_add(log, 4096 + 512, 512);
	nvme_write_log_add(log, 3 * 4096 - 4, 8); /* the end of one, the beginning of another */
	nvme_write_log_add(log, 16 * 4096, 256 * 4096); /* 1 MiB */
	nvme_write_log_add(log, 400 * 4096 + 4, 256 * 4096);
	/* Before the clock is looked at, too: this process may die at any time. */
	for (unsigned i = 0; i < 2; i++) {
		told = since(log, 0);
		assert_int_equal(told.count, 4);
		assert_false(told.pages[0]);
		assert_true(told.pages[1] && told.pages[2] && told.pages[3]);
		assert_false(told.pages[4] || told.pages[15]);
		assert_true(told.pages[16] && told.pages[271]);
		assert_false(told.pages[272] || told.pages[399]);
		assert_true(told.pages[400] && told.pages[656]);
		assert_false(told.pages[657]);
		nvme_write_log_poll(log);
	}
	nvme_write_log_add(NULL, 0, 1);
	log_free(log);
}

static void what_was_before_is_not_told(void **state)
{
	struct nvme_write_log *log = log_new();
	struct told told;
	uint64_t then;

	nvme_write_log_add(log, 4096, 4096);
	nvme_write_log_poll(log);
	sleep_ms(100);
	then = now_us();
	nvme_write_log_add(log, 2 * 4096, 4096);
	nvme_write_log_poll(log);
	told = since(log, then);
	assert_false(told.pages[1]);
	assert_true(told.pages[2]);
	sleep_ms(100);
	nvme_write_log_add(log, 3 * 4096, 4096);
	nvme_write_log_poll(log);
	told = since(log, then);
	assert_false(told.pages[1]);
	assert_true(told.pages[2] && told.pages[3]);
	log_free(log);
}

/* What it has forgotten it says it does not know. */
static void a_full_log_forgets_the_oldest_half(void **state)
{
	struct nvme_write_log *log = log_new();
	uint64_t begun = now_us();
	struct told told;

	nvme_write_log_add(log, 4096, 4096);
	for (unsigned i = 0; i < NVME_WRITE_LOG_ENTRIES; i++)
		nvme_write_log_add(log, 0, 4096);
	told = since(log, begun);
	assert_true(told.pages[1]);
	assert_int_equal(told.count, NVME_WRITE_LOG_ENTRIES + 1);
	for (unsigned i = 0; i < NVME_WRITE_LOG_ENTRIES; i++)
		nvme_write_log_add(log, 0, 4096);
	assert_int_equal(nvme_write_log_since(log, begun, tell, &told), -ENODATA);
	told = since(log, now_us());
	assert_false(told.pages[1]);
	log_free(log);
}

/* Memory that nothing needs is not touched: a moderate load uses a few pages again and again. */
static void it_forgets_for_age_and_stays_small(void **state)
{
	struct nvme_write_log *log = log_new();
	uint64_t then;
	struct told told;

	for (unsigned i = 0; i < 1000; i++)
		nvme_write_log_add(log, 4096, 4096);
	nvme_write_log_poll(log);
	nvme_write_log_keep(log, true);
	log->halves[0].begun -= 3000000; /* as if it were */
	sleep_ms(30);
	nvme_write_log_add(log, 2 * 4096, 4096);
	nvme_write_log_poll(log);
	assert_int_equal(log->half, 0);
	nvme_write_log_keep(log, false);
	sleep_ms(30);
	nvme_write_log_add(log, 2 * 4096, 4096);
	nvme_write_log_poll(log);
	assert_int_equal(log->half, 1);
	/* The older half is there until it is needed. */
	told = since(log, now_us() - 1000000);
	assert_true(told.pages[1] && told.pages[2]);
	then = now_us();
	for (unsigned i = 0; i < 1000; i++)
		nvme_write_log_add(log, 3 * 4096, 4096);
	log->halves[1].begun -= 3000000;
	sleep_ms(30);
	nvme_write_log_poll(log);
	assert_int_equal(log->half, 0);
	told = since(log, then);
	assert_false(told.pages[1]);
	assert_true(told.pages[3]);
	log_free(log);
}

static void a_successor_goes_on_and_believes_no_nonsense(void **state)
{
	struct nvme_write_log *log = log_new();
	uint64_t begun = now_us();
	struct told told;

	nvme_write_log_add(log, 4096, 4096);
	nvme_write_log_init(log);
	told = since(log, begun);
	assert_true(told.pages[1]);
	sleep_ms(1);
	log->halves[log->half].count = NVME_WRITE_LOG_ENTRIES + 1;
	nvme_write_log_init(log);
	assert_int_equal(nvme_write_log_since(log, begun, tell, &told), -ENODATA);
	log->half = 2;
	nvme_write_log_init(log);
	assert_true(log->half < 2);
	log_free(log);
}

/* Every direct write of data is noted when it has landed, and the queues are known. */
static void the_controller_notes_what_it_writes(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t data = machine_alloc(machine, 8);
	unsigned first = (data - MACHINE_BASE) / 4096, cq;
	struct told told = { .base = MACHINE_BASE };

	machine->host.write_logs = log_new();
	assert_non_null(machine_restart(machine, NULL));
	disk->info.memory_alignment = 512;
	machine_attach(machine, 1, disk);
	disk->hold = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 16, data, data + 2 * 4096));
	machine_submit(machine, 1, machine_rw(NVME_IO_WRITE, 0, 8, data + 3 * 4096, 0));
	machine_run(machine);
	assert_int_equal(nvme_controller_direct_reads(machine->ctrl), 1);
	nvme_write_log_since(machine->host.write_logs, 0, tell, &told);
	assert_int_equal(told.count, 0);
	disk->result = -EIO; /* and if it failed half-way, it may have written as well */
	machine_release(machine, disk);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(nvme_controller_direct_reads(machine->ctrl), 0);
	nvme_write_log_since(machine->host.write_logs, 0, tell, &told);
	assert_int_equal(told.count, 2);
	assert_true(told.pages[first] && told.pages[first + 2]);

	/* An answer that is copied, and a read that is not aligned for the disk. */
	disk->hold = false;
	disk->result = 0;
	machine_submit(machine, 0,
		       (struct nvme_command){ .opcode = NVME_ADMIN_IDENTIFY,
					      .prp1 = data + 4 * 4096,
					      .cdw10 = 1 });
	machine_run(machine);
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 1, data + 5 * 4096 + 4, 0));
	machine_run(machine);
	nvme_write_log_since(machine->host.write_logs, 0, tell, &told);
	assert_true(told.pages[first + 4] && told.pages[first + 5]);

	/* Queues: known while they are there, noted when they go. */
	cq = (machine->queues[2].cq - MACHINE_BASE) / 4096;
	assert_false(told.pages[cq]);
	assert_int_equal(nvme_controller_each_page_of_ours(machine->ctrl, tell_bytes, &told), 0);
	assert_true(told.pages[cq]);
	told.pages[cq] = false;
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	nvme_controller_each_page_of_ours(machine->ctrl, tell_bytes, &told);
	assert_false(told.pages[cq]);
	nvme_write_log_since(machine->host.write_logs, 0, tell, &told);
	assert_true(told.pages[cq]);
	log_free(machine->host.write_logs);
	machine->host.write_logs = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_pages_are_told),
		cmocka_unit_test(what_was_before_is_not_told),
		cmocka_unit_test(a_full_log_forgets_the_oldest_half),
		cmocka_unit_test(it_forgets_for_age_and_stays_small),
		cmocka_unit_test(a_successor_goes_on_and_believes_no_nonsense),
		cmocka_unit_test_setup_teardown(the_controller_notes_what_it_writes, machine_setup,
						machine_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
