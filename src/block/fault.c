// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/fault.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/i18n.h"
#include "block/backend.h"
#include "block/ring.h"

/*
 * A request is first held, with one short wait after another as its system calls, and then becomes
 * the image's: from there on prepare() and advance() only pass it through, until it is finished.
 */
#define PHASE_HELD UINT8_MAX

enum behind {
	BEHIND_NO,
	BEHIND_YES,
	BEHIND_COPYING, /* and not written since the copy began */
};

struct fault {
	struct block block;
	struct block *image;
	int image_fd; /* the image's */
	int stable_fd;
	struct block_fault_control *control;
	size_t control_bytes;
};

static struct fault *to_fault(const struct block *block)
{
	return container_of(block, struct fault, block);
}

static struct block_fault_rule *rule_of(const struct block_request *request)
{
	return &to_fault(request->priv.block)->control->rules[request->op];
}

static void add(uint64_t *counter, int64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_SEQ_CST);
}

static uint64_t now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

/*
 * The stable file
 */

/* Through a buffer that suits O_DIRECT. Behind the image's end there is nothing to copy. */
static int copy_block(const struct fault *fault, uint64_t offset)
{
	uint8_t bytes[BLOCK_FAULT_BLOCK] __attribute__((aligned(BLOCK_FAULT_BLOCK)));
	ssize_t n = pread(fault->image_fd, bytes, sizeof(bytes), offset);

	if (n > 0)
		n = pwrite(fault->stable_fd, bytes, n, offset);
	return n < 0 ? -errno : 0;
}

/* Behind until the copy is whole, so that a successor of ours copies again; a write that comes
 * meanwhile says so anew. */
static int make_stable(const struct fault *fault, uint64_t offset, uint64_t bytes)
{
	uint64_t end = DIV_ROUND_UP(offset + bytes, BLOCK_FAULT_BLOCK), i;
	int ret;

	for (i = offset / BLOCK_FAULT_BLOCK; i < end; i++) {
		uint8_t *behind = &fault->control->behind[i], copying = BEHIND_COPYING;

		if (!READ_ONCE(*behind))
			continue;
		__atomic_store_n(behind, BEHIND_COPYING, __ATOMIC_SEQ_CST);
		ret = copy_block(fault, i * BLOCK_FAULT_BLOCK);
		if (ret < 0)
			return ret;
		__atomic_compare_exchange_n(behind, &copying, BEHIND_NO, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
	}
	return 0;
}

static int keep_stable(const struct fault *fault, const struct block_request *request)
{
	uint64_t end = DIV_ROUND_UP(request->offset + request->bytes, BLOCK_FAULT_BLOCK), i;

	if (request->op == BLOCK_READ)
		return 0;
	if (request->op == BLOCK_FLUSH)
		return make_stable(fault, 0, fault->block.info.capacity);
	for (i = request->offset / BLOCK_FAULT_BLOCK; i < end; i++)
		__atomic_store_n(&fault->control->behind[i], BEHIND_YES, __ATOMIC_SEQ_CST);
	if (fault->block.info.volatile_cache && !(request->flags & BLOCK_FUA))
		return 0;
	return make_stable(fault, request->offset, request->bytes);
}

/*
 * One request
 */

static bool is_held(const struct block_request *request)
{
	const struct block_fault_rule *rule = rule_of(request);

	return READ_ONCE(rule->hang) ||
	       now_ms() < request->priv.progress + READ_ONCE(rule->delay_ms);
}

/* One of @n, if there is one left. */
static bool take_one(uint32_t *n)
{
	uint32_t was = READ_ONCE(*n);

	do {
		if (was == 0 || was == BLOCK_FAULT_WITHOUT_END)
			return was != 0;
	} while (!__atomic_compare_exchange_n(n, &was, was - 1, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST));
	return true;
}

static int error_for(struct block_fault_rule *rule, const struct block_request *request)
{
	uint64_t last = READ_ONCE(rule->last);
	int error = READ_ONCE(rule->error);

	if (!error || (last && request->op != BLOCK_FLUSH &&
		       (request->offset > last ||
			request->offset + request->bytes <= READ_ONCE(rule->first))))
		return 0;
	return !take_one(&rule->skip) && take_one(&rule->left) ? error : 0;
}

static bool finish(struct block_request *request)
{
	struct fault *fault = to_fault(request->priv.block);

	if (request->priv.result == 0 && fault->stable_fd >= 0)
		request->priv.result = keep_stable(fault, request);
	add(request->priv.result < 0 ? &rule_of(request)->failed : &rule_of(request)->succeeded, 1);
	return true;
}

/* The image's own functions take the request for theirs. */
static bool pass_on(struct block_request *request, bool (*step)(struct block_request *, int),
		    int arg)
{
	struct block *block = request->priv.block;
	bool finished;

	request->priv.block = to_fault(block)->image;
	finished = step(request, arg);
	request->priv.block = block;
	return finished && finish(request);
}

static bool let_go(struct block_request *request, int error)
{
	const struct block_ops *ops = request->priv.block->ops;

	return ops->start(request) || (error && ops->advance(request, -error));
}

static bool let_go_on(struct block_request *request)
{
	struct block_fault_rule *rule = rule_of(request);

	add(&rule->held, -1);
	return pass_on(request, let_go, error_for(rule, request));
}

static void fault_submit(struct block *block, struct block_ring *ring,
			 struct block_request *request)
{
	struct block_fault_rule *rule = rule_of(request);

	add(&rule->begun, 1);
	add(&rule->held, 1);
	request->priv.phase = PHASE_HELD;
	request->priv.progress = now_ms();
	if (!is_held(request) && let_go_on(request))
		block_complete(request, request->priv.result);
	else
		block_ring_execute(ring, request);
}

static void fault_prepare(struct block_request *request, struct block_call *call)
{
	struct block *block = request->priv.block;

	if (request->priv.phase == PHASE_HELD) {
		call->kind = BLOCK_CALL_WAIT;
		call->may_block = false;
		return;
	}
	request->priv.block = to_fault(block)->image;
	request->priv.block->ops->prepare(request, call);
	request->priv.block = block;
}

static bool fault_advance(struct block_request *request, int result)
{
	if (request->priv.phase == PHASE_HELD)
		return !is_held(request) && let_go_on(request);
	return pass_on(request, to_fault(request->priv.block)->image->ops->advance, result);
}

/*
 * Opening
 */

static int check_control(const struct fault *fault)
{
	uint64_t blocks = DIV_ROUND_UP(fault->block.info.capacity, BLOCK_FAULT_BLOCK);

	if (fault->stable_fd >= 0 && fault->control_bytes < sizeof(*fault->control) + blocks)
		return -EFBIG;
	return 0;
}

static int fault_refresh(struct block *block)
{
	struct fault *fault = to_fault(block);
	int ret = block_refresh(fault->image, 0);

	if (ret == 0) {
		block->info = fault->image->info;
		ret = check_control(fault);
	}
	return ret;
}

static void fault_close(struct block *block)
{
	struct fault *fault = to_fault(block);

	block_close(fault->image);
	munmap(fault->control, fault->control_bytes);
	if (fault->stable_fd >= 0)
		close(fault->stable_fd);
	free(fault);
}

static const struct block_ops fault_ops = {
	.submit = fault_submit,
	.prepare = fault_prepare,
	.advance = fault_advance,
	.refresh = fault_refresh,
	.close = fault_close,
};

static int map_control(struct fault *fault, int fd, struct error **errp)
{
	struct stat st;
	size_t i;

	if (fstat(fd, &st) < 0)
		return error_set_errno(errp, errno, _("cannot look at the control file"));
	fault->control_bytes = st.st_size;
	if (fault->control_bytes < sizeof(*fault->control))
		return error_set(errp, EINVAL, _("the control file is too short"));
	fault->control =
		mmap(NULL, fault->control_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fault->control == MAP_FAILED)
		return error_set_errno(errp, errno, _("cannot map the control file"));
	if (fault->control->magic != BLOCK_FAULT_MAGIC || check_control(fault) < 0) {
		munmap(fault->control, fault->control_bytes);
		return error_set(errp, EINVAL, _("the control file does not fit the image"));
	}
	/* Those of a process that was killed. */
	for (i = 0; i < ARRAY_SIZE(fault->control->rules); i++)
		WRITE_ONCE(fault->control->rules[i].held, 0);
	return 0;
}

struct block *block_open_fault(int fd, const struct block_file_options *options, int control_fd,
			       int stable_fd, struct error **errp)
{
	_cleanup_close_ int control = control_fd, stable = stable_fd;
	struct block *image = block_open_file(fd, options, errp);
	struct fault *fault;

	if (!image)
		return NULL;
	fault = calloc(1, sizeof(*fault));
	if (!fault) {
		error_set_errno(errp, ENOMEM, _("cannot open the image"));
		block_close(image);
		return NULL;
	}
	fault->block.ops = &fault_ops;
	fault->block.info = image->info;
	fault->image = image;
	fault->image_fd = fd;
	fault->stable_fd = stable;
	if (map_control(fault, control, errp) < 0) {
		block_close(image);
		free(fault);
		return NULL;
	}
	stable = -1;
	return &fault->block;
}
