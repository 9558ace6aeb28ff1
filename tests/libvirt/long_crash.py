# SPDX-License-Identifier: LGPL-2.1-or-later
"""The long form of the crash tests, run by long-crash: everything of ours dies under one guest's I/O, again and again.

The slow disk is slow in the kernel (a throttled loop device), not in the controller: what a dead controller had submitted goes on
after its death, so each successor has to wait for it."""
import contextlib
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lab.error import LabError
from lab.host import Host
from lab.root import LAB, SOURCE, install_product, mirror_source
from libvirt_host import controller_xml, devices_xml, disk_xml
from pair import SHARED, make_pair, shared_directory, slow_migration

KILLS = int(os.environ.get('VIRTNVME_KILLS', '200'))
RESTARTS = int(os.environ.get('VIRTNVME_RESTARTS', '50'))
SEED = os.environ.get('VIRTNVME_SEED') or os.urandom(4).hex()
PROGRAM = '/usr/libexec/virtnvme/virtnvme-controller'
SLOW = f'{SHARED}/slow'
PLACES = {'fast': SHARED, 'slow': SLOW}
SLOW_IOPS = 250
THROTTLE = Path('/sys/fs/cgroup/blkio/virtnvme-crash')
SIZES = {'fast': 48, 'slow': 52}    # MiB of the disks; which of them Linux calls nvme0n1 is its choice
QUICK = 5   # deaths in a row, less than a second apart, that are far from a controller that cannot be kept running

# Of each disk: reads and writes that are verified by four jobs at once, with flushes in between; and beside them data that is
# written, trimmed or zeroed and looked at each time.
LOAD = '''
disk=$1 name=$2
while [ ! -e /tmp/stop ]; do
	fio --name=x --filename=$disk --direct=1 --ioengine=libaio --iodepth=16 --numjobs=4 --offset_increment=8M --size=1M \\
		--rw=randrw --bsrange=4k-64k --fsync=32 --verify=crc32c --verify_fatal=1 --group_reporting --output=/tmp/$name.fio || break
	echo >> /tmp/$name.rounds
done
[ -e /tmp/stop ] && echo 0 > /tmp/$name.load || echo 1 > /tmp/$name.load
'''
TRIM = '''
disk=$1 name=$2
look() { dd if=$disk bs=256k skip=160 count=1 iflag=direct 2> /dev/null | cmp - $1; }
run() {
	dd if=/dev/urandom of=/tmp/$name.data bs=256k count=1 2> /dev/null &&
	dd if=/tmp/$name.data of=$disk bs=256k seek=160 oflag=direct conv=notrunc,fsync 2> /dev/null &&
	look /tmp/$name.data && "$@" > /dev/null && look /tmp/zeroes
}
dd if=/dev/zero of=/tmp/zeroes bs=256k count=1 2> /dev/null
while [ ! -e /tmp/stop ]; do
	run blkdiscard -o 40M -l 256k $disk && run nvme write-zeroes $disk -n 1 -s 81920 -c 511 || break
done > /tmp/$name.trims 2>&1
[ -e /tmp/stop ] && echo 0 > /tmp/$name.trim || echo 1 > /tmp/$name.trim
'''


@contextlib.contextmanager
def slow_directory(path):
    """PATH is slow for us and for whatever we start."""
    device = path.with_suffix('.disk')
    if not THROTTLE.parent.is_dir():
        pytest.skip('a slow disk needs the blkio controller of cgroups, version 1')
    with open(device, 'wb') as disk:
        disk.truncate(256 << 20)
    subprocess.run(['mkfs.ext4', '-q', '-F', device], check=True)
    loop = subprocess.run(['losetup', '--direct-io=on', '-f', '--show', device], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    try:
        path.mkdir()
        subprocess.run(['mount', loop, path], check=True)
        path.chmod(0o711)
        THROTTLE.mkdir(exist_ok=True)
        number = os.stat(loop).st_rdev
        for rule in 'read', 'write':
            (THROTTLE / f'blkio.throttle.{rule}_iops_device').write_text(f'{os.major(number)}:{os.minor(number)} {SLOW_IOPS}')
        (THROTTLE / 'cgroup.procs').write_text(str(os.getpid()))
        yield
    finally:
        (THROTTLE.parent / 'cgroup.procs').write_text(str(os.getpid()))
        subprocess.run(['umount', path], check=False)
        subprocess.run(['losetup', '-d', loop], check=False)
        with contextlib.suppress(OSError):
            THROTTLE.rmdir()


@pytest.fixture(scope='module', params=['shadow', 'trapped'])
def product_of(request, lab_root, product):
    """The product; or one that does not offer shadow doorbells, so that Linux writes each doorbell's register."""
    if request.param == 'shadow':
        return product
    source = LAB / 'variants' / 'trapped'
    copy = source / 'source'
    copy.mkdir(parents=True, exist_ok=True)
    mirror_source(SOURCE, copy)
    identify = copy / 'src/nvme/identify.c'
    text = identify.read_text()
    assert 'NVME_OACS_DOORBELL_BUFFER' in text
    identify.write_text(text.replace('NVME_OACS_DOORBELL_BUFFER', '0'))
    return install_product(Host, lab_root, copy)


@pytest.fixture(scope='module')
def pair(request, lab_root, product_of):
    with shared_directory() as shared, slow_directory(shared / 'slow'), \
            make_pair(request, shared, binds=[(shared / 'slow', SLOW, False)], root=lab_root, product=product_of) as one:
        yield one


class Victim:
    """A guest of PAIR with a fast and a slow disk, on `at` at the moment."""

    def __init__(self, pair, name, chance):
        self.pair, self.chance, self.at = pair, chance, pair.a
        self.guest = pair.a.define(name, devices_xml(*(
            controller_xml(index, disk_xml(f'nvme{index}n1', f'{PLACES[disk]}/crash.raw', capacity=size, driver="cache='none' discard='unmap'"),
                           attributes="queues='4'") for index, (disk, size) in enumerate(SIZES.items()))), vcpus=4, memory=256)
        self.guest.start()
        self.uuid = pair.a.uuid(name)
        self.disks = {disk: self.guest.check(f"grep -lx {size * 2048} /sys/block/nvme*/size | sed 's,/sys/block,/dev,; s,/size,,'").strip()
                      for disk, size in SIZES.items()}
        self.kills, self.quick = 0, 0

    name = property(lambda self: self.guest.name)
    destination = property(lambda self: self.pair.other(self.at))

    def command(self, *flags):
        address = self.destination.host.address
        return ['migrate', self.name, f'qemu+tcp://{address}/system', '--migrateuri', f'tcp://{address}', *flags]

    def migration(self):
        return self.at.info(self.name)['keeper']['migration']

    def moved(self):
        self.at = self.destination
        self.guest.host = self.at.host
        self.guest.agent.close()

    def begin(self):
        for script, text in (('load', LOAD), ('trim', TRIM)):
            self.guest.check(f"cat > /tmp/{script}.sh <<'END'\n{text}\nEND")
        for name, disk in self.disks.items():
            self.guest.check(f'for what in load trim; do sh /tmp/$what.sh {disk} {name} > /dev/null 2>&1 & done')

    def rounds(self, name):
        return len(self.guest.check(f'cat /tmp/{name}.rounds 2>/dev/null || true').splitlines())

    def goes_on(self):
        """Another round of everything, without an error."""
        before = {name: self.rounds(name) for name in self.disks}

        def another():
            failed = self.guest.check('grep -l 1 /tmp/*.load /tmp/*.trim 2>/dev/null || true').strip()
            if failed:
                raise LabError(f'{failed}:\n' + self.guest.check('cat /tmp/*.fio /tmp/*.trims; dmesg | tail -30'))
            return all(self.rounds(name) > before[name] for name in self.disks)
        self.at.host.wait_for(another, 'another round of the load', 180)

    def end(self):
        """What the guest has was never wrong, and is in the images."""
        self.goes_on()
        self.guest.check('touch /tmp/stop; for n in $(seq 900); do [ $(ls /tmp/*.load /tmp/*.trim 2>/dev/null | wc -l) = 4 ] && break; '
                         'sleep 0.2; done; [ "$(cat /tmp/*.load /tmp/*.trim | tr -d "\\n")" = 0000 ] || '
                         '{ cat /tmp/*.fio /tmp/*.trims; dmesg | tail -30; exit 1; }', 240)
        said = self.guest.check("dmesg | grep -iE 'nvme.*(timeout|reset|abort|error|down)|I/O error' || true").strip()
        assert not said
        for name, disk in self.disks.items():
            theirs = self.guest.check(f'blockdev --flushbufs {disk}; echo 3 > /proc/sys/vm/drop_caches; sha256sum < {disk}', 120).split()[0]
            image = self.pair.shared / Path(PLACES[name]).relative_to(SHARED) / 'crash.raw'
            assert theirs == subprocess.run(['sha256sum', image], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
        return {name: self.rounds(name) for name in self.disks}

    def controller(self, at):
        return next((pid for pid, line in at.host.processes().items() if line.startswith(PROGRAM)), None)

    def runs(self):
        keeper = self.at.info(self.name)['keeper']
        assert keeper['controller']['state'] != 'failed', keeper
        return keeper['controller']['state'] == 'running'

    def kill(self, *places):
        """A controller at one of PLACES, or where the guest is, whatever it does just now. At most a few are killed before they
        served for a second."""
        places = places or [self.at]
        found = places[0].host.wait_for(lambda: [pid for at in places if (pid := self.controller(at))], 'a controller')
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.chance.choice(found), signal.SIGKILL)
            self.kills += 1
            self.quick += 1
        if self.quick > QUICK:
            self.rest()

    def rest(self):
        self.at.host.wait_for(self.runs, 'a successor', 60)
        time.sleep(1.5)
        self.quick = 0

    def upgrade(self):
        """The keeper executes itself anew, with a new controller."""
        self.at.host.wait_for(self.runs, 'a successor', 60)
        self.at.nvme('upgrade', self.name)

    def restart_daemon(self):
        """Killed; half of the time a controller dies while it is away."""
        self.at.stop_daemon(signal.SIGKILL)
        if self.chance.random() < 0.5:
            self.kill_without_daemon()
        self.at.start_daemon()
        self.at.host.wait_for(self.at.connected, 'the connection to libvirt')

    def kill_without_daemon(self):
        pid = self.controller(self.at)
        if pid and self.quick < QUICK:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills += 1
                self.quick += 1

    def migrate(self):
        """Two deaths, one of them while memory is copied, the other about when the guest moves, on either side. Returns why
        it came to nothing, if so: then the guest goes on where it is."""
        self.rest()
        with slow_migration(self) as migration:
            time.sleep(self.chance.random())
            self.kill()
            self.at.virsh('migrate-setspeed', self.name, '1000', check=False)
            time.sleep(self.chance.random() * self.chance.choice((0.3, 1.5)))
            there = self.destination
            self.kill(self.at, there)      # of which one may be gone already, or not be there yet
            migration.join(300)
        why = None
        source = self.at
        if migration.done.returncode == 0:
            self.moved()
            source.host.wait_for(lambda: not source.traces(self.uuid), 'the end of the source', 60)
        else:
            why = re.sub(r'\s+', ' ', migration.done.stderr.strip())
            there.host.wait_for(lambda: not there.traces(self.uuid), 'the end of the other side', 60)
        self.at.host.wait_for(lambda: self.migration() == 'none', 'the end of the migration', 60)
        assert self.at.virsh('domstate', self.name).stdout.strip() == 'running'
        return why


def test_everything_dies(pair, request):
    chance = random.Random(SEED + request.node.name)
    kills, restarts = -(-KILLS // 2), -(-RESTARTS // 2)
    victim = Victim(pair, 'crash', chance)
    victim.begin()
    victim.goes_on()
    plan = ['migrate'] * -(-kills // 6) + ['upgrade'] * restarts + ['restart_daemon'] * restarts
    plan += ['kill'] * (kills - 2 * plan.count('migrate'))
    chance.shuffle(plan)
    reasons = []
    print(f'\nseed {SEED}')
    for number, what in enumerate(plan):
        time.sleep(chance.choice((0.05, 0.5, 1.5)) * chance.random())
        why = getattr(victim, what)()
        if what == 'migrate':
            reasons.append(why)
            print(f'{number + 1} of {len(plan)}: {victim.kills} kills; migration {len(reasons)}: {why or "done"}', flush=True)
        if what == 'migrate' or number % 10 == 0:
            victim.goes_on()
    rounds = victim.end()
    print(f'{victim.kills} kills, {plan.count("upgrade")} upgrades, {plan.count("restart_daemon")} deaths of virtnvmed, '
          f'{reasons.count(None)} of {len(reasons)} migrations; rounds of the load: {rounds}')
    assert victim.kills >= kills
