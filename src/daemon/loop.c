// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/loop.h"

#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "base/log.h"

struct post {
	struct post *next;
	uint64_t usec; /* to be waited for, by the loop */
	sd_event_source *timer;
	void (*run)(void *opaque);
	void *opaque;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct post *first, **last = &first;
static int wake_fd = -1;
static sd_event *loop;

static void run_post(struct post *post)
{
	post->run(post->opaque);
	free(post);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct post *post = opaque;

	sd_event_source_disable_unref(post->timer);
	run_post(post);
	return 0;
}

static void wait_post(struct post *post)
{
	if (sd_event_add_time_relative(loop, &post->timer, CLOCK_MONOTONIC, post->usec, 0, on_timer,
				       post) < 0)
		run_post(post);
}

static int on_wake(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct post *post, *next;

	fd_eventfd_drain(fd);
	pthread_mutex_lock(&lock);
	post = first;
	first = NULL;
	last = &first;
	pthread_mutex_unlock(&lock);

	for (; post; post = next) {
		next = post->next;
		if (post->usec)
			wait_post(post);
		else
			run_post(post);
	}
	return 0;
}

int loop_init(sd_event *event)
{
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wake_fd < 0)
		return -errno;
	loop = event;
	return sd_event_add_io(event, NULL, wake_fd, EPOLLIN, on_wake, NULL);
}

void loop_post(void (*run)(void *opaque), void *opaque)
{
	loop_post_later(0, run, opaque);
}

void loop_post_later(uint64_t usec, void (*run)(void *opaque), void *opaque)
{
	struct post *post = calloc(1, sizeof(*post));

	if (!post) {
		log_error("out of memory: an answer is lost");
		return;
	}
	post->usec = usec;
	post->run = run;
	post->opaque = opaque;
	pthread_mutex_lock(&lock);
	*last = post;
	last = &post->next;
	pthread_mutex_unlock(&lock);
	fd_eventfd_signal(wake_fd);
}
