# SPDX-License-Identifier: LGPL-2.1-or-later
"""The long form, run by long-migrate: many migrations, many failures, many vectors, TLS, and how long the guest stands still."""
import errno
import itertools
import os
import random
import re
import statistics
import subprocess
import time

import pytest

from lab.faults import Faults
from lab.guest import LibvirtGuest
from lab.tick import Ticks, serial_xml
from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml
from pair import LOADED, SHARED, Traveller, slow_migration
from test_migrate import log_of, make_known, pair, start_traveller, whole   # noqa: F401 pylint: disable=unused-import

MIGRATIONS = int(os.environ.get('VIRTNVME_MIGRATIONS', '20'))
FAILURES = int(os.environ.get('VIRTNVME_FAILURES', '30'))
DOWNTIMES = int(os.environ.get('VIRTNVME_DOWNTIMES', '10'))
ADDED_MAX = 20      # ms


@pytest.fixture(scope='module')
def traveller(pair):    # noqa: F811
    """As usual, but its storage can be made to fail: `faults` is a list of what does so on hosts a and b."""
    faults = [Faults.make(one.host.path(f'{IMAGES}/load.raw.control'), capacity=LOADED << 20) for one in pair.both]
    one = start_traveller(pair)
    one.faults = faults
    return one


def downtime(vhost, name):
    """Milliseconds, as libvirt has measured it on the source of the last migration."""
    said = vhost.virsh('domjobinfo', name, '--completed', check=False).stdout
    found = re.search(r'^(?:Total downtime|Downtime w/o network):\s+(\d+)', said, re.M)
    return int(found.group(1)) if found else None


def test_many_in_a_row(traveller):
    with traveller.load(), traveller.reader():
        for turn in range(MIGRATIONS):
            traveller.migrate('--live')
            print(f'migration {turn + 1}: downtime {downtime(traveller.at, traveller.name)} ms')
            traveller.still_works()
            traveller.settle()


PROGRAMS = '/usr/sbin/virtnvmed /usr/bin/virt-nvme /usr/libexec/virtnvme/*'


def reinstall(vhost):
    """As a package manager does it: other files under the same names, and the daemon started anew."""
    def files():
        return vhost.host.run(f'stat -c "%n %i" {PROGRAMS}').stdout
    before = files()
    vhost.stop_daemon()
    vhost.host.run(f'for file in {PROGRAMS}; do cp -a $file $file.new && mv $file.new $file || exit 1; done')
    vhost.start_daemon()
    vhost.host.wait_for(vhost.connected, 'the connection to libvirt')
    assert not set(before.splitlines()) & set(files().splitlines())


def test_many_saves(traveller):
    """To a file and to libvirt's own, in turn; two of them are restored by a product that was installed meanwhile."""
    name, file = traveller.name, '/root/traveller.save'
    # Where it has only arrived it has no definition, and so no managed save.
    traveller.at.virsh('define', traveller.at.write('/root/traveller.xml', traveller.at.virsh('dumpxml', '--inactive', name).stdout))
    with traveller.load(), traveller.reader():
        for turn in range(10):
            save, restore = (['managedsave', name], ['start', name]) if turn % 2 else (['save', name, file], ['restore', file])
            traveller.at.virsh(*save)
            traveller.guest.agent.close()
            if turn in (4, 5):
                reinstall(traveller.at)
            traveller.at.virsh(*restore)
            traveller.still_works()
            traveller.settle()


#
# Failures, in turn; each leaves the guest where it was. What a failure returns is done when the migration has ended.
#

def kill_keeper_there(traveller):
    traveller.destination.host.run('kill -9 $(pidof virtnvme-keeper)')
    traveller.at.virsh('migrate-setspeed', traveller.name, '1000')


def kill_controller_there(traveller):
    """The keeper over there starts another one: this one may well succeed."""
    traveller.destination.host.run('kill -9 $(pidof virtnvme-controller)')
    traveller.at.virsh('domjobabort', traveller.name)


def kill_qemu_there(traveller):
    traveller.destination.host.run('kill -9 $(pidof qemu-system-x86_64)')


def abort(traveller):
    traveller.at.virsh('domjobabort', traveller.name)


def abort_late(traveller):
    """Around the moment of the switch-over: it may win or lose."""
    traveller.at.virsh('migrate-setspeed', traveller.name, '1000')
    time.sleep(random.uniform(0, 0.5))
    traveller.at.virsh('domjobabort', traveller.name, check=False)


def kill_keeper_late(traveller):
    there = traveller.destination.host
    traveller.at.virsh('migrate-setspeed', traveller.name, '1000')
    time.sleep(random.uniform(0, 0.3))
    there.run('kill -9 $(pidof virtnvme-keeper)', check=False)


def stop_daemon_here(traveller):
    """It has given its permit already: this one goes through, or not at all."""
    traveller.at.restart_daemon(9)
    traveller.at.virsh('domjobabort', traveller.name)


def cut_network(traveller):
    there = traveller.destination.host
    there.run('ip link set eth0 down')
    try:
        traveller.at.virsh('domjobabort', traveller.name, check=False)
        time.sleep(1)
    finally:
        there.run('ip link set eth0 up')


def faults_here(traveller):
    return traveller.faults[traveller.pair.both.index(traveller.at)]


def fail_sync(traveller):
    """What is in the storage's cache cannot be made durable: then it is not handed over."""
    faults = faults_here(traveller)
    faults.flush.fail(errno.EIO)
    traveller.at.virsh('migrate-setspeed', traveller.name, '1000')

    def mend(done):
        assert done.returncode != 0
        assert faults.flush.failed
        assert 'cannot synchronise an image' in log_of(traveller.at, traveller.name)
        faults.clear()
    return mend


def hang_storage(traveller):
    """What is at the storage does not come back in time."""
    faults = faults_here(traveller)
    faults.write.hang()
    traveller.at.host.wait_for(lambda: faults.write.held, 'a write')
    traveller.at.virsh('migrate-setspeed', traveller.name, '1000')

    def mend(done):
        assert done.returncode != 0
        faults.clear()
    return mend


FAILURE_KINDS = [kill_keeper_there, kill_qemu_there, abort, abort_late, stop_daemon_here, kill_controller_there, cut_network,
                 kill_keeper_late, fail_sync, hang_storage]


@pytest.mark.parametrize('turn, fail', list(zip(range(FAILURES), itertools.cycle(FAILURE_KINDS))),
                         ids=lambda value: getattr(value, '__name__', str(value)))
def test_failures(traveller, turn, fail):       # pylint: disable=unused-argument
    with traveller.load(), traveller.reader():
        with slow_migration(traveller) as migration:
            ended = fail(traveller)
            migration.join(120)
        if ended:
            ended(migration.done)
        if migration.done.returncode == 0:
            traveller.moved()
        traveller.settle()
        traveller.still_works()
    assert traveller.state() == 'running'
    other = traveller.destination
    other.host.wait_for(lambda: not other.traces(traveller.uuid), 'the end of the other side', 30)


def test_two_paths(pair):        # noqa: F811
    """A disk that is written to by two controllers; each of its paths is taken away and comes back, on either host."""
    source = f'{SHARED}/paths.raw'
    controllers = [controller_xml(n, disk_xml(f'nvme{n}n1', source, capacity=LOADED, extra='<nvme:shareable/>'),
                                  attributes="queues='2' subsystem='0'") for n in range(2)]
    guest = pair.a.define('paths', devices_xml(*controllers), vcpus=2, memory=256)
    guest.start()
    one = Traveller(pair, guest, pair.a)
    one.find_paths()
    one.disk = one.device(LOADED)
    try:
        with one.load():
            for turn in range(max(2, MIGRATIONS // 4)):
                one.migrate('--live')
                one.both_paths_work()
                one.settle()
                one.at.virsh('save', one.name, '/root/paths.save')
                one.guest.agent.close()
                one.at.virsh('restore', '/root/paths.save')
                one.both_paths_work()
                one.settle()
                one.at.nvme('detach-disk', one.name, f'nvme{turn % 2}n1', '--live')
                one.migrate('--live')
                one.still_works()
                one.settle()
                one.at.nvme('attach-disk', one.name, source, f'nvme{turn % 2}n1', '--shareable', '--live')
                one.find_paths()
                one.both_paths_work()
    finally:
        for vhost in pair.both:
            vhost.remove('paths')


def test_tls(traveller, tmp_path):
    """QEMU's own encryption; the certificates are of this test."""
    def openssl(*args):
        subprocess.run(['openssl', *args], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=test', '-keyout', 'ca-key.pem',
            '-out', 'ca-cert.pem')
    (tmp_path / 'extensions').write_text('subjectAltName=IP:10.77.0.1,IP:10.77.0.2\nextendedKeyUsage=serverAuth,clientAuth\n'
                                         'basicConstraints=CA:FALSE\n')
    openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=host', '-keyout', 'key.pem', '-out', 'request.pem')
    openssl('x509', '-req', '-in', 'request.pem', '-CA', 'ca-cert.pem', '-CAkey', 'ca-key.pem', '-CAcreateserial', '-days', '2',
            '-extfile', 'extensions', '-out', 'cert.pem')
    for one in traveller.pair.both:
        place = one.host.path('/etc/pki/qemu')
        place.mkdir(parents=True, exist_ok=True)
        for name, source in (('ca-cert', 'ca-cert'), ('server-cert', 'cert'), ('server-key', 'key'), ('client-cert', 'cert'),
                             ('client-key', 'key')):
            (place / f'{name}.pem').write_bytes((tmp_path / f'{source}.pem').read_bytes())
        one.host.libvirtd.restart()
        one.host.wait_for(one.connected, 'the connection to libvirt')
    with traveller.load(), traveller.reader():
        traveller.migrate('--live', '--tls')


@pytest.mark.parametrize('machine', ['q35', 'pc'])
def test_many_vectors(pair, machine):   # noqa: F811
    """Three controllers of 64 queues, 65 vectors each."""
    make_known(pair, 'vectors.raw')
    controllers = [controller_xml(n, disk_xml(f'nvme{n}n1', f'{SHARED}/vectors-{n}.raw', capacity=64), attributes="queues='64'")
                   for n in range(3)]
    guest = pair.a.define('vectors', devices_xml(*controllers), vcpus=2, memory=256, machine=machine)
    guest.start()
    one = Traveller(pair, guest, pair.a)
    try:
        with one.load():
            for _ in range(MIGRATIONS):
                one.migrate('--live')
                one.still_works()
                one.settle()
        for vhost in pair.both:
            assert 'before QEMU' not in vhost.host.path('/var/log/virtnvme/vectors.log').read_text()
    finally:
        for vhost in pair.both:
            vhost.remove('vectors')


#
# How long the guest stands still
#

def without_disk(pair, name):           # noqa: F811
    """The same guest, of which virtnvme knows nothing."""
    pair.a.virsh('define', pair.a.xml(name, '', vcpus=2, memory=256, devices=serial_xml(name),
                                      memory_backing="<source type='memfd'/><access mode='shared'/>"))
    return LibvirtGuest(pair.a.host, name)


def with_disk(pair, name):              # noqa: F811
    make_known(pair, 'downtime-known.raw')
    return pair.a.define(name, devices_xml(controller_xml(
        0, disk_xml('nvme0n1', f'{SHARED}/downtime.raw', capacity=LOADED), disk_xml('nvme0n2', f'{SHARED}/downtime-known.raw'),
        attributes="queues='2'")), vcpus=2, memory=256, devices=serial_xml(name))


class Said:
    """What QEMU says of when a guest stops and goes on, on one host: [(STOP or RESUME, seconds)] in `events`."""

    def __init__(self, vhost, name):
        self.log = vhost.host.path(f'/root/{name}.events')
        with open(self.log, 'wb') as out:
            self.process = vhost.host.popen(['stdbuf', '-oL', 'virsh', '-c', 'qemu:///system', 'qemu-monitor-event', '--loop', '--regex',
                                             '--event', '^(STOP|RESUME)$'], stdout=out)

    def events(self):
        return [(what, float(at)) for what, at in re.findall(r'event (STOP|RESUME) at (\d+\.\d+)', self.log.read_text())]

    def end(self):
        self.process.kill()
        self.process.wait()


def stand_still(traveller, disk):       # noqa: F811
    """In one migration, ms: {'qemu': from QEMU's STOP to RESUME, 'c': as long as nothing ticked, 'd': as long as no I/O did}."""
    # What is left to copy when it is stopped is QEMU's business, and is to be little.
    traveller.at.virsh('qemu-monitor-command', traveller.name,
                       '{"execute": "migrate-set-parameters", "arguments": {"downtime-limit": 20}}')
    ticks, said = Ticks(traveller.guest, '/dev/ttyS2', disk), []
    try:
        ticks.listen(*(one.host.path(f'/run/lab/{traveller.name}.tick') for one in (traveller.at, traveller.destination)))
        said = [Said(one, traveller.name) for one in (traveller.at, traveller.destination)]
        time.sleep(1)
        traveller.migrate('--live')
        found = ticks.standstill()
        traveller.at.host.wait_for(lambda: all(one.events() for one in said), "QEMU's events")
        stop = [at for what, at in said[0].events() if what == 'STOP'][-1]
        return found | {'qemu': ([at for what, at in said[1].events() if what == 'RESUME'][-1] - stop) * 1e3}
    finally:
        for one in said:
            one.end()
        ticks.end()


def load_in_memory(guest, rate):
    """What the load does to the memory of a guest with a disk, so many I/Os a second, in one without."""
    guest.check('(fio --name=load --filename=/tmp/load --rw=randrw --bs=4k --ioengine=libaio --iodepth=32 --numjobs=2 --size=16M '
                f'--offset_increment=16M --rate_iops={max(rate // 4, 1)} --time_based --runtime=100000 > /tmp/load.log 2>&1) & '
                'until [ -s /tmp/load ]; do sleep 0.2; done', timeout=120)


def middle(values):
    return statistics.median(values)


def test_added_downtime(pair):          # noqa: F811
    """The same guest with and without a disk that is in use, in turn; the other one is paused meanwhile. Without a disk it does
    as much in its memory: else the last pages that QEMU copies would be counted as ours."""
    found = {'without': [], 'with': [], 'without, ticks': [], 'with, ticks': [], 'with, I/O': []}
    bare, disk = without_disk(pair, 'bare'), with_disk(pair, 'disk')
    try:
        travellers = []
        for guest in bare, disk:
            guest.start()
            travellers.append(Traveller(pair, guest, pair.a))
        bare, disk = travellers
        with disk.load():
            before, since = disk.count(), time.monotonic()
            time.sleep(5)
            rate = int((disk.count() - before) / (time.monotonic() - since))
            disk.at.virsh('suspend', disk.name)
            load_in_memory(bare.guest, rate)
            print(f'{rate} I/Os a second')
            for turn in range(DOWNTIMES):
                still = stand_still(bare, None)
                found['without'].append(still['qemu'])
                found['without, ticks'].append(still['c'])
                bare.at.virsh('suspend', bare.name)
                disk.at.virsh('resume', disk.name)
                disk.still_works()
                still = stand_still(disk, disk.known)
                found['with'].append(still['qemu'])
                found['with, ticks'].append(still['c'])
                found['with, I/O'].append(still['d'])
                disk.still_works()
                disk.settle()
                said = [log_of(one, disk.name) for one in (disk.destination, disk.at)]
                print(f"turn {turn + 1}: without {found['without'][-1]:.1f} ms, with {still['qemu']:.1f} ms, without I/O for {still['d']:.1f} ms")
                for log in said:
                    print('  ' + '; '.join([line.split(': ', 2)[2] for line in log.splitlines()
                                            if 'it stood still for' in line or "disks' state has" in line][-2:]))
                disk.at.virsh('suspend', disk.name)
                bare.at.virsh('resume', bare.name)
            disk.at.virsh('resume', disk.name)
    finally:
        for vhost in pair.both:
            vhost.remove('bare')
            vhost.remove('disk')
    for name, values in found.items():
        print(f"{name}: median {middle(values):.1f} ms, of {' '.join(f'{v:.0f}' for v in sorted(values))}")
    added = middle(found['with']) - middle(found['without'])
    print(f'added: {added:.1f} ms')
    for name in 'without', 'with':
        low, _, high = statistics.quantiles(found[name], n=4)
        if high - low > ADDED_MAX:
            pytest.skip(f'this machine is too busy to tell: half of the migrations {name} a disk took {low:.0f} to {high:.0f} ms')
    assert added <= ADDED_MAX


def test_large_blocks(pair):            # noqa: F811
    """As much on its way to the guest's memory as can be, when it is stopped: no migration is refused for it."""
    guest = with_disk(pair, 'large')
    try:
        guest.start()
        traveller = Traveller(pair, guest, pair.a)
        guest.check('(fio --name=large --filename=/dev/nvme0n1 --rw=randrw --rwmixread=80 --bs=128k --direct=1 --ioengine=libaio --iodepth=64 '
                    '--time_based --runtime=100000 > /tmp/large.log 2>&1) & sleep 1', timeout=120)
        for turn in range(DOWNTIMES):
            time.sleep(2)
            try:
                traveller.migrate('--live')
            finally:
                for log in [log_of(one, guest.name) for one in (traveller.destination, traveller.at)]:
                    print(turn, '; '.join([line.split(': ', 2)[2] for line in log.splitlines()
                                           if 'it stood still for' in line or "disks' state has" in line][-2:]))
    finally:
        for vhost in pair.both:
            vhost.remove('large')
