// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "base/i18n.h"
#include "base/json.h"
#include "base/log.h"
#include "controller/options.h"
#include "controller/requests.h"
#include "controller/sandbox.h"
#include "controller/standalone.h"
#include "vfio-user/dma.h"

/*
 * The data plane: serves NVMe controllers over vfio-user, either those that a keeper hands it or
 * one from its own command line. Threads: this one (messages, registers, requests) and the I/O
 * threads.
 */
struct program {
	sd_event *event;
	struct io_threads *threads;
	struct standalone *standalone; /* one of these two */
	struct requests *requests;
};

static void print_capabilities(void)
{
	static const char *const features[] = { "file",	    "block",   "memory",    "null",
						"io_uring", "threads", "control-fd" };
	_cleanup_json_ struct json_object *object = json_object_new_object();
	struct json_object *list = json_object_new_array();
	size_t i;

	for (i = 0; i < ARRAY_SIZE(features); i++)
		json_object_array_add(list, json_object_new_string(features[i]));
#ifdef HAVE_LIBSECCOMP
	json_object_array_add(list, json_object_new_string("seccomp"));
#endif
	json_add_string(object, "type", "virtnvme-controller");
	json_add_string(object, "version", PACKAGE_VERSION);
	json_add(object, "features", list);
	puts(json_text(object));
}

static int run_control_calls(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	io_threads_run_control(opaque);
	return 0;
}

static int terminate(sd_event_source *source, const struct signalfd_siginfo *info, void *opaque)
{
	struct program *program = opaque;
	sigset_t set;

	log_info("%s: finishing what is in flight", strsignal(info->ssi_signo));
	/* A second one ends us at once: the disk may hang. */
	sigemptyset(&set);
	sigaddset(&set, info->ssi_signo);
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	standalone_stop(program->standalone);
	return 0;
}

/* Before any thread: only the control thread takes signals. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int start(struct program *program, const struct options *options, struct error **errp)
{
	const struct sandbox_options sandbox = { .user = options->user,
						 .may_unlink = !options->under_keeper };
	int ret;

	if (!options->under_keeper) {
		program->standalone = standalone_open(options, errp);
		if (!program->standalone)
			return -EINVAL;
		/* From here on a client may connect; and systemd is out of reach in the sandbox. */
		sd_notify(1, "READY=1");
	}
	ret = sandbox_enter(&sandbox, errp);
	if (ret < 0)
		return ret;
	ret = vfio_user_dma_handle_sigbus();
	if (ret < 0)
		return error_set_errno(errp, -ret, "cannot handle SIGBUS");
	program->threads = io_threads_new(options->io_threads, options->ring, options->poll_max,
					  options->pins, errp);
	if (!program->threads)
		return -EINVAL;
	ret = sd_event_new(&program->event);
	if (ret < 0)
		return error_set_errno(errp, -ret, "cannot make an event loop");
	/* Under a keeper they stay blocked. It says when: a machine that shuts down ends everybody
	 * at once, and QEMU still writes then. */
	if (!options->under_keeper) {
		sd_event_add_signal(program->event, NULL, SIGTERM, terminate, program);
		sd_event_add_signal(program->event, NULL, SIGINT, terminate, program);
	}
	ret = sd_event_add_io(program->event, NULL, io_threads_control_fd(program->threads),
			      EPOLLIN, run_control_calls, program->threads);
	if (ret < 0)
		return error_set_errno(errp, -ret, "cannot wait for the I/O threads");
	if (!options->under_keeper)
		return standalone_start(program->standalone, program->event, program->threads,
					errp);
	program->requests =
		requests_new(program->event, program->threads, options->control_fd, errp);
	return program->requests ? 0 : -ENOMEM;
}

int main(int argc, char **argv)
{
	_cleanup_error_ struct error *err = NULL;
	struct program program = {};
	struct options options;
	int ret;

	setlocale(LC_ALL, "");
	bindtextdomain(PACKAGE, VIRTNVME_LOCALE_DIR);
	textdomain(PACKAGE);
	ret = controller_options_parse(argc, argv, &options, &err);
	if (ret > 0)
		return EXIT_SUCCESS;
	if (ret == 0 && options.print_capabilities) {
		print_capabilities();
		return EXIT_SUCCESS;
	}
	if (ret == 0) {
		log_open("virtnvme-controller", options.log_level);
		sandbox_close_inherited(options.under_keeper ? (int)options.control_fd : -1);
		block_signals();
		ret = start(&program, &options, &err);
	}
	if (ret == 0)
		ret = sd_event_loop(program.event);
	if (err)
		fprintf(stderr, "virtnvme-controller: %s\n", error_message(err));
	requests_free(program.requests);
	standalone_free(program.standalone);
	io_threads_free(program.threads);
	sd_event_unref(program.event);
	controller_options_clear(&options);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
