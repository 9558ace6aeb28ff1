// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <grp.h>
#include <libxml/parser.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "base/i18n.h"
#include "base/log.h"
#include "base/options.h"
#include "control/channel.h"
#include "daemon/config.h"
#include "daemon/instance.h"
#include "daemon/keeper-config.h"
#include "daemon/keeper.h"
#include "daemon/libvirt.h"
#include "daemon/loop.h"
#include "daemon/permit.h"
#include "daemon/reconcile.h"
#include "daemon/requests.h"
#include "daemon/shared-storage.h"

/*
 * Theory of operation
 *
 * The order of the start is the order of a host's boot. libvirtd is started after us and may wait,
 * for a domain it autostarts, for our answer to a hook; so we serve, and say READY, before libvirt
 * is even looked for. From then on every part may come and go: libvirtd (libvirt.c), the keepers
 * (they belong to nobody), and we ourselves.
 */

#define DEFAULT_CONFIG VIRTNVME_SYSCONF_DIR "/virtnvmed.conf"
#define CONTROL_SOCKET VIRTNVME_RUNTIME_DIR "/virtnvmed.sock"
#define INSTANCE_LOCK  VIRTNVME_RUNTIME_DIR "/virtnvmed.lock"

static const char *config_path; /* NULL: the default, which need not exist */
static const char *uri;

static const struct option_spec options[] = {
	{ "config", 'f', OPTION_STRING, "FILE", N_("configuration file"), &config_path },
	{ "connect", 'c', OPTION_STRING, "URI", N_("libvirt connection"), &uri },
	{},
};

static const struct option_program program = {
	.name = "virtnvmed",
	.arguments = "",
	.summary = N_("manage the NVMe disks of libvirt domains"),
	.options = options,
};

static int make_directories(struct error **errp)
{
	static const struct {
		const char *path;
		mode_t mode;
	} directories[] = {
		{ VIRTNVME_RUNTIME_DIR, 0755 },
		{ VIRTNVME_LOG_DIR, 0750 },
		{ VIRTNVME_STATE_DIR, 0755 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(directories); i++)
		if (mkdir(directories[i].path, directories[i].mode) < 0 && errno != EEXIST)
			return error_set_errno(errp, errno, "%s", directories[i].path);
	return 0;
}

/* systemd's socket, or one of our own. */
static int open_socket(const struct config *config, struct error **errp)
{
	struct group *group;
	int fd;

	if (sd_listen_fds(1) > 0)
		return SD_LISTEN_FDS_START;
	fd = control_listen(CONTROL_SOCKET, 0660);
	if (fd < 0)
		return error_set_errno(errp, -fd, "%s", CONTROL_SOCKET);
	group = getgrnam(config->socket_group);
	if (!group)
		log_warning("there is no group %s; only root may talk to us", config->socket_group);
	if (chown(CONTROL_SOCKET, 0, group ? group->gr_gid : 0) < 0)
		log_warning("%s: %s", CONTROL_SOCKET, strerror(errno));
	return fd;
}

static int on_child(sd_event_source *source, const struct signalfd_siginfo *info, void *opaque)
{
	keeper_reap();
	return 0;
}

static int handle_signals(sd_event *event)
{
	sigset_t set;
	int r;

	/* Blocked before any thread exists, so that all of them have it so. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);

	r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGCHLD, on_child, NULL);
	return r;
}

static int serve(const struct config *config, struct error **errp)
{
	sd_event *event = NULL;
	int fd, r;

	r = sd_event_default(&event);
	if (r >= 0)
		r = handle_signals(event);
	if (r >= 0)
		r = loop_init(event);
	if (r >= 0)
		r = reconcile_init();
	if (r >= 0)
		r = permit_init();
	if (r < 0)
		return error_set_errno(errp, -r, "event loop");
	r = make_directories(errp);
	if (r == 0)
		r = instance_lock(INSTANCE_LOCK, errp); /* until we exit */
	if (r < 0)
		return r;
	fd = open_socket(config, errp);
	if (fd < 0)
		return fd;
	r = requests_serve(event, fd);
	if (r < 0)
		return error_set_errno(errp, -r, "control socket");
	sd_event_set_watchdog(event, true);
	sd_notify(0, "READY=1");

	r = libvirt_start(config->uri, errp);
	if (r < 0)
		return r;
	r = sd_event_loop(event);
	sd_notify(0, "STOPPING=1");
	return r < 0 ? error_set_errno(errp, -r, "event loop") : 0;
}

int main(int argc, char **argv)
{
	_cleanup_error_ struct error *err = NULL;
	struct config config;
	int first, r;

	setlocale(LC_ALL, "");
	bindtextdomain("virtnvme", VIRTNVME_LOCALE_DIR);
	log_open("virtnvmed", LOG_INFO);
	xmlInitParser();

	r = options_parse(&program, argc, argv, &first, &err);
	if (r > 0)
		return EXIT_SUCCESS;
	if (r < 0) {
		fprintf(stderr, "%s\n", error_message(err));
		return 2;
	}
	r = config_init(&config);
	if (r == 0)
		r = config_load(&config, config_path ? config_path : DEFAULT_CONFIG,
				config_path != NULL, &err);
	if (r == 0 && uri) {
		free(config.uri);
		config.uri = strdup(uri);
	}
	if (r == 0) {
		log_open("virtnvmed", config.log_level);
		keeper_config_set_log_level(config.log_level);
		shared_storage_init(config.shared_filesystems);
		r = serve(&config, &err);
	}
	if (r < 0)
		log_error("%s", error_message(err));
	/* Threads may be in the middle of a call: leave without tearing anything down. */
	_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
