# SPDX-License-Identifier: LGPL-2.1-or-later
"""Process 1 of a pseudo host: builds its file system in the new namespaces, then reaps.

The root is an overlay, below it the lab root and the installed product, above it a directory of
this run; it becomes the root by pivot_root, for in a chroot programs may not make user namespaces
of their own. On failure one sentence goes to stdout instead of `ready`.
"""
import json
import os
import signal
import stat
import subprocess
import sys

DEVICES = {     # name: major, minor, mode
    'null': (1, 3, 0o666), 'zero': (1, 5, 0o666), 'full': (1, 7, 0o666), 'random': (1, 8, 0o666),
    'urandom': (1, 9, 0o666), 'tty': (5, 0, 0o666), 'fuse': (10, 229, 0o666), 'loop-control': (10, 237, 0o660),
    'net/tun': (10, 200, 0o666),
}
LOOP_DEVICES = 64
LINKS = {'fd': '/proc/self/fd', 'stdin': 'fd/0', 'stdout': 'fd/1', 'stderr': 'fd/2', 'ptmx': 'pts/ptmx'}


def command(*argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f'{" ".join(argv)}: {done.stdout}')


def mount(kind, target, options=None, source=None):
    os.makedirs(target, exist_ok=True)
    command('mount', '-t', kind, *(['-o', options] if options else []), source or 'lab', target)


def make_node(path, kind, mode, device):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.mknod(path, kind | mode, device)
    os.chmod(path, mode)


def make_dev(dev):
    mount('tmpfs', dev, 'mode=755')
    for name, (major, minor, mode) in DEVICES.items():
        make_node(os.path.join(dev, name), stat.S_IFCHR, mode, os.makedev(major, minor))
    for number in range(LOOP_DEVICES):
        make_node(os.path.join(dev, f'loop{number}'), stat.S_IFBLK, 0o660, os.makedev(7, number))
    for name, target in LINKS.items():
        os.symlink(target, os.path.join(dev, name))
    mount('devpts', os.path.join(dev, 'pts'), 'newinstance,ptmxmode=0666,mode=620')
    mount('tmpfs', os.path.join(dev, 'shm'), 'mode=1777')
    mount('hugetlbfs', os.path.join(dev, 'hugepages'), 'pagesize=2M')


def bind(new, outside, inside, read_only):
    target = new + inside
    os.makedirs(target, exist_ok=True)
    command('mount', '--bind', outside, target)
    if read_only:
        command('mount', '-o', 'remount,bind,ro', target)


def build_root(run_dir):
    with open(os.path.join(run_dir, 'host.json')) as file:
        config = json.load(file)
    new, upper, work = (os.path.join(run_dir, name) for name in ('root', 'upper', 'work'))
    for path in (new, upper, work):
        os.mkdir(path)
    mount('overlay', new, f'lowerdir={":".join(config["layers"])},upperdir={upper},workdir={work}')
    mount('proc', new + '/proc')
    mount('sysfs', new + '/sys')
    make_dev(new + '/dev')
    mount('tmpfs', new + '/run', 'mode=755')
    for outside, inside, read_only in config['binds']:
        bind(new, outside, inside, read_only)
    with open(new + '/etc/hostname', 'w') as file:
        file.write(config['name'] + '\n')
    command('hostname', config['name'])
    command('ip', 'link', 'set', 'lo', 'up')
    os.chdir(new)
    command('pivot_root', '.', 'mnt')
    command('umount', '-l', '/mnt')


def main():
    try:
        build_root(sys.argv[1])
    except OSError as error:
        print(' '.join(str(error).split()), flush=True)
        sys.exit(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)      # orphans are reaped by the kernel
    print('ready', flush=True)
    os.close(1)
    while True:
        signal.pause()


if __name__ == '__main__':
    main()
