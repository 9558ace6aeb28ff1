# SPDX-License-Identifier: LGPL-2.1-or-later
"""Holds one pseudo host, and removes every trace of it.

Theory of operation

A pseudo host is a set of namespaces that no file names, so they last as long as the processes in
them. The test runner starts this program, which starts `init.py` in new namespaces as their
process 1, and keeps the write end of its stdin open. However the runner ends, by a failed test, by
^C or by SIGKILL, that pipe closes; process 1 is then killed, the kernel kills everything else in
its PID namespace and drops the mounts and the network, and what the kernel does not know of (the
run directory, loop devices, reserved hugepages) is undone here.
"""
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PR_SET_PDEATHSIG = 1
NR_HUGEPAGES = '/proc/sys/vm/nr_hugepages'


def add_hugepages(lab, count):
    """Add COUNT (or remove -COUNT) 2 MiB pages to the machine's pool; returns how many were added."""
    with open(os.path.join(lab, 'hugepages.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(NR_HUGEPAGES) as file:
            before = int(file.read())
        with open(NR_HUGEPAGES, 'w') as file:
            file.write(str(max(0, before + count)))
        with open(NR_HUGEPAGES) as file:
            return int(file.read()) - before


def hold_locks(paths):
    """Lock the run directory and the layers, so that nobody removes them: fds stay open."""
    for path in paths:
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_SH)


def read_lines(path):
    try:
        with open(path) as file:
            return file.read().split()
    except FileNotFoundError:
        return []


def loop_inode(device):
    """The inode number of the image under a loop device, as text; empty if there is none."""
    return subprocess.run(['losetup', '-n', '-O', 'BACK-INO', device], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip()


def undo(lab, run_dir):
    for note in read_lines(os.path.join(run_dir, 'loops')):
        device, inode = note.split(':')
        if loop_inode(device) == inode:     # else the test has detached it, and it may be another's by now
            subprocess.run(['losetup', '-d', device], check=False)
    pages = sum(int(count) for count in read_lines(os.path.join(run_dir, 'hugepages')))
    if pages:
        add_hugepages(lab, -pages)
    shutil.rmtree(run_dir, ignore_errors=True)


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def kill_init(unshare):
    """Returns when process 1 is gone, which is after everything else in its namespace."""
    for init in read_lines(f'/proc/{unshare.pid}/task/{unshare.pid}/children'):
        try:
            pidfd = os.pidfd_open(int(init))
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            select.select([pidfd], [], [])
        except ProcessLookupError:
            pass
    unshare.kill()
    unshare.wait()


def main():
    lab, run_dir = sys.argv[1:]
    with open(os.path.join(run_dir, 'host.json')) as file:
        config = json.load(file)
    hold_locks([run_dir] + config['locks'])
    for signo in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signo, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGTERM, lambda *_: os.write(wake_write, b'x'))
    # pylint: disable=subprocess-popen-preexec-fn
    child = subprocess.Popen(
        ['unshare', '--mount', '--uts', '--net', '--ipc', '--pid', '--fork', '--kill-child',
         '/usr/bin/python3', os.path.join(HERE, 'init.py'), run_dir],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
    os.close(1)     # only process 1 says ready, or closes it
    select.select([0, wake_read, os.pidfd_open(child.pid)], [], [])
    kill_init(child)
    undo(lab, run_dir)


if __name__ == '__main__':
    main()
