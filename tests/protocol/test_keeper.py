# SPDX-License-Identifier: LGPL-2.1-or-later
"""The keeper with the real controller behind it, and a client of ours in QEMU's place."""
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import pytest

from client import idle, nvme, vfio_user as v

TOP_BUILDDIR = os.environ.get('top_builddir', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
KEEPER = os.path.abspath(os.path.join(TOP_BUILDDIR, 'src', 'virtnvme-keeper'))
CONTROLLER = os.path.abspath(os.path.join(TOP_BUILDDIR, 'src', 'virtnvme-controller'))
MIB = 1 << 20
READY_TIMEOUT = 30


class Refused(Exception):
    """What the keeper or a command of its said."""


def until(condition, timeout=10):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, 'it did not come true in time'
        time.sleep(0.01)


def alive(pid):
    try:
        with open('/proc/%d/stat' % pid) as f:
            return f.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):     # it may end between open and read
        return False


class Keeper:
    """A keeper of a domain that exists only as a folder."""

    def __init__(self, folder, uuid='8f6b0d3e-0000-4000-8000-000000000001'):
        self.folder, self.uuid = folder, uuid
        self.run = os.path.join(folder, 'run', uuid)
        self.config = {
            'uuid': uuid, 'name': 'guest', 'runtime_dir': self.run, 'log_dir': os.path.join(folder, 'log'),
            'owner': {'uid': os.getuid(), 'gid': os.getgid()}, 'controller_program': CONTROLLER,
            'controller_user': 'root', 'log_level': 7, 'controllers': [],
        }
        self.pid = 0
        self.program = KEEPER

    def path(self, name):
        return os.path.join(self.folder, name)

    def socket(self, name):
        return os.path.join(self.run, name)

    def controller(self, index=0, **fields):
        self.config['controllers'].append({
            'index': index, 'serial': 'VN%04d' % index, 'uuid': '8f6b0d3e-0000-4000-8000-%012x' % (100 + index),
            'queues': 4, 'namespaces': [], **fields})
        return self.config['controllers'][-1]

    def file_disk(self, nsid=1, name='a.raw', **fields):
        return {'nsid': nsid, 'target': 'nvme0n%d' % nsid, 'type': 'file', 'path': self.path(name),
                'cache': 'writeback', 'io': 'threads', 'block_size': 512,
                'uuid': '8f6b0d3e-0000-4000-8000-%012x' % (200 + nsid), **fields}

    def start(self):
        """Until it is ready, or Refused."""
        config_read, config_write = os.pipe()
        ready_read, ready_write = os.pipe()
        with subprocess.Popen([self.program, '--config-fd=%d' % config_read, '--ready-fd=%d' % ready_write],
                              pass_fds=(config_read, ready_write), stdin=subprocess.DEVNULL):
            os.close(config_read)
            os.close(ready_write)
            os.write(config_write, json.dumps(self.config).encode())
            os.close(config_write)
        line = b''
        while select.select([ready_read], [], [], READY_TIMEOUT)[0]:
            part = os.read(ready_read, 65536)
            line += part
            if not part:
                break
        os.close(ready_read)
        assert line.endswith(b'\n') and line.count(b'\n') == 1, line
        answer = json.loads(line)
        if 'error' in answer:
            assert answer['error']['code'] > 0
            raise Refused(answer['error']['message'])
        self.pid = self.call('status')['pid']
        return self

    def call(self, command, **arguments):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(self.socket('keeper.sock'))
            return self.ask(sock, command, **arguments)

    @staticmethod
    def ask(sock, command, **arguments):
        text = json.dumps({'id': 1, 'command': command, 'arguments': arguments}).encode()
        sock.sendall(struct.pack('<I', len(text)) + text)
        size, = struct.unpack('<I', sock.recv(4, socket.MSG_WAITALL))
        answer = json.loads(sock.recv(size, socket.MSG_WAITALL))
        if 'error' in answer:
            raise Refused(answer['error']['message'])
        return answer['result']

    def log(self):
        try:
            with open(os.path.join(self.folder, 'log', 'guest.log')) as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def gone(self):
        """No process, socket, lock or directory left."""
        return not alive(self.pid) and not os.listdir(os.path.dirname(self.run))

    def stop(self):
        if self.pid and alive(self.pid):
            self.call('stop')
            until(self.gone)


@pytest.fixture
def keeper():
    with tempfile.TemporaryDirectory(prefix='virtnvme-') as folder:
        keeper = Keeper(folder)
        try:
            yield keeper
        finally:
            sys.stdout.write(keeper.log())
            if keeper.pid and alive(keeper.pid):
                controller = keeper.call('status')['controller']['pid']
                os.kill(keeper.pid, signal.SIGKILL)
                until(lambda: not alive(keeper.pid) and not alive(controller))


@pytest.fixture
def disk(keeper):
    """A keeper of one controller with one disk of 16 MiB, running."""
    keeper.controller()['namespaces'].append(keeper.file_disk(capacity=16 * MIB))
    return keeper.start()


def drive(keeper, index=0, memory=None, iova=0, vectors=3):
    client = v.Client(keeper.socket('nvme%d.sock' % index))
    client.negotiate()
    memory = memory or v.Memory(8 * MIB)
    client.map(memory, iova)
    driver = nvme.Driver(client, memory, iova, vectors)
    driver.enable()
    driver.create_queue(1)
    return client, driver


def test_io_through_the_relay(disk):
    client, driver = drive(disk)
    noise = random.Random(1)
    data = {lba: noise.randbytes(size) for lba, size in ((0, 512), (8, 4096), (100, 65536), (1000, 1 << 20))}
    for lba, content in data.items():
        driver.write(lba, content)
    driver.flush()
    for lba, content in data.items():
        assert driver.read(lba, len(content)) == content
    assert driver.wait_interrupt(1)
    with open(disk.path('a.raw'), 'rb') as image:
        for lba, content in data.items():
            image.seek(lba * 512)
            assert image.read(len(content)) == content
    status = disk.call('status')
    assert status['qemu'] == {'pid': os.getpid(), 'connected': True, 'monitor': False}
    counters = status['controllers'][0]['namespaces'][0]['counters']
    assert counters['write_bytes'] == sum(map(len, data.values()))
    client.close()
    disk.stop()


def test_io_by_messages(disk):
    """Memory that the controller cannot map: every byte goes through the relay, both ways."""
    client, driver = drive(disk, memory=v.Memory(8 * MIB, fd=False), vectors=0)
    noise = random.Random(2)
    for lba, size in ((0, 512), (64, 131072), (2000, 1 << 20)):
        content = noise.randbytes(size)
        driver.write(lba, content)
        assert driver.read(lba, size) == content
        with open(disk.path('a.raw'), 'rb') as image:
            image.seek(lba * 512)
            assert image.read(size) == content
    client.close()
    disk.stop()


def test_split_and_posted_messages(disk):
    client = v.Client(disk.socket('nvme0.sock'))
    client.negotiate()
    message = struct.pack('<HHIII', 77, 9, 32, 0, 0) + struct.pack('<QII', 8, 0, 4)
    for byte in message:
        client.send_raw(bytes([byte]))
    reply = client.receive()
    assert reply.id == 77 and reply.payload[16:] == client.region_read(0, 8, 4)
    for _ in range(1000):
        client.region_write(0, 0x1000, bytes(4), posted=True)
    assert client.read32(8)
    client.close()
    disk.stop()


def test_client_killed_leaves_nothing(disk):
    controller = disk.call('status')['controller']['pid']
    child = subprocess.Popen(
        [sys.executable, '-c', 'import socket, sys, time\n'
         'socks = [socket.socket(socket.AF_UNIX) for _ in sys.argv[1:]]\n'
         '[s.connect(p) for s, p in zip(socks, sys.argv[1:])]\nprint("connected", flush=True)\ntime.sleep(100)',
         *(disk.socket(name) for name in ('nvme0.sock', 'qmp.sock', 'bus.sock'))], stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        until(lambda: disk.call('status')['qemu'] == {'pid': child.pid, 'connected': True, 'monitor': False})
        # The paths have served their purpose.
        assert sorted(os.listdir(disk.run)) == ['keeper.sock']
    finally:
        child.kill()
        child.communicate()
    until(disk.gone)
    assert not alive(controller)
    # The image lock as well: the next one gets it.
    disk.start().stop()


def test_second_client_is_refused(disk):
    first, second = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    os.kill(disk.pid, signal.SIGSTOP)
    for sock in first, second:
        sock.settimeout(5)
        sock.connect(disk.socket('nvme0.sock'))
    os.kill(disk.pid, signal.SIGCONT)
    assert second.recv(1) == b''
    with pytest.raises(FileNotFoundError):
        socket.socket(socket.AF_UNIX).connect(disk.socket('nvme0.sock'))
    with v.Client(sock=first) as client:
        client.negotiate()
    disk.stop()


def test_foreign_process_is_refused(keeper):
    pidfile = keeper.path('guest.pid')
    with open(pidfile, 'w') as f:
        f.write('%d\n' % os.getppid())
    keeper.config['peer_pidfile'] = pidfile
    keeper.controller()
    keeper.start()
    for name in ('nvme0.sock', 'qmp.sock', 'bus.sock'):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(keeper.socket(name))
            assert sock.recv(1) == b''
        assert os.path.exists(keeper.socket(name))
    with open(pidfile, 'w') as f:
        f.write('%d' % os.getpid())
    with v.Client(keeper.socket('nvme0.sock')) as client:
        client.negotiate()
    keeper.stop()


def test_lock_is_the_keepers(disk):
    other = Keeper(disk.folder, '8f6b0d3e-0000-4000-8000-000000000002')
    other.controller()['namespaces'].append(other.file_disk())
    with pytest.raises(Refused, match='a.raw'):
        other.start()
    controller = disk.call('status')['controller']['pid']
    os.kill(controller, signal.SIGKILL)
    until(lambda: not alive(controller))
    until(lambda: disk.call('status')['controller']['generation'] == 2)
    # The controller is gone, the lock is not.
    with pytest.raises(Refused, match='a.raw'):
        other.start()
    disk.stop()
    other.start()
    other.stop()


def test_one_keeper_a_domain(disk):
    other = Keeper(disk.folder, disk.uuid)
    other.controller()
    with pytest.raises(Refused, match='another virtnvme-keeper'):
        other.start()
    assert disk.call('status')['pid'] == disk.pid
    disk.stop()


def test_next_one_waits_for_the_old(disk):
    disk.call('stop')
    old = disk.pid
    disk.start()
    assert disk.pid != old and not alive(old)
    disk.stop()


def refusal(keeper):
    with pytest.raises(Refused) as refused:
        keeper.start()
    # One sentence, and nothing left.
    until(lambda: not os.path.exists(os.path.dirname(keeper.run)) or not os.listdir(os.path.dirname(keeper.run)))
    assert '\n' not in str(refused.value)
    return str(refused.value)


def test_refuses_a_missing_image(keeper):
    keeper.controller()['namespaces'].append(keeper.file_disk())
    assert 'a.raw does not exist; create it, or give its <capacity>' in refusal(keeper)


def test_never_overwrites(keeper):
    with open(keeper.path('a.raw'), 'wb') as image:
        image.write(b'precious' * 512)
    keeper.controller()['namespaces'].append(keeper.file_disk(capacity=16 * MIB))
    keeper.start()
    assert keeper.call('status')['controllers'][0]['namespaces'][0]['capacity'] == 4096
    keeper.stop()
    with open(keeper.path('a.raw'), 'rb') as image:
        assert image.read() == b'precious' * 512


def test_refuses_what_is_no_file(keeper):
    keeper.controller()['namespaces'].append(keeper.file_disk(name='log'))
    os.mkdir(keeper.path('log'))
    assert keeper.path('log') in refusal(keeper)


def test_refuses_a_missing_program(keeper):
    keeper.config['controller_program'] = '/nonexistent/controller'
    keeper.controller()
    assert '/nonexistent/controller' in refusal(keeper)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root changes the user')
def test_refuses_a_missing_user(keeper):
    keeper.config['controller_user'] = 'nobody-of-that-name'
    keeper.controller()
    assert 'user nobody-of-that-name does not exist; create it' in refusal(keeper)


def can_confine():
    """The sanitizers need a file system, and a container may be kept from making namespaces."""
    with open(CONTROLLER, 'rb') as program:
        return b'__asan_init' not in program.read() and subprocess.run(['unshare', '-m', '-n', 'true']).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0 or not can_confine(), reason='only root takes itself the file system')
def test_the_controller_finds_nothing(keeper):
    keeper.config['controller_user'] = 'nobody'
    keeper.controller(namespaces=[keeper.file_disk(capacity=MIB)])
    keeper.start()
    pid = keeper.call('status')['controller']['pid']
    with open('/proc/%d/status' % pid) as f:
        status = dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)
    assert '0' not in status['Uid'].split() + status['Gid'].split()
    assert {int(status['Cap' + which], 16) for which in ('Inh', 'Prm', 'Eff', 'Amb')} == {0}
    assert os.listdir('/proc/%d/root' % pid) == []


def uses_uring(keeper):
    fds = '/proc/%d/fd' % keeper.call('status')['controller']['pid']
    return any('io_uring' in os.readlink(os.path.join(fds, name)) for name in os.listdir(fds))


def test_a_disk_says_what_does_the_io(keeper):
    if os.geteuid() != 0:
        pytest.skip('the descriptors of a confined process are for root')
    switch = '/proc/sys/kernel/io_uring_disabled'     # since Linux 6.6
    disabled = False
    if os.path.exists(switch):
        with open(switch) as f:
            disabled = f.read().strip() != '0'
    controller = keeper.controller()
    controller['namespaces'] += [keeper.file_disk(capacity=MIB, io='io_uring')]
    keeper.start()
    assert uses_uring(keeper) != disabled
    keeper.stop()
    controller['namespaces'] += [keeper.file_disk(nsid=2, name='b.raw', capacity=MIB, io='threads')]
    keeper.start()
    assert not uses_uring(keeper)
    keeper.stop()


def test_nobody_wakes_up_at_idle(keeper):
    """With trapped and with shadow doorbells, after I/O on all queues."""
    keeper.config['io_threads'] = 2
    for index in range(2):
        keeper.controller(index)['namespaces'] += [
            keeper.file_disk(1, 'a%d.raw' % index, capacity=MIB, io='io_uring', cache='none'),
            keeper.file_disk(2, 'b%d.raw' % index, capacity=MIB, io='io_uring')]
    keeper.start()
    drivers = [drive(keeper, index)[1] for index in range(2)]
    drivers[1].shadow_doorbells()
    for driver in drivers:
        for qid in 2, 3, 4:
            driver.create_queue(qid)
        for qid in range(1, 5):
            for nsid in 1, 2:
                driver.write(0, b'x' * 4096, qid=qid, nsid=nsid)
                driver.flush(qid=qid, nsid=nsid)
                assert driver.read(0, 4096, qid=qid, nsid=nsid) == b'x' * 4096
    pids = keeper.pid, keeper.call('status')['controller']['pid']
    awake = idle.awake(pids)
    assert {name.split(' ')[0] for name in awake} >= {'virtnvme-keeper', 'io-0', 'io-1'} and not any(awake.values()), awake
    for driver in drivers:
        assert driver.read(0, 4096, nsid=2) == b'x' * 4096
    keeper.stop()


def test_refuses_a_controller_that_ends(keeper):
    keeper.config['controller_program'] = '/bin/false'
    keeper.controller()
    refusal(keeper)


@pytest.mark.parametrize('change', [
    {'uuid': 7}, {'runtime_dir': 'relative'}, {'controllers': {}}, {'name': 'a/b'}, {'controllers': [{}]},
    {'controllers': [{'index': 0, 'serial': 'S'}, {'index': 0, 'serial': 'S'}]},
    {'controllers': [{'index': 0, 'serial': 'S', 'namespaces': [{'nsid': 0, 'type': 'memory', 'bytes': 4096}]}]},
    {'controllers': [{'index': 0, 'serial': 'S', 'namespaces': [{'nsid': 1, 'type': 'tape'}]}]},
    {'iothreadpin': [{'iothread': 0, 'cpuset': '0'}]}, {'iothreadpin': [{'iothread': 17, 'cpuset': '0'}]},
    {'iothreadpin': [{'iothread': 1, 'cpuset': '0-'}]}, {'iothreadpin': [{'iothread': 1}]},
])
def test_refuses_a_wrong_configuration(keeper, change):
    keeper.config.update(change)
    refusal(keeper)


def test_hot_plug(disk):
    client, driver = drive(disk)
    disk.call('add-namespace', index=0, namespace=disk.file_disk(2, 'b.raw', capacity=MIB))
    driver.write(0, b'b' * 4096, nsid=2)
    driver.flush(nsid=2)
    with open(disk.path('b.raw'), 'rb') as image:
        assert image.read(4096) == b'b' * 4096
    with pytest.raises(Refused):
        disk.call('add-namespace', index=0, namespace=disk.file_disk(2, 'c.raw', capacity=MIB))
    assert not os.path.exists(disk.path('c.raw'))
    with pytest.raises(Refused):
        disk.call('add-namespace', index=0, namespace=disk.file_disk(3, 'missing.raw'))
    os.truncate(disk.path('b.raw'), 2 * MIB)
    assert disk.call('resize-namespace', index=0, nsid=2) == {'capacity': 2 * MIB}
    disk.call('remove-namespace', index=0, nsid=2)
    with pytest.raises(Refused):
        disk.call('remove-namespace', index=0, nsid=2)
    # Its lock is gone.
    disk.call('add-namespace', index=0, namespace=disk.file_disk(5, 'b.raw'))
    assert [ns['nsid'] for ns in disk.call('status')['controllers'][0]['namespaces']] == [1, 5]

    path = disk.call('add-controller', controller=disk.controller(3))['socket']
    assert path == disk.socket('nvme3.sock') and os.path.exists(path)
    with pytest.raises(Refused):
        disk.call('add-controller', controller=disk.controller(3))
    disk.call('remove-controller', index=3)
    assert not os.path.exists(path)
    with pytest.raises(Refused, match='parked'):
        disk.call('remove-controller', index=0)
    driver.write(0, b'a' * 512)
    client.close()
    disk.stop()


def test_keeper_killed_ends_the_controller(disk):
    controller = disk.call('status')['controller']['pid']
    os.kill(disk.pid, signal.SIGKILL)
    until(lambda: not alive(disk.pid) and not alive(controller))
    # What it left is no obstacle.
    disk.start().stop()


def test_runtime_directory(disk):
    assert os.stat(disk.run).st_mode & 0o7777 == 0o711
    for name in ('nvme0.sock', 'qmp.sock', 'bus.sock', 'keeper.sock'):
        assert os.stat(disk.socket(name)).st_mode & 0o7777 == 0o600
    disk.stop()


def test_monitor_greets_and_drains(disk):
    monitor = socket.socket(socket.AF_UNIX)
    monitor.settimeout(5)
    monitor.connect(disk.socket('qmp.sock'))
    monitor.sendall(b'{"QMP": {"version": {}, "capabilities": ["oob"]}}\r\n')
    assert json.loads(monitor.recv(4096))['execute'] == 'qmp_capabilities'
    monitor.sendall(b'{"return": {}}\r\n')
    until(lambda: disk.call('status')['qemu']['monitor'])
    event = b'{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}\r\n'
    monitor.sendall(event * 20000 + b'x' * (5 << 20) + b'\r\nnot json\r\n' + event)
    monitor.sendall(b'{"event": "MIGRATION", "data": {"status": "setup"}}\r\n')
    until(lambda: 'MIGRATION setup' in disk.log())
    assert disk.call('status')['qemu']['monitor']
    monitor.close()
    disk.stop()


def test_vmstate_as_qemu_asks_for_it(disk):
    """GDBus is what QEMU uses; the calls are those of its dbus-vmstate object."""
    gi = pytest.importorskip('gi')
    assert gi
    from gi.repository import Gio, GLib
    bus = Gio.DBusConnection.new_for_address_sync(
        'unix:path=' + disk.socket('bus.sock'),
        Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
    owners, = bus.call_sync('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus',
                            'ListQueuedOwners', GLib.Variant('(s)', ('org.qemu.VMState1',)), None, 0, 5000,
                            None).unpack()
    assert len(set(owners)) == 16
    for owner in owners:
        proxy = Gio.DBusProxy.new_sync(bus, 0, None, owner, '/org/qemu/VMState1', 'org.qemu.VMState1', None)
        assert proxy.get_name_owner() == owner
        # No Id: QEMU's id-list makes the migration fail.
        assert proxy.get_cached_property('Id') is None
        with pytest.raises(GLib.Error, match='can only be saved'):
            proxy.call_sync('org.freedesktop.DBus.Properties.GetAll',
                            GLib.Variant('(s)', ('org.qemu.VMState1',)), 0, 5000, None)
        with pytest.raises(GLib.Error):
            proxy.call_sync('Save', None, 0, 5000, None)
    bus.close_sync(None)
    disk.stop()


def test_survives_its_starter():
    """In a session of its own, with nothing of the starter's but the log."""
    with tempfile.TemporaryDirectory(prefix='virtnvme-') as folder:
        keeper = Keeper(folder)
        keeper.controller()
        keeper.start()
        with open('/proc/%d/stat' % keeper.pid) as f:
            fields = f.read().rsplit(')', 1)[1].split()
        assert int(fields[3]) != os.getsid(0)
        for pid in (keeper.pid, keeper.call('status')['controller']['pid']):
            for fd in os.listdir('/proc/%d/fd' % pid):
                try:
                    target = os.readlink('/proc/%d/fd/%s' % (pid, fd))
                except FileNotFoundError:   # closed since it was listed
                    continue
                assert not target.startswith('pipe:'), target
        keeper.stop()


PERSISTENT_LOSS = 0x301
ATTACHED_CONTROLLERS, CONTROLLERS = 0x12, 0x13


def test_two_paths(keeper):
    """Two controllers are one subsystem with one disk, also for a successor of controller and keeper."""
    for index in range(2):
        keeper.controller(index, serial='VNPATHS', subsystem='8f6b0d3e-0000-4000-8000-0000000000ff')['namespaces'] += [
            keeper.file_disk(capacity=16 * MIB, shareable=True), keeper.file_disk(2 + index, 'own%d.raw' % index, capacity=1 * MIB)]
    keeper.start()
    paths = [drive(keeper, index) for index in range(2)]
    drivers = [driver for _, driver in paths]

    def judge():
        controllers = [driver.identify(1) for driver in drivers]
        assert [controller[768:1024].rstrip(b'\0') for controller in controllers] == [
            b'nqn.2014-08.org.nvmexpress:uuid:8f6b0d3e-0000-4000-8000-0000000000ff'] * 2
        assert [struct.unpack_from('<H', controller, 78)[0] for controller in controllers] == [1, 2]
        assert [controller[76] for controller in controllers] == [0b1010] * 2
        namespaces = [driver.identify(0, 1) for driver in drivers]
        assert namespaces[0] == namespaces[1] and namespaces[0][30] == 1
        assert drivers[0].identify(3, 1) == drivers[1].identify(3, 1)
        assert [drivers[index].identify(0, 2 + index)[30] for index in range(2)] == [0, 0]

    def lists(driver, cns, nsid=0, first=0):
        page = driver.alloc(4096)
        driver.admin.command(nvme.IDENTIFY, nsid, page, cdw=(first << 16 | cns,))
        count, = struct.unpack('<H', driver.memory.read(page, 2))
        return list(struct.unpack('<%dH' % count, driver.memory.read(page + 2, 2 * count)))

    def judge_lists(having):
        for driver in drivers:
            assert lists(driver, CONTROLLERS) == [1, 2]
            assert lists(driver, ATTACHED_CONTROLLERS, 1) == having
            assert [lists(driver, ATTACHED_CONTROLLERS, nsid) for nsid in (2, 3, 4)] == [[1], [2], []]
        assert lists(drivers[0], CONTROLLERS, first=2) == [2]

    def cross(lba):
        for writer, reader in ((0, 1), (1, 0)):
            content = random.Random(lba + writer).randbytes(65536)
            drivers[writer].write(lba, content)
            drivers[reader].flush()
            assert drivers[reader].read(lba, len(content)) == content

    judge()
    judge_lists([1, 2])
    cross(0)
    keeper.call('upgrade')
    judge()
    judge_lists([1, 2])
    cross(1000)
    # One path goes, also for the next controller process, and comes back.
    keeper.call('remove-namespace', index=0, nsid=1)
    judge_lists([2])
    with pytest.raises(nvme.Failed) as failure:
        drivers[0].read(0, 512)
    assert failure.value.status == PERSISTENT_LOSS
    os.kill(keeper.call('status')['controller']['pid'], signal.SIGKILL)
    with pytest.raises(nvme.Failed) as failure:
        drivers[0].read(0, 512)
    assert failure.value.status == PERSISTENT_LOSS
    drivers[1].write(5, bytes(512))
    keeper.call('add-namespace', index=0, namespace=keeper.file_disk(shareable=True))
    judge_lists([1, 2])
    cross(2000)
    for client, _ in paths:
        client.close()
    keeper.stop()
