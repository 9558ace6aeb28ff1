# SPDX-License-Identifier: LGPL-2.1-or-later
"""Message mode: while a migration copies the guest's memory every write to it goes by DMA_WRITE.

What QEMU sees (the guest's own writes, and DMA_WRITE) these tests do twice, in the memory that the controller has mapped
and in a copy of it. In the end the two must be the same: that is what arrives at a migration's destination.
"""
import errno
import os
import random
import struct
import sys
import time
from pathlib import Path

import pytest

from client import nvme, vfio_user as vu
from test_keeper_channel import Keeper, keeper, driver_of   # noqa: F401 pylint: disable=unused-import

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lab'))
from faults import Faults   # noqa: E402 pylint: disable=wrong-import-position

MiB = 1 << 20
SIZE = 32 * MiB


class Tracked(vu.Memory):
    """Guest memory with a copy, made by copy(), that only sees what QEMU sees."""

    def __init__(self, size):
        super().__init__(size)
        self.other = None
        self.synced = False

    def copy(self):
        self.other = bytearray(self.bytes)

    def last_sync(self):
        """What is executed from here on is in memory, and is not copied any more."""
        self.synced = True

    def write(self, offset, data):
        super().write(offset, data)
        if self.other is not None and not self.synced:
            self.other[offset:offset + len(data)] = data

    def stale(self):
        """The pages that the copy does not have as they are."""
        if self.bytes[:] == self.other:
            return []
        return [page for page in range(0, self.size, 4096) if self.bytes[page:page + 4096] != self.other[page:page + 4096]]


def now():
    return time.monotonic_ns() // 1000


def tracked_driver(client, vectors=5, queues=1, entries=64):
    memory = Tracked(SIZE)
    client.map(memory, 0)
    driver = nvme.Driver(client, memory, vectors=vectors)
    driver.tracked = memory
    driver.enable()
    for qid in range(1, queues + 1):
        driver.create_queue(qid, entries)
    return driver


@pytest.fixture
def disk(keeper):   # noqa: F811 pylint: disable=redefined-outer-name
    """A driver and 16 MiB of memory as a disk."""
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, bytes=16 * MiB)
    return tracked_driver(client)


def enter(keeper, since=None):  # noqa: F811 pylint: disable=redefined-outer-name
    assert keeper.channel.call('message-mode', {'enabled': True, 'since': since or now()}) == {}


def answer_of(keeper, request):     # noqa: F811 pylint: disable=redefined-outer-name
    message = keeper.channel.receive()
    assert message['id'] == request
    return message.get('result', message.get('error'))


def call_and_serve(keeper, driver, command, arguments):     # noqa: F811 pylint: disable=redefined-outer-name
    """As a keeper does: what the controller asks of QEMU goes on meanwhile."""
    request = keeper.channel.send(command, arguments)
    keeper.channel.sock.setblocking(False)

    def answered():
        try:
            return keeper.channel.sock.recv(1, 0x2)     # MSG_PEEK
        except BlockingIOError:
            return None

    driver.until(answered)
    return answer_of(keeper, request)


def leave(keeper, driver):      # noqa: F811 pylint: disable=redefined-outer-name
    assert call_and_serve(keeper, driver, 'message-mode', {'enabled': False}) == {}


def writes(client):
    return sum(1 for command, _, _ in client.served if command == vu.DMA_WRITE)


def test_in_message_mode_only_messages_write(keeper, disk):     # noqa: F811
    disk.write(0, os.urandom(MiB))
    enter(keeper)
    disk.tracked.copy()
    for lba, size in ((0, 512), (8, 4096), (64, MiB - 64 * 512), (3, 1024)):
        disk.read(lba, size)
        disk.write(lba, os.urandom(size))
        disk.flush()
        disk.read(lba, size)
    disk.identify(1)
    disk.log_page(2, 512)
    assert disk.tracked.stale() == []
    assert {command for command, _, _ in disk.client.served} == {vu.DMA_WRITE}, 'reads of guest memory stay direct'
    leave(keeper, disk)
    before = writes(disk.client)
    data = os.urandom(8192)
    disk.write(0, data)
    assert disk.read(0, 8192) == data
    assert writes(disk.client) == before
    assert disk.tracked.stale() != [], 'directly again, as before'


def test_queues_that_are_made_in_message_mode(keeper, disk):    # noqa: F811
    enter(keeper)
    disk.tracked.copy()
    disk.create_queue(2)
    disk.write(0, b'q' * 4096, qid=2)
    assert disk.read(0, 4096, qid=2) == b'q' * 4096
    disk.disable()
    disk.enable()
    disk.create_queue(1)
    assert disk.read(0, 4096) == b'q' * 4096
    assert disk.tracked.stale() == []


def test_an_interrupt_waits_for_the_acknowledgement(keeper, disk):  # noqa: F811
    queue, client = disk.queues[1], disk.client
    enter(keeper)
    iova = disk.alloc(4096)
    disk.vectors[1].take()
    client.hold = True
    cid = queue.submit(nvme.READ, 1, iova, cdw=(0, 0, 7))
    disk.until(lambda: client.held)
    client.serve(0.1)
    assert disk.vectors[1].take() == 0 and len(client.held) == 1, 'the data may have to be read again by a successor'
    client.answer(client.held.pop(0))
    disk.until(lambda: client.held)
    client.serve(0.1)
    assert disk.vectors[1].take() == 0, 'the completion is not there yet'
    client.answer(client.held.pop(0))
    disk.wait_interrupt(1)
    assert queue.finished(cid)


def fill_the_window(driver, commands=63):
    """Reads until the controller posts no more; nothing is answered from here on."""
    client, queue = driver.client, driver.queues[1]
    client.hold = True
    held = -1
    cids = [driver.transfer(queue, nvme.READ, 0, 2048, driver.alloc(MiB), MiB) for _ in range(min(commands, 16))]
    while held != len(client.held):
        held = len(client.held)
        client.serve(0.3)
    return cids


def test_nothing_of_ours_waits_while_the_client_executes_nothing(keeper, disk):     # noqa: F811
    """QEMU's main thread holds the BQL while it waits for us, so it executes no DMA_WRITE meanwhile."""
    enter(keeper)
    client = disk.client
    cids = fill_the_window(disk)
    outstanding = sum(int.from_bytes(m.payload[8:16], 'little') for m in client.held)
    assert outstanding <= 6 * MiB and len(client.held) <= 1024, 'the window has no end'
    assert not disk.queues[1].poll()
    # Registers, the DMA map (all threads must stand), interrupts, the keeper's commands.
    assert disk.read32(nvme.CSTS) & nvme.RDY
    other = vu.Memory(MiB)
    client.map(other, 1 << 33)
    client.unmap(1 << 33, MiB)
    other.close()
    client.enable_vectors(disk.vectors)
    assert keeper.channel.call('counters')['controllers'][0]['csts'] & 1
    keeper.add_namespace(0, 2)
    enter(keeper)
    # And when it executes again, all comes.
    client.hold = False
    for message in client.held:
        client.answer(message)
    for cid in cids:
        disk.queues[1].wait(cid)


@pytest.mark.parametrize('how', ['reset', 'disconnect', 'remove'])
def test_the_end_while_the_window_is_full(keeper, disk, how):   # noqa: F811
    """DEVICE_RESET is waited for with the BQL held."""
    enter(keeper)
    fill_the_window(disk)
    if how == 'reset':
        disk.client.reset()
        disk.client.hold = disk.client.bus_master = False   # and QEMU executes none of it
        for message in disk.client.held:
            disk.client.answer(message)
        leave(keeper, disk)
        return
    if how == 'disconnect':
        disk.client.close()
        assert keeper.channel.receive()['event'] == 'closed'
    keeper.channel.call('remove-controller', {'index': 0})
    assert keeper.channel.call('message-mode', {'enabled': False}) == {}


def test_ready_is_0_only_after_the_last_write(keeper, disk):    # noqa: F811
    """From CSTS.RDY 0 on the guest uses the memory for something else."""
    enter(keeper)
    client, iova = disk.client, disk.alloc(4096)
    client.hold = True
    disk.queues[1].submit(nvme.READ, 1, iova, cdw=(0, 0, 7))
    disk.until(lambda: client.held)
    disk.write32(nvme.CC, 0)
    for _ in range(20):
        assert disk.read32(nvme.CSTS) & nvme.RDY
        time.sleep(0.005)
    client.hold = False
    for message in client.held:
        client.answer(message)
    disk.wait_csts(nvme.RDY, 0)


def test_without_bus_mastering_nothing_is_written(keeper, folder):     # noqa: F811
    client = keeper.add_controller()
    faults = fault_disk(keeper, folder)
    driver = tracked_driver(client)
    enter(keeper)
    faults.read.hang()
    iova = driver.alloc(4096)
    queue = driver.queues[1]
    cid = queue.submit(nvme.READ, 1, iova, cdw=(0, 0, 7))
    driver.until(lambda: faults.read.held == 1)
    driver.bus_master(False)
    before = len(client.served)
    faults.read.release()
    driver.until(lambda: faults.read.succeeded == 1)
    client.serve(0.1)
    assert len(client.served) == before
    driver.bus_master(True)
    queue.wait(cid)


def test_leaving_waits_for_the_acknowledgements(keeper, disk):  # noqa: F811
    enter(keeper)
    client, queue = disk.client, disk.queues[1]
    iova = disk.alloc(8192)
    client.hold = True
    first = queue.submit(nvme.READ, 1, iova, cdw=(0, 0, 7))
    disk.until(lambda: client.held)
    request = keeper.channel.send('message-mode', {'enabled': False})
    with pytest.raises(OSError) as failed:
        keeper.channel.call('message-mode', {'enabled': False})
    assert failed.value.errno == errno.EALREADY
    second = queue.submit(nvme.READ, 1, iova + 4096, cdw=(8, 0, 7))
    client.serve(0.2)
    posted = [m for m in client.held if m.command == vu.DMA_WRITE]
    assert len(posted) == 1 and not queue.poll(), 'a direct write could overtake those that are posted'
    client.hold = False
    for message in client.held:
        client.answer(message)
    queue.wait(first)
    queue.wait(second)
    assert answer_of(keeper, request) == {}


def test_entering_again_while_leaving(keeper, disk):    # noqa: F811
    enter(keeper)
    client, queue = disk.client, disk.queues[1]
    iova = disk.alloc(4096)
    client.hold = True
    cid = queue.submit(nvme.READ, 1, iova, cdw=(0, 0, 7))
    disk.until(lambda: client.held)
    request = keeper.channel.send('message-mode', {'enabled': False})
    entering = keeper.channel.send('message-mode', {'enabled': True, 'since': now()})
    answers = [keeper.channel.receive() for _ in range(2)]
    assert {a['id'] for a in answers} == {request, entering}
    assert all('error' in a for a in answers if a['id'] == request)
    client.hold = False
    for message in client.held:
        client.answer(message)
    queue.wait(cid)
    disk.tracked.copy()
    disk.read(0, 65536)
    assert disk.tracked.stale() == []


def successor_in_message_mode(keeper, folder, image):   # noqa: F811
    """It, and the driver of its predecessor."""
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, image)
    driver = tracked_driver(client)
    driver.write(0, b's' * 4096)
    enter(keeper)
    keeper.process.kill()
    keeper.process.wait()
    keeper.end = lambda: None

    successor = Keeper(folder)
    driver.client = again = successor.add_controller(state=client.state)
    successor.add_namespace(0, 1, image)
    driver.tracked.copy()
    again.map(driver.tracked, 0)
    again.enable_vectors(driver.vectors)
    return successor, driver


def test_ready_is_0_only_after_the_last_write_of_the_dead(keeper, folder, image):   # noqa: F811
    successor, driver = successor_in_message_mode(keeper, folder, image)
    driver.client.hold = True
    driver.write32(nvme.CC, 0)
    driver.until(lambda: driver.client.held)
    for _ in range(20):
        assert driver.read32(nvme.CSTS) & nvme.RDY
        time.sleep(0.005)
    assert [m.command for m in driver.client.held] == [vu.DMA_READ]
    driver.client.hold = False
    driver.client.answer(driver.client.held.pop())
    driver.wait_csts(nvme.RDY, 0)
    successor.channel.sock.close()
    successor.end()


def test_a_successor_begins_in_message_mode(keeper, folder, image):     # noqa: F811
    successor, driver = successor_in_message_mode(keeper, folder, image)
    again = driver.client
    assert driver.read(0, 4096) == b's' * 4096
    assert driver.tracked.stale() == []
    # What its predecessor has posted may still be on its way, so it asks.
    again.hold = True
    request = successor.channel.send('message-mode', {'enabled': False})
    driver.until(lambda: again.held)
    again.serve(0.1)
    assert [m.command for m in again.held] == [vu.DMA_READ]
    again.hold = False
    again.answer(again.held.pop())
    assert answer_of(successor, request) == {}
    driver.read(0, 4096)
    assert driver.tracked.stale() != []
    successor.channel.sock.close()
    successor.end()


def test_since_is_needed(keeper):   # noqa: F811
    for arguments in ({'enabled': True}, {}, {'enabled': 1}):
        with pytest.raises(OSError) as failed:
            keeper.channel.call('message-mode', arguments)
        assert failed.value.errno == errno.EINVAL
    assert keeper.channel.call('message-mode', {'enabled': False}) == {}, 'it is off'


def fault_disk(keeper, folder, size=16 * MiB):   # noqa: F811
    """An image as namespace 1 whose faults a test has in hand."""
    path, control = os.path.join(folder, 'f.raw'), os.path.join(folder, 'f.control')
    with open(path, 'wb') as f:
        f.write(os.urandom(MiB))
        f.truncate(size)
    faults = Faults.make(control, capacity=size)
    fds = [os.open(path, os.O_RDWR | os.O_DIRECT), os.open(control, os.O_RDWR)]
    try:
        keeper.channel.call('add-namespace', {'index': 0, 'namespace': {
            'nsid': 1, 'target': 'nvme0n1', 'type': 'fault', 'bytes': 0, 'cache': 'none'}}, fds)
    finally:
        for fd in fds:
            os.close(fd)
    return faults


# The overlay.

HEADER, RANGE = struct.Struct('<QIIQ'), struct.Struct('<QII')
MAGIC = 0x79616c7265766f76


def export(keeper, index=0, **more):    # noqa: F811 pylint: disable=redefined-outer-name
    """{iova: bytes} of the overlay, and the file."""
    fd = os.memfd_create('overlay')
    bound = keeper.channel.call('overlay-bound', {'index': index}).get('bytes', MiB * MiB)
    result = keeper.channel.call('overlay-export', {'index': index, **more}, [fd])
    assert result['bytes'] <= bound
    data = os.pread(fd, 1 << 30, 0)
    magic, version, count, size = HEADER.unpack_from(data)
    assert (magic, version, count, size) == (MAGIC, 1, result['ranges'], len(data)) and size == result['bytes']
    ranges, at = {}, HEADER.size
    for _ in range(count):
        iova, length, _ = RANGE.unpack_from(data, at)
        ranges[iova] = data[at + RANGE.size:at + RANGE.size + length]
        at += RANGE.size + length
    assert at == size
    return ranges, fd


def freeze(keeper, driver):     # noqa: F811 pylint: disable=redefined-outer-name
    """The guest stands from here on."""
    assert call_and_serve(keeper, driver, 'freeze', {}) == {}


def load_of(driver, seconds, lbas, sizes=(512, 4096, 4096, 16384, 65536), depth=24):
    """Reads into all kinds of places, with the guest writing to its memory as well, for a while."""
    queue, free, running = driver.queues[1], [driver.alloc(65536 + 8192) for _ in range(depth)], {}
    source = random.Random(7)
    lists = {iova: driver.alloc(8192) for iova in free}
    end = time.monotonic() + seconds
    while time.monotonic() < end or running:
        driver.client.serve(0.001)
        queue.poll()
        for cid in [cid for cid in running if cid in queue.done]:
            assert queue.done.pop(cid)[0] == 0
            free.append(running.pop(cid))
        while free and time.monotonic() < end:
            iova, size = free.pop(), source.choice(sizes)
            driver.memory.write(iova + 65536 + 4096, os.urandom(64))
            # With and without an offset into the first page: in place, and through a buffer of ours.
            driver.next_page, keep = lists[iova], driver.next_page
            cid = driver.transfer(queue, nvme.READ, source.choice(lbas), size // 512, iova + source.choice((0, 512, 4)), size)
            driver.next_page = keep
            running[cid] = iova


def test_the_destination_has_every_byte(keeper, folder):     # noqa: F811
    """Copying begins, message mode comes later, slow reads are under way at that moment: copy + messages + overlay is memory."""
    client = keeper.add_controller()
    faults = fault_disk(keeper, folder)
    driver = tracked_driver(client)
    slow = [driver.alloc(65536) for _ in range(8)]
    load_of(driver, 0.2, range(0, 1024, 8))
    # The migration's setup; then memory is copied. What comes directly from here on is not seen.
    since = now()
    driver.tracked.copy()
    load_of(driver, 0.3, range(0, 1024, 8))
    faults.read.hang()
    queue = driver.queues[1]
    cids = [driver.transfer(queue, nvme.READ, 128 * i, 128, iova, 65536) for i, iova in enumerate(slow)]
    driver.until(lambda: faults.read.held == len(slow))
    enter(keeper, since)
    with pytest.raises(OSError) as failed:
        export(keeper)
    assert failed.value.errno == errno.EBUSY, 'reads are in flight'
    assert keeper.channel.call('overlay-bound', {'index': 0}) == {}
    time.sleep(0.05)
    faults.read.release()
    for cid in cids:
        queue.wait(cid)
    load_of(driver, 0.3, range(0, 1024, 8))
    bound = keeper.channel.call('overlay-bound', {'index': 0})['bytes']
    # In flight when the guest stands.
    for _ in range(16):
        driver.transfer(queue, nvme.READ, 0, 8, driver.alloc(4096), 4096)
    stopped = now()
    freeze(keeper, driver)
    client.serve(0.1)
    assert driver.tracked.stale(), 'there is nothing to correct'
    overlay, fd = export(keeper, stopped=stopped)
    assert os.fstat(fd).st_size <= bound, 'it does not grow'
    for iova, data in overlay.items():
        driver.tracked.other[iova:iova + len(data)] = data
    assert driver.tracked.stale() == []
    # And it is not simply all memory.
    assert sum(len(data) for data in overlay.values()) < driver.next_page
    os.close(fd)


def test_what_was_before_is_left_out(keeper, disk):     # noqa: F811
    before, after = disk.alloc(4096), disk.alloc(4096)
    queue = disk.queues[1]
    queue.command(nvme.READ, 1, before, cdw=(0, 0, 7))
    time.sleep(0.1)
    since = now()
    queue.command(nvme.READ, 1, after, cdw=(0, 0, 7))
    time.sleep(0.1)     # the log has a time only when something follows
    queue.command(nvme.READ, 1, after, cdw=(0, 0, 7))
    enter(keeper, since)
    pages = {iova + offset for iova, data in export(keeper)[0].items() for offset in range(0, len(data), 4096)}
    assert after in pages and before not in pages
    assert {disk.admin.cq, queue.cq} <= pages, 'queues are always taken'


def test_what_is_executed_after_the_last_look_is_carried(keeper, disk):     # noqa: F811
    """QEMU executes and acknowledges messages when it has looked at its dirty log for the last time and the guest stands."""
    since = now()
    client, queue = disk.client, disk.queues[1]
    early, late = ([disk.alloc(4096) for _ in range(8)] for _ in range(2))
    for iova in early + late:
        disk.memory.write(iova, b'old.' * 1024)
    disk.tracked.copy()
    enter(keeper, since)
    for iova in early:
        queue.wait(disk.transfer(queue, nvme.READ, 0, 8, iova, 4096))
    time.sleep(0.05)
    client.hold = True
    cids = [disk.transfer(queue, nvme.READ, 0, 8, iova, 4096) for iova in late]
    disk.until(lambda: len(client.held) >= 8)
    stopped = now()
    disk.tracked.last_sync()
    client.hold = False
    for message in client.held:
        client.answer(message)
    for cid in cids:
        queue.wait(cid)
    assert disk.memory.read(late[-1], 4096) == bytes(4096)
    freeze(keeper, disk)
    overlay, _ = export(keeper, stopped=stopped)
    for iova, data in overlay.items():
        disk.tracked.other[iova:iova + len(data)] = data
    assert disk.tracked.stale() == []
    # What came before is not in it again.
    assert not any(iova <= early[0] < iova + len(data) for iova, data in overlay.items())


def test_the_overlay_has_a_limit(keeper, disk):     # noqa: F811
    since = now()
    disk.read(0, MiB)
    enter(keeper, since)
    with pytest.raises(OSError) as failed:
        export(keeper, limit=64 << 10)
    assert failed.value.errno == errno.EFBIG and 'KiB' in failed.value.strerror
    assert sum(map(len, export(keeper, limit=2 * MiB)[0].values())) >= MiB


def test_what_is_not_known_any_more_is_an_error(keeper):    # noqa: F811
    """More entries than the log holds: the migration must fail, not the guest."""
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, bytes=16 * MiB)
    driver = tracked_driver(client)
    queue = driver.queues[1]
    # 256 pieces a command: every other page.
    lists = driver.alloc(4096)
    driver.memory.write(lists, struct.pack('<512Q', *(16 * MiB + 8192 * i for i in range(512))))
    since = now()
    left = 2 * 131072 // 256 + 8
    while left:
        cids = [queue.put(nvme.READ, 1, 16 * MiB - 8192, lists, cdw=(0, 0, 2047)) for _ in range(min(left, 48))]
        queue.ring()
        for cid in cids:
            queue.wait(cid)
        left -= len(cids)
    enter(keeper, since)
    with pytest.raises(OSError) as failed:
        export(keeper)
    assert failed.value.errno == errno.ENODATA
    enter(keeper)
    export(keeper)


def test_the_overlay_needs_message_mode(keeper, disk):  # noqa: F811
    disk.read(0, 4096)
    for arguments, fds in (({'index': 0}, 1), ({'index': 0}, 0), ({'index': 3}, 1)):
        with pytest.raises(OSError):
            keeper.channel.call('overlay-export', arguments, [os.memfd_create('x') for _ in range(fds)])
    assert keeper.channel.call('overlay-bound', {'index': 0}) == {}


def test_a_predecessors_log_counts(keeper, folder, image):  # noqa: F811
    """The controller dies between the migration's beginning and its end."""
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, image)
    driver = tracked_driver(client)
    driver.write(0, b'p' * 4096)
    since = now()
    driver.tracked.copy()
    driver.read(0, 4096)
    enter(keeper, since)
    keeper.process.kill()
    keeper.process.wait()
    keeper.end = lambda: None
    successor = Keeper(folder)
    driver.client = again = successor.add_controller(state=client.state)
    successor.add_namespace(0, 1, image)
    again.map(driver.tracked, 0)
    again.enable_vectors(driver.vectors)
    driver.read(0, 4096)
    freeze(successor, driver)
    for iova, data in export(successor)[0].items():
        driver.tracked.other[iova:iova + len(data)] = data
    assert driver.tracked.stale() == []
    successor.channel.sock.close()
    successor.end()


def overlay_file(ranges, magic=MAGIC, version=1, count=None, size=None, tail=b''):
    body = b''.join(RANGE.pack(iova, len(data), 0) + data for iova, data in ranges)
    fd = os.memfd_create('overlay')
    os.write(fd, HEADER.pack(magic, version, len(ranges) if count is None else count,
                             HEADER.size + len(body) + len(tail) if size is None else size) + body + tail)
    return fd


def apply(keeper, fd):  # noqa: F811 pylint: disable=redefined-outer-name
    try:
        return keeper.channel.call('overlay-apply', {'index': 0}, [fd])
    finally:
        os.close(fd)


def test_an_overlay_is_applied(keeper, disk):   # noqa: F811
    base = 16 * MiB
    assert apply(keeper, overlay_file([(base, b'a' * 4096), (base + 8192, b'b' * 12288)])) == {'ranges': 2}
    assert disk.memory.read(base, 4096) == b'a' * 4096
    assert disk.memory.read(base + 4096, 4096) == bytes(4096)
    assert disk.memory.read(base + 8192, 12288) == b'b' * 12288
    assert apply(keeper, overlay_file([])) == {'ranges': 0}


def test_what_the_client_has_said_before_counts(keeper, disk):  # noqa: F811
    """A keeper repeats to a new controller what memory there is, and comes with the overlay at once."""
    memory = vu.Memory(MiB)
    for i in range(1, 20):
        disk.client.send(vu.DMA_MAP, struct.pack('<IIQQQ', 32, vu.READ | vu.WRITE, 0, i << 32, MiB), fds=(memory.fd,))
        assert apply(keeper, overlay_file([(i << 32, bytes([i]) * 4096)])) == {'ranges': 1}
        assert memory.read(0, 4096) == bytes([i]) * 4096
    disk.client.serve()


def test_a_wrong_overlay_changes_nothing(keeper, disk):     # noqa: F811
    base, page = 16 * MiB, b'w' * 4096
    good = (base, page)
    before = disk.memory.read(0, SIZE)
    readonly = vu.Memory(MiB)
    disk.client.map(readonly, 1 << 32, access=vu.READ)
    far = vu.Memory(MiB, fd=False)
    disk.client.map(far, 1 << 33)
    cut = overlay_file([good, (base + 4096, page)])
    os.ftruncate(cut, HEADER.size + RANGE.size + 4096 + RANGE.size + 100)
    short = overlay_file([good])
    os.ftruncate(short, 10)
    for fd in (overlay_file([good], magic=1), overlay_file([good], version=2), overlay_file([good], count=2),
               overlay_file([good], count=0), overlay_file([good], count=0xffffffff), overlay_file([good], size=1 << 40),
               overlay_file([good], tail=b'x'), overlay_file([good, (SIZE, page)]), overlay_file([good, (SIZE - 2048, page)]),
               overlay_file([good, (1 << 32, page)]), overlay_file([good, (1 << 33, page)]),
               overlay_file([good, (base, page)]), overlay_file([good, (base - 4096, page)]),
               overlay_file([good, ((1 << 64) - 4096, page)]), overlay_file([good, (base + 4096, b'')]),
               os.memfd_create('empty'), cut, short):
        with pytest.raises(OSError) as failed:
            apply(keeper, fd)
        assert failed.value.strerror
    assert disk.memory.read(0, SIZE) == before
    assert readonly.read(0, MiB) == bytes(MiB) and far.read(0, MiB) == bytes(MiB)
