# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults of the storage: what the guest gets to see of them."""
import concurrent.futures
import errno
import json
import os
import random
import select
import signal
import socket
import struct
import time

import pytest

from client import nvme
from lab.faults import Faults
from test_keeper import alive, drive, keeper       # noqa: F401 pylint: disable=unused-import

MiB = 1 << 20
BLOCK = 4096
VOLATILE_WRITE_CACHE = 6


def until(condition, timeout=20):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, 'it did not come true in time'
        time.sleep(0.005)


@pytest.fixture
def faults(image):
    return Faults.make(image + '.control', capacity=16 * MiB)


@pytest.fixture
def faulty(start_controller, image, faults, ring):
    return start_controller('--namespace', 'fault:%s,control=%s.control' % (image, image), '--io=' + ring)


@pytest.fixture(params=['io_uring', 'threads'])
def ring(request):
    return request.param


WRITE_FAULT, UNRECOVERED_READ = 0x280, 0x281


def submit(driver, opcode, lba=0, data=None, size=4096, qid=1, flags=0):
    """(queue, cid, buffer)"""
    iova = driver.alloc(size)
    if data:
        driver.memory.write(iova, data)
    queue = driver.queues[qid]
    if opcode == nvme.FLUSH:
        return queue, queue.submit(nvme.FLUSH, 1), iova
    return queue, driver.transfer(queue, opcode, lba, size // 512, iova, size, flags=flags), iova


def test_a_held_write_ends_when_it_is_let_go(faulty, faults, connect):
    driver = connect(faulty)
    faults.write.hang()
    queue, cid, _ = submit(driver, nvme.WRITE, 8, b'w' * 4096)
    until(lambda: faults.write.held == 1)
    assert driver.read(8, 4096) == bytes(4096)
    assert not queue.finished(cid)
    faults.write.release()
    queue.wait(cid)
    assert driver.read(8, 4096) == b'w' * 4096


def test_the_guests_memory_stays_until_the_disk_is_done_with_it(faulty, faults, image, connect):
    driver = connect(faulty)
    faults.write.hang()
    submit(driver, nvme.WRITE, 8, b'w' * 4096)
    until(lambda: faults.write.held == 1)
    driver.client.close()
    until(lambda: 'the client has disconnected' in faulty.log())
    faults.write.release()
    with open(image, 'rb') as f:
        until(lambda: os.pread(f.fileno(), 4096, 4096) == b'w' * 4096, timeout=10)


def test_a_delay_can_be_changed_while_requests_wait(faulty, faults, connect):
    driver = connect(faulty)
    faults.read.delay(3600)
    queue, cid, _ = submit(driver, nvme.READ)
    until(lambda: faults.read.held == 1)
    faults.read.delay(0.05)
    queue.wait(cid)


@pytest.mark.parametrize('error, op, status', [
    (errno.EIO, 'read', UNRECOVERED_READ),
    (errno.EIO, 'write', WRITE_FAULT),
    (errno.EIO, 'flush', WRITE_FAULT),
    (errno.ENOSPC, 'write', nvme.CAPACITY_EXCEEDED),
    (errno.EDQUOT, 'write', nvme.CAPACITY_EXCEEDED),
    (errno.EROFS, 'write', nvme.WRITE_PROTECTED),
], ids=lambda value: errno.errorcode.get(value) if isinstance(value, int) and value < 128 else None)
def test_an_error_is_a_status(faulty, faults, connect, error, op, status):
    driver = connect(faulty)
    getattr(faults, op).fail(error, times=1)
    commands = {'read': lambda: driver.read(0, 4096), 'write': lambda: driver.write(0, b'x' * 4096), 'flush': driver.flush}
    with pytest.raises(nvme.Failed) as failed:
        commands[op]()
    assert failed.value.status == status
    commands[op]()


def test_only_the_bad_blocks_fail(faulty, faults, connect):
    driver = connect(faulty)
    faults.read.fail(errno.EIO, first=8192, last=8703)
    driver.read(0, 8192)
    driver.read(17, 4096)
    with pytest.raises(nvme.Failed):
        driver.read(8, 8192)
    assert faults.read.failed == 1


class Model:
    """Writes of one block each, at random; what a power cut may leave of them."""
    BLOCKS = 64

    def __init__(self, driver, seed, durable=False):
        self.driver, self.random, self.durable = driver, random.Random(seed), durable
        self.sequence = 0
        self.written = {block: [0] for block in range(self.BLOCKS)}     # all that may be there, in order
        self.acknowledged = dict.fromkeys(range(self.BLOCKS), 0)
        self.stable = dict.fromkeys(range(self.BLOCKS), 0)              # nothing older may be there
        self.open = {}          # block: (queue, cid, sequence, FUA)
        self.flushes = []       # (queue, cid, acknowledged before)
        self.buffers = [driver.alloc(BLOCK) for _ in range(32)]
        self.of_block = {}

    @staticmethod
    def content(block, sequence):
        return struct.pack('<QQ', block, sequence) * (BLOCK // 16) if sequence else bytes(BLOCK)

    def write(self):
        block = self.random.randrange(self.BLOCKS)
        if block in self.open or not self.buffers:
            return
        self.sequence += 1
        buffer = self.of_block[block] = self.buffers.pop()
        self.driver.memory.write(buffer, self.content(block, self.sequence))
        self.written[block].append(self.sequence)
        fua = self.random.random() < 0.2
        queue = self.driver.queues[self.random.choice(list(self.driver.queues))]
        cid = self.driver.transfer(queue, nvme.WRITE, block * 8, 8, buffer, BLOCK, flags=nvme.FUA if fua else 0)
        self.open[block] = queue, cid, self.sequence, fua

    def flush(self):
        queue = self.driver.queues[self.random.choice(list(self.driver.queues))]
        self.flushes.append((queue, queue.submit(nvme.FLUSH, 1), dict(self.acknowledged)))

    def take(self):
        for block, (queue, cid, sequence, fua) in list(self.open.items()):
            if queue.finished(cid):
                assert queue.done.pop(cid)[0] == 0
                del self.open[block]
                self.buffers.append(self.of_block.pop(block))
                self.acknowledged[block] = sequence
                if fua or self.durable:
                    self.stable[block] = sequence
        for flush in list(self.flushes):
            queue, cid, before = flush
            if queue.finished(cid):
                assert queue.done.pop(cid)[0] == 0
                self.flushes.remove(flush)
                for block, sequence in before.items():
                    self.stable[block] = max(self.stable[block], sequence)

    def step(self):
        if self.random.random() < 0.03 and len(self.flushes) < 8:
            self.flush()
        else:
            self.write()
        self.take()

    def run(self, commands):
        """Until so many more have been given, and some have ended."""
        end = self.sequence + commands
        deadline = time.monotonic() + 60
        while self.sequence < end:
            self.step()
            assert time.monotonic() < deadline, 'it is stuck'

    def check(self, image):
        """Return: how many blocks have lost something that they were allowed to lose."""
        lost = 0
        with open(image, 'rb') as f:
            for block in range(self.BLOCKS):
                data = f.read(BLOCK)
                sequence = struct.unpack_from('<Q', data, 8)[0]
                assert data == self.content(block, sequence), 'block %d is torn' % block
                assert sequence in self.written[block]
                assert sequence >= self.stable[block], 'block %d has lost %d, it has %d' % (block, self.stable[block], sequence)
                lost += sequence < self.acknowledged[block]
        return lost


@pytest.mark.parametrize('cache', ['none', 'writeback', 'writethrough'])
@pytest.mark.parametrize('write_cache', [True, False], ids=['cached', 'uncached'])
def test_power_cut(start_controller, connect, image, ring, cache, write_cache):
    """All that was acknowledged after Flush or with FUA is there; without a volatile cache, all that was acknowledged."""
    stable = image + '.stable'
    faults = Faults.make(image + '.control', image, stable)
    controller = start_controller('--namespace', 'fault:%s,cache=%s,control=%s.control,stable=%s' % (image, cache, image, stable),
                                  '--io=' + ring, '--io-threads=2')
    driver = connect(controller, queues=4)
    durable = not write_cache or cache == 'writethrough'
    if not write_cache:
        driver.admin.command(nvme.SET_FEATURES, cdw=(VOLATILE_WRITE_CACHE, 0))
    seed = os.urandom(4).hex()
    print('seed', seed)
    model = Model(driver, seed, durable)
    model.run(200)
    faults.flush.delay(0.02)
    model.run(300)
    controller.kill()
    driver.doorbell = lambda *args: None
    model.take()        # what it acknowledged last
    faults.cut_power(image, stable, seed=random.Random(seed).choice([None, seed]))
    model.check(image)
    assert max(model.stable.values()) > 0


def test_power_cut_takes_what_was_not_flushed(start_controller, connect, image):
    """Else the test before this one could not fail."""
    faults = Faults.make(image + '.control', image, image + '.stable')
    controller = start_controller('--namespace', 'fault:%s,control=%s.control,stable=%s.stable' % (image, image, image))
    driver = connect(controller)
    driver.write(0, b'a' * BLOCK)
    driver.flush()
    driver.write(0, b'b' * BLOCK)
    driver.write(8, b'c' * BLOCK, flags=nvme.FUA)
    controller.kill()
    assert faults.behind() == [0]
    faults.cut_power(image, image + '.stable')
    with open(image, 'rb') as f:
        assert f.read(2 * BLOCK) == b'a' * BLOCK + b'c' * BLOCK


@pytest.fixture
def policy():
    return 'report'


@pytest.fixture
def faulty_disk(keeper, monkeypatch, policy):
    """A keeper of one disk of 16 MiB with faults and a stable file, running; keeper.faults."""
    keeper.controller()['namespaces'].append(keeper.file_disk(cache='none', error_policy=policy))
    with open(keeper.path('a.raw'), 'wb') as f:
        f.truncate(16 * MiB)
    monkeypatch.setenv('VIRTNVME_FAULTS', keeper.folder)
    keeper.faults = Faults.make(keeper.path('a.raw.control'), keeper.path('a.raw'), keeper.path('a.raw.stable'))
    return keeper.start()


def test_faults_behind_a_keeper(faulty_disk):
    keeper, faults = faulty_disk, faulty_disk.faults
    client, driver = drive(keeper)
    faults.write.fail(errno.EIO, times=1)
    with pytest.raises(nvme.Failed) as failed:
        driver.write(0, b'x' * BLOCK)
    assert failed.value.status == WRITE_FAULT
    faults.write.hang()
    queue, cid, _ = submit(driver, nvme.WRITE, 0, b'y' * BLOCK)
    until(lambda: faults.write.held == 1)
    faults.write.release()
    queue.wait(cid)
    assert faults.behind() == [0]
    driver.flush()
    assert not faults.behind()
    client.close()
    keeper.stop()


class Monitor:
    """QEMU's end of its second monitor: commands are answered, a stop and a cont are told as events."""

    def __init__(self, keeper):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(keeper.socket('qmp.sock'))
        self.lines = self.sock.makefile('r')
        self.running = True
        self.say(QMP={'version': {}, 'capabilities': ['oob']})
        self.commands = []
        self.serve('qmp_capabilities')
        until(lambda: keeper.call('status')['qemu']['monitor'])

    def say(self, **message):
        self.sock.sendall(json.dumps(message).encode() + b'\r\n')

    def serve(self, name, error=None, **result):
        """The next command, which must be this one."""
        command = json.loads(self.lines.readline())
        assert command['execute'] == name, command
        answer = {'id': command['id']} if 'id' in command else {}
        if error:
            self.say(error={'class': 'GenericError', 'desc': error}, **answer)
            return
        self.say(**{'return': result}, **answer)
        if name == 'stop' and self.running:
            self.running = False
            self.say(event='STOP', timestamp={'seconds': 1, 'microseconds': 2})

    def cont(self):
        """As somebody says on QEMU's first monitor."""
        self.running = True
        self.say(event='RESUME', timestamp={'seconds': 1, 'microseconds': 2})

    def silent(self):
        return not select.select([self.sock], [], [], 0.05)[0]

    def close(self):
        self.lines.close()
        self.sock.close()


@pytest.fixture
def monitor(faulty_disk):
    one = Monitor(faulty_disk)
    yield one
    one.close()


def problem(keeper):
    return keeper.call('status')['controllers'][0]['namespaces'][0].get('problem')


@pytest.mark.parametrize('policy', ['stop'])
def test_stop_pauses_the_domain_until_it_is_resumed(faulty_disk, monitor):
    keeper, faults = faulty_disk, faulty_disk.faults
    client, driver = drive(keeper)
    assert monitor.silent() and problem(keeper) is None
    faults.write.fail(errno.EIO)
    queue, cid, _ = submit(driver, nvme.WRITE, 0, b'y' * BLOCK)
    monitor.serve('stop')
    until(lambda: problem(keeper) == 'write: Input/output error')
    assert not queue.finished(cid)
    # Resumed too early: paused again.
    monitor.cont()
    monitor.serve('stop')
    assert not queue.finished(cid) and faults.write.failed == 2
    faults.write.succeed()
    monitor.cont()
    queue.wait(cid)
    until(lambda: problem(keeper) is None)
    assert driver.read(0, BLOCK) == b'y' * BLOCK
    assert monitor.silent()
    client.close()
    keeper.stop()


@pytest.mark.parametrize('policy', ['enospace'])
def test_enospace_pauses_for_want_of_space_only(faulty_disk, monitor):
    keeper, faults = faulty_disk, faulty_disk.faults
    client, driver = drive(keeper)
    faults.write.fail(errno.EIO)
    with pytest.raises(nvme.Failed):
        driver.write(0, b'x' * BLOCK)
    assert monitor.silent()
    faults.write.fail(errno.ENOSPC)
    queue, cid, _ = submit(driver, nvme.WRITE, 0, b'y' * BLOCK)
    monitor.serve('stop')
    faults.clear()
    monitor.cont()
    queue.wait(cid)
    client.close()
    keeper.stop()


@pytest.mark.parametrize('policy', ['stop'])
def test_a_domain_that_cannot_be_paused_is_told_the_error(faulty_disk):
    keeper, faults = faulty_disk, faulty_disk.faults
    client, driver = drive(keeper)
    faults.write.fail(errno.EIO)
    monitor = None
    for there in False, True:
        if there:
            monitor = Monitor(keeper)
        queue, cid, _ = submit(driver, nvme.WRITE, 0, b'y' * BLOCK)
        if there:
            monitor.serve('stop', error='not today')
        with pytest.raises(nvme.Failed) as failed:
            queue.wait(cid)
        assert failed.value.status == WRITE_FAULT
        assert problem(keeper) is None
    monitor.close()
    client.close()
    keeper.stop()


@pytest.mark.parametrize('policy', ['stop'])
@pytest.mark.parametrize('end', ['detach', 'reset', 'disconnect', 'stop'])
def test_what_is_held_is_in_nobodys_way(faulty_disk, monitor, end):
    keeper, faults = faulty_disk, faulty_disk.faults
    client, driver = drive(keeper)
    faults.write.fail(errno.EIO)
    queue, cid, _ = submit(driver, nvme.WRITE, 0, b'y' * BLOCK)
    monitor.serve('stop')
    if end == 'detach':
        keeper.call('remove-namespace', index=0, nsid=1)
        with pytest.raises(nvme.Failed) as failed:
            queue.wait(cid)
        assert failed.value.status == WRITE_FAULT
    if end == 'reset':
        driver.disable()
    if end == 'stop':
        keeper.stop()
    client.close()
    keeper.stop()


def test_power_cut_of_a_keeper_whose_controllers_died(faulty_disk):
    """A controller that dies is no power cut, and what its successors acknowledge is as good."""
    keeper, faults = faulty_disk, faulty_disk.faults
    client, driver = drive(keeper)
    seed = os.urandom(4).hex()
    print('seed', seed)
    model = Model(driver, seed)
    for number in range(5):
        faults.write.delay(0.01 * (number % 3))
        model.run(40)
        os.kill(keeper.call('status')['controller']['pid'], signal.SIGKILL)
    model.run(40)
    controller = keeper.call('status')['controller']['pid']
    os.kill(keeper.pid, signal.SIGSTOP)     # no successor for this one
    os.kill(controller, signal.SIGKILL)
    os.kill(keeper.pid, signal.SIGKILL)
    until(lambda: not alive(keeper.pid) and not alive(controller))
    driver.doorbell = lambda *args: None
    model.take()
    faults.cut_power(keeper.path('a.raw'), keeper.path('a.raw.stable'), seed=random.Random(seed).choice([None, seed]))
    model.check(keeper.path('a.raw'))
    assert max(model.stable.values()) > 0
    client.close()


@pytest.mark.parametrize('policy', ['stop'])
def test_a_successor_tries_what_was_held(faulty_disk, monitor):
    keeper, faults = faulty_disk, faulty_disk.faults
    client, driver = drive(keeper)
    faults.write.fail(errno.EIO)
    queue, cid, _ = submit(driver, nvme.WRITE, 0, b'y' * BLOCK)
    monitor.serve('stop')
    os.kill(keeper.call('status')['controller']['pid'], signal.SIGKILL)
    monitor.serve('stop')
    assert not queue.finished(cid) and problem(keeper)
    faults.clear()
    monitor.cont()
    queue.wait(cid)
    assert driver.read(0, BLOCK) == b'y' * BLOCK
    client.close()
    keeper.stop()


@pytest.mark.parametrize('policy', ['stop'])
def test_an_upgrade_changes_nothing_about_what_is_held(faulty_disk, monitor):
    keeper, faults = faulty_disk, faulty_disk.faults
    client, driver = drive(keeper)
    faults.write.fail(errno.EIO)
    queue, cid, _ = submit(driver, nvme.WRITE, 0, b'y' * BLOCK)
    monitor.serve('stop')
    # The new controller tries again, and the keeper is not executed before QEMU has answered.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        future = pool.submit(keeper.call, 'upgrade')
        monitor.serve('stop')
        future.result()
    until(lambda: problem(keeper) == 'write: Input/output error')
    assert not queue.finished(cid)
    faults.clear()
    monitor.cont()
    queue.wait(cid)
    assert driver.read(0, BLOCK) == b'y' * BLOCK
    client.close()
    keeper.stop()
