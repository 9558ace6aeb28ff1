// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vfio-user/irq-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "vfio-user/handlers.h"

/*
 * Theory of operation
 *
 * Descriptors change only while the workers stand still. Masks change while they run: a trigger
 * that finds its vector masked leaves `pending` and looks again; an unmask clears the mask and then
 * takes what is pending. Whoever takes `pending` writes the eventfd, so it is neither lost nor
 * written twice.
 *
 * INTx is a level, and an eventfd knows only edges. So it is as a kernel driver does it: raising it
 * masks it, the client unmasks it at the guest's EOI, and if the level is still high then, it is
 * raised again.
 */
struct vector {
	int fd; /* -1: none */
	bool masked, pending;
};

struct vfio_user_irq {
	uint32_t counts[VFIO_PCI_NUM_IRQS];
	struct vector *vectors[VFIO_PCI_NUM_IRQS];
	unsigned active; /* VFIO_PCI_MSIX_IRQ_INDEX or VFIO_PCI_MSI_IRQ_INDEX */
	bool level;	 /* of INTx */
	int unmask_fd;
};

struct vfio_user_irq *vfio_user_irq_new(const uint32_t *counts)
{
	struct vfio_user_irq *irq = calloc(1, sizeof(*irq));
	unsigned index, i;

	if (!irq)
		return NULL;
	irq->unmask_fd = -1;
	irq->active = VFIO_PCI_MSIX_IRQ_INDEX;
	for (index = 0; index < VFIO_PCI_NUM_IRQS; index++) {
		if (!counts[index])
			continue;
		irq->vectors[index] = calloc(counts[index], sizeof(struct vector));
		if (!irq->vectors[index]) {
			vfio_user_irq_free(irq);
			return NULL;
		}
		irq->counts[index] = counts[index];
		for (i = 0; i < counts[index]; i++)
			irq->vectors[index][i].fd = -1;
	}
	return irq;
}

static void vector_set_fd(struct vector *vector, int fd)
{
	if (vector->fd >= 0)
		close(vector->fd);
	vector->fd = fd;
	vector->pending = false;
}

void vfio_user_irq_free(struct vfio_user_irq *irq)
{
	unsigned index, i;

	if (!irq)
		return;
	for (index = 0; index < VFIO_PCI_NUM_IRQS; index++) {
		for (i = 0; i < irq->counts[index]; i++)
			vector_set_fd(&irq->vectors[index][i], -1);
		free(irq->vectors[index]);
	}
	if (irq->unmask_fd >= 0)
		close(irq->unmask_fd);
	free(irq);
}

static void take_pending(struct vector *vector)
{
	if (__atomic_exchange_n(&vector->pending, false, __ATOMIC_SEQ_CST))
		fd_eventfd_signal(vector->fd);
}

static void vector_trigger(struct vector *vector)
{
	/* Told when somebody listens: a successor may have something to tell before it is given the
	 * descriptors that its predecessor had. */
	if (vector->fd < 0) {
		__atomic_store_n(&vector->pending, true, __ATOMIC_SEQ_CST);
		return;
	}
	if (!__atomic_load_n(&vector->masked, __ATOMIC_SEQ_CST)) {
		fd_eventfd_signal(vector->fd);
		return;
	}
	__atomic_store_n(&vector->pending, true, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&vector->masked, __ATOMIC_SEQ_CST))
		take_pending(vector);
}

static void vector_listen(struct vector *vector, int fd)
{
	bool pending = vector->fd < 0 && vector->pending;

	vector_set_fd(vector, fd);
	if (pending)
		vector_trigger(vector);
}

static void vector_unmask(struct vector *vector)
{
	__atomic_store_n(&vector->masked, false, __ATOMIC_SEQ_CST);
	if (vector->fd >= 0)
		take_pending(vector);
}

/* Raise INTx if it is high and may be; raising masks it. Control thread. */
static void intx_update(struct vfio_user_irq *irq)
{
	struct vector *vector = irq->vectors[VFIO_PCI_INTX_IRQ_INDEX];

	if (!vector || !irq->level || vector->masked || vector->fd < 0)
		return;
	vector->masked = true;
	fd_eventfd_signal(vector->fd);
}

static void intx_unmask(struct vfio_user_irq *irq)
{
	irq->vectors[VFIO_PCI_INTX_IRQ_INDEX]->masked = false;
	intx_update(irq);
}

void vfio_user_irq_trigger(struct vfio_user_irq *irq, unsigned vector)
{
	if (vector < irq->counts[irq->active])
		vector_trigger(&irq->vectors[irq->active][vector]);
}

void vfio_user_irq_set_intx(struct vfio_user_irq *irq, bool level)
{
	irq->level = level;
	intx_update(irq);
}

void vfio_user_irq_trigger_all(struct vfio_user_irq *irq)
{
	unsigned i;

	for (i = 0; i < irq->counts[irq->active]; i++)
		vector_trigger(&irq->vectors[irq->active][i]);
	intx_update(irq);
}

/* MSI-X, unless only MSI has eventfds. */
static void choose_active(struct vfio_user_irq *irq)
{
	unsigned i;

	irq->active = VFIO_PCI_MSI_IRQ_INDEX;
	for (i = 0; i < irq->counts[VFIO_PCI_MSI_IRQ_INDEX]; i++)
		if (irq->vectors[VFIO_PCI_MSI_IRQ_INDEX][i].fd >= 0)
			break;
	if (i == irq->counts[VFIO_PCI_MSI_IRQ_INDEX])
		irq->active = VFIO_PCI_MSIX_IRQ_INDEX;
}

/*
 * Writing to it must not block. An eventfd has no file type; a pipe, a socket or a file does.
 */
static int check_eventfd(int fd)
{
	struct stat st;
	int flags;

	if (fstat(fd, &st) < 0 || (st.st_mode & S_IFMT) != 0)
		return -EINVAL;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
		return -EINVAL;
	return flags & O_NONBLOCK ? 0 : fd_set_nonblock(fd, true);
}

static void disable(struct vfio_user_irq *irq, unsigned index)
{
	unsigned i;

	for (i = 0; i < irq->counts[index]; i++) {
		vector_set_fd(&irq->vectors[index][i], -1);
		irq->vectors[index][i].masked = false;
	}
	if (index == VFIO_PCI_INTX_IRQ_INDEX && irq->unmask_fd >= 0) {
		close(irq->unmask_fd);
		irq->unmask_fd = -1;
	}
}

static void set_eventfds(struct vfio_user_irq *irq, const struct vfio_irq_set *set, int *fds,
			 size_t fd_count)
{
	struct vector *vectors = irq->vectors[set->index] + set->start;
	unsigned i;

	for (i = 0; i < set->count; i++)
		vector_listen(&vectors[i], fd_count ? steal_fd(&fds[i]) : -1);
	/* A line that went up before anybody listened is told now. */
	if (set->index == VFIO_PCI_INTX_IRQ_INDEX) {
		vectors[0].masked = false;
		intx_update(irq);
	}
}

static void act(struct vfio_user_irq *irq, const struct vfio_irq_set *set, unsigned i)
{
	struct vector *vector = &irq->vectors[set->index][set->start + i];

	switch (set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) {
	case VFIO_IRQ_SET_ACTION_MASK:
		__atomic_store_n(&vector->masked, true, __ATOMIC_SEQ_CST);
		break;
	case VFIO_IRQ_SET_ACTION_UNMASK:
		if (set->index == VFIO_PCI_INTX_IRQ_INDEX)
			intx_unmask(irq);
		else
			vector_unmask(vector);
		break;
	default:
		vector_trigger(vector);
	}
}

static int set_by_eventfd(struct vfio_user_irq *irq, const struct vfio_irq_set *set, int *fds,
			  size_t fd_count)
{
	uint32_t action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	size_t i;

	if (action != VFIO_IRQ_SET_ACTION_TRIGGER &&
	    !(action == VFIO_IRQ_SET_ACTION_UNMASK && set->index == VFIO_PCI_INTX_IRQ_INDEX))
		return -ENOTTY;
	for (i = 0; i < fd_count; i++) {
		int r = check_eventfd(fds[i]);

		if (r < 0)
			return r;
	}
	if (action == VFIO_IRQ_SET_ACTION_TRIGGER) {
		set_eventfds(irq, set, fds, fd_count);
		choose_active(irq);
		return 0;
	}
	if (irq->unmask_fd >= 0)
		close(irq->unmask_fd);
	irq->unmask_fd = fd_count ? steal_fd(&fds[0]) : -1;
	return 0;
}

/*
 * SET_IRQS; judged, the workers stand still. @data: the bytes of DATA_BOOL. @fds: of DATA_EVENTFD;
 * those kept are set to -1. 0, -EINVAL (not an eventfd), -ENOTTY (masking by eventfd, but for
 * unmasking INTx).
 */
static int vfio_user_irq_set(struct vfio_user_irq *irq, const struct vfio_irq_set *set,
			     const uint8_t *data, int *fds, size_t fd_count)
{
	uint32_t kind = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	unsigned i;

	if (set->count == 0) {
		disable(irq, set->index);
		choose_active(irq);
		return 0;
	}
	if (kind == VFIO_IRQ_SET_DATA_EVENTFD)
		return set_by_eventfd(irq, set, fds, fd_count);
	for (i = 0; i < set->count; i++)
		if (kind == VFIO_IRQ_SET_DATA_NONE || data[i])
			act(irq, set, i);
	return 0;
}

int vfio_user_irq_unmask_fd(const struct vfio_user_irq *irq)
{
	return irq->unmask_fd;
}

void vfio_user_irq_unmask_by_fd(struct vfio_user_irq *irq)
{
	if (fd_eventfd_drain(irq->unmask_fd))
		intx_unmask(irq);
}

int vfio_user_handle_set_irqs(struct vfio_user_server *server, struct vfio_user_message *message,
			      struct vfio_user_reply *reply)
{
	const struct vfio_irq_set *set = message->payload;
	int r;

	vfio_user_server_pause(server);
	r = vfio_user_irq_set(server->irq, set, set->data, message->fds, message->fd_count);
	vfio_user_server_resume(server);
	if (r == 0)
		r = vfio_user_server_watch_unmask(server);
	return r;
}
