// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/emulator.h"
#include "base/fd.h"
#include "base/i18n.h"
#include "cli/check.h"
#include "cli/client.h"

static const char *qemu = "/usr/bin/qemu-system-x86_64";
static bool as_json;

static const struct option_spec options[] = {
	{ "qemu", 0, OPTION_STRING, "PATH", N_("QEMU binary to look at"), &qemu },
	{ "json", 0, OPTION_FLAG, NULL, N_("print JSON"), &as_json },
	{},
};

static const struct option_program program = {
	.name = "virt-nvme host-validate",
	.arguments = "",
	.summary = N_("check whether this host can run domains with NVMe disks of ours"),
	.options = options,
};

static void check_qemu(struct check *check)
{
	if (access(qemu, X_OK) < 0)
		check_result(check, CHECK_FAIL, _("there is no such program; install QEMU"));
}

static void check_device(struct check *check)
{
	if (emulator_has(qemu, "-device", "vfio-user-pci", NULL) != 1)
		check_result(check, CHECK_FAIL, _("install QEMU 10.1 or newer"));
}

static void check_vmstate(struct check *check)
{
	if (emulator_has(qemu, "-object", "dbus-vmstate", NULL) != 1)
		check_result(check, CHECK_FAIL, _("this QEMU was built without D-Bus"));
}

static void check_unplug(struct check *check)
{
	check_result(check, CHECK_WARN,
		     _("no QEMU is known to unplug our controllers safely; they stay in the guest, "
		       "empty, until its next start"));
}

static void check_hugepages(struct check *check)
{
	_cleanup_close_ int fd = open("/proc/sys/vm/nr_hugepages", O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	size_t len;

	if (fd < 0 || fd_read_all(fd, 64, &text, &len) < 0 || atoi(text) == 0)
		check_result(check, CHECK_WARN,
			     _("none are reserved; only domains with <hugepages/> need them"));
}

static void check_daemon(struct check *check)
{
	_cleanup_json_ struct json_object *status = NULL;
	_cleanup_error_ struct error *err = NULL;
	struct json_object *libvirt;

	if (client_call("host-status", NULL, CLIENT_TIMEOUT_MS, &status, &err) < 0) {
		check_result(check, CHECK_FAIL, error_message(err));
		return;
	}
	libvirt = json_child(status, "libvirt", json_type_object);
	if (!json_bool_or(libvirt, "connected", false))
		check_result(check, CHECK_FAIL,
			     _("virtnvmed has no connection to libvirt; start it"));
}

static void check_migration(struct check *check)
{
	_cleanup_json_ struct json_object *status = NULL;
	const char *problem;

	if (client_call("host-status", NULL, CLIENT_TIMEOUT_MS, &status, NULL) < 0) {
		check_result(check, CHECK_WARN, _("virtnvmed does not say; start it"));
		return;
	}
	problem = json_string_or(status, "migration_problem", NULL);
	if (problem)
		check_result(check, CHECK_WARN, problem);
}

#define HOOK VIRTNVME_HOOK_DIR "/50-virtnvme"

static void check_hook(struct check *check)
{
	if (access(HOOK, X_OK) < 0)
		check_result_about(check, CHECK_FAIL, _("%s is missing or not executable"), HOOK);
}

/* When a process began, in seconds since the epoch; 0 when it is not known. */
static time_t process_start(const char *pid)
{
	_cleanup_free_ char *path = NULL;
	struct stat st;

	if (asprintf(&path, "/proc/%s", pid) < 0) {
		path = NULL;
		return 0;
	}
	return stat(path, &st) == 0 ? st.st_mtime : 0;
}

static bool is_libvirtd(const char *pid)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *name = NULL;
	_cleanup_close_ int fd = -1;
	size_t len;

	if (asprintf(&path, "/proc/%s/comm", pid) < 0) {
		path = NULL;
		return false;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fd_read_all(fd, 64, &name, &len) < 0)
		return false;
	return string_equal(name, "libvirtd\n") || string_equal(name, "virtqemud\n");
}

/* libvirt looks for hooks when it starts, and when it is told to reload. */
static void check_hook_seen(struct check *check)
{
	struct dirent *entry;
	struct stat st;
	DIR *proc;

	if (stat(HOOK, &st) < 0)
		return;
	proc = opendir("/proc");
	while (proc && (entry = readdir(proc))) {
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || !is_libvirtd(entry->d_name))
			continue;
		if (process_start(entry->d_name) < st.st_ctime)
			check_result(check, CHECK_WARN,
				     _("it is newer than the running libvirt; reload libvirtd or "
				       "virtqemud"));
	}
	if (proc)
		closedir(proc);
}

static void check_user(struct check *check)
{
	if (!getpwnam(VIRTNVME_CONTROLLER_USER))
		check_result_about(check, CHECK_FAIL,
				   _("there is no user %s; run systemd-sysusers"),
				   VIRTNVME_CONTROLLER_USER);
}

static void check_runtime_dir(struct check *check)
{
	struct stat st;

	if (stat(VIRTNVME_RUNTIME_DIR, &st) < 0)
		check_result_about(check, CHECK_FAIL, _("%s is missing; start virtnvmed"),
				   VIRTNVME_RUNTIME_DIR);
	else if (st.st_uid != 0 || (st.st_mode & 0022) || !(st.st_mode & 0001))
		check_result_about(check, CHECK_FAIL, _("%s must belong to root, mode 0755"),
				   VIRTNVME_RUNTIME_DIR);
}

static bool apparmor_enabled(void)
{
	_cleanup_close_ int fd =
		open("/sys/module/apparmor/parameters/enabled", O_RDONLY | O_CLOEXEC);
	char answer = 'N';

	return fd >= 0 && read(fd, &answer, 1) == 1 && answer == 'Y';
}

static void check_apparmor(struct check *check)
{
	if (apparmor_enabled() &&
	    access("/etc/apparmor.d/abstractions/libvirt-qemu.d/virtnvme", R_OK) < 0 &&
	    access("/etc/apparmor.d/local/abstractions/libvirt-qemu", R_OK) < 0)
		check_result(check, CHECK_FAIL,
			     _("QEMU may not open our sockets; install the snippet from "
			       "packaging/apparmor"));
}

static const struct {
	const char *what;
	void (*run)(struct check *check);
} checks[] = {
	{ N_("QEMU is installed"), check_qemu },
	{ N_("QEMU has the vfio-user-pci device"), check_device },
	{ N_("QEMU has the dbus-vmstate object"), check_vmstate },
	{ N_("QEMU unplugs MSI-X devices safely"), check_unplug },
	{ N_("hugepages are reserved"), check_hugepages },
	{ N_("virtnvmed runs and is connected to libvirt"), check_daemon },
	{ N_("libvirt can migrate guests of this QEMU"), check_migration },
	{ N_("libvirt's hook is installed"), check_hook },
	{ N_("libvirt has seen the hook"), check_hook_seen },
	{ N_("the controllers' user exists"), check_user },
	{ N_("the runtime directory is right"), check_runtime_dir },
	{ N_("AppArmor lets QEMU reach the controllers"), check_apparmor },
};

static int run(int argc, char **argv)
{
	struct check_report report;
	int first, code;
	size_t i;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	check_report_begin(&report, as_json);
	for (i = 0; i < ARRAY_SIZE(checks); i++) {
		struct check check = { .what = _(checks[i].what) };

		checks[i].run(&check);
		check_report_add(&report, &check);
	}
	return check_report_end(&report);
}

const struct cli_command cli_host_validate = { "host-validate", run, &program };
