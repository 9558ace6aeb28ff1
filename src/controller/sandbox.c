// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#ifdef HAVE_LIBSECCOMP
#include <seccomp.h>
#endif

#include "base/i18n.h"
#include "base/log.h"

/*
 * Theory of operation
 *
 * The controller parses what a guest wrote. Should a guest take it over, it must find nothing: no
 * file system, no network, no privilege, no other process, and only the system calls that serving
 * disks needs. All it can reach are the descriptors that it was given.
 *
 * In order, because each step needs what the next takes away: look up the user; an empty root in
 * namespaces of our own (when we are root, and as far as we may); limits; another user; no
 * capabilities; no new privileges; the system call filter. A call outside the filter fails with
 * EPERM instead of killing: what libc tries and can do without must not cost a guest its disk.
 */

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Event descriptors: one a vector, 65 a controller, and what belongs to each image and socket. */
#define MAX_FILES 16384

void sandbox_close_inherited(int keep)
{
	if (keep < 3) {
		close_range(3, ~0u, 0);
		return;
	}
	if (keep > 3)
		close_range(3, keep - 1, 0);
	close_range(keep + 1, ~0u, 0);
	fcntl(keep, F_SETFD, FD_CLOEXEC);
}

/* The mount point is only a place that certainly exists; the tmpfs on it becomes the root, and the
 * old root goes away. */
static int empty_root(void)
{
	if (mount("", "/", "", MS_PRIVATE | MS_REC, NULL) < 0 ||
	    mount("tmpfs", "/tmp", "tmpfs", MS_NODEV | MS_NOSUID | MS_NOEXEC | MS_RDONLY,
		  "nr_inodes=2,nr_blocks=0,mode=555") < 0 ||
	    chdir("/tmp") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

static void isolate(void)
{
	int ret;

	if (geteuid() != 0 || SANITIZED)
		return;
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0) {
		log_info("no namespaces of our own: %s", strerror(errno));
		return;
	}
	ret = empty_root();
	if (ret < 0)
		log_info("the file system stays visible: %s", strerror(-ret));
}

static void limit(void)
{
	struct rlimit files = { .rlim_cur = MAX_FILES }, no_core = {};

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = MIN(files.rlim_max, (rlim_t)MAX_FILES);
		setrlimit(RLIMIT_NOFILE, &files);
	}
	setrlimit(RLIMIT_CORE, &no_core);
}

static int change_user(const struct passwd *user, struct error **errp)
{
	if (setgroups(0, NULL) < 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
	    setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
		return error_set_errno(errp, errno, _("cannot become user %s"), user->pw_name);
	return 0;
}

static int drop_capabilities(struct error **errp)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = {};

	if (syscall(SYS_capset, &header, none) < 0)
		return error_set_errno(errp, errno, _("cannot give up capabilities"));
	return 0;
}

#ifdef HAVE_LIBSECCOMP
/* Names that an architecture or an old library does not know are skipped. */
/* clang-format off */
static const char *const allowed_calls[] = {
	/* descriptors */
	"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2",
	"pwritev2", "close", "dup", "fcntl", "fstat", "fstatfs", "lseek", "ioctl", "poll", "ppoll",
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2",
	"signalfd4", "timerfd_create", "timerfd_settime",
	/* glibc's fstat() */
	"newfstatat", "statx",
	/* sockets that are open */
	"recvmsg", "sendmsg", "recvfrom", "sendto", "accept", "accept4", "shutdown", "getsockopt",
	/* images, state file */
	"fallocate", "fdatasync", "fsync", "ftruncate",
	/* io_uring */
	"io_uring_setup", "io_uring_enter", "io_uring_register",
	/* memory */
	"mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "membarrier",
	/* threads */
	"clone", "clone3", "futex", "set_robust_list", "rseq", "exit", "exit_group", "sched_yield",
	"sched_getaffinity", "gettid", "getpid", "tgkill", "prctl",
	/* signals */
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "sigaltstack",
	"restart_syscall",
	/* time, chance */
	"clock_gettime", "clock_nanosleep", "nanosleep", "gettimeofday", "getrandom",
#if SANITIZED
	/* what the sanitizers look at, at the end and when they report */
	"openat", "open", "readlink", "readlinkat", "ptrace", "wait4", "prlimit64", "getrlimit",
	"getppid", "getuid", "getdents64", "process_vm_readv", "pipe2", "fork", "vfork", "execve",
#endif
};
/* clang-format on */

static int filter_calls(bool may_unlink, struct error **errp)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	size_t i;
	int ret = 0;

	if (!filter)
		return error_set(errp, ENOMEM, _("out of memory"));
	for (i = 0; ret == 0 && i < ARRAY_SIZE(allowed_calls); i++) {
		int call = seccomp_syscall_resolve_name(allowed_calls[i]);

		if (call != __NR_SCMP_ERROR)
			ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
	}
	/* Of the calling thread: where it runs. */
	if (ret == 0)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sched_setaffinity), 1,
				       SCMP_A0(SCMP_CMP_EQ, 0));
	if (ret == 0 && may_unlink)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(unlinkat), 0);
	if (ret == 0)
		ret = seccomp_load(filter);
	seccomp_release(filter);
	if (ret < 0)
		return error_set_errno(errp, -ret, _("cannot confine the system calls"));
	return 0;
}
#else
static int filter_calls(bool may_unlink, struct error **errp)
{
	return 0;
}
#endif

int sandbox_enter(const struct sandbox_options *options, struct error **errp)
{
	const struct passwd *user = NULL;
	int ret = 0;

	if (options->user) {
		errno = 0;
		user = getpwnam(options->user);
		if (!user)
			return error_set(errp, errno ? errno : ENOENT, _("there is no user %s"),
					 options->user);
	}
	log_confined();
	isolate();
	limit();
	if (user && (geteuid() != user->pw_uid || getegid() != user->pw_gid))
		ret = change_user(user, errp);
	if (ret == 0)
		ret = drop_capabilities(errp);
	if (ret < 0)
		return ret;
	/* The sanitizers attach to their own process. */
	if (!SANITIZED)
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set_errno(errp, errno, _("cannot forbid new privileges"));
	return filter_calls(options->may_unlink, errp);
}
