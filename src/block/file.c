// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Theory of operation
 *
 * A request is one or several system calls, one after another: priv.phase names the next one.
 *
 *	read		TRANSFER until all is there; what lies behind the end of the file is zeroes
 *	write		TRANSFER, or TRANSFER_DURABLE; with a kernel that has no RWF_DSYNC, SYNC
 *after it flush		SYNC
 *	write zeroes	PUNCH or ZERO_RANGE, or PUNCH and ALLOCATE, or where there is none of them
 *			ZEROES, until all are written; SYNC if it must be durable
 *	discard		PUNCH; SYNC if it must be durable
 *
 * What the kernel or the file system does not know shows only when it is tried. It is remembered
 * and not tried again.
 *
 * When a flush of the page cache fails, the kernel forgets which pages it could not write: the next
 * fdatasync() would succeed without them. So once one has failed, all later ones fail too.
 *
 * With O_DIRECT the kernel is particular about addresses. A buffer that does not suit it (a guest
 * may point anywhere) is replaced by one of ours.
 */
#include "block/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/i18n.h"
#include "base/log.h"
#include "block/alignment.h"
#include "block/ring.h"

/* EINTR and EAGAIN in a row until we believe them. */
#define RETRIES_MAX 100

/* Of a bounce buffer: suits every device. */
#define BOUNCE_ALIGNMENT 4096

enum file_phase {
	PHASE_TRANSFER,
	PHASE_TRANSFER_DURABLE,
	PHASE_PUNCH,
	PHASE_ZERO_RANGE,
	PHASE_ALLOCATE,
	PHASE_ZEROES,
	PHASE_SYNC,
};

/* What PHASE_ZEROES writes, as often as it takes. */
static uint8_t zeroes[64 * KiB] __attribute__((aligned(BOUNCE_ALIGNMENT)));

/* Larger ones are transfer sizes, of network file systems. */
#define GRANULARITY_MAX (64 * KiB)

struct file {
	struct block block;
	int fd;
	bool is_device;
	bool is_direct;
	bool writethrough;
	bool unmap;
	bool in_memory;

	/* Learned on the way, by any thread: atomic. */
	bool no_dsync;
	bool no_punch;
	bool no_zero_range;
	int flush_error;
};

static struct file *to_file(const struct block *block)
{
	return container_of(block, struct file, block);
}

static bool must_be_durable(const struct file *file, const struct block_request *request)
{
	return file->writethrough || (request->flags & BLOCK_FUA);
}

/*
 * Which system call comes next
 */

static bool wants_hole(const struct file *file, const struct block_request *request)
{
	return file->unmap && !(request->flags & BLOCK_NO_HOLE);
}

static enum file_phase zeroes_phase(const struct file *file, const struct block_request *request)
{
	if (wants_hole(file, request) && !READ_ONCE(file->no_punch))
		return PHASE_PUNCH;
	if (!READ_ONCE(file->no_zero_range))
		return PHASE_ZERO_RANGE;
	return READ_ONCE(file->no_punch) ? PHASE_ZEROES : PHASE_PUNCH;
}

static enum file_phase first_phase(const struct file *file, const struct block_request *request)
{
	switch (request->op) {
	case BLOCK_READ:
		return PHASE_TRANSFER;
	case BLOCK_WRITE:
		return must_be_durable(file, request) && !READ_ONCE(file->no_dsync)
			       ? PHASE_TRANSFER_DURABLE
			       : PHASE_TRANSFER;
	case BLOCK_WRITE_ZEROES:
		return zeroes_phase(file, request);
	case BLOCK_DISCARD:
		return PHASE_PUNCH;
	case BLOCK_FLUSH:
		break;
	}
	return PHASE_SYNC;
}

/* The rest of a transfer that came short, in the ring's scratch array. */
static void prepare_rest(const struct block_request *request, struct block_call *call)
{
	uint64_t skip = request->priv.progress;
	unsigned i = 0, n = 0;

	if (request->priv.bounce) {
		call->scratch[0].iov_base = (char *)request->priv.bounce + skip;
		call->scratch[0].iov_len = request->bytes - skip;
		n = 1;
	} else {
		while (skip >= request->iov[i].iov_len)
			skip -= request->iov[i++].iov_len;
		for (; i < request->iovcnt; i++, n++, skip = 0) {
			call->scratch[n].iov_base = (char *)request->iov[i].iov_base + skip;
			call->scratch[n].iov_len = request->iov[i].iov_len - skip;
		}
	}
	call->iov = call->scratch;
	call->iovcnt = n;
}

static void prepare_zeroes(const struct block_request *request, struct block_call *call)
{
	uint64_t left = request->bytes - request->priv.progress;
	unsigned n;

	for (n = 0; left && n < BLOCK_MAX_IOV; n++) {
		call->scratch[n].iov_base = zeroes;
		call->scratch[n].iov_len = MIN(left, (uint64_t)sizeof(zeroes));
		left -= call->scratch[n].iov_len;
	}
	call->iov = call->scratch;
	call->iovcnt = n;
}

static void file_prepare(struct block_request *request, struct block_call *call)
{
	call->fd = to_file(request->priv.block)->fd;
	call->offset = request->offset + request->priv.progress;
	call->length = request->bytes;
	call->flags = 0;
	call->may_block = request->priv.retries > 0;
	switch ((enum file_phase)request->priv.phase) {
	case PHASE_TRANSFER_DURABLE:
		call->flags = RWF_DSYNC;
		fallthrough;
	case PHASE_TRANSFER:
		call->kind = request->op == BLOCK_READ ? BLOCK_CALL_READ : BLOCK_CALL_WRITE;
		if (request->priv.progress || request->priv.bounce) {
			prepare_rest(request, call);
		} else {
			call->iov = request->iov;
			call->iovcnt = request->iovcnt;
		}
		break;
	case PHASE_PUNCH:
		call->kind = BLOCK_CALL_FALLOCATE;
		call->flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	case PHASE_ZERO_RANGE:
		call->kind = BLOCK_CALL_FALLOCATE;
		call->flags = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
		break;
	case PHASE_ALLOCATE:
		call->kind = BLOCK_CALL_FALLOCATE;
		call->flags = FALLOC_FL_KEEP_SIZE;
		break;
	case PHASE_ZEROES:
		call->kind = BLOCK_CALL_WRITE;
		prepare_zeroes(request, call);
		break;
	case PHASE_SYNC:
		call->kind = BLOCK_CALL_SYNC;
		break;
	}
}

/*
 * What its outcome means
 */

static void zero_rest(const struct block_request *request)
{
	uint64_t skip = request->priv.progress;
	unsigned i;

	if (request->priv.bounce) {
		memset((char *)request->priv.bounce + skip, 0, request->bytes - skip);
		return;
	}
	for (i = 0; i < request->iovcnt; i++) {
		uint64_t here = MIN(skip, (uint64_t)request->iov[i].iov_len);

		memset((char *)request->iov[i].iov_base + here, 0, request->iov[i].iov_len - here);
		skip -= here;
	}
}

static void copy_bounce(const struct block_request *request, bool to_bounce)
{
	char *bounce = request->priv.bounce;
	unsigned i;

	for (i = 0; i < request->iovcnt; i++) {
		size_t len = request->iov[i].iov_len;

		if (to_bounce)
			memcpy(bounce, request->iov[i].iov_base, len);
		else
			memcpy(request->iov[i].iov_base, bounce, len);
		bounce += len;
	}
}

/* The guest's answer to a full quota or a size limit is the one to a full disk. */
static int translate(int result)
{
	return result == -EDQUOT || result == -EFBIG ? -ENOSPC : result;
}

static bool finish(struct block_request *request, int result)
{
	if (request->priv.bounce) {
		if (request->op == BLOCK_READ && result == 0)
			copy_bounce(request, false);
		free(request->priv.bounce);
	}
	request->priv.result = translate(result);
	return true;
}

static bool next_phase(struct block_request *request, enum file_phase phase)
{
	request->priv.phase = phase;
	return false;
}

static bool finish_durably(struct block_request *request)
{
	if (must_be_durable(to_file(request->priv.block), request))
		return next_phase(request, PHASE_SYNC);
	return finish(request, 0);
}

static bool advance_transfer(struct block_request *request, int result)
{
	struct file *file = to_file(request->priv.block);
	uint32_t unit = file->is_direct ? file->block.info.block_size : 1;

	if (result == -EOPNOTSUPP && request->priv.phase == PHASE_TRANSFER_DURABLE) {
		WRITE_ONCE(file->no_dsync, true);
		return next_phase(request, PHASE_TRANSFER);
	}
	if (result < 0)
		return finish(request, result);
	if (result == 0 && request->op == BLOCK_WRITE)
		return finish(request, -EIO);
	request->priv.progress += result;
	if (request->priv.progress < request->bytes) {
		/* Behind the end of a file that somebody made shorter. O_DIRECT says so by a length
		 * from which it could not go on. */
		if (request->op == BLOCK_READ &&
		    (result == 0 || (request->priv.progress & (unit - 1)))) {
			zero_rest(request);
			return finish(request, 0);
		}
		if ((uint32_t)result < unit)
			return finish(request, -EIO);
		request->priv.progress = ROUND_DOWN(request->priv.progress, unit);
		return false;
	}
	if (request->op == BLOCK_WRITE && request->priv.phase == PHASE_TRANSFER)
		return finish_durably(request);
	return finish(request, 0);
}

static bool advance_punch(struct block_request *request, int result)
{
	struct file *file = to_file(request->priv.block);

	if (result == -EOPNOTSUPP) {
		WRITE_ONCE(file->no_punch, true);
		/* A hint that cannot be taken is no error. */
		if (request->op == BLOCK_DISCARD)
			return finish(request, 0);
		return next_phase(request, zeroes_phase(file, request));
	}
	if (result < 0)
		return finish(request, result);
	if (request->op == BLOCK_WRITE_ZEROES && !wants_hole(file, request))
		return next_phase(request, PHASE_ALLOCATE);
	return finish_durably(request);
}

static bool advance_zero_range(struct block_request *request, int result)
{
	struct file *file = to_file(request->priv.block);

	if (result == -EOPNOTSUPP) {
		WRITE_ONCE(file->no_zero_range, true);
		return next_phase(request, zeroes_phase(file, request));
	}
	return result < 0 ? finish(request, result) : finish_durably(request);
}

static bool advance_zeroes(struct block_request *request, int result)
{
	uint32_t unit = request->priv.block->info.block_size;

	if (result < 0)
		return finish(request, result);
	if ((uint32_t)result < unit)
		return finish(request, -EIO);
	request->priv.progress += ROUND_DOWN((uint32_t)result, unit);
	return request->priv.progress == request->bytes && finish_durably(request);
}

static bool advance_sync(struct block_request *request, int result)
{
	struct file *file = to_file(request->priv.block);

	if (result < 0 && !file->is_direct && !READ_ONCE(file->flush_error)) {
		WRITE_ONCE(file->flush_error, translate(result));
		log_error("flushing an image failed, it may have lost writes: %s",
			  strerror(-result));
	}
	return finish(request, result);
}

static bool file_advance(struct block_request *request, int result)
{
	if ((result == -EINTR || result == -EAGAIN) && request->priv.retries < RETRIES_MAX) {
		request->priv.retries++;
		return false;
	}
	request->priv.retries = 0;
	switch ((enum file_phase)request->priv.phase) {
	case PHASE_TRANSFER:
	case PHASE_TRANSFER_DURABLE:
		return advance_transfer(request, result);
	case PHASE_PUNCH:
		return advance_punch(request, result);
	case PHASE_ZERO_RANGE:
		return advance_zero_range(request, result);
	case PHASE_ALLOCATE:
		return result < 0 ? finish(request, result) : finish_durably(request);
	case PHASE_ZEROES:
		return advance_zeroes(request, result);
	case PHASE_SYNC:
		break;
	}
	return advance_sync(request, result);
}

/*
 * Where a request enters
 */

static bool suits_direct(const struct block_info *info, const struct block_request *request)
{
	uintptr_t addresses = 0;
	size_t lengths = 0;
	unsigned i;

	for (i = 0; i < request->iovcnt; i++) {
		addresses |= (uintptr_t)request->iov[i].iov_base;
		lengths |= request->iov[i].iov_len;
	}
	return !(addresses & (info->memory_alignment - 1)) && !(lengths & (info->block_size - 1));
}

static bool file_start(struct block_request *request)
{
	struct file *file = to_file(request->priv.block);
	const struct block_info *info = &file->block.info;

	request->priv.phase = first_phase(file, request);
	request->priv.bounce = NULL;
	request->priv.progress = 0;
	request->priv.retries = 0;
	if (request->op == BLOCK_FLUSH && (!info->volatile_cache || READ_ONCE(file->flush_error)))
		return finish(request, READ_ONCE(file->flush_error));
	if ((request->op == BLOCK_READ || request->op == BLOCK_WRITE) && file->is_direct &&
	    !suits_direct(info, request)) {
		if (posix_memalign(&request->priv.bounce, BOUNCE_ALIGNMENT, request->bytes) != 0) {
			request->priv.bounce = NULL;
			return finish(request, -ENOMEM);
		}
		if (request->op == BLOCK_WRITE)
			copy_bounce(request, true);
	}
	return false;
}

#define MAX_COPY (128 * KiB)

/* A copy costs less than to have somebody else make it; and io_uring knows of no file in memory
 * that it would not wait, so that is a thread of the kernel's. A hole may be large, and with large
 * pieces a guest could keep us from all else. */
static bool is_only_a_copy(const struct block_request *request)
{
	return to_file(request->priv.block)->in_memory && request->bytes <= MAX_COPY &&
	       (request->op == BLOCK_READ || request->op == BLOCK_WRITE);
}

static void file_submit(struct block *block, struct block_ring *ring, struct block_request *request)
{
	struct iovec scratch[BLOCK_MAX_IOV];

	if (file_start(request)) {
		block_complete(request, request->priv.result);
	} else if (is_only_a_copy(request)) {
		block_carry_out(request, scratch);
		block_complete(request, request->priv.result);
	} else {
		block_ring_execute(ring, request);
	}
}

/*
 * Opening
 */

static int file_refresh(struct block *block)
{
	const struct file *file = to_file(block);
	uint64_t size;
	struct stat st;

	if (file->is_device) {
		if (ioctl(file->fd, BLKGETSIZE64, &size) < 0)
			return -errno;
	} else {
		if (fstat(file->fd, &st) < 0)
			return -errno;
		size = st.st_size;
	}
	block->info.capacity = ROUND_DOWN(size, block->info.block_size);
	return 0;
}

static void file_close(struct block *block)
{
	struct file *file = to_file(block);

	close(file->fd);
	free(file);
}

static const struct block_ops file_ops = {
	.submit = file_submit,
	.start = file_start,
	.prepare = file_prepare,
	.advance = file_advance,
	.refresh = file_refresh,
	.close = file_close,
};

static int judge_descriptor(struct file *file, const struct block_file_options *options,
			    struct error **errp)
{
	int flags = fcntl(file->fd, F_GETFL);
	struct stat st;

	if (flags < 0 || fstat(file->fd, &st) < 0)
		return error_set_errno(errp, errno, _("cannot look at the image"));
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return error_set(errp, EINVAL,
				 _("the image is neither a regular file nor a block device"));
	if (!options->read_only && (flags & O_ACCMODE) != O_RDWR)
		return error_set(errp, EBADF, _("the image is not open for writing"));
	if (options->cache == BLOCK_CACHE_NONE && !(flags & O_DIRECT))
		return error_set(errp, EINVAL,
				 _("cache=\"none\" needs an image opened with O_DIRECT"));
	/* Appending ignores offsets, and io_uring takes a non-blocking descriptor at its word. */
	if (flags & (O_APPEND | O_NONBLOCK))
		return error_set(errp, EINVAL,
				 _("the image is open for appending or non-blocking"));
	file->is_device = S_ISBLK(st.st_mode);
	file->is_direct = flags & O_DIRECT;
	return 0;
}

static int find_alignment(struct file *file, struct error **errp)
{
	struct block_alignment alignment = { 1, 1 };
	int ret = 0;

	if (file->is_direct)
		ret = block_alignment_ask(file->fd, &alignment);
	if (ret < 0 || (file->is_device && !file->is_direct))
		ret = block_alignment_probe(file->fd, &alignment);
	if (ret < 0)
		return error_set_errno(errp, -ret, _("the image cannot be read with O_DIRECT"));
	file->block.info.block_size = alignment.offset;
	file->block.info.memory_alignment = file->is_direct ? alignment.memory : 1;
	return 0;
}

/* A file's is the block of its file system, a device's the sector that it really has. */
static uint32_t find_granularity(const struct file *file)
{
	unsigned physical;
	uint64_t size = 0;
	struct stat st;

	if (file->is_device) {
		if (ioctl(file->fd, BLKPBSZGET, &physical) == 0)
			size = physical;
	} else if (fstat(file->fd, &st) == 0) {
		size = st.st_blksize;
	}
	return is_power_of_two(size) && size <= GRANULARITY_MAX ? size : 1;
}

/* Behind the end there is nothing to lose. */
static bool can_punch(const struct file *file)
{
	off_t behind = ROUND_UP(file->block.info.capacity, 1 * MiB) + 1 * MiB;

	return fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, behind, 4096) == 0;
}

/* The kernel asks for support before it looks at the range, and this range is outside. */
static bool device_can_discard(const struct file *file)
{
	uint64_t range[2] = { 1ULL << 62, 512 };

	return ioctl(file->fd, BLKDISCARD, range) < 0 && errno == EINVAL;
}

struct block *block_open_file(int fd, const struct block_file_options *options, struct error **errp)
{
	struct file *file = calloc(1, sizeof(*file));
	struct block_info *info;
	int ret;

	if (!file) {
		error_set_errno(errp, ENOMEM, _("cannot open the image"));
		close(fd);
		return NULL;
	}
	info = &file->block.info;
	file->block.ops = &file_ops;
	file->fd = fd;
	file->writethrough = options->cache == BLOCK_CACHE_WRITETHROUGH;
	file->unmap = options->discard;
	file->in_memory = options->in_memory;
	if (judge_descriptor(file, options, errp) < 0 || find_alignment(file, errp) < 0)
		goto fail;
	ret = file_refresh(&file->block);
	if (ret < 0) {
		error_set_errno(errp, -ret, _("cannot find out how large the image is"));
		goto fail;
	}
	if (!info->capacity) {
		error_set(errp, EINVAL, _("the image is smaller than one block of %u bytes"),
			  info->block_size);
		goto fail;
	}
	info->granularity = MAX(find_granularity(file), info->block_size);
	info->read_only = options->read_only;
	info->volatile_cache = !info->read_only && !file->writethrough;
	if (!info->read_only) {
		bool punch = file->is_device ? device_can_discard(file) : can_punch(file);

		info->can_write_zeroes = true;
		info->can_discard = punch && file->unmap;
		file->no_punch = !punch;
	}
	return &file->block;
fail:
	file_close(&file->block);
	return NULL;
}
