# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's disks move from one keeper to another. QEMU is played: its monitor, its bus and its half of a device."""
import array
import base64
import json
import os
import random
import re
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from concurrent import futures

import pytest

from client import nvme, vfio_user as v
from client.crc32c import crc32c
from test_keeper import CONTROLLER, MIB, Keeper, Refused, alive, drive, until

gi = pytest.importorskip('gi')
from gi.repository import Gio, GLib     # noqa: E402 pylint: disable=wrong-import-position

VMSTATE = 'org.qemu.VMState1'
BAR, VECTORS = 0x81000000, 5
FORMAT = 0x80
TABLE = b''.join((0xfee01004).to_bytes(4, 'little') + bytes(4) + (0x4021 + n).to_bytes(4, 'little') + bytes(4) for n in range(VECTORS))


class Monitor:
    """QEMU's end of the second monitor, and of a qtest connection that it is given."""

    def __init__(self, keeper, capabilities, qtest):
        self.capabilities = capabilities
        self.commands = []
        self.ports, self.table = {}, b''
        self.mute = False
        self.vectors = VECTORS
        self.ids = ['virtnvme-%02d' % number for number in range(16)]      # of the dbus-vmstate object
        self.fixed_ids = False              # they cannot be changed
        self.late_ids = None                # that they are is not answered any more; False: nor are they
        self.qtest = threading.Event()      # it takes what it is told
        if qtest:
            self.qtest.set()
        self.fd = None
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(keeper.socket('qmp.sock'))
        self.say({'QMP': {'version': {}, 'capabilities': []}})
        threading.Thread(target=self._serve, daemon=True).start()
        until(lambda: keeper.call('status')['qemu']['monitor'])

    def say(self, message):
        self.sock.sendall(json.dumps(message).encode() + b'\r\n')

    def event(self, name, **data):
        now = time.time()
        at = {'seconds': int(now), 'microseconds': int(now % 1 * 1e6)}
        self.say({'event': name, 'data': data, 'timestamp': at})
        return at

    def _serve(self):
        text = b''
        while True:
            try:
                part, rights, _, _ = self.sock.recvmsg(65536, 1000)
            except OSError:
                return
            for _, _, value in rights:
                self.fd = array.array('i', value)[0]
            if not part:
                return
            text += part
            while b'\n' in text:
                line, text = text.split(b'\n', 1)
                self._command(json.loads(line))

    def _command(self, message):
        name = message['execute']
        self.commands.append(name)
        if self.mute:
            return
        value = {}
        if name == 'query-migrate-capabilities':
            value = [{'capability': c, 'state': c in self.capabilities} for c in ('events', 'postcopy-ram', 'multifd')]
        elif name == 'query-pci':
            value = [{'bus': 0, 'devices': [{'bus': 0, 'slot': 4, 'function': 0, 'qdev_id': 'virtnvme-nvme0', 'regions': []}]}]
        elif name == 'human-monitor-command':
            assert message['arguments']['command-line'] == 'xp /%dwx %#x' % (self.vectors * 4, BAR + 0x2000)
            words = array.array('I', TABLE * (self.vectors // VECTORS))
            value = ''.join('%016x: ' % (BAR + 0x2000 + 4 * n) + ' '.join('0x%08x' % w for w in words[n:n + 4]) + '\r\n'
                            for n in range(0, len(words), 4))
        elif name == 'qom-set':
            assert message['arguments'] | {'value': ''} == {'path': '/objects/virtnvme-vmstate', 'property': 'id-list', 'value': ''}
            if self.fixed_ids:
                self.say({'error': {'class': 'GenericError', 'desc': 'no'}, 'id': message['id']})
                return
            if self.late_ids is not False:
                self.ids = message['arguments']['value'].split(',')
            if self.late_ids is not None:
                return
        elif name == 'object-add':
            threading.Thread(target=self._qtest, daemon=True).start()
        self.say({'return': value, 'id': message['id']})

    def _qtest(self):
        """It does what it is told: ports of PCI's configuration mechanism, and a table."""
        address = 0x80000810
        self.qtest.wait()
        with socket.socket(fileno=self.fd) as sock, sock.makefile('r') as lines:
            for line in lines:
                words = line.split()
                answer = 'OK'
                if words[:2] == ['outl', '0xcf8']:
                    address = int(words[2], 16)
                elif words[0] in ('outl', 'outw'):
                    self.ports[address + int(words[1], 16) - 0xcfc] = int(words[2], 16)
                elif words == ['inl', '0xcf8']:
                    answer = 'OK %#x' % address
                elif words[0] in ('inl', 'inw'):
                    answer = 'OK %#06x' % self.ports[address + int(words[1], 16) - 0xcfc]
                elif words[0] == 'b64write':
                    self.table = base64.b64decode(words[3])
                elif words[0] == 'b64read':
                    answer = 'OK ' + base64.b64encode(self.table).decode()
                try:
                    sock.sendall(answer.encode() + b'\n')
                except BrokenPipeError:     # the keeper has what it wanted
                    return


class Side:
    """A keeper, and the QEMU that is played for it."""

    def __init__(self, folder, number, **config):
        self.keeper = Keeper(folder, '8f6b0d3e-0000-4000-8000-%012x' % number)
        self.keeper.config |= {'name': 'side%d' % number, **config}
        self.driver = self.client = self.monitor = self.bus = None

    def log(self):
        with open(os.path.join(self.keeper.folder, 'log', self.keeper.config['name'] + '.log')) as f:
            return f.read()

    def start(self, capabilities=('events',), qtest=True):
        self.keeper.start()
        self.bus = Gio.DBusConnection.new_for_address_sync(
            'unix:path=' + self.keeper.socket('bus.sock'),
            Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
        self.monitor = Monitor(self.keeper, capabilities, qtest)
        return self

    def guest(self):
        """A guest's driver has set its controller up."""
        self.client, self.driver = drive(self.keeper, vectors=VECTORS)
        self.client.write_config(0x10, BAR)
        return self

    def state(self):
        return self.keeper.call('status')['migration']

    def call(self, number, method, arguments=None):
        interface = 'org.freedesktop.DBus.Properties' if method == 'GetAll' else VMSTATE
        return self.bus.call_sync(':1.%d' % (number + 1), '/org/qemu/VMState1', interface, method, arguments, None, 0, 25000,
                                  None).unpack()

    def read_ids(self):
        """Return: their number. Those of the id-list must all be there; that others are skipped is nothing to rely on."""
        owners, = self.bus.call_sync('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'ListQueuedOwners',
                                     GLib.Variant('(s)', (VMSTATE,)), None, 0, 25000, None).unpack()
        assert owners == [':1.%d' % (number + 1) for number in range(len(self.monitor.ids))]
        for number, name in enumerate(self.monitor.ids):
            answer, = self.call(number, 'GetAll', GLib.Variant('(s)', (VMSTATE,)))
            assert answer == {'Id': name}
        return len(owners)

    def counts_ids(self):
        """Wait until QEMU has been told how many Ids the state takes."""
        until(lambda: 'qom-set' in self.monitor.commands)

    def announce(self, permit=True):
        """Up to the point where memory is being copied, and QEMU has answered what it was asked."""
        at = self.monitor.event('MIGRATION', status='setup')
        if permit:
            self.keeper.call('permit-migration', seconds=at['seconds'], micros=at['microseconds'], operation='migration')
        until(lambda: self.monitor.mute or 'query-pci' in self.monitor.commands)
        self.monitor.event('MIGRATION', status='active')
        self.client.serve(0.1)
        until(lambda: self.state() == 'active')

    def has_told_its_half(self):
        """Wait until QEMU has been asked for the device's interrupts, which needs the controller."""
        until(lambda: 'human-monitor-command' in self.monitor.commands)

    def save(self, announced=False):
        if not announced:
            self.announce()
        self.monitor.event('STOP')
        time.sleep(0.05)    # QEMU answers, and then does not any more
        self.monitor.event('MIGRATION', status='device')
        parts = [bytes(self.call(number, 'Save')[0]) for number in range(self.read_ids())]
        assert self.state() == 'frozen'
        return parts

    def load(self, parts):
        assert self.read_ids() == 16
        for number in reversed(range(len(parts))):
            self.call(number, 'Load', GLib.Variant('(ay)', (parts[number],)))

    def goes_on(self, content=b'goes on.' * 64):
        """The guest writes and reads."""
        self.monitor.event('RESUME')
        until(lambda: self.client.serve(0.01) or self.state() == 'none')
        self.driver.write(2000, content)
        assert self.driver.read(2000, len(content)) == content

    def end(self):
        sys.stdout.write(self.log())
        if self.client:
            self.client.close()
        if self.keeper.pid and alive(self.keeper.pid):
            self.keeper.call('stop')
            until(lambda: not alive(self.keeper.pid))


@pytest.fixture
def sides():
    """side(number, **config) is one with a disk of 16 MiB, not started; all have the same."""
    made = []
    with tempfile.TemporaryDirectory(prefix='virtnvme-') as folder:
        def make(number, disk=None, controller=None, **config):
            side = Side(folder, number, **config)
            # The same ids, whatever the domain is called here.
            side.keeper.controller(**(controller or {}))['namespaces'].append(side.keeper.file_disk(capacity=16 * MIB, **(disk or {})))
            made.append(side)
            return side
        try:
            yield make
        finally:
            for side in made:
                side.end()


def incoming(make, qtest=True, number=2, **kwargs):
    side = make(number, incoming=True, **kwargs).start(qtest=qtest)
    side.client = v.Client(side.keeper.socket('nvme0.sock'))
    side.client.negotiate()
    return side


def move(source, target):
    """What QEMU does by itself: the guest's memory, and its processors."""
    memory = source.driver.memory.memory
    copy = v.Memory(memory.size)
    copy.write(0, memory.read(0, memory.size))
    target.client.map(copy, 0)
    target.driver = source.driver
    target.driver.client = target.client
    target.driver.memory.memory = copy


def test_state_goes_along(sides):
    source = sides(1).start().guest()
    content = random.Random(1).randbytes(65536)
    source.driver.write(100, content)
    parts = source.save()
    with pytest.raises(Refused, match='under way'):
        source.keeper.call('remove-namespace', index=0, nsid=1)
    target = incoming(sides)
    assert target.state() == 'incoming'
    move(source, target)
    target.load(parts)
    until(lambda: 'is back, after' in target.log())
    # BAR, memory and bus master, MSI-X.
    assert target.monitor.ports[0x80002010] == BAR | 4
    assert target.monitor.ports[0x80002004] & 6 == 6
    assert target.monitor.table == TABLE
    assert target.client.read32(nvme.CSTS) & 1
    target.client.enable_vectors(target.driver.vectors)     # as QEMU does when MSI-X is switched on
    target.monitor.event('MIGRATION', status='completed')
    assert target.state() == 'incoming'
    for vector in target.driver.vectors:
        vector.take()
    target.goes_on()
    # A late interrupt of the source is made up for.
    assert target.driver.wait_interrupt(1)
    assert target.driver.read(100, len(content)) == content
    # The image is the target's now.
    with pytest.raises(Refused, match='a.raw'):
        sides(3).start()


def test_mapped_doorbells_do_not_go_along(sides):
    """The page at the other side is new, and says what the state does."""
    kwargs = {'controller': {'doorbells': 'mapped'}}
    source = sides(1, **kwargs).start().guest()
    source.driver.map_doorbells()
    trapped = source.driver.trapped
    for number in range(5):
        source.driver.write(number, b'a' * 512)
    parts = source.save()
    target = incoming(sides, **kwargs)
    move(source, target)
    target.driver.map_doorbells()
    target.load(parts)
    until(lambda: 'is back, after' in target.log())
    target.client.enable_vectors(target.driver.vectors)
    target.monitor.event('MIGRATION', status='completed')
    target.goes_on()
    assert target.driver.read(4, 512) == b'a' * 512
    assert target.driver.trapped == trapped
    # No completion of what the guest never submitted.
    assert not target.driver.queues[1].done


def test_a_size_goes_along(sides):
    """An image that was resized when the migration began; and one that was to be, which had not been."""
    source = sides(1).start().guest()
    source.keeper.call('resize-namespace', index=0, nsid=1, limit=8 * MIB)
    source.announce()
    with pytest.raises(GLib.Error, match='nvme0n1 is being made smaller'):
        source.read_ids()
    source.monitor.event('MIGRATION', status='failed')
    source.goes_on()
    os.truncate(source.keeper.path('a.raw'), 24 * MIB)
    source.announce()
    with pytest.raises(Refused, match='under way'):
        source.keeper.call('resize-namespace', index=0, nsid=1, limit=8 * MIB)
    assert source.keeper.call('resize-namespace', index=0, nsid=1) == {'capacity': 24 * MIB}
    assert source.driver.namespace()[0] == 24 * MIB // 512
    target = incoming(sides)
    parts = source.save(announced=True)
    with pytest.raises(Refused, match='under way'):
        source.keeper.call('resize-namespace', index=0, nsid=1)
    os.truncate(source.keeper.path('a.raw'), 32 * MIB)      # of the last moment
    move(source, target)
    target.load(parts)
    target.client.enable_vectors(target.driver.vectors)
    target.goes_on()
    assert target.driver.namespace()[0] == 32 * MIB // 512


def test_a_block_size_goes_along(sides):
    """None is begun while memory is copied, and one that is not recorded keeps the guest here."""
    source = sides(1).start().guest()
    driver, keeper = source.driver, source.keeper
    cid = driver.admin.submit(FORMAT, nsid=1, cdw=(1,))
    driver.until(lambda: 'next_block_size' in keeper.call('status')['controllers'][0]['namespaces'][0])
    source.announce()
    with pytest.raises(Refused, match='under way'):
        keeper.call('set-block-size', index=0, nsid=1, block_size=4096)
    refused(source.read_ids, 'nvme0n1 is being formatted')
    source.monitor.event('MIGRATION', status='failed')
    source.monitor.event('RESUME')
    until(lambda: (source.client.serve(0.01), source.state())[1] == 'none')
    keeper.call('set-block-size', index=0, nsid=1, block_size=4096)
    assert driver.admin.wait(cid) == 0
    source.announce()
    with pytest.raises(nvme.Failed) as failed:
        driver.admin.command(FORMAT, nsid=1, cdw=(0,))
    assert failed.value.status == 0x06      # Internal Error
    driver.write(7, b'seven...' * 512, block_size=4096)
    target = incoming(sides, disk={'block_size': 4096})
    parts = source.save(announced=True)
    move(source, target)
    target.load(parts)
    target.client.enable_vectors(target.driver.vectors)
    target.monitor.event('RESUME')
    until(lambda: (target.client.serve(0.01), target.state())[1] == 'none')
    assert target.driver.namespace() == (16 * MIB // 4096, 4096)
    assert target.driver.read(7, 4096, block_size=4096) == b'seven...' * 512


@pytest.mark.parametrize('queues, fixed, expected', [(4, False, 5), (64, False, 11), (4, True, 16)])
def test_no_more_ids_than_the_state_takes(sides, queues, fixed, expected):
    """Each is time for which the guest stands still. What was told to QEMU counts, and no other number."""
    controller = {'queues': queues}
    source = sides(1, controller=controller).start().guest()
    source.monitor.fixed_ids, source.monitor.vectors = fixed, queues + 1
    source.driver.write(0, b'before..' * 64)
    for _ in range(2):
        source.announce()
        source.counts_ids()
        parts = source.save(announced=True)
        assert len(parts) == expected and 'in %d of 16 parts' % expected in source.log()
        source.monitor.commands.remove('query-pci')
        if not fixed:
            source.monitor.commands.append('qom-set')   # it is as it should be
        source.monitor.event('MIGRATION', status='failed')
        source.goes_on()
    source.announce()
    parts = source.save(announced=True)
    target = incoming(sides, controller=controller)
    move(source, target)
    target.load(parts)
    target.goes_on()
    assert target.driver.read(0, 512) == b'before..' * 64


@pytest.mark.parametrize('executed', [True, False])
def test_a_list_of_ids_that_is_answered_too_late(sides, executed):
    """QEMU has executed the command, or has not, and reads its list before it answers. It skips what is not in the list, and takes
    Ids in no order."""
    source = sides(1).start().guest()
    source.monitor.late_ids = executed
    source.driver.write(0, b'before..' * 64)
    source.announce()
    source.counts_ids()
    time.sleep(0.05)
    source.monitor.event('STOP')
    source.monitor.event('MIGRATION', status='device')
    owners, = source.bus.call_sync('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'ListQueuedOwners',
                                   GLib.Variant('(s)', (VMSTATE,)), None, 0, 25000, None).unpack()
    assert len(owners) == 16
    for number in range(16):
        source.call(number, 'GetAll', GLib.Variant('(s)', (VMSTATE,)))
    assert (len(source.monitor.ids) < 16) == executed
    parts = [bytes(source.call(number, 'Save')[0]) for number in range(len(source.monitor.ids))]
    target = incoming(sides)
    move(source, target)
    target.load(parts)
    target.goes_on()
    assert target.driver.read(0, 512) == b'before..' * 64


def test_leaves_again_without_having_run(sides):
    """Left paused where it arrived, it goes on to the next host."""
    source = sides(1).start().guest()
    source.driver.write(0, b'before..' * 64)
    target = incoming(sides)
    parts = source.save()
    move(source, target)
    target.load(parts)
    until(lambda: 'is back, after' in target.log())
    target.monitor.event('MIGRATION', status='completed')
    parts = target.save()
    source.client.close()
    third = incoming(sides, number=3)
    move(target, third)
    third.load(parts)
    until(lambda: 'is back, after' in third.log())
    third.goes_on()
    assert third.driver.read(0, 512) == b'before..' * 64


def test_says_what_it_waits_for(sides):
    """A daemon that was not there when the migration began finds out, and can still permit it."""
    source = sides(1).start().guest()
    assert 'awaits_permit' not in source.keeper.call('status')
    source.announce(permit=False)
    awaits = source.keeper.call('status')['awaits_permit']
    source.keeper.call('permit-migration', operation='migration', **awaits)
    assert 'awaits_permit' not in source.keeper.call('status')
    source.save(announced=True)


def test_guest_is_faster_than_the_replay(sides):
    """It waits for its disks, and loses nothing."""
    source = sides(1).start().guest()
    source.driver.write(0, b'before..' * 64)
    parts = source.save()
    target = incoming(sides, qtest=False)
    move(source, target)
    target.load(parts)
    target.monitor.event('RESUME')
    until(lambda: "before QEMU's half" in target.log())
    assert target.state() == 'incoming'
    target.monitor.qtest.set()
    until(lambda: target.client.serve(0.01) or target.state() == 'none')
    assert target.driver.read(0, 512) == b'before..' * 64
    target.goes_on()


def test_source_goes_on(sides):
    source = sides(1).start().guest()
    for _ in range(2):
        source.save()
        source.monitor.event('MIGRATION', status='failed')
        source.goes_on()
        source.save()
        source.monitor.event('MIGRATION', status='completed')
        source.goes_on()


def test_source_waits_for_its_image(sides):
    """It is locked by the other side, as long as that lives."""
    source = sides(1).start().guest()
    parts = source.save()
    target = incoming(sides)
    move(source, target)
    target.load(parts)
    source.monitor.event('RESUME')
    time.sleep(0.5)
    assert source.state() == 'frozen'
    target.client.close()
    target.keeper.call('stop')
    until(lambda: source.client.serve(0.01) or source.state() == 'none')


def kill_controller(side):
    """It has a successor."""
    before = side.keeper.call('status')['controller']
    os.kill(before['pid'], signal.SIGKILL)

    def has_successor():
        now = side.keeper.call('status')['controller']
        return now['generation'] > before['generation'] and now['state'] == 'running'
    until(has_successor)


def test_controller_killed_while_frozen(sides):
    """Its successor is frozen as well, and goes on when the guest does."""
    source = sides(1).start().guest()
    source.save()
    kill_controller(source)
    iova = source.driver.alloc(512)
    source.driver.memory.write(iova, b'late' * 128)
    queue = source.driver.queues[1]
    cid = source.driver.transfer(queue, nvme.WRITE, 50, 1, iova, 512)
    time.sleep(0.5)
    source.client.serve()
    with open(source.keeper.path('a.raw'), 'rb') as image:
        image.seek(50 * 512)
        assert image.read(4) == bytes(4)
    source.monitor.event('RESUME')
    queue.wait(cid)
    with open(source.keeper.path('a.raw'), 'rb') as image:
        image.seek(50 * 512)
        assert image.read(4) == b'late'


@pytest.mark.parametrize('killed', ['source', 'target'])
def test_controller_killed_while_its_target_waits(sides, killed):
    """The target has no lock that the source's successor needs, and one of its own controllers that dies is not waited for."""
    source = sides(1).start().guest()
    source.driver.write(0, b'before..' * 64)
    target = incoming(sides)
    if killed == 'target':
        kill_controller(target)
    target.client.reset()        # as QEMU does, while the source's controller holds its locks
    kill_controller(source)
    source.driver.write(100, b'between.' * 64)
    parts = source.save()
    move(source, target)
    target.load(parts)
    until(lambda: 'is back, after' in target.log())
    target.goes_on()
    assert target.driver.read(0, 512) == b'before..' * 64
    assert target.driver.read(100, 512) == b'between.' * 64


def test_killed_when_the_state_comes(sides):
    """The target's successor is waited for."""
    source = sides(1).start().guest()
    source.driver.write(0, b'before..' * 64)
    parts = source.save()
    target = slow_to_start(sides(2, incoming=True)).start()
    target.client = v.Client(target.keeper.socket('nvme0.sock'))
    target.client.negotiate()
    move(source, target)
    open(target.keeper.path('slow'), 'w').close()       # pylint: disable=consider-using-with
    os.kill(target.keeper.call('status')['controller']['pid'], signal.SIGKILL)
    target.load(parts)
    until(lambda: 'is back, after' in target.log())
    target.goes_on()
    assert target.driver.read(0, 512) == b'before..' * 64


def slow_to_start(side):
    """Its controllers from now on; what is sent to one meanwhile is there at once when it begins."""
    program = side.keeper.path('program')
    with open(program, 'w') as f:
        f.write('#!/bin/sh\n[ -e %s ] && sleep 1\nexec %s "$@"\n' % (side.keeper.path('slow'), CONTROLLER))
    os.chmod(program, 0o755)
    side.keeper.config['controller_program'] = program
    return side


def test_goes_on_while_a_successor_gets_its_disks(sides):
    """It is told to thaw when it has them, and not before: it would stay frozen, or forget its namespaces."""
    source = slow_to_start(sides(1)).start().guest()
    source.driver.write(0, b'before..' * 64)
    source.save()
    open(source.keeper.path('slow'), 'w').close()       # pylint: disable=consider-using-with
    os.kill(source.keeper.call('status')['controller']['pid'], signal.SIGKILL)
    until(lambda: source.keeper.call('status')['controller']['state'] == 'restarting')
    source.goes_on()
    assert source.driver.read(0, 512) == b'before..' * 64
    # Neither is it left in message mode.
    seen = len(source.client.served)
    source.driver.read(0, 512)
    assert not [one for one in source.client.served[seen:] if one[0] == v.DMA_WRITE]


def test_hot_plug_that_waited_is_refused(sides):
    """It came before the migration, and waits for a controller that comes back in the midst of it."""
    source = slow_to_start(sides(1)).start().guest()
    disk = source.keeper.file_disk(2, 'b.raw', capacity=1 << 20)
    open(source.keeper.path('slow'), 'w').close()       # pylint: disable=consider-using-with
    os.kill(source.keeper.call('status')['controller']['pid'], signal.SIGKILL)
    until(lambda: source.keeper.call('status')['controller']['state'] == 'restarting')
    with futures.ThreadPoolExecutor(1) as pool:
        plugged = pool.submit(source.keeper.call, 'add-namespace', index=0, namespace=disk)
        time.sleep(0.1)     # the other way round it is refused at once
        source.announce()
        with pytest.raises(Refused, match='under way'):
            plugged.result()


@pytest.mark.parametrize('when', ['before', 'copying'])
def test_disks_that_are_lost_do_not_go_along(sides, when):
    """virtnvme-failed plays the controllers: it says so, and what to do, and that at once."""
    source = slow_to_start(sides(1, failed_program=os.path.join(os.path.dirname(CONTROLLER), 'virtnvme-failed'))).start().guest()

    def lose():
        with open(source.keeper.config['controller_program'] + '.new', 'w') as f:
            f.write('#!/bin/sh\nexit 3\n')
        os.chmod(f.name, 0o755)
        with open(f.name) as f, open(source.keeper.config['controller_program'], 'r+') as program:
            program.write(f.read())     # of the file that successors are made of
            program.truncate()
        os.kill(source.keeper.call('status')['controller']['pid'], signal.SIGKILL)
        until(lambda: source.keeper.call('status')['controller']['state'] == 'failed', 30)

    if when == 'before':
        lose()
        at = source.monitor.event('MIGRATION', status='setup')
        source.keeper.call('permit-migration', seconds=at['seconds'], micros=at['microseconds'], operation='migration')
        source.monitor.event('MIGRATION', status='active')
    else:
        source.announce()
        lose()
    source.monitor.event('STOP')
    begin = time.monotonic()
    with pytest.raises(GLib.Error, match='lost its NVMe disks.*destroy the domain and start it again'):
        source.read_ids()
    assert time.monotonic() - begin < 5
    source.monitor.event('MIGRATION', status='failed')
    source.monitor.event('RESUME')
    until(lambda: source.state() == 'none')


def test_what_was_executed_when_the_guest_stood_goes_along(sides):
    """QEMU may not look at its dirty log any more; before that it does."""
    source = sides(1).start().guest()
    early, late = b'early...' * 512, b'late....' * 512
    source.driver.write(8, early)
    source.driver.write(16, late)
    source.announce()
    assert source.driver.read(8, 4096) == early
    time.sleep(0.05)
    # Posted when it stands, and executed then.
    iova = source.driver.alloc(4096)
    source.driver.queues[1].submit(nvme.READ, 1, iova, cdw=(16, 0, 7))
    assert select.select([source.driver.client.sock], [], [], 30)[0]
    source.monitor.event('STOP')
    source.monitor.event('MIGRATION', status='device')
    source.driver.until(lambda: source.driver.memory.read(iova, 4096) == late)
    state = b''.join(bytes(source.call(number, 'Save')[0]) for number in range(source.read_ids()))
    assert late in state and early not in state


def test_the_disks_rest_while_the_guest_stands(sides):
    """virsh suspend while memory is copied; and as soon as it goes on they work again."""
    source = sides(1).start().guest()
    source.driver.write(0, b'resting.' * 512)
    source.announce()
    source.has_told_its_half()
    source.monitor.event('STOP')
    queue, cid = source.driver.queues[1], None
    with pytest.raises(TimeoutError):
        for _ in range(100):    # what comes before they do is executed
            cid = queue.submit(nvme.READ, 1, source.driver.alloc(4096), cdw=(0, 0, 7))
            queue.wait(cid, 0.5)
    source.monitor.event('RESUME')
    queue.wait(cid)
    assert source.driver.read(0, 4096) == b'resting.' * 512


@pytest.mark.parametrize('when', ['told', 'asked', 'freezing'])
def test_killed_on_the_way_out(sides, when):
    """Whatever the dead controller was told to do, or was not told yet, its successor is."""
    source = slow_to_start(sides(1)).start().guest()
    source.driver.write(0, b'before..' * 64)
    pid = source.keeper.call('status')['controller']['pid']
    if when == 'asked':
        os.kill(pid, signal.SIGSTOP)
        source.announce()
        os.kill(pid, signal.SIGKILL)
    elif when == 'told':
        open(source.keeper.path('slow'), 'w').close()       # pylint: disable=consider-using-with
        os.kill(pid, signal.SIGKILL)
        source.announce()
    else:
        source.announce()
        source.has_told_its_half()
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
    source.has_told_its_half()
    parts = source.save(announced=True)
    target = incoming(sides)
    move(source, target)
    target.load(parts)
    until(lambda: 'is back, after' in target.log())
    target.goes_on()
    assert target.driver.read(0, 512) == b'before..' * 64


def refused(call, match):
    with pytest.raises(GLib.Error) as caught:
        call()
    assert re.search(match, str(caught.value)), caught.value


def refused_save(source, match):
    refused(source.read_ids, match)
    assert re.search(match, source.log())
    source.monitor.event('MIGRATION', status='failed')
    source.goes_on()


@pytest.mark.parametrize('why', ['postcopy', 'interrupts', 'silent'])
def test_refused_at_the_source(sides, why):
    source = sides(1).start(('events', 'postcopy-ram') if why == 'postcopy' else ('events',)).guest()
    source.monitor.mute = why == 'silent'
    source.announce()
    if why == 'interrupts':
        # QEMU tells of a vector that the guest has just changed.
        source.client.enable_vectors(source.driver.vectors[:1])
    refused_save(source, {'postcopy': 'postcopy-ram', 'interrupts': 'just changed the interrupts', 'silent': 'has not said'}[why])


def test_refused_with_the_interrupt_line_raised(sides):
    """Its level would not be known at the other side: QEMU has only a count of the bus."""
    source = sides(1).start()
    source.client, source.driver = drive(source.keeper, vectors=0)
    source.driver.queues[1].submit(nvme.FLUSH, 1)
    time.sleep(0.2)
    source.announce()
    refused_save(source, 'interrupt line')


@pytest.mark.parametrize('what, match', [
    ('damaged', 'part 0 .* damaged'), ('version', 'same version'), ('serial', 'serial is "VN0000" in the state and "VN0001" here'),
    ('uuid', 'uuid is'), ('nsid', 'no namespace 1 here'), ('image', 'is it the same image'), ('controllers', '1 NVMe controllers'),
    ('block size', 'another one here'), ('queues', 'number of queues'), ('doorbells', 'other doorbells'), ('locked', 'a.raw')])
def test_refused_at_the_target(sides, what, match):
    source = sides(1).start().guest()
    source.driver.write(0, b'before..' * 64)
    parts = source.save()
    disk, controller = {}, {}
    if what == 'damaged':
        parts[0] = parts[0][:-1] + bytes([parts[0][-1] ^ 1])
    elif what == 'version':
        parts[0] = parts[0][:8] + b'\x09' + parts[0][9:]
    elif what == 'nsid':
        disk['nsid'] = 2
    elif what == 'block size':
        disk['block_size'] = 4096
    elif what == 'serial':
        controller['serial'] = 'VN0001'
    elif what == 'uuid':
        controller['uuid'] = '8f6b0d3e-0000-4000-8000-00000000ffff'
    elif what == 'queues':
        controller['queues'] = 5
    elif what == 'doorbells':
        controller['doorbells'] = 'mapped'
    elif what == 'image':
        disk['path'] = source.keeper.path('small.raw')
        with open(disk['path'], 'wb') as image:
            image.truncate(8 * MIB)
    if what == 'locked':
        source.monitor.event('RESUME')
        until(lambda: source.client.serve(0.01) or source.state() == 'none')
    if what == 'controllers':
        side = sides(2, incoming=True)
        side.keeper.controller(1)
        side.start()
        refused(lambda: side.load(parts), match)
    else:
        target = incoming(sides, disk=disk, controller=controller)
        move(source, target)
        refused(lambda: target.load(parts), match)
        source.driver.client = source.client
        source.driver.memory.memory = source.client.regions[0].memory
    # Nothing of it was touched, and nothing is held.
    source.goes_on()
    assert source.driver.read(0, 512) == b'before..' * 64


def forge(parts, change):
    """The parts of another state, of the same size."""
    whole = change(b''.join(part[40:] for part in parts))
    forged, at = [], 0
    for part in parts:
        data = whole[at:at + len(part) - 40]
        at += len(data)
        rest = part[16:28] + crc32c(whole).to_bytes(4, 'little') + part[32:40]
        crc = crc32c(part[:12] + bytes(4) + rest + data)
        forged.append(part[:12] + crc.to_bytes(4, 'little') + rest + data)
    return forged


def test_refused_with_a_namespace_twice(sides):
    """Each that is here is looked at."""
    source = sides(1)
    target = sides(2, incoming=True)
    for side in (source, target):
        side.keeper.config['controllers'][0]['namespaces'].append(side.keeper.file_disk(2, 'b.raw', capacity=16 * MIB))
    parts = source.start().guest().save()
    target.start()
    assert forge(parts, lambda whole: whole) == parts
    second, first = (json.dumps(source.keeper.file_disk(nsid)['uuid']).encode() for nsid in (2, 1))

    def twice(whole):
        changed = whole.replace(second, first).replace(b'"nsid":2', b'"nsid":1')
        assert changed != whole and len(changed) == len(whole)
        return changed
    refused(lambda: target.load(forge(parts, twice)), 'namespace 1 of controller 0 twice')
    source.goes_on()
