# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pseudo host: namespaces of its own over the lab root, and what a test does with it."""
import fcntl
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import holder
from .error import CommandFailed, LabError
from .libvirtd import Libvirtd
from .root import LAB, make_root

ENVIRONMENT = {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root',
               'LC_ALL': 'C.UTF-8', 'TERM': os.environ.get('TERM', 'dumb')}
LOGS = ('/var/log', '/run/lab')
_serial = itertools.count(1)


class Process(subprocess.Popen):
    """A process in a pseudo host. Signals reach it and what it started in its process group.

    It is the child of an nsenter, which ends as it ends and when it ends: nsenter itself gets no signal, else
    wait() would return while a daemon still takes its time to end.
    """

    def send_signal(self, sig):
        if self.poll() is not None:
            return
        members = [pid for pid in process_group(self.pid) if pid != self.pid]
        if not members:
            os.killpg(self.pid, sig)
        for pid in members:
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass


def process_group(group):
    """The pids in it."""
    for entry in Path('/proc').glob('[0-9]*'):
        try:
            if int((entry / 'stat').read_text().rpartition(')')[2].split()[2]) == group:
                yield int(entry.name)
        except OSError:
            pass


class Host:
    """HOST = Host('a') ... HOST.close(), or `with Host('a') as host:`.

    name        its hostname
    root        the lab root; made if need be
    product     the tree of install_product(), laid over the root
    binds       [(directory outside, inside, read_only)]; with VIRTNVME_LAB_KERNEL set, make-kernel's folder beside them
    qemu_user   'root', or another (then dynamic_ownership is 1, as on a real host)
    """

    def __init__(self, name='host', root=None, product=None, binds=(), qemu_user='root'):
        root = Path(root or make_root())
        layers = ([str(product)] if product else []) + [str(root)]
        remove_stale_runs()
        self.name = name
        self.address = None
        self.run_dir = LAB / 'run' / f'{os.getpid()}-{next(_serial)}-{name}'
        self.logs = self.run_dir / 'logs'
        images = self.run_dir / 'images'
        for path in (self.logs, images):
            path.mkdir(parents=True)
        images.chmod(0o711)
        if 'VIRTNVME_LAB_KERNEL' in os.environ:
            binds = [*binds, (os.environ['VIRTNVME_LAB_KERNEL'], '/boot/lab', True)]
        config = {'name': name, 'layers': layers, 'locks': [str(root.parent)] + layers[:-1],
                  'binds': [(str(images), '/var/lib/libvirt/images', False)]
                           + [(str(a), str(b), ro) for a, b, ro in binds]}
        (self.run_dir / 'host.json').write_text(json.dumps(config))
        self._holder = subprocess.Popen(
            ['/usr/bin/python3', holder.__file__, LAB, self.run_dir], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True)
        answer = self._holder.stdout.readline().decode().strip()
        if answer != 'ready':
            self.close()
            raise LabError(f'pseudo host {name} did not start: {answer}')
        self.pid = self._find_init()
        self.libvirtd = Libvirtd(self, qemu_user)
        self.path('/run/lab').mkdir(mode=0o1777)
        self.path('/run/lab').chmod(0o1777)
        self.path('/etc/hosts').write_text(f'127.0.0.1 localhost\n127.0.1.1 {name}\n')
        if product:
            self._create_product_users()

    def _find_init(self):
        """The pid, out here, of the host's process 1."""
        def children(pid):
            return [int(word) for word in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
        return children(children(self._holder.pid)[0])[0]

    def _create_product_users(self):
        for program, folder in (('systemd-sysusers', 'sysusers.d'), ('systemd-tmpfiles', 'tmpfiles.d')):
            if self.path(f'/usr/lib/{folder}/virtnvme.conf').exists():
                self.run([program] + (['--create'] if folder == 'tmpfiles.d' else []) + ['virtnvme.conf'])

    def path(self, inside):
        """The path out here of a file in there; sockets can be connected through it."""
        return Path(f'/proc/{self.pid}/root', str(inside).lstrip('/'))

    def popen(self, argv, **kwargs):
        """Start ARGV (a list, or a string for sh). Without stdout=, output goes to a file in self.logs."""
        if isinstance(argv, str):
            argv = ['sh', '-c', argv]
        if 'stdout' not in kwargs:
            name = f'{Path(str(argv[0])).name}-{next(_serial)}.log'
            kwargs['stdout'] = open(self.logs / name, 'wb')
            kwargs.setdefault('stderr', subprocess.STDOUT)
        kwargs.setdefault('stdin', subprocess.DEVNULL)
        return Process(['nsenter', '-t', str(self.pid), '-m', '-u', '-i', '-n', '-p', '--', *map(str, argv)],
                       env=ENVIRONMENT | kwargs.pop('env', {}), start_new_session=True, **kwargs)

    def run(self, argv, check=True, input=None, timeout=120, **kwargs):
        """Run ARGV (a list, or a string for sh) to its end; returns a CompletedProcess with text."""
        if input is not None:
            kwargs['stdin'] = subprocess.PIPE
        kwargs.setdefault('stdout', subprocess.PIPE)
        kwargs.setdefault('stderr', subprocess.PIPE)
        with self.popen(argv, text=True, errors='replace', **kwargs) as process:
            try:
                stdout, stderr = process.communicate(input, timeout)
            except BaseException:
                process.kill()
                raise
        if check and process.returncode != 0:
            raise CommandFailed(argv, process.returncode, stdout, stderr)
        return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)

    def virsh(self, *args, **kwargs):
        return self.run(['virsh', '-q', '-c', 'qemu:///system', *args], **kwargs)

    def wait_for(self, condition, what, timeout=30):
        """Poll CONDITION until it is true; returns its value."""
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise LabError(f'{self.name}: {what} did not happen within {timeout} s')
            time.sleep(0.05)
        return value

    def processes(self):
        """{outside pid: command line} of everything in this host but process 1."""
        space = os.readlink(f'/proc/{self.pid}/ns/pid')
        found = {}
        for entry in Path('/proc').glob('[0-9]*'):
            try:
                if os.readlink(entry / 'ns/pid') == space and int(entry.name) != self.pid:
                    found[int(entry.name)] = (entry / 'cmdline').read_text().replace('\0', ' ').strip()
            except OSError:
                pass
        return found

    def _remember(self, file, text):
        with open(self.run_dir / file, 'a', encoding='ascii') as notes:
            notes.write(f'{text}\n')

    def loop_device(self, inside):
        """A block device over an image; it is detached when the host is closed."""
        device = self.run(['losetup', '--find', '--show', '--direct-io=on', inside]).stdout.strip()
        self._remember('loops', f'{device}:{holder.loop_inode(device)}')
        return device

    def add_hugepages(self, count):
        """Reserve COUNT 2 MiB pages on this machine until the host is closed."""
        added = holder.add_hugepages(LAB, count)
        self._remember('hugepages', added)
        if added != count:
            raise LabError(f'the kernel gave {added} of {count} hugepages')

    def keep_logs(self, directory):
        """Copy what helps to understand a failure."""
        shutil.copytree(self.logs, directory, dirs_exist_ok=True)
        for log in LOGS:
            shutil.copytree(self.path(log), Path(directory, log.lstrip('/')), dirs_exist_ok=True,
                            ignore=lambda folder, names: [n for n in names if not is_log(Path(folder, n))])

    def close(self):
        """Kill everything in it and remove every trace; returns when that is done."""
        if self._holder:
            self._holder.stdin.close()
            self._holder.wait()
            self._holder.stdout.close()
            self._holder = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def is_log(path):
    return path.is_dir() or path.is_file() and path.stat().st_size < 16 << 20


def connect(a, b):
    """A cable between two hosts; both get an address and know the other's name."""
    subprocess.run(['nsenter', '-t', str(a.pid), '-n', 'ip', 'link', 'add', 'eth0', 'type', 'veth',
                    'peer', 'name', 'eth0', 'netns', str(b.pid)], check=True)
    a.address, b.address = '10.77.0.1', '10.77.0.2'
    for host in (a, b):
        host.run(f'ip address add {host.address}/24 dev eth0 && ip link set eth0 up')
        host.path('/etc/hosts').write_text(f'127.0.0.1 localhost\n{a.address} {a.name}\n{b.address} {b.name}\n')


def remove_stale_runs():
    """Runs whose holder was killed too; a living holder has its directory locked."""
    (LAB / 'run').mkdir(parents=True, exist_ok=True)
    for run_dir in (LAB / 'run').iterdir():
        if run_dir.name.startswith(f'{os.getpid()}-') or time.time() - run_dir.stat().st_mtime < 60:
            continue        # perhaps just being made
        fd = os.open(run_dir, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holder.undo(LAB, run_dir)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)


def convert_sigterm():
    """Let SIGTERM end the run as ^C does, so that finalizers run."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
