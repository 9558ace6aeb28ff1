// SPDX-License-Identifier: LGPL-2.1-or-later
#include "control/channel.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/i18n.h"
#include "control/frame.h"

static int fill_address(const char *path, struct sockaddr_un *address)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	strcpy(address->sun_path, path);
	return 0;
}

int control_connect(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	int r;

	r = fill_address(path, &address);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	do
		r = connect(fd, (struct sockaddr *)&address, sizeof(address));
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

int control_listen(const char *path, unsigned mode)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	int r;

	r = fill_address(path, &address);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* The file gets the socket's mode less the umask: never wider than @mode, even for a
	 * moment. */
	if (fchmod(fd, mode) < 0)
		return -errno;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (chmod(path, mode) < 0 || listen(fd, SOMAXCONN) < 0) {
		r = -errno;
		unlink(path);
		return r;
	}
	return steal_fd(&fd);
}

/* Until the socket is ready or the deadline (-1: none) has passed. */
static int wait_for(int fd, short events, int64_t deadline)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };

	for (;;) {
		int timeout = -1, r;

		if (deadline >= 0)
			timeout = MAX(deadline - clock_ms(CLOCK_MONOTONIC), (int64_t)0);
		r = poll(&poll_fd, 1, timeout);
		if (r > 0)
			return 0;
		if (r == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static int send_all(int fd, const char *bytes, size_t size, int64_t deadline)
{
	while (size) {
		struct iovec iov = { (char *)bytes, size };
		ssize_t n = fd_send(fd, &iov, 1, NULL, 0, MSG_DONTWAIT);

		if (n == -EAGAIN)
			n = wait_for(fd, POLLOUT, deadline);
		if (n < 0)
			return n;
		bytes += n;
		size -= n;
	}
	return 0;
}

/* The next message; events and answers to earlier calls that were given up are not for us. */
static int receive_answer(int fd, uint64_t id, int64_t deadline, struct json_object **ret_message)
{
	struct control_frame frame = { .text = NULL };
	int r;

	for (;;) {
		_cleanup_json_ struct json_object *message = NULL;

		r = control_frame_receive(&frame, fd);
		if (r == -EAGAIN) {
			r = wait_for(fd, POLLIN, deadline);
			if (r == 0)
				continue;
		}
		if (r < 0)
			break;
		message = control_frame_parse(&frame, NULL);
		control_frame_reset(&frame);
		if (!message) {
			r = -EPROTO;
			break;
		}
		if (json_u64_or(message, "id", 0) == id) {
			*ret_message = steal_pointer(message);
			return 0;
		}
	}
	control_frame_reset(&frame);
	return r;
}

int control_call(int fd, const char *command, struct json_object *arguments, int timeout_ms,
		 struct json_object **ret_result, struct error **errp)
{
	static uint64_t last_id;
	uint64_t id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
	int64_t deadline = timeout_ms < 0 ? -1 : clock_ms(CLOCK_MONOTONIC) + timeout_ms;
	_cleanup_json_ struct json_object *request = NULL, *answer = NULL;
	struct json_object *result;
	_cleanup_free_ char *bytes = NULL;
	size_t size;
	int r;

	request = control_frame_request(id, command, json_object_get(arguments));
	r = control_frame_build(request, &bytes, &size);
	if (r == 0)
		r = send_all(fd, bytes, size, deadline);
	if (r == 0)
		r = receive_answer(fd, id, deadline, &answer);
	if (r == -ETIMEDOUT)
		return error_set(errp, ETIMEDOUT, _("no answer to \"%s\" within %d seconds"),
				 command, timeout_ms / 1000);
	if (r == -ECONNRESET || r == -EPIPE)
		return error_set(errp, ECONNRESET,
				 _("the connection was lost before \"%s\" was answered"), command);
	if (r < 0)
		return error_set_errno(errp, -r, _("cannot call \"%s\""), command);
	r = control_frame_answer(answer, &result, errp);
	if (r < 0)
		return r;
	if (ret_result)
		*ret_result = result ? json_object_get(result) : json_object_new_object();
	return 0;
}
