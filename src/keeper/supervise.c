// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/i18n.h"
#include "base/log.h"
#include "control/commands.h"

/*
 * Theory of operation
 *
 * The controller gets nothing by inheritance but its control channel, /dev/null and the log: no
 * environment, no other descriptor. All else comes over the channel. When the keeper dies the
 * channel ends, and so does the controller. It is told which user to become and does so itself,
 * first thing: only root can take the file system away before that (controller/sandbox.c).
 */
#define CONTROL_FD	3
#define STOP_TIMEOUT_US (60u * 1000000)

static const char *const state_names[] = {
	[CONTROLLER_NONE] = "none",	    [CONTROLLER_RUNNING] = "running",
	[CONTROLLER_STOPPING] = "stopping", [CONTROLLER_STOPPED] = "stopped",
	[CONTROLLER_FAILED] = "failed",
};

const char *supervisor_state_name(const struct supervisor *supervisor)
{
	return state_names[supervisor->state];
}

void supervisor_init(struct supervisor *supervisor, sd_event *event,
		     const struct keeper_config *config, void (*ended)(void *opaque, bool expected),
		     void *opaque)
{
	*supervisor = (struct supervisor){
		.event = event,
		.config = config,
		.pidfd = -1,
		.ended = ended,
		.opaque = opaque,
	};
}

static void forget_process(struct supervisor *supervisor)
{
	supervisor->exit_source = sd_event_source_disable_unref(supervisor->exit_source);
	supervisor->kill_timer = sd_event_source_disable_unref(supervisor->kill_timer);
	if (supervisor->pidfd >= 0)
		close(steal_fd(&supervisor->pidfd));
	supervisor->pid = 0;
	if (supervisor->connection)
		control_connection_free(steal_pointer(supervisor->connection));
}

void supervisor_done(struct supervisor *supervisor)
{
	if (supervisor->pid > 0) {
		kill(supervisor->pid, SIGKILL);
		waitpid(supervisor->pid, NULL, 0);
	}
	forget_process(supervisor);
}

/* Only root can give privileges away; anybody else runs it as himself. Looked up here because this
 * is where somebody waits for the sentence. */
static int check_user(const char *user, struct error **errp)
{
	const struct passwd *entry;

	if (geteuid() != 0)
		return 0;
	errno = 0;
	entry = getpwnam(user);
	if (!entry && errno && errno != ENOENT && errno != ESRCH)
		return error_set_errno(errp, errno, _("cannot look up the user %s"), user);
	if (!entry)
		return error_set(errp, ENOENT,
				 _("user %s does not exist; create it with \"useradd --system "
				   "--shell /usr/sbin/nologin %s\""),
				 user, user);
	return 0;
}

/* In the child. Only returns when something fails. */
static void become_controller(const struct keeper_config *config, int control_fd)
{
	char control_option[32], threads_option[32], user_option[64], journal[80];
	const char *const arguments[] = { config->controller_program,
					  control_option,
					  threads_option,
					  config->without_uring ? "--io=threads" : "--io=auto",
					  geteuid() == 0 ? user_option : NULL,
					  NULL };
	const char *stream = getenv("JOURNAL_STREAM");
	const char *environment[] = { NULL, NULL };
	struct rlimit files;
	sigset_t none;
	int null;

	snprintf(control_option, sizeof(control_option), "--control-fd=%d", CONTROL_FD);
	snprintf(threads_option, sizeof(threads_option), "--io-threads=%u", config->io_threads);
	if (snprintf(user_option, sizeof(user_option), "--user=%s", config->controller_user) >=
	    (int)sizeof(user_option)) {
		errno = ENAMETOOLONG;
		return;
	}
	if (stream &&
	    snprintf(journal, sizeof(journal), "JOURNAL_STREAM=%s", stream) < (int)sizeof(journal))
		environment[0] = journal;

	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return;
	if (control_fd == CONTROL_FD) {
		if (fcntl(control_fd, F_SETFD, 0) < 0)
			return;
	} else if (dup2(control_fd, CONTROL_FD) < 0) {
		return;
	}
	/* The rest is close-on-exec already, as is the pipe that tells of a failed exec. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	umask(077);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (chdir("/") < 0)
		return;
	execve(config->controller_program, (char *const *)arguments, (char *const *)environment);
}

/* The child's pid, or -errno with a sentence. */
static int run(const struct keeper_config *config, int control_fd, struct error **errp)
{
	_cleanup_close_ int told = -1, teller = -1;
	int pipe_fds[2], code = 0, r;
	pid_t pid;

	r = check_user(config->controller_user, errp);
	if (r < 0)
		return r;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_set_errno(errp, errno, _("cannot start the controller"));
	told = pipe_fds[0];
	teller = pipe_fds[1];
	pid = fork();
	if (pid < 0)
		return error_set_errno(errp, errno, _("cannot start the controller"));
	if (pid == 0) {
		become_controller(config, control_fd);
		code = errno;
		fd_write_full(teller, &code, sizeof(code));
		_exit(127);
	}
	close(steal_fd(&teller));
	if (fd_read_full(told, &code, sizeof(code)) == 0) {
		waitpid(pid, NULL, 0);
		return error_set_errno(errp, code, _("cannot run %s"), config->controller_program);
	}
	return pid;
}

static int on_controller_exit(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct supervisor *supervisor = opaque;
	bool expected = supervisor->state == CONTROLLER_STOPPING;
	int status = 0;

	waitpid(supervisor->pid, &status, 0);
	if (WIFSIGNALED(status))
		log_write(expected ? LOG_NOTICE : LOG_ERR, "controller %d: killed by signal %d",
			  (int)supervisor->pid, WTERMSIG(status));
	else
		log_write(expected ? LOG_INFO : LOG_ERR, "controller %d: exited with status %d",
			  (int)supervisor->pid, WEXITSTATUS(status));
	supervisor->state = expected ? CONTROLLER_STOPPED : CONTROLLER_FAILED;
	forget_process(supervisor);
	supervisor->ended(supervisor->opaque, expected);
	return 0;
}

/* It will exit: that is when we act. */
static void on_channel_closed(void *opaque)
{
	struct supervisor *supervisor = opaque;

	supervisor->connection = NULL;
}

/* The controller serves, it does not ask: role CONTROL_NONE has no commands. */
static const struct control_handler_ops channel_ops = { .closed = on_channel_closed };

int supervisor_start(struct supervisor *supervisor, struct error **errp)
{
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set_errno(errp, errno, _("cannot start the controller"));
	r = run(supervisor->config, pair[1], errp);
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	supervisor->pid = r;
	supervisor->generation++;
	supervisor->state = CONTROLLER_RUNNING;
	supervisor->pidfd = syscall(SYS_pidfd_open, supervisor->pid, 0);
	r = supervisor->pidfd < 0 ? -errno : 0;
	if (r == 0)
		r = sd_event_add_io(supervisor->event, &supervisor->exit_source, supervisor->pidfd,
				    EPOLLIN, on_controller_exit, supervisor);
	supervisor->connection = control_connection_new(supervisor->event, pair[0], CONTROL_NONE,
							&channel_ops, supervisor);
	if (r >= 0 && !supervisor->connection)
		r = -ENOMEM;
	if (r < 0) {
		supervisor_done(supervisor);
		supervisor->state = CONTROLLER_FAILED;
		return error_set_errno(errp, -r, _("cannot start the controller"));
	}
	log_info("controller %d runs, generation %u", (int)supervisor->pid, supervisor->generation);
	return 0;
}

static int on_kill_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct supervisor *supervisor = opaque;

	log_error("controller %d does not stop and is killed", (int)supervisor->pid);
	kill(supervisor->pid, SIGKILL);
	return 0;
}

/* Whether it answered or the channel was lost: closing the channel ends it. */
static void on_stopped(void *opaque, struct json_object *result, const struct error *err)
{
	struct supervisor *supervisor = opaque;

	if (err && err->code != ECANCELED && err->code != ECONNRESET)
		log_error("controller %d: stop: %s", (int)supervisor->pid, err->message);
	if (supervisor->connection && (!err || err->code != ECANCELED))
		control_connection_free(steal_pointer(supervisor->connection));
}

void supervisor_stop(struct supervisor *supervisor)
{
	if (supervisor->state != CONTROLLER_RUNNING)
		return;
	supervisor->state = CONTROLLER_STOPPING;
	sd_event_add_time_relative(supervisor->event, &supervisor->kill_timer, CLOCK_MONOTONIC,
				   STOP_TIMEOUT_US, 0, on_kill_timer, supervisor);
	if (supervisor->connection)
		control_connection_call(supervisor->connection, "stop", NULL, NULL, 0, on_stopped,
					supervisor);
}
