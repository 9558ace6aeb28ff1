// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/listener.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/i18n.h"
#include "base/log.h"
#include "control/channel.h"
#include "keeper/carry.h"

struct listener {
	struct listener_options options;
	char *path;
	int fd;
	sd_event_source *source;
	bool used;
};

/* To the domain's owner; 0 or -errno. Without privileges, to whom it belongs already. */
static int listener_give_to(const char *path, uid_t uid, gid_t gid)
{
	if (geteuid() != 0 && uid == geteuid())
		return 0;
	return lchown(path, uid, gid) < 0 ? -errno : 0;
}

static int on_connection(sd_event_source *source, int listening, uint32_t revents, void *opaque)
{
	struct listener *listener = opaque;
	_cleanup_close_ int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			log_guest(LOG_ERR, "%s: accept: %s", listener->path, strerror(errno));
		return 0;
	}
	if (listener->used) {
		log_guest(LOG_WARNING, "%s: a second client is refused", listener->path);
		return 0;
	}
	if (peer_admit(listener->options.peer, fd) < 0)
		return 0;
	listener->used = true;
	unlink(listener->path);
	listener->options.accepted(listener->options.opaque, steal_fd(&fd));
	return 0;
}

/* NULL: no memory. */
static struct listener *make_listener(const struct listener_options *options)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return NULL;
	listener->options = *options;
	listener->fd = -1;
	listener->path = strdup(options->path);
	if (!listener->path)
		free(steal_pointer(listener));
	return listener;
}

struct listener *listener_load(sd_event *event, const struct listener_options *options,
			       struct json_object *json, struct error **errp)
{
	struct listener *listener = make_listener(options);
	int r = listener ? 0 : -ENOMEM;

	if (r == 0) {
		listener->used = json_bool_or(json, "used", false);
		listener->fd = carried_fd(json, "fd");
		r = sd_event_add_io(event, &listener->source, listener->fd, EPOLLIN, on_connection,
				    listener);
	}
	if (r >= 0)
		return listener;
	error_set_errno(errp, -r, _("cannot serve the socket %s"), options->path);
	listener_free(listener);
	return NULL;
}

struct json_object *listener_save(const struct listener *listener)
{
	struct json_object *json = json_object_new_object();

	json_add_bool(json, "used", listener->used);
	carry_fd(json, "fd", listener->fd);
	return json;
}

struct listener *listener_new(sd_event *event, const struct listener_options *options,
			      struct error **errp)
{
	struct listener *listener = make_listener(options);
	int r;

	if (!listener) {
		error_set_errno(errp, ENOMEM, "%s", options->path);
		return NULL;
	}
	listener->fd = control_listen(listener->path, 0600);
	r = listener->fd < 0 ? listener->fd : 0;
	if (r == 0)
		r = listener_give_to(listener->path, options->uid, options->gid);
	if (r == 0)
		r = sd_event_add_io(event, &listener->source, listener->fd, EPOLLIN, on_connection,
				    listener);
	if (r < 0) {
		error_set_errno(errp, -r, _("cannot serve the socket %s"), options->path);
		listener_free(listener);
		return NULL;
	}
	return listener;
}

void listener_free(struct listener *listener)
{
	if (!listener)
		return;
	sd_event_source_disable_unref(listener->source);
	if (listener->fd >= 0) {
		close(listener->fd);
		if (!listener->used)
			unlink(listener->path);
	}
	free(listener->path);
	free(listener);
}

bool listener_used(const struct listener *listener)
{
	return listener->used;
}

const char *listener_path(const struct listener *listener)
{
	return listener->path;
}
