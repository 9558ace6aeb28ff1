# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that move: two bare QEMUs, each with a keeper, on one host and one image. No libvirt, no daemon.

What the daemon does is done here: it permits each migration of which QEMU says that it begins."""
import datetime
import json
import os
import re
import socket
import struct
import threading
import time

import pytest

from lab.error import LabError
from lab.guest import QemuGuest

from conftest import IMAGES, complaints
from test_keeper import START, nothing_left

UUIDS = {'a': '5f0c9d0a-27f9-4b7c-8a55-6c7c0e3b000a', 'b': '5f0c9d0a-27f9-4b7c-8a55-6c7c0e3b000b'}
IDS = ','.join('virtnvme-%02d' % n for n in range(16))
# Long forms, for a machine of one's own: VIRTNVME_MIGRATIONS=20
ROUNDS = int(os.environ.get('VIRTNVME_MIGRATIONS', '2'))


def controller(number, queues=2, parked=False):
    """In the keeper's configuration; parked is one without disks."""
    return {'index': number, 'serial': f'VN{number}', 'uuid': '5f0c9d0a-27f9-4b7c-8a55-6c7c0e3c00%02x' % number, 'queues': queues,
            'namespaces': [] if parked else [
                {'nsid': 1, 'target': f'nvme{number}n1', 'type': 'file', 'path': f'{IMAGES}/disk{number}.raw',
                 'capacity': 64 << 20, 'cache': 'none', 'io': 'io_uring', 'discard': True,
                 'uuid': '5f0c9d0a-27f9-4b7c-8a55-6c7c0e3d00%02x' % number}]}


class Side:
    """A keeper and the QEMU that it serves."""

    def __init__(self, host, name, machine='q35', controllers=1, incoming=None, wait=True, queues=2, memory=256, disks=None,
                 kernel=True, faults=None):
        self.host, self.name, self.uuid = host, name, UUIDS[name[0]]
        self.run = f'/run/virtnvme/{self.uuid}'
        self.config = {
            'uuid': self.uuid, 'name': name, 'runtime_dir': self.run, 'owner': {'uid': 0, 'gid': 0},
            'controller_program': '/usr/libexec/virtnvme/virtnvme-controller', 'controller_user': 'virtnvme', 'log_level': 7,
            'incoming': incoming is not None,
            'controllers': disks or [controller(n, queues) for n in range(controllers)]}
        done = host.run(['python3', '-c', START], input=json.dumps(self.config), env={'VIRTNVME_FAULTS': faults} if faults else {})
        assert json.loads(done.stdout) == {'result': {}}, done.stdout
        more = ['-S', '-incoming', incoming] if incoming else []
        self.guest = QemuGuest(host, name=name, machine=machine, memory=memory, extra_args=self.devices(machine) + more,
                               wait=not incoming and wait and kernel, kernel=kernel)
        self.qmp = self.guest.qmp
        self.capabilities('events')
        self.permitted = 0
        self.permits = True
        threading.Thread(target=self._permit, daemon=True).start()

    def devices(self, machine):
        argv = ['-object', json.dumps({'qom-type': 'dbus-vmstate', 'id': 'virtnvme-vmstate', 'addr': f'unix:path={self.run}/bus.sock',
                                       'id-list': IDS}),
                '-chardev', f'socket,id=virtnvme-qmp,path={self.run}/qmp.sock', '-mon', 'chardev=virtnvme-qmp,mode=control']
        if machine == 'q35':
            for n in range(3):
                argv += ['-device', f'pcie-root-port,id=virtnvme-port{n},chassis={n + 1},slot={n + 1},bus=pcie.0,addr={16 + n:x}.0']
        for one in self.config['controllers']:
            argv += ['-device', json.dumps(self.device(machine, one['index']))]
        return argv

    def device(self, machine, number):
        place = {'bus': f'virtnvme-port{number}'} if machine == 'q35' else {'bus': 'pci.0', 'addr': f'{16 + number:x}.0'}
        return {'driver': 'vfio-user-pci', 'id': f'virtnvme-nvme{number}', 'x-msg-timeout': 30000,
                'socket': {'type': 'unix', 'path': f'{self.run}/nvme{number}.sock'}} | place

    def keeper(self, command, **arguments):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(self.host.path(f'{self.run}/keeper.sock')))
            text = json.dumps({'id': 1, 'command': command, 'arguments': arguments}).encode()
            sock.sendall(struct.pack('<I', len(text)) + text)
            size, = struct.unpack('<I', sock.recv(4, socket.MSG_WAITALL))
            answer = json.loads(sock.recv(size, socket.MSG_WAITALL))
        if 'error' in answer:
            raise LabError(answer['error']['message'])
        return answer['result']

    def _permit(self):
        """In the daemon's place."""
        seen = 0
        while self.guest.process.poll() is None:
            for event in self.qmp.events[seen:]:
                seen += 1
                if event['event'] == 'MIGRATION' and event['data']['status'] == 'setup' and self.permits:
                    at = event['timestamp']
                    try:
                        self.keeper('permit-migration', seconds=at['seconds'], micros=at['microseconds'], operation='migration')
                    except OSError:
                        return
                    self.permitted += 1
            time.sleep(0.005)

    def capabilities(self, *names):
        self.qmp('migrate-set-capabilities', capabilities=[{'capability': name, 'state': True} for name in names])

    def status(self):
        return self.qmp('query-migrate').get('status', 'none')

    def log(self):
        return (self.host.path('/var/log/virtnvme') / f'{self.name}.log').read_text(errors='replace')

    def end(self):
        self.guest.close()


def wait(condition, what, timeout=120):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def migrate(source, target, bandwidth=None):
    """To the end at the source: its status."""
    uri = f'unix:/run/lab/{source.name}-{target.name}.migrate'
    target.qmp('migrate-incoming', uri=uri)
    if bandwidth:
        source.qmp('migrate-set-parameters', max_bandwidth=bandwidth)
    source.qmp('migrate', uri=uri)
    wait(lambda: source.status() in ('completed', 'failed'), 'the end of the migration')
    return source.status()


def moment(side, text):
    """When the keeper wrote that."""
    line = next(line for line in side.log().splitlines() if text in line)
    return datetime.datetime.fromisoformat(line.split()[0].rstrip('Z')).timestamp()


def arrived(target):
    """The guest runs at the target, and on its disks."""
    wait(lambda: target.status() in ('completed', 'failed'), 'the end of the migration at the target')
    assert target.status() == 'completed', target.log()
    target.qmp('query-status'), target.qmp('query-status'), target.qmp('cont')     # as libvirt does
    wait(lambda: target.qmp('query-status')['status'] == 'running', 'a guest that runs')
    wait(lambda: target.keeper('status')['migration'] == 'none', 'disks in use at the target')
    assert 'is back, after' in target.log()
    assert 'before QEMU' not in target.log()
    loaded, back, resumed = (moment(target, text) for text in ("the disks' state is there", 'is back, after', 'QEMU: RESUME'))
    print(f'{target.name}: QEMU\'s half was back {(back - loaded) * 1e3:.0f} ms after Load, {(resumed - back) * 1e3:.0f} ms before RESUME')


@pytest.mark.parametrize('machine', ['q35', 'pc'])
def test_idle_guest_goes_and_comes_back(lab_host, machine):
    side = Side(lab_host, 'a0', machine)
    side.guest.check('dd if=/dev/urandom of=/dev/nvme0n1 bs=1M count=8 oflag=direct 2>/dev/null')
    theirs = side.guest.check('sha256sum /dev/nvme0n1').split()[0]
    for number in range(ROUNDS):
        target = Side(lab_host, 'ba'[number % 2] + str(number + 1), machine, incoming='defer')
        assert target.keeper('status')['migration'] == 'incoming'
        assert migrate(side, target) == 'completed', side.log()
        arrived(target)
        side.end()
        side = target
        wait(lambda: len(os.listdir(lab_host.path('/run/virtnvme'))) == 2, 'the end of the keeper')    # directory and lock
        side.guest.check('echo 3 > /proc/sys/vm/drop_caches')
        assert side.guest.check('sha256sum /dev/nvme0n1').split()[0] == theirs
        side.guest.check('dd if=/dev/urandom of=/dev/nvme0n1 bs=1M seek=8 count=8 oflag=direct 2>/dev/null')
        theirs = side.guest.check('sha256sum /dev/nvme0n1').split()[0]
    assert complaints(side.guest) == []
    assert theirs == lab_host.run(f'sha256sum {IMAGES}/disk0.raw').stdout.split()[0]
    side.end()
    lab_host.wait_for(lambda: nothing_left(lab_host), 'the end of the keepers')


LOAD = '''
cat > /tmp/load.sh <<END
while [ ! -e /tmp/load.stop ]; do
	fio --name=x --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio --iodepth=32 --numjobs=2 --offset_increment=16M --size=2M \\
		--rw=randrw --bsrange=4k-64k --verify=crc32c --verify_fatal=1 --group_reporting --output=/tmp/fio.log || break
	echo >> /tmp/load.rounds
done
[ -e /tmp/load.stop ] && echo 0 > /tmp/load.status || echo 1 > /tmp/load.status
END
rm -f /tmp/load.stop /tmp/load.status /tmp/load.rounds
sh /tmp/load.sh > /dev/null 2>&1 &
'''


def rounds(side):
    return len(side.guest.check('cat /tmp/load.rounds 2>/dev/null || true').splitlines())


def more_rounds(side):
    """It goes on, and nothing was wrong so far."""
    before = rounds(side)
    wait(lambda: rounds(side) > before or side.guest.exec('test -e /tmp/load.status').status == 0, 'a round of the load')
    assert side.guest.exec('test -e /tmp/load.status').status, side.guest.check('cat /tmp/fio.log; dmesg | tail -30')


def end_load(side):
    side.guest.check('touch /tmp/load.stop; for i in $(seq 600); do [ -e /tmp/load.status ] && break; sleep 0.2; done; '
                     '[ "$(cat /tmp/load.status)" = 0 ] || { cat /tmp/fio.log; dmesg | tail -30; exit 1; }', 150)
    assert complaints(side.guest) == []
    side.guest.check('echo 3 > /proc/sys/vm/drop_caches')
    assert side.guest.check('sha256sum /dev/nvme0n1').split()[0] == \
        side.host.run(f'sha256sum {IMAGES}/disk0.raw').stdout.split()[0]


def test_loaded_guest_goes_and_comes_back(lab_host):
    side = Side(lab_host, 'a0')
    side.guest.check(LOAD)
    more_rounds(side)
    for number in range(ROUNDS):
        target = Side(lab_host, 'ba'[number % 2] + str(number + 1), incoming='defer')
        assert migrate(side, target, 500 << 20) == 'completed', side.log()
        # How many depends on how long it was looked at.
        assert re.search('in [1-5] of 16 parts', side.log()), 'each Id is time for which the guest stands still'
        arrived(target)
        side.end()
        side = target
        wait(lambda: len(os.listdir(lab_host.path('/run/virtnvme'))) == 2, 'the end of the keeper')
        more_rounds(side)
    end_load(side)
    side.end()
    lab_host.wait_for(lambda: nothing_left(lab_host), 'the end of the keepers')


def test_three_controllers_with_all_vectors(lab_host):
    """Their half in QEMU is back before the guest runs."""
    side = Side(lab_host, 'a0', controllers=3, queues=64)
    side.guest.check('for n in 0 1 2; do dd if=/dev/urandom of=/dev/nvme${n}n1 bs=64k count=16 oflag=direct || exit 1; done 2>/dev/null')
    sums = side.guest.check('sha256sum /dev/nvme?n1')
    for number in range(max(1, ROUNDS // 2)):
        target = Side(lab_host, 'ba'[number % 2] + str(number + 1), controllers=3, queues=64, incoming='defer')
        assert migrate(side, target) == 'completed', side.log()
        arrived(target)
        side.end()
        side = target
        wait(lambda: len(os.listdir(lab_host.path('/run/virtnvme'))) == 2, 'the end of the keeper')
        assert side.guest.check('echo 3 > /proc/sys/vm/drop_caches; sha256sum /dev/nvme?n1') == sums
    assert complaints(side.guest) == []
    side.end()


@pytest.mark.parametrize('machine', ['q35', 'pc'])
def test_plugged_and_parked_controllers_go_along(lab_host, machine):
    side = Side(lab_host, 'a0', machine)
    for number, parked in (1, False), (2, True):
        side.keeper('add-controller', controller=controller(number, parked=parked))
        side.qmp('device_add', **side.device(machine, number))
        side.guest.check(f'for i in $(seq 300); do [ "$(cat /sys/class/nvme/nvme{number}/state)" = live ] && break; sleep 0.1; done; '
                         f'[ "$(cat /sys/class/nvme/nvme{number}/state)" = live ]')
    side.guest.check('dd if=/dev/urandom of=/dev/nvme1n1 bs=64k count=16 oflag=direct 2>/dev/null')
    theirs = side.guest.check('sha256sum /dev/nvme1n1').split()[0]
    target = Side(lab_host, 'b1', machine, disks=[controller(0), controller(1), controller(2, parked=True)], incoming='defer')
    assert migrate(side, target) == 'completed', side.log()
    arrived(target)
    side.end()
    target.guest.check('nvme id-ctrl /dev/nvme2 > /dev/null && echo 3 > /proc/sys/vm/drop_caches')
    assert target.guest.check('sha256sum /dev/nvme1n1').split()[0] == theirs
    # And what is parked is of use.
    target.keeper('add-namespace', index=2, namespace=controller(2)['namespaces'][0])
    target.guest.check('for i in $(seq 300); do [ -e /dev/nvme2n1 ] && break; sleep 0.1; done; '
                       'dd if=/dev/zero of=/dev/nvme2n1 bs=64k count=16 oflag=direct 2>/dev/null')
    assert complaints(target.guest) == []
    target.end()


def test_saved_and_restored(lab_host):
    side = Side(lab_host, 'a0')
    side.guest.check(LOAD)
    more_rounds(side)
    side.qmp('stop')
    side.qmp('migrate', uri='exec:cat > /run/lab/saved')
    wait(lambda: side.status() in ('completed', 'failed'), 'the end of the save')
    assert side.status() == 'completed', side.log()
    wait(lambda: side.keeper('status')['migration'] == 'completed', 'the keeper to know')
    with pytest.raises(LabError, match='a migration or save of the domain is under way'):
        side.keeper('remove-namespace', index=0, nsid=1)
    # As when libvirt cannot finish it: the guest goes on, its image is its own again.
    side.qmp('cont')
    wait(lambda: side.keeper('status')['migration'] == 'none', 'disks in use again')
    more_rounds(side)
    with pytest.raises(LabError):
        lab_host.run(['qemu-img', 'resize', '-f', 'raw', f'{IMAGES}/disk0.raw', '128M'])
    side.qmp('stop')
    side.qmp('migrate', uri='exec:cat > /run/lab/saved')
    wait(lambda: side.status() in ('completed', 'failed'), 'the end of the save')
    side.end()
    lab_host.wait_for(lambda: nothing_left(lab_host), 'the end of the keeper')
    restored = Side(lab_host, 'a1', incoming='defer')
    restored.qmp('migrate-incoming', uri='exec:cat /run/lab/saved')
    arrived(restored)
    more_rounds(restored)
    end_load(restored)
    restored.end()


def test_refused_at_the_target(lab_host):
    """The target's image is another one: the guest goes on where it was, with its locks."""
    side = Side(lab_host, 'a0')
    side.guest.check(LOAD)
    more_rounds(side)
    side.permits = False
    uri = 'exec:cat > /dev/null'
    side.qmp('migrate', uri=uri)
    wait(lambda: side.status() in ('completed', 'failed'), 'the end')
    assert side.status() == 'failed'
    assert 'virtnvmed has not agreed' in side.log()
    side.permits = True
    wait(lambda: side.keeper('status')['migration'] == 'none', 'disks in use')
    more_rounds(side)
    lab_host.run(['truncate', '-s', '32M', f'{IMAGES}/other.raw'])
    wrong = json.loads(json.dumps(side.config['controllers']))
    wrong[0]['namespaces'][0] |= {'path': f'{IMAGES}/other.raw'}
    target = Side(lab_host, 'b1', incoming='defer', disks=wrong)
    migrate(side, target)
    lab_host.wait_for(lambda: 'is it the same image' in target.log(), 'a refusal')
    wait(lambda: side.keeper('status')['migration'] in ('none', 'completed'), 'an end')
    if side.status() == 'completed':        # it was too late for QEMU to know; who asked for it tells it to go on
        side.qmp('cont')
        wait(lambda: side.keeper('status')['migration'] == 'none', 'disks in use')
    target.end()
    more_rounds(side)
    end_load(side)
    side.end()
