# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two pseudo hosts with a directory in common, and a guest that travels between them."""
import contextlib
import shutil
import tempfile
import threading
import time
from pathlib import Path

from lab import fio
from lab.error import LabError
from lab.fixtures import close_host
from lab.host import Host, connect
from libvirt_host import LibvirtHost

SHARED = '/srv/shared'
LOADED, KNOWN = 64, 4      # MiB of the disk that is written to, and of the one with data that is known
CONFIG = f'shared_filesystems = [ "{SHARED}" ]\nlog_level = 7\n'

# Mixed random I/O over two queues that checks what it wrote, all the time, for as long as it is let; it thinks now and then,
# to leave an emulated processor something to do the rest with.
LOAD = ('fio --name=load --filename=DISK --rw=randrw --bs=4k --ioengine=libaio --iodepth=32 --direct=1 --numjobs=2 '
        '--size=16M --offset_increment=16M --verify=crc32c --verify_fatal=1 --verify_backlog=64 --thinktime=20ms --thinktime_blocks=96 --time_based --runtime=100000')
START_LOAD = f'''{fio.start('load', LOAD)}
count() {{ COUNT; }}
before=$(count)
until [ $(count) -gt $((before + 500)) ]; do sleep 0.1; [ ! -e /tmp/load.status ] || exit 1; done'''

# What is read into memory again and again has to be there when it is looked at, wherever the guest is by then: the pages
# of the block cache are written by the controller and by nobody else, and are there as long as somebody has the disk open.
READER = '''exec 9< DISK
want=$(md5sum < DISK); rounds=0
while [ ! -e /tmp/reader.stop ]; do
	echo 1 > /proc/sys/vm/drop_caches
	cat DISK > /dev/null
	for pass in 1 2; do [ "$(md5sum < DISK)" = "$want" ] || echo "round $rounds pass $pass" >> /tmp/reader.wrong; done
	rounds=$((rounds + 1)); echo $rounds > /tmp/reader.new; mv /tmp/reader.new /tmp/reader.rounds
done
touch /tmp/reader.stopped'''


@contextlib.contextmanager
def shared_directory():
    """What two hosts have in common."""
    path = Path(tempfile.mkdtemp(prefix='virtnvme-shared-'))
    try:
        path.chmod(0o711)
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def make_pair(request, shared, binds=(), **kwargs):
    """A Pair for many tests, with BINDS beside SHARED; KWARGS are of its Hosts."""
    hosts = []
    try:
        for name in 'a', 'b':
            hosts.append(Host(name, binds=[(shared, SHARED, False), *binds], **kwargs))
        yield Pair(*hosts, shared)
    finally:
        for host in hosts:
            close_host(request, host)


class Pair:
    """Hosts a and b; `shared` is out here what SHARED is in both."""

    def __init__(self, a, b, shared):
        self.shared = shared
        self.a, self.b = LibvirtHost(a), LibvirtHost(b)
        connect(a, b)
        for one in self.both:
            one.host.path('/etc/virtnvme').mkdir(exist_ok=True)
            one.host.path('/etc/virtnvme/virtnvmed.conf').write_text(CONFIG)
            one.start()

    @property
    def both(self):
        return (self.a, self.b)

    def other(self, one):
        return self.b if one is self.a else self.a


class Traveller:
    """A guest of PAIR, on `at` at the moment."""

    def __init__(self, pair, guest, at):
        self.pair, self.guest, self.at = pair, guest, at
        self.uuid = at.uuid(guest.name)
        # Linux numbers namespaces as they come.
        self.disk, self.known = self.device(LOADED), self.device(KNOWN)

    def device(self, size):
        """The guest's name of the disk of SIZE MiB; of several, of the first; None when there is none."""
        found = self.guest.check(f'grep -lx {size * 2048} /sys/block/nvme*/size | grep -v "nvme[0-9]*c" | head -n 1')
        return '/dev/' + found.split('/')[3] if found else None

    def find_paths(self):
        """Wait until the guest has two paths to a disk, and have it use them in turn."""
        self.guest.check('for i in $(seq 300); do [ "$(cat /sys/block/nvme*c*n*/ana_state | xargs)" = "optimized optimized" ] && break; sleep 0.1; done; '
                         '[ $i -lt 300 ] && for policy in /sys/class/nvme-subsystem/*/iopolicy; do echo round-robin > $policy; done', timeout=120)

    def both_paths_work(self):
        """From now on something is read or written by each of them."""
        def counts():
            return [int(n) for n in self.guest.check("awk '{ print $1 + $5 }' /sys/block/nvme*c*n*/stat").split()]
        before = counts()
        self.at.host.wait_for(lambda: all(now > old for now, old in zip(counts(), before, strict=True)), 'I/O by both paths', 60)

    def count(self):
        """How many reads and writes of the load are done."""
        return int(self.guest.check(self._count()))

    def _count(self):
        return f"awk '{{ print $1 + $5 }}' /sys/block/{self.disk[5:]}/stat"

    @property
    def name(self):
        return self.guest.name

    @property
    def destination(self):
        return self.pair.other(self.at)

    def command(self, *flags, direct=True):
        """virsh's arguments for a migration to the other host."""
        address = self.destination.host.address
        where = ['--migrateuri', f'tcp://{address}'] if direct else []
        return ['migrate', self.name, f'qemu+tcp://{address}/system', *where, *flags]

    def migrate(self, *flags, direct=True, name=None, timeout=120):
        """To the other host, as `virsh migrate FLAGS` does it."""
        self.at.virsh(*self.command(*flags, direct=direct), timeout=timeout)
        self.moved(name)

    def moved(self, name=None):
        if name:
            self.guest.name = name
        self.at = self.destination
        self.guest.host = self.at.host
        self.guest.agent.close()

    def refused(self, *flags, direct=True, timeout=120):
        """A migration that must fail, and leave nothing at the other side; returns what virsh said."""
        done = self.at.virsh(*self.command(*flags, direct=direct), check=False, timeout=timeout)
        if done.returncode == 0:
            self.moved()
            raise LabError('this migration had to fail')
        self.destination.host.wait_for(lambda: not self.destination.traces(self.uuid), 'the end of the other side', 20)
        return done.stderr.strip()

    def state(self):
        return self.at.virsh('domstate', self.name).stdout.strip()

    def migration(self):
        """What the keeper says of it."""
        return self.at.info(self.name)['keeper']['migration']

    def settle(self):
        """Wait until the keeper has done with the last one."""
        self.at.host.wait_for(lambda: self.migration() == 'none', 'the end of the migration')

    @contextlib.contextmanager
    def load(self):
        """I/O that verifies, in the meantime, without an error, and which never stood still for long."""
        load = START_LOAD.replace('COUNT', self._count()).replace('DISK', self.disk)
        self.guest.check(load, timeout=120)
        try:
            yield
            self.still_works()
        finally:
            self.guest.exec(fio.stop('load', 30), timeout=120)
        log = self.guest.check('cat /tmp/load.log')
        if 'err= 0' not in log or 'verify:' in log:
            raise LabError(f'the load failed:\n{log}')
        self.no_complaint()

    def still_works(self):
        """The load goes on: more I/O is done than before."""
        if self.guest.exec('cat /tmp/load.status').status == 0:
            raise LabError('the load has ended:\n' + self.guest.check('cat /tmp/load.log'))
        before = self.count()
        self.at.host.wait_for(lambda: self.count() > before + 50, 'I/O after the migration', 60)

    def no_complaint(self):
        """The kernel's log: nothing timed out, was reset or failed."""
        said = self.guest.check("dmesg | grep -iE 'nvme.*(timeout|reset|abort|error|down)|I/O error' || true").strip()
        if said:
            raise LabError(f'the guest complains: {said}')

    @contextlib.contextmanager
    def reader(self):
        """Known data is read from the other disk into the guest's memory in the meantime, and checked there."""
        self.guest.check(f'rm -f /tmp/reader.*; cat > /tmp/reader.sh << "END"\n{READER.replace("DISK", self.known)}\nEND\n'
                         '(sh /tmp/reader.sh > /dev/null 2>&1) & until [ -e /tmp/reader.rounds ]; do sleep 0.2; done', timeout=120)
        yield
        rounds = int(self.guest.check('cat /tmp/reader.rounds'))
        self.at.host.wait_for(lambda: int(self.guest.check('cat /tmp/reader.rounds')) > rounds, 'another round', 60)
        self.guest.check('touch /tmp/reader.stop; until [ -e /tmp/reader.stopped ]; do sleep 0.2; done', timeout=120)
        wrong = self.guest.check('cat /tmp/reader.wrong 2>/dev/null || true').strip()
        if wrong:
            raise LabError(f'the guest has other data in its memory than on its disk: {wrong}')


class Background(threading.Thread):
    """A virsh that takes its time; `with Background(vhost, ...) as it: ...; it.done` once it has ended."""

    def __init__(self, vhost, *args):
        super().__init__(daemon=True)
        self.done = None
        self._run = lambda: vhost.virsh(*args, check=False, timeout=300)

    def run(self):
        self.done = self._run()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.join()


@contextlib.contextmanager
def slow_migration(traveller, *flags):
    """A migration that copies at 1 MiB/s, in the meantime; it is up to the caller to end it."""
    source = traveller.at
    with Background(source, *traveller.command('--live', '--bandwidth', '1', *flags)) as virsh:
        try:
            wait_copying(traveller)
            yield virsh
        finally:
            if virsh.is_alive():
                source.virsh('domjobabort', traveller.name, check=False)


def wait_copying(traveller):
    """Until memory is being copied."""
    traveller.at.host.wait_for(lambda: traveller.migration() == 'active', 'the copying', 60)
    time.sleep(0.2)
