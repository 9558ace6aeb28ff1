// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <sys/socket.h>

#include "base/log.h"
#include "vfio-user/dma-internal.h"

#define PAGE_BYTES 4096u

/*
 * Guest memory by message.
 *
 * Theory of operation
 *
 * Each command of ours holds a slot until the client answers; the slot's number is in the message's
 * id. A read's caller waits for its slot. A caller that gives up (cancel) leaves the slot behind
 * without a buffer: the answer still comes, and its bytes still count as outstanding.
 *
 * Writes are posted: the caller goes on when the message is in the socket. The client executes in
 * order, so per stream the acknowledged writes are always the oldest ones, and "everything that I
 * have posted is there" is a comparison of two counters.
 *
 * No write waits for an acknowledgement. The client's main thread executes writes, and it may be
 * waiting for us meanwhile (a register, a reset, the state of a migration): a worker that stood here
 * could not be stopped, drained or frozen for it. So the window is asked about, not enforced:
 * write_room() before whatever may be put off, and a call when there is room again. What cannot be
 * put off is little, and has slots.
 *
 * Order of locks: ours is never held while sending, nor in a callback.
 */

int vfio_user_dma_messages_init(struct vfio_user_dma_messages *messages)
{
	messages->waiting = calloc(VFIO_USER_DMA_WAITING, sizeof(*messages->waiting));
	if (!messages->waiting)
		return -ENOMEM;
	messages->max_transfer = VFIO_USER_MAX_DATA;
	pthread_mutex_init(&messages->lock, NULL);
	pthread_cond_init(&messages->changed, NULL);
	return 0;
}

void vfio_user_dma_messages_destroy(struct vfio_user_dma_messages *messages)
{
	pthread_cond_destroy(&messages->changed);
	pthread_mutex_destroy(&messages->lock);
	free(messages->waiting);
}

void vfio_user_dma_set_max_transfer(struct vfio_user_dma *dma, size_t bytes)
{
	dma->messages.max_transfer = MIN(bytes, (size_t)VFIO_USER_MAX_DATA);
}

void vfio_user_dma_set_wait_hooks(struct vfio_user_dma *dma, void (*enter)(void *opaque),
				  void (*leave)(void *opaque), void *opaque)
{
	dma->messages.enter = enter;
	dma->messages.leave = leave;
	dma->messages.hooks_opaque = opaque;
}

/* Called with the lock; NULL: all are in use. */
static struct vfio_user_dma_slot *slot_take(struct vfio_user_dma_messages *messages)
{
	unsigned tries;

	for (tries = 0; tries < VFIO_USER_DMA_SLOTS; tries++) {
		/* Going round all ids, so that one does not come back soon. */
		uint16_t id = messages->next_id++;
		struct vfio_user_dma_slot *slot = &messages->slots[id % VFIO_USER_DMA_SLOTS];

		if (slot->used)
			continue;
		*slot = (struct vfio_user_dma_slot){ .used = true, .id = id };
		return slot;
	}
	return NULL;
}

static struct vfio_user_dma_slot *slot_by_id(struct vfio_user_dma_messages *messages, uint16_t id)
{
	struct vfio_user_dma_slot *slot = &messages->slots[id % VFIO_USER_DMA_SLOTS];

	return slot->used && slot->id == id ? slot : NULL;
}

static int send_access(struct vfio_user_dma *dma, uint16_t command, uint16_t id, uint64_t addr,
		       const void *data, size_t count)
{
	struct vfio_user_dma_access access = { .addr = addr, .count = count };
	struct vfio_user_header header = {
		.id = id,
		.command = command,
		.size = sizeof(header) + sizeof(access) + (data ? count : 0),
		.flags = VFIO_USER_FLAG_COMMAND,
	};
	struct iovec iov[2] = { { &access, sizeof(access) }, { (void *)data, count } };

	return dma->transport->ops->send(dma->transport, &header, iov, data ? 2 : 1, NULL, 0);
}

static int why_not(const struct vfio_user_dma_messages *messages)
{
	if (messages->closed)
		return -ENOTCONN;
	return messages->cancelled ? -ECANCELED : 0;
}

/* Called with the lock. Not for each acknowledgement: a worker that is woken shall get on a bit. */
static bool room_came(struct vfio_user_dma_messages *messages)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!READ_ONCE(messages->starved))
		return false;
	if (!messages->closed && (messages->writing > VFIO_USER_DMA_WINDOW / 2 ||
				  messages->writes > VFIO_USER_DMA_MESSAGES / 2))
		return false;
	WRITE_ONCE(messages->starved, false);
	return true;
}

static void tell_room(struct vfio_user_dma_messages *messages, bool came)
{
	if (came && messages->room)
		messages->room(messages->room_opaque);
}

void vfio_user_dma_set_written_hook(struct vfio_user_dma *dma,
				    void (*written)(void *opaque, uint64_t iova, uint32_t len),
				    void *opaque)
{
	dma->messages.written = written;
	dma->messages.written_opaque = opaque;
}

/* The connection is over: reads that wait end with -ENOTCONN, writes are dropped. Any thread. */
static void close_dma(struct vfio_user_dma *dma)
{
	struct vfio_user_dma_messages *messages = &dma->messages;
	bool came;

	pthread_mutex_lock(&messages->lock);
	WRITE_ONCE(messages->closed, true);
	pthread_cond_broadcast(&messages->changed);
	came = room_came(messages);
	pthread_mutex_unlock(&messages->lock);
	tell_room(messages, came);
}

/* Called with the lock, which is dropped around the hooks: enter() and leave() may take others. */
static void wait_begin(struct vfio_user_dma_messages *messages, bool *waiting)
{
	if (*waiting || !messages->enter) {
		*waiting = true;
		return;
	}
	*waiting = true;
	pthread_mutex_unlock(&messages->lock);
	messages->enter(messages->hooks_opaque);
	pthread_mutex_lock(&messages->lock);
}

static int read_chunk(struct vfio_user_dma *dma, uint64_t iova, void *buf, size_t len,
		      bool *waiting)
{
	struct vfio_user_dma_messages *messages = &dma->messages;
	struct vfio_user_dma_slot *slot = NULL;
	int r;

	pthread_mutex_lock(&messages->lock);
	wait_begin(messages, waiting);
	while (!(r = why_not(messages)) &&
	       (messages->reading + len > VFIO_USER_DMA_READ_MAX || !(slot = slot_take(messages))))
		pthread_cond_wait(&messages->changed, &messages->lock);
	if (r < 0)
		goto out;
	slot->command = VFIO_USER_DMA_READ;
	slot->addr = iova;
	slot->count = len;
	slot->buf = buf;
	messages->reading += len;
	pthread_mutex_unlock(&messages->lock);

	if (send_access(dma, VFIO_USER_DMA_READ, slot->id, iova, NULL, len) < 0)
		close_dma(dma);

	pthread_mutex_lock(&messages->lock);
	while (!slot->done && !(r = why_not(messages)))
		pthread_cond_wait(&messages->changed, &messages->lock);
	if (slot->done) {
		r = slot->result;
		slot->used = false;
		pthread_cond_broadcast(&messages->changed);
	} else {
		slot->buf = NULL;
	}
out:
	pthread_mutex_unlock(&messages->lock);
	return r;
}

int vfio_user_dma_read_message(struct vfio_user_dma *dma, uint64_t iova, void *buf, size_t len)
{
	size_t chunk = MIN(dma->messages.max_transfer, (size_t)VFIO_USER_DMA_READ_MAX);
	bool waiting = false;
	int r = 0;

	if (!vfio_user_dma_contains(dma, iova, len, VFIO_USER_ACCESS_READ))
		return -EFAULT;
	while (len && r == 0) {
		size_t n = MIN(len, chunk);

		r = read_chunk(dma, iova, buf, n, &waiting);
		iova += n;
		buf = (char *)buf + n;
		len -= n;
	}
	if (waiting && dma->messages.leave)
		dma->messages.leave(dma->messages.hooks_opaque);
	return r;
}

static bool has_room(const struct vfio_user_dma_messages *messages)
{
	return READ_ONCE(messages->closed) ||
	       (READ_ONCE(messages->writing) < VFIO_USER_DMA_WINDOW &&
		READ_ONCE(messages->writes) < VFIO_USER_DMA_MESSAGES);
}

bool vfio_user_dma_write_room(struct vfio_user_dma *dma)
{
	struct vfio_user_dma_messages *messages = &dma->messages;

	if (has_room(messages))
		return true;
	/* Then look again: either we see what was acknowledged meanwhile, or room_came() sees us. */
	__atomic_store_n(&messages->starved, true, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return has_room(messages);
}

static uint64_t pages_of(uint64_t iova, uint64_t len)
{
	return (iova + len - 1) / PAGE_BYTES - iova / PAGE_BYTES + 1;
}

uint64_t vfio_user_dma_most_written(struct vfio_user_dma *dma)
{
	return READ_ONCE(dma->messages.most_pages) * PAGE_BYTES;
}

/* To leave a write out would corrupt the guest's memory silently: rather no client at all, which the
 * control thread sees by the transport. */
static void give_up(struct vfio_user_dma *dma)
{
	log_guest(LOG_ERR, "the client leaves %u writes unanswered", VFIO_USER_DMA_SLOTS);
	close_dma(dma);
	shutdown(dma->transport->fd, SHUT_RDWR);
}

static int write_chunk(struct vfio_user_dma *dma, unsigned stream, uint64_t iova, const void *buf,
		       size_t len)
{
	struct vfio_user_dma_messages *messages = &dma->messages;
	struct vfio_user_dma_slot *slot;
	uint16_t id;
	int r;

	pthread_mutex_lock(&messages->lock);
	slot = messages->closed ? NULL : slot_take(messages);
	if (!slot) {
		bool closed = messages->closed;

		pthread_mutex_unlock(&messages->lock);
		if (!closed)
			give_up(dma);
		return -ENOTCONN;
	}
	id = slot->id;
	slot->command = VFIO_USER_DMA_WRITE;
	slot->stream = stream;
	slot->addr = iova;
	slot->count = len;
	WRITE_ONCE(messages->writing, messages->writing + len);
	WRITE_ONCE(messages->writes, messages->writes + 1);
	messages->pages += pages_of(iova, len);
	WRITE_ONCE(messages->most_pages, MAX(messages->most_pages, messages->pages));
	WRITE_ONCE(messages->posted[stream], messages->posted[stream] + 1);
	pthread_mutex_unlock(&messages->lock);

	r = send_access(dma, VFIO_USER_DMA_WRITE, id, iova, buf, len);
	if (r < 0)
		close_dma(dma);
	return r < 0 ? -ENOTCONN : 0;
}

int vfio_user_dma_write_message(struct vfio_user_dma *dma, unsigned stream, uint64_t iova,
				const void *buf, size_t len)
{
	int r = 0;

	if (!vfio_user_dma_contains(dma, iova, len, VFIO_USER_ACCESS_WRITE))
		return -EFAULT;
	while (len && r == 0) {
		size_t n = MIN(len, dma->messages.max_transfer);

		r = write_chunk(dma, stream, iova, buf, n);
		iova += n;
		buf = (const char *)buf + n;
		len -= n;
	}
	return r;
}

/* Called with the lock. False: nothing to wait for. */
static bool wait_for_writes(struct vfio_user_dma_messages *messages,
			    const struct vfio_user_dma_waiting *call)
{
	unsigned i;

	if (messages->acknowledged[call->stream] >= call->after)
		return false;
	/* The same call for the same writes is one call; when the list is full, one for later
	 * writes also does for earlier ones. */
	for (i = messages->waiting_count; i-- > 0;) {
		struct vfio_user_dma_waiting *other = &messages->waiting[i];

		if (other->stream != call->stream || other->fn != call->fn ||
		    other->opaque != call->opaque || other->value != call->value)
			continue;
		if (other->after == call->after)
			return true;
		if (messages->waiting_count == VFIO_USER_DMA_WAITING) {
			other->after = call->after;
			return true;
		}
		break;
	}
	if (messages->waiting_count == VFIO_USER_DMA_WAITING)
		return false;
	messages->waiting[messages->waiting_count++] = *call;
	return true;
}

uint64_t vfio_user_dma_writes_posted(const struct vfio_user_dma *dma, unsigned stream)
{
	/* Only this thread posts to its stream. */
	return dma->messages.posted[stream];
}

uint64_t vfio_user_dma_writes_acknowledged(const struct vfio_user_dma *dma, unsigned stream)
{
	return LOAD_ACQUIRE(dma->messages.acknowledged[stream]);
}

bool vfio_user_dma_writes_pending(const struct vfio_user_dma *dma, unsigned stream)
{
	return vfio_user_dma_writes_acknowledged(dma, stream) !=
	       vfio_user_dma_writes_posted(dma, stream);
}

void vfio_user_dma_after_writes(struct vfio_user_dma *dma, unsigned stream,
				void (*fn)(void *opaque, unsigned value), void *opaque,
				unsigned value)
{
	struct vfio_user_dma_messages *messages = &dma->messages;
	struct vfio_user_dma_waiting call = { .stream = stream,
					      /* Only this thread posts to its stream. */
					      .after = messages->posted[stream],
					      .fn = fn,
					      .opaque = opaque,
					      .value = value };
	bool waits = false;

	if (vfio_user_dma_writes_pending(dma, stream)) {
		pthread_mutex_lock(&messages->lock);
		waits = wait_for_writes(messages, &call);
		pthread_mutex_unlock(&messages->lock);
	}
	if (!waits)
		fn(opaque, value);
}

/* Control thread: run what no longer waits, without the lock. */
static void run_waiting(struct vfio_user_dma_messages *messages)
{
	unsigned i = 0;

	pthread_mutex_lock(&messages->lock);
	while (i < messages->waiting_count) {
		struct vfio_user_dma_waiting call = messages->waiting[i];

		if (call.after > messages->acknowledged[call.stream]) {
			i++;
			continue;
		}
		messages->waiting_count--;
		memmove(messages->waiting + i, messages->waiting + i + 1,
			(messages->waiting_count - i) * sizeof(call));
		pthread_mutex_unlock(&messages->lock);
		call.fn(call.opaque, call.value);
		pthread_mutex_lock(&messages->lock);
		i = 0;
	}
	pthread_mutex_unlock(&messages->lock);
}

/* Does the answer repeat what was asked? Called with the lock. */
static bool reply_fits(const struct vfio_user_dma_slot *slot,
		       const struct vfio_user_message *message)
{
	const struct vfio_user_dma_access *access = message->payload;
	bool read = slot->command == VFIO_USER_DMA_READ;

	if (message->header.command != slot->command || message->fd_count)
		return false;
	if (message->header.flags & VFIO_USER_FLAG_ERROR)
		return true;
	return message->payload_size == sizeof(*access) + (read ? slot->count : 0) &&
	       access->addr == slot->addr && access->count == slot->count;
}

int vfio_user_dma_reply(struct vfio_user_dma *dma, const struct vfio_user_message *message)
{
	struct vfio_user_dma_messages *messages = &dma->messages;
	const struct vfio_user_dma_access *access = message->payload;
	bool failed = message->header.flags & VFIO_USER_FLAG_ERROR;
	struct vfio_user_dma_slot *slot;
	unsigned stream;
	bool came;

	pthread_mutex_lock(&messages->lock);
	slot = slot_by_id(messages, message->header.id);
	if (!slot || slot->done || !reply_fits(slot, message)) {
		pthread_mutex_unlock(&messages->lock);
		log_guest(LOG_ERR, "the client's reply %u to command %u fits none of ours",
			  message->header.id, message->header.command);
		return -EPROTO;
	}
	if (slot->fenced) {
		struct vfio_user_dma_slot fence = *slot;

		slot->used = false;
		pthread_mutex_unlock(&messages->lock);
		fence.fenced(fence.opaque, fence.value);
		return 0;
	}
	if (slot->command == VFIO_USER_DMA_READ) {
		if (slot->buf && !failed)
			memcpy(slot->buf, access->data, slot->count);
		slot->result = failed ? -EIO : 0;
		slot->done = true;
		slot->used = slot->buf; /* else nobody waits for it */
		messages->reading -= slot->count;
		pthread_cond_broadcast(&messages->changed);
		pthread_mutex_unlock(&messages->lock);
		return 0;
	}
	if (messages->written)
		messages->written(messages->written_opaque, slot->addr, slot->count);
	stream = slot->stream;
	slot->used = false;
	WRITE_ONCE(messages->writing, messages->writing - slot->count);
	WRITE_ONCE(messages->writes, messages->writes - 1);
	messages->pages -= pages_of(slot->addr, slot->count);
	STORE_RELEASE(messages->acknowledged[stream], messages->acknowledged[stream] + 1);
	pthread_cond_broadcast(&messages->changed);
	came = room_came(messages);
	pthread_mutex_unlock(&messages->lock);
	if (failed)
		log_guest(LOG_WARNING, "the client failed a write to its memory: %s",
			  strerror(message->header.error));
	run_waiting(messages);
	tell_room(messages, came);
	return 0;
}

#define FENCE_SIZE 4

/* Any memory that may be read. */
static const struct vfio_user_dma_region *fence_region(const struct vfio_user_dma *dma)
{
	unsigned i;

	for (i = 0; i < dma->count; i++)
		if (dma->regions[i].access & VFIO_USER_ACCESS_READ &&
		    dma->regions[i].size >= FENCE_SIZE)
			return &dma->regions[i];
	return NULL;
}

void vfio_user_dma_fence(struct vfio_user_dma *dma, void (*fn)(void *opaque, unsigned value),
			 void *opaque, unsigned value)
{
	const struct vfio_user_dma_region *region = fence_region(dma);
	struct vfio_user_dma_messages *messages = &dma->messages;
	struct vfio_user_dma_slot *slot = NULL;
	uint16_t id = 0;

	pthread_mutex_lock(&messages->lock);
	if (region && !messages->closed)
		slot = slot_take(messages);
	if (slot) {
		id = slot->id;
		slot->command = VFIO_USER_DMA_READ;
		slot->addr = region->iova;
		slot->count = FENCE_SIZE;
		slot->fenced = fn;
		slot->opaque = opaque;
		slot->value = value;
	}
	pthread_mutex_unlock(&messages->lock);
	if (!slot)
		fn(opaque, value);
	else if (send_access(dma, VFIO_USER_DMA_READ, id, region->iova, NULL, FENCE_SIZE) < 0)
		close_dma(dma); /* end() makes the call */
}

static void run_fences(struct vfio_user_dma_messages *messages)
{
	unsigned i;

	for (i = 0; i < VFIO_USER_DMA_SLOTS; i++) {
		struct vfio_user_dma_slot fence;

		pthread_mutex_lock(&messages->lock);
		fence = messages->slots[i];
		if (fence.used && fence.fenced)
			messages->slots[i].used = false;
		pthread_mutex_unlock(&messages->lock);
		if (fence.used && fence.fenced)
			fence.fenced(fence.opaque, fence.value);
	}
}

void vfio_user_dma_cancel(struct vfio_user_dma *dma, bool cancel)
{
	pthread_mutex_lock(&dma->messages.lock);
	dma->messages.cancelled = cancel;
	pthread_cond_broadcast(&dma->messages.changed);
	pthread_mutex_unlock(&dma->messages.lock);
}

void vfio_user_dma_set_room_hook(struct vfio_user_dma *dma, void (*room)(void *opaque),
				 void *opaque)
{
	dma->messages.room = room;
	dma->messages.room_opaque = opaque;
}

void vfio_user_dma_end(struct vfio_user_dma *dma)
{
	struct vfio_user_dma_messages *messages = &dma->messages;
	unsigned i;

	close_dma(dma);
	pthread_mutex_lock(&messages->lock);
	for (i = 0; i < VFIO_USER_DMA_STREAMS; i++)
		STORE_RELEASE(messages->acknowledged[i], READ_ONCE(messages->posted[i]));
	pthread_mutex_unlock(&messages->lock);
	run_waiting(messages);
	run_fences(messages);
}
