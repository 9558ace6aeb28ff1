// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/process.h"

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
#include "control/commands.h"
#include "keeper/carry.h"

/*
 * Theory of operation
 *
 * The controller gets nothing by inheritance but its control channel, /dev/null and the log: no
 * environment, no other descriptor. All else comes over the channel. When the keeper dies the
 * channel ends, and so does the controller. It is told which user to become and does so itself,
 * first thing: only root can take the file system away before that (controller/sandbox.c).
 */
#define CONTROL_FD 3
#define MAX_PINS   16ul

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

/* Those of threads that there are, into @arguments. How many; never freed: exec follows. */
static size_t add_pins(const struct keeper_config *config, const char **arguments)
{
	size_t i, count = 0, length = 0;

	if (config->iothreadpin)
		length = MIN(json_object_array_length(config->iothreadpin), MAX_PINS);
	for (i = 0; i < length; i++) {
		struct json_object *pin = json_object_array_get_idx(config->iothreadpin, i);
		uint64_t thread = json_u64_or(pin, "iothread", 0);
		char *option;

		if (thread <= config->io_threads &&
		    asprintf(&option, "--io-thread-pin=%u:%s", (unsigned)thread,
			     json_string_or(pin, "cpuset", "")) >= 0)
			arguments[count++] = option;
	}
	return count;
}

/* In the child. Only returns when something fails. */
static void become_program(const struct process_options *options, int control_fd)
{
	const struct keeper_config *config = options->config;
	char control_option[32], threads_option[32], user_option[64], journal[80];
	const char *arguments[6 + MAX_PINS] = { options->program, control_option };
	size_t count = 2;
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
	if (options->is_controller) {
		arguments[count++] = threads_option;
		arguments[count++] = config->without_uring ? "--io=threads" : "--io=auto";
		count += add_pins(config, &arguments[count]);
	}
	if (geteuid() == 0)
		arguments[count] = user_option;
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
	if (options->program_fd >= 0)
		execveat(options->program_fd, "", (char *const *)arguments,
			 (char *const *)environment, AT_EMPTY_PATH);
	/* Of a script the interpreter could not open what is closed by then. */
	if (options->program_fd < 0 || errno == ENOENT)
		execve(options->program, (char *const *)arguments, (char *const *)environment);
}

/* The child's pid, or -errno with a sentence. */
static int run(const struct process_options *options, int control_fd, struct error **errp)
{
	_cleanup_close_ int told = -1, teller = -1;
	int pipe_fds[2], code = 0, r;
	pid_t pid;

	r = check_user(options->config->controller_user, errp);
	if (r < 0)
		return r;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_set_errno(errp, errno, _("cannot start %s"), options->program);
	told = pipe_fds[0];
	teller = pipe_fds[1];
	pid = fork();
	if (pid < 0)
		return error_set_errno(errp, errno, _("cannot start %s"), options->program);
	if (pid == 0) {
		become_program(options, control_fd);
		code = errno;
		fd_write_full(teller, &code, sizeof(code));
		_exit(127);
	}
	close(steal_fd(&teller));
	if (fd_read_full(told, &code, sizeof(code)) == 0) {
		waitpid(pid, NULL, 0);
		return error_set_errno(errp, code, _("cannot run %s"), options->program);
	}
	return pid;
}

static int on_exit_of_process(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct process *process = opaque;
	int status = 0;

	process->exit_source = sd_event_source_disable_unref(process->exit_source);
	waitpid(process->pid, &status, 0);
	process->pid = 0;
	process->ended(process->opaque, status);
	return 0;
}

static void on_channel_closed(void *opaque)
{
	struct process *process = opaque;

	process->connection = NULL;
	process->disconnected(process->opaque);
}

static void on_event(void *opaque, const char *event, struct json_object *data)
{
	struct process *process = opaque;

	process->event_sent(process->opaque, event, data);
}

/* It serves, it does not ask: role CONTROL_NONE has no commands. */
static const struct control_handler_ops channel_ops = { .event = on_event,
							.closed = on_channel_closed };

/* Watch and talk to a child; both descriptors are the process's from here on. NULL: -errno in
 * *ret. */
static struct process *make_process(const struct process_options *options, pid_t pid, int pidfd,
				    int control_fd, int *ret)
{
	struct process *process = calloc(1, sizeof(*process));
	int r = pidfd < 0 ? -EBADF : 0;

	if (!process)
		abort(); /* a child that nobody knows */
	process->pid = pid;
	process->pidfd = pidfd;
	process->event_sent = options->event_sent;
	process->disconnected = options->disconnected;
	process->ended = options->ended;
	process->opaque = options->opaque;
	if (r == 0)
		r = sd_event_add_io(options->event, &process->exit_source, pidfd, EPOLLIN,
				    on_exit_of_process, process);
	process->connection = control_connection_new(options->event, control_fd, CONTROL_NONE,
						     &channel_ops, process);
	if (r >= 0 && process->connection)
		return process;
	*ret = r < 0 ? r : -ENOMEM;
	process_free(process);
	return NULL;
}

struct process *process_start(const struct process_options *options, struct error **errp)
{
	struct process *process;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		error_set_errno(errp, errno, _("cannot start %s"), options->program);
		return NULL;
	}
	r = run(options, pair[1], errp);
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return NULL;
	}
	process = make_process(options, r, syscall(SYS_pidfd_open, r, 0), pair[0], &r);
	if (!process)
		error_set_errno(errp, -r, _("cannot start %s"), options->program);
	return process;
}

struct json_object *process_save(const struct process *process)
{
	struct json_object *json = json_object_new_object();

	json_add_u64(json, "pid", process->pid);
	carry_fd(json, "pidfd", process->pidfd);
	carry_fd(json, "control", control_connection_fd(process->connection));
	return json;
}

struct process *process_load(const struct process_options *options, struct json_object *json,
			     struct error **errp)
{
	struct process *process;
	int r;

	process = make_process(options, json_u64_or(json, "pid", 0), carried_fd(json, "pidfd"),
			       carried_fd(json, "control"), &r);
	if (!process)
		error_set_errno(errp, -r, _("cannot start %s"), options->program);
	return process;
}

void process_free(struct process *process)
{
	if (!process)
		return;
	sd_event_source_disable_unref(process->exit_source);
	if (process->pid > 0) {
		kill(process->pid, SIGKILL);
		waitpid(process->pid, NULL, 0);
	}
	if (process->pidfd >= 0)
		close(process->pidfd);
	if (process->connection)
		control_connection_free(process->connection);
	free(process);
}

void process_stop(const struct process *process)
{
	if (process->pid > 0)
		kill(process->pid, SIGSTOP);
}

void process_kill(const struct process *process)
{
	if (process->pid > 0)
		kill(process->pid, SIGKILL);
}

const char *process_describe_end(int status)
{
	static char text[64];

	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), _("it was ended by signal %d"), WTERMSIG(status));
	else
		snprintf(text, sizeof(text), _("it exited with status %d"), WEXITSTATUS(status));
	return text;
}
