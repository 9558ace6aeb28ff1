# SPDX-License-Identifier: LGPL-2.1-or-later
"""The long form, run by long-migrate: guest memory with and without what keeps it right, all vectors in use, throughput."""
import base64
import hashlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lab.error import GuestTimeout, LabError
from lab.faults import Faults
from lab.host import Host
from lab.root import LAB, SOURCE, install_product, source_files

from conftest import IMAGES, complaints
from test_migrate import LOAD, ROUNDS, Side, arrived, controller, end_load, migrate, more_rounds, wait

BREAKS = SOURCE / 'tests/breaks'
THROUGHPUTS = int(os.environ.get('VIRTNVME_THROUGHPUTS', '5'))


def broken_product(lab_root, names):
    """The product with deliberate breaks of tests/breaks."""
    copy = LAB / 'broken' / hashlib.sha256(str(SOURCE).encode()).hexdigest()[:16]
    shutil.rmtree(copy, ignore_errors=True)
    for file in source_files(SOURCE):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(SOURCE / file, copy / file)
    for name in names:
        subprocess.run(['patch', '-p1', '-s', '-F', '2', '--forward', '--no-backup-if-mismatch', '-i', BREAKS / f'{name}.patch'], cwd=copy, check=True)
    return install_product(Host, lab_root, copy)


@pytest.fixture
def host_with(request, lab_root, make_host):
    """host_with(BREAKS) is a host with a product that has these breaks."""
    def make(names):
        return make_host('host', product=broken_product(lab_root, names) if names else request.getfixturevalue('product'))
    return make


#
# The guest's memory
#

KNOWN = 32      # MiB of data of which no two pages are alike

# No page of what is read may be in memory already, neither as data nor as what the data replaces. What is read stays in memory only
# while somebody has the disk open.
FRESH = ('(sleep 100000 < /dev/nvme0n1 > /dev/null 2>&1 &); '
         'echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/zero of=/tmp/fill bs=1M count=80 2>/dev/null; rm /tmp/fill; echo 3 > /proc/sys/vm/drop_caches')
CHECK = 'md5sum < /dev/nvme0n1'


def known_disk(host):
    """Its md5, and the other end of its faults."""
    path = host.path(f'{IMAGES}/disk0.raw')
    data = os.urandom(KNOWN << 20)
    path.write_bytes(data)
    control = host.path(f'{IMAGES}/disk0.raw.control')
    return hashlib.md5(data).hexdigest(), Faults.make(control, capacity=len(data))


def what_the_guest_has(target):
    """After its journey; a guest without completions has nothing."""
    try:
        return target.guest.check(CHECK, timeout=60).split()[0]
    except (GuestTimeout, LabError) as error:
        return str(error)


# Not dd: each of its seeks waits for the others' reads. Linux does not lose patience.
READERS = ('echo 600000 > /sys/block/nvme0n1/queue/io_timeout; '
           f'fio --name=x --filename=/dev/nvme0n1 --readonly --rw=read --bs=64k --size=1M --numjobs={KNOWN} --offset_increment=1M '
           '--thread --ioengine=psync --direct=0 --invalidate=0 > /tmp/fio.log 2>&1 &')
READERS_END = 'for i in $(seq 600); do killall -0 fio 2>/dev/null || break; sleep 0.1; done'
URI = 'unix:/run/lab/memory.migrate'


def begin(host):
    """(md5 of the disk, its faults, the source, the target)"""
    want, faults = known_disk(host)
    side = Side(host, 'a0', faults=IMAGES)
    side.guest.check(FRESH)
    target = Side(host, 'b1', incoming='defer', faults=IMAGES)
    target.qmp('migrate-incoming', uri=URI)
    return want, faults, side, target


def end(side, target, want):
    wait(lambda: side.status() in ('completed', 'failed'), 'the end of the migration')
    assert side.status() == 'completed', side.log()
    arrived(target)
    side.end()
    target.guest.exec(READERS_END, timeout=120)
    right = what_the_guest_has(target) == want
    target.end()
    return right


def passes(side):
    return max((event['data']['pass'] for event in side.qmp.events if event['event'] == 'MIGRATION_PASS'), default=0)


def read_while_it_is_copied(host):
    """True when all is right that a guest reads in message mode, into memory that has been copied since the guest has touched it."""
    want, faults, side, target = begin(host)
    # It does not end before all is read: something always changes.
    side.guest.check('(while [ ! -e /tmp/still ]; do dd if=/dev/zero of=/tmp/changes bs=1M count=12 conv=notrunc; done > /dev/null 2>&1) &')
    side.qmp('migrate-set-parameters', **{'max-bandwidth': 16 << 20, 'downtime-limit': 1})
    side.qmp('migrate', uri=URI)
    wait(lambda: passes(side) > 1, 'the second pass')
    faults.read.hang()
    side.guest.check(READERS)
    wait(lambda: faults.read.held >= 16, 'reads that hang')
    now = passes(side)
    wait(lambda: passes(side) > now + 2, 'two passes more')
    faults.clear()
    side.guest.check(READERS_END, timeout=120)
    assert side.status() == 'active'
    side.guest.check('touch /tmp/still')
    side.qmp('migrate-set-parameters', **{'max-bandwidth': 1 << 30, 'downtime-limit': 300})
    return end(side, target, want)


def read_before_it_is_copied(host):
    """The same for reads that were begun before message mode and take longer than the copying."""
    want, faults, side, target = begin(host)
    faults.read.hang()
    side.guest.check(READERS)
    wait(lambda: faults.read.held >= 16, 'reads that hang')
    # With more left to copy when it stands they might be in time.
    side.qmp('migrate-set-parameters', **{'max-bandwidth': 1 << 30, 'downtime-limit': 1})
    side.qmp('migrate', uri=URI)
    # QEMU says nothing more before the disks are at rest.
    wait(lambda: any(event['event'] == 'STOP' for event in side.qmp.events), 'the switch-over')
    faults.clear()
    return end(side, target, want)


ARMED = '/root/armed'


def arm(host, on):
    """In place: QEMU has it mapped."""
    fd = os.open(host.path(ARMED), os.O_CREAT | os.O_WRONLY)
    os.write(fd, bytes([on]))
    os.close(fd)


def read_when_the_guest_stands(host):
    """The same for reads in message mode that QEMU executes when it has looked at its dirty log for the last time."""
    arm(host, False)
    subprocess.run(['gcc', '-O2', '-Wall', '-shared', '-fPIC', f'-DARMED="{ARMED}"', '-o', host.path('/root/late_run.so'),
                    Path(__file__).parent / 'late_run.c'], check=True)
    host.path('/etc/ld.so.preload').write_text('/root/late_run.so\n')
    want, faults, side, target = begin(host)
    side.guest.check('(while [ ! -e /tmp/still ]; do dd if=/dev/zero of=/tmp/changes bs=1M count=12 conv=notrunc; done > /dev/null 2>&1) &')
    side.qmp('migrate-set-parameters', **{'max-bandwidth': 16 << 20, 'downtime-limit': 1})
    side.qmp('migrate', uri=URI)
    wait(lambda: passes(side) > 1, 'the second pass')
    faults.read.hang()
    side.guest.check(READERS)
    wait(lambda: faults.read.held >= 16, 'reads that hang')
    now = passes(side)
    wait(lambda: passes(side) > now + 2, 'two passes more')
    arm(host, True)
    side.qmp('migrate-set-parameters', **{'max-bandwidth': 1 << 30, 'downtime-limit': 300})
    wait(lambda: any(event['event'] == 'STOP' for event in side.qmp.events), 'the switch-over')
    faults.clear()
    wait(lambda: side.status() in ('completed', 'failed'), 'the end of the migration')
    arm(host, False)
    arrived(target)
    target.guest.check('touch /tmp/still')
    return end(side, target, want)


MESSAGE_MODE, OVERLAY, LATE = 'controller-message-mode-resolves', 'overlay-without-the-log', 'overlay-without-late-writes'


@pytest.mark.parametrize('scene, off, right', [
    (read_before_it_is_copied, (), True),
    (read_before_it_is_copied, (OVERLAY,), False),
    (read_while_it_is_copied, (OVERLAY,), True),
    # Without message mode alone the overlay has all of it, or it is too much for it and refused.
    (read_while_it_is_copied, (OVERLAY, MESSAGE_MODE), False),
    (read_when_the_guest_stands, (), True),
    (read_when_the_guest_stands, (LATE,), False),
], ids=['overlay', 'overlay-off', 'message-mode', 'message-mode-off', 'late-writes', 'late-writes-off'])
def test_memory(host_with, scene, off, right):
    """Message mode, the overlay or the late writes in it, and nothing else, make the guest's memory right."""
    assert scene(host_with(off)) == right


#
# QEMU's half
#

class Poker:
    """A guest without a program: its processors' accesses come from here."""

    def __init__(self, side):
        self.side = side
        side.qmp('chardev-add', id='poker', backend={'type': 'socket', 'data': {
            'addr': {'type': 'unix', 'data': {'path': '/run/lab/poker'}}, 'server': True, 'wait': False}})
        side.qmp('object-add', **{'qom-type': 'qtest', 'id': 'poker', 'chardev': 'poker', 'log': '/dev/null'})
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(side.host.path('/run/lab/poker')))
        self.lines = self.sock.makefile('r')

    def do(self, line):
        self.sock.sendall(line.encode() + b'\n')
        for answer in self.lines:
            if answer.startswith('OK'):
                return answer.split()[1:]
            assert answer.startswith('IRQ'), answer
        raise LabError('QEMU has closed qtest')

    def config(self, place, register):
        bus, slot, function = place
        self.do('outl 0xcf8 %#x' % (1 << 31 | bus << 16 | slot << 11 | function << 8 | register & ~3))
        return 0xcfc + register % 4

    def config_read16(self, place, register):
        return int(self.do('inw %#x' % self.config(place, register))[0], 16)

    def config_write16(self, place, register, value):
        self.do('outw %#x %#x' % (self.config(place, register), value))


def devices(bus):
    for one in bus.get('devices', []):
        yield one
        if 'pci_bridge' in one:
            yield from devices(one['pci_bridge'])


def our_controllers(side):
    """[(place, BAR)] of QEMU's devices, as the firmware has set them up."""
    found = [one for bus in side.qmp('query-pci') for one in devices(bus) if one['qdev_id'].startswith('virtnvme-nvme')]
    return [((one['bus'], one['slot'], one['function']), one['regions'][0]['address']) for one in found
            if one['regions'] and 0 < one['regions'][0]['address'] < 1 << 62]


VECTORS, TABLE = 65, 0x2000


def table_of(number):
    """For a processor that is not there: these interrupts are for nobody."""
    return b''.join((0xfeefe000).to_bytes(4, 'little') + bytes(4) + (0x4000 + 256 * number + n).to_bytes(4, 'little') + bytes(4)
                    for n in range(VECTORS))


def find_msix(poker, place):
    at = poker.config_read16(place, 0x34) & 0xfc
    while (header := poker.config_read16(place, at)) & 0xff != 0x11:
        at = header >> 8 & 0xfc
        assert at
    return at


def tables(side):
    """[bytes], as QEMU has them."""
    found = []
    for _, bar in our_controllers(side):
        said = side.qmp('human-monitor-command', **{'command-line': f'xp /{VECTORS * 4}wx {bar + TABLE:#x}'})
        words = [word for line in said.splitlines() for word in line.split(': ')[1].split()]
        found.append(b''.join(int(word, 16).to_bytes(4, 'little') for word in words))
    return found


@pytest.mark.parametrize('machine', ['q35', 'pc'])
def test_all_vectors_in_use(lab_host, machine):
    """Three controllers with 65 vectors, none masked: all are back before RESUME, each time."""
    side = Side(lab_host, 'a0', machine, controllers=3, queues=64, kernel=False)
    wait(lambda: len(our_controllers(side)) == 3, 'the firmware')
    # Both of us use the same two ports.
    side.qmp('stop')
    poker = Poker(side)
    address, = poker.do('inl 0xcf8')
    for number, (place, bar) in enumerate(our_controllers(side)):
        assert poker.config_read16(place, find_msix(poker, place) + 2) & 0x7ff == VECTORS - 1
        poker.do(f'b64write {bar + TABLE:#x} {VECTORS * 16} {base64.b64encode(table_of(number)).decode()}')
        poker.config_write16(place, 4, 6)
        poker.config_write16(place, find_msix(poker, place) + 2, 0x8000 | VECTORS - 1)
    poker.do(f'outl 0xcf8 {address}')
    side.qmp('cont')
    want = tables(side)
    assert want == [table_of(n) for n in range(3)]
    for number in range(max(2, ROUNDS)):
        target = Side(lab_host, 'ba'[number % 2] + str(number + 1), machine, controllers=3, queues=64, incoming='defer', kernel=False)
        assert migrate(side, target) == 'completed', side.log()
        arrived(target)
        assert tables(target) == want
        side.end()
        side = target
        wait(lambda: len(os.listdir(lab_host.path('/run/virtnvme'))) == 2, 'the end of the keeper')
    side.end()


#
# How fast the disks are meanwhile
#

FIO = ('fio --name=x --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio --iodepth=32 --rw={rw} --bs={bs} --time_based --runtime={seconds} '
       '--output-format=json')
SECONDS = 5
CASES = [('randread', '4k'), ('randwrite', '4k'), ('read', '128k')]


PROGRAMS = ['virtnvme-controller', 'virtnvme-keeper', 'qemu-system-x86_64']


def processor_seconds(host):
    """That each of the programs has used so far."""
    used = dict.fromkeys(PROGRAMS, 0)
    for pid, line in host.processes().items():
        program = Path(line.split()[0]).name if line else ''
        if program in used:
            fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
            used[program] += (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
    return used


def fio(side, rw, bs):
    """[I/Os a second, latency in the middle in microseconds, microseconds of the processor for one in each program]"""
    before = processor_seconds(side.host)
    said = side.guest.check(FIO.format(rw=rw, bs=bs, seconds=SECONDS), timeout=120)
    after = processor_seconds(side.host)
    job = json.loads(said[said.index('{'):])['jobs'][0]['write' if 'write' in rw else 'read']
    return [job['iops'], job['clat_ns']['percentile']['50.000000'] / 1e3] + \
        [(after[program] - before[program]) * 1e6 / job['total_ios'] for program in PROGRAMS]


def test_throughput(lab_host):
    """In message mode as a part of what it is without, in turn in one guest, while QEMU copies as slowly as it is told to."""
    side = Side(lab_host, 'a0')
    uri = 'exec:cat > /dev/null'
    found = {case: {'direct': [], 'messages': []} for case in CASES}
    for _ in range(THROUGHPUTS):
        for case in CASES:
            found[case]['direct'].append(fio(side, *case))
        side.qmp('migrate-set-parameters', max_bandwidth=64 << 10)
        side.qmp('migrate', uri=uri)
        wait(lambda: side.keeper('status')['migration'] == 'active', 'the copying')
        for case in CASES:
            found[case]['messages'].append(fio(side, *case))
        assert side.status() == 'active'
        side.qmp('migrate_cancel')
        wait(lambda: side.keeper('status')['migration'] == 'none', 'the end')
    for case, modes in found.items():
        middle = {mode: [statistics.median(value) for value in zip(*values)] for mode, values in modes.items()}
        for mode, (iops, latency, *used) in middle.items():
            print(f"{' '.join(case)}, {mode}: {iops:.0f} IOPS, {latency:.0f} us; us of the processor for one: "
                  + ', '.join(f'{program} {us:.0f}' for program, us in zip(PROGRAMS, used)))
        print(f"{' '.join(case)}: messages are {100 * middle['messages'][0] / middle['direct'][0]:.0f} % of direct")
    assert complaints(side.guest) == []
    side.end()


#
# A guest that is busy with its controller
#

TROUBLE = r'''
cat > /tmp/trouble.sh <<"END"
irq=$(sed -n 's/^ *\([0-9]*\):.*nvme0q0.*/\1/p' /proc/interrupts)
while [ ! -e /tmp/trouble.stop ]; do
	case $((RANDOM % 4)) in
	0) echo 0 > /sys/devices/system/cpu/cpu1/online; usleep $((RANDOM * 5)); echo 1 > /sys/devices/system/cpu/cpu1/online; what=processor ;;
	1) echo 1 > /sys/class/nvme/nvme0/reset_controller; what=reset ;;
	2) for n in 1 2 1 2 1 2 1 2; do echo $n > /proc/irq/$irq/smp_affinity; nvme id-ctrl /dev/nvme0 > /dev/null; done; what=affinity ;;
	3) nvme get-log /dev/nvme0 --log-id=2 --log-len=512 > /dev/null; what=admin ;;
	esac
	echo $what >> /tmp/trouble.rounds
	usleep $((RANDOM * 20))
done
echo 1 > /sys/devices/system/cpu/cpu1/online
touch /tmp/trouble.stopped
END
rm -f /tmp/trouble.stop /tmp/trouble.stopped /tmp/trouble.rounds
sh /tmp/trouble.sh > /tmp/trouble.log 2>&1 &
'''
# What may be said against a migration at such a moment; whoever wanted it tries again.
NOT_NOW = ['has just changed the interrupts', 'raises its interrupt line', 'the disks did not come to rest in time']


class SlowNowAndThen(threading.Thread):
    """A storage that takes up to seconds, at random moments."""

    def __init__(self, faults):
        super().__init__(daemon=True)
        self.faults, self.stop = faults, threading.Event()
        self.start()

    def run(self):
        while not self.stop.wait(random.uniform(0, 2)):
            rule = random.choice((self.faults.read, self.faults.write, self.faults.flush))
            rule.delay(random.choice((0.05, 0.5, 2.5)))
            self.stop.wait(random.uniform(0, 1))
            self.faults.clear()
        self.faults.clear()

    def end(self):
        self.stop.set()
        self.join()


def reason(side):
    """Why the last one was refused."""
    return next(line for line in reversed(side.log().splitlines()) if 'the migration or save is refused' in line)


def test_trouble(lab_host):
    """Resets, queues that come and go, interrupts that move and a slow storage, at random moments around each switch-over."""
    _, faults = known_disk(lab_host)
    side = Side(lab_host, 'a0', faults=IMAGES)
    side.guest.check(LOAD)
    more_rounds(side)
    side.guest.check(TROUBLE)
    slow = SlowNowAndThen(faults)
    refused, number, moved = [], 0, 0
    while moved < max(2, ROUNDS):
        number += 1
        time.sleep(random.uniform(0, 1))
        target = Side(lab_host, 'ba'[moved % 2] + str(number), incoming='defer', faults=IMAGES)
        if migrate(side, target, 500 << 20) == 'completed':
            arrived(target)
            side.end()
            side = target
            moved += 1
        else:
            refused.append(reason(side))
            assert any(text in refused[-1] for text in NOT_NOW), refused[-1]
            wait(lambda: side.keeper('status')['migration'] == 'none', 'disks in use')
            target.end()
        wait(lambda: len(os.listdir(lab_host.path('/run/virtnvme'))) == 2, 'the end of the keeper')
        assert len(refused) <= 5 + moved, refused
    slow.end()
    side.guest.check('touch /tmp/trouble.stop; for i in $(seq 600); do [ -e /tmp/trouble.stopped ] && break; sleep 0.1; done; [ -e /tmp/trouble.stopped ]', 90)
    print(f'{moved} migrations, {len(refused)} refused; ' +
          ', '.join(side.guest.check('sort /tmp/trouble.rounds | uniq -c').split('\n')))
    more_rounds(side)
    # The Asynchronous Event Request that is outstanding since then is answered.
    side.keeper('add-namespace', index=0, namespace=controller(1)['namespaces'][0] | {'nsid': 2, 'target': 'nvme0n2'})
    side.guest.check('for i in $(seq 300); do [ -e /dev/nvme0n2 ] && exit 0; sleep 0.1; done; exit 1')
    end_load(side)
    side.end()
