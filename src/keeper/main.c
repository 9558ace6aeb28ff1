// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"
#include "base/options.h"
#include "keeper/carry.h"
#include "keeper/keeper.h"
#include "keeper/runtime-dir.h"
#include "keeper/upgrade.h"

/*
 * Theory of operation
 *
 * Started by the daemon, and from then on nobody's child: the configuration is read, the process
 * that was started ends, and its child goes on in a session of its own with the ready descriptor
 * and the log as all that it has inherited.
 *
 * An upgrade executes the installed version in the same process (upgrade.c): then nothing of that
 * is done again.
 */
#define PROGRAM	       "virtnvme-keeper"
#define MAX_CONFIG     (4 * MiB)
#define MAX_CARRIED    (256 * MiB)
#define PREDECESSOR_MS 5000
#define NO_FD	       ((unsigned long)-1)

static unsigned long config_fd = NO_FD, ready_fd = NO_FD, adopt_fd = NO_FD, can_adopt = NO_FD;

static const struct option_spec options[] = {
	{ "config-fd", 0, OPTION_NUMBER, "FD",
	  N_("read the configuration, one JSON object, from FD"), &config_fd, NULL },
	{ "ready-fd", 0, OPTION_NUMBER, "FD",
	  N_("write one JSON line to FD when the domain can start, or why it cannot"), &ready_fd,
	  NULL },
	{ "adopt-fd", 0, OPTION_NUMBER, "FD",
	  N_("go on from what another version has left in FD, in the same process"), &adopt_fd,
	  NULL },
	{ "can-adopt", 0, OPTION_NUMBER, "VERSION",
	  N_("succeed when --adopt-fd knows that version of it"), &can_adopt, NULL },
	{ NULL },
};

static const struct option_program program = {
	.name = PROGRAM,
	.arguments = "",
	.summary = N_(
		"Holds a running domain's NVMe disks: their sockets, image locks and controller"),
	.options = options,
};

static int read_config(struct keeper_config *ret, struct error **errp)
{
	_cleanup_json_ struct json_object *json = NULL;
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = fd_read_all(config_fd, MAX_CONFIG, &text, &len);
	close(config_fd);
	if (r < 0)
		return error_set_errno(errp, -r, _("cannot read the configuration"));
	while (len && text[len - 1] == '\n')
		len--;
	json = json_parse(text, len, errp);
	if (!json)
		return -EINVAL;
	r = keeper_config_parse(json, ret, errp);
	if (r == 0)
		steal_pointer(json);
	else
		error_prefix(errp, _("keeper configuration"));
	return r;
}

/* Where the journal does not take it, a file for each domain. Failing that, where it went so far.
 */
static void redirect_output(const struct keeper_config *config)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = -1;

	dup2(null, STDIN_FILENO);
	if (getenv("JOURNAL_STREAM")) {
		dup2(STDERR_FILENO, STDOUT_FILENO);
		return;
	}
	mkdir(config->log_dir, 0750);
	if (asprintf(&path, "%s/%s.log", config->log_dir, config->name) < 0) {
		path = NULL;
		return;
	}
	log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (log >= 0)
		dup2(log, STDERR_FILENO);
	else
		log_warning("%s: %s", path, strerror(errno));
	dup2(STDERR_FILENO, STDOUT_FILENO);
}

/* In the child that goes on: 0. */
static int daemonise(const struct keeper_config *config, struct error **errp)
{
	pid_t pid = fork();

	if (pid < 0)
		return error_set_errno(errp, errno, _("cannot go to the background"));
	if (pid > 0)
		_exit(0);
	setsid();
	if (chdir("/") < 0)
		return error_set_errno(errp, errno, "/");
	redirect_output(config);
	/* Whatever else was inherited is not ours. */
	if (ready_fd > 3)
		close_range(3, ready_fd - 1, 0);
	close_range(ready_fd + 1, ~0U, 0);
	return fcntl(ready_fd, F_SETFD, FD_CLOEXEC) < 0
		       ? error_set_errno(errp, errno, _("--ready-fd"))
		       : 0;
}

static void prepare_signals(void)
{
	sigset_t mask;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigprocmask(SIG_BLOCK, &mask, NULL);
}

/* Where we were executed from: what is installed there later goes on for us. */
static char *own_program(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	return strndup(path, MAX(n, 0));
}

/* The domain's whole life, or what is left of it. */
static int serve(const struct keeper_config *config, struct json_object *carried, int lock,
		 int *ready, struct error **errp)
{
	_cleanup_free_ char *self = own_program();
	struct control_request *request = NULL;
	sd_event *event = NULL;
	struct keeper keeper;
	int r;

	r = sd_event_new(&event);
	if (r < 0)
		return error_set_errno(errp, -r, _("cannot start"));
	if (carried)
		r = keeper_load(&keeper, event, config, carried, &request, errp);
	else
		r = keeper_start(&keeper, event, config, *ready, errp);
	keeper.program = self ? self : "";
	keeper.lock_fd = lock;
	if (r == 0)
		*ready = -1; /* the keeper has it, and says what there is to say */
	if (r == 0 && carried)
		upgrade_go_on(request, json_u64_or(carried, "pause_us", 0));
	if (r == 0)
		sd_event_loop(event);
	keeper_done(&keeper);
	sd_event_unref(event);
	return r;
}

/* Until the domain's end, then nothing of it is left. */
static int serve_in(const struct keeper_config *config, struct json_object *carried, int lock,
		    int *ready, struct error **errp)
{
	_cleanup_free_ char *runtime_dir = strdup(config->runtime_dir);
	int r = serve(config, carried, lock, ready, errp);

	if (runtime_dir)
		runtime_dir_remove(runtime_dir, lock);
	return r;
}

static int start(int *ready, struct error **errp)
{
	struct keeper_config config = {};
	int lock = -1, r;

	r = read_config(&config, errp);
	if (r == 0)
		r = daemonise(&config, errp);
	if (r < 0)
		return r;
	log_open(PROGRAM, config.log_level);
	log_set_context(config.name);
	r = runtime_dir_acquire(config.runtime_dir, PREDECESSOR_MS, &lock, errp);
	return r < 0 ? r : serve_in(&config, NULL, lock, ready, errp);
}

static int go_on(int *ready, struct error **errp)
{
	_cleanup_json_ struct json_object *carried = NULL;
	_cleanup_free_ char *text = NULL;
	struct keeper_config config = {};
	struct json_object *json;
	size_t len;
	int r;

	/* What must not be inherited further than to here. */
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	r = fd_read_all(adopt_fd, MAX_CARRIED, &text, &len);
	close(adopt_fd);
	if (r < 0)
		return error_set_errno(errp, -r, "--adopt-fd");
	carried = json_parse(text, len, errp);
	if (!carried)
		return -EINVAL;
	if (json_u64_or(carried, "version", 0) != CARRY_VERSION)
		return error_set(errp, EINVAL, "--adopt-fd: unknown version");
	json = json_object_get(json_child(carried, "config", json_type_object));
	r = keeper_config_parse(json, &config, errp);
	if (r < 0)
		return r;
	config.incoming = false; /* it has come */
	log_open(PROGRAM, config.log_level);
	log_set_context(config.name);
	return serve_in(&config, carried, carried_fd(carried, "lock"), ready, errp);
}

int main(int argc, char **argv)
{
	_cleanup_error_ struct error *err = NULL;
	int ready, first, r;

	setlocale(LC_ALL, "");
	log_open(PROGRAM, LOG_INFO);
	r = options_parse(&program, argc, argv, &first, &err);
	if (r == 1)
		return EXIT_SUCCESS;
	if (r == 0 && can_adopt != NO_FD)
		return can_adopt == CARRY_VERSION ? EXIT_SUCCESS : EXIT_FAILURE;
	if (r == 0 && adopt_fd == NO_FD &&
	    (config_fd > INT16_MAX || ready_fd > INT16_MAX || ready_fd < 3))
		r = error_set(&err, EINVAL, _("--config-fd and --ready-fd are needed"));
	if (r < 0) {
		fprintf(stderr, PROGRAM ": %s\n", error_message(err));
		return EXIT_FAILURE;
	}
	ready = adopt_fd == NO_FD ? (int)ready_fd : -1;
	prepare_signals();
	r = adopt_fd == NO_FD ? start(&ready, &err) : go_on(&ready, &err);
	if (r < 0) {
		log_error("%s", error_message(err));
		keeper_report(&ready, err);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
