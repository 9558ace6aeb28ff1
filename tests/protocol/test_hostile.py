# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest or a client that does everything wrong costs itself its disk, and nobody anything else."""
import os
import random
import struct

import pytest

from client import nvme, vfio_user as vu

MiB = 1 << 20


@pytest.fixture
def driver(start_controller, connect, image):
    """A driver whose process must still serve another client afterwards."""
    process = start_controller('--namespace', 'file:' + image, '--io-threads=2')
    one = connect(process, queues=2)
    one.process = process
    yield one
    assert process.alive, process.log()
    for client in process.clients:
        client.close()
    connect(process).write(0, bytes(512))


def statuses(driver, *commands):
    out = []
    for command in commands:
        with pytest.raises(nvme.Failed) as failed:
            driver.queues[1].command(*command[:-1], cdw=command[-1])
        out.append(failed.value.status)
    return out


def test_prps_outside_memory(driver):
    end = 32 * MiB
    for opcode in (nvme.READ, nvme.WRITE):
        for prp1, prp2, blocks in ((end, 0, 8), (1 << 62, 0, 8), ((1 << 64) - 4096, 0, 8), (4096, end, 16), (4096, 1 << 63, 64)):
            status, = statuses(driver, (opcode, 1, prp1, prp2, (0, 0, blocks - 1)))
            assert status != 0
    # A list that is there, with entries that are not.
    page = driver.alloc(4096)
    driver.memory.write(page, struct.pack('<4Q', 4096, end, 1 << 63, (1 << 64) - 4096) * 128)
    statuses(driver, (nvme.WRITE, 1, 4096, page, (0, 0, 255)))
    # Entries that do not begin at a page.
    driver.memory.write(page, struct.pack('<512Q', *([4096 + 8] * 512)))
    assert statuses(driver, (nvme.READ, 1, 4096, page, (0, 0, 255))) == [0x13]
    driver.write(0, bytes(512))


def test_commands_that_make_no_sense(driver):
    rng = random.Random(1)
    queue = driver.queues[1]
    iova = driver.alloc(4096)
    for _ in range(400):
        sqe = bytearray(rng.randbytes(64))
        if rng.random() < 0.7:
            sqe[0] = rng.choice((0, 1, 2, 4, 5, 8, 9, 0xd))
            struct.pack_into('<I', sqe, 4, rng.choice((0, 1, 2, 0xffffffff)))
            struct.pack_into('<QQ', sqe, 24, rng.choice((iova, 0, 3, 1 << 63)), rng.choice((iova, 0, 1 << 40)))
            sqe[1] = rng.choice((0, 0, 1, 0x40))
        queue.cid = (queue.cid + 1) & 0xffff
        struct.pack_into('<H', sqe, 2, queue.cid)
        driver.memory.write(queue.sq + queue.tail * 64, bytes(sqe))
        queue.tail = (queue.tail + 1) % queue.entries
        queue.ring()
        driver.until(lambda: queue.finished(queue.cid))


def test_admin_commands_that_make_no_sense(driver):
    rng = random.Random(2)
    queue = driver.admin
    for _ in range(400):
        sqe = bytearray(rng.randbytes(64))
        sqe[0] = rng.choice((0, 1, 2, 4, 5, 6, 8, 9, 10, 0x0d, 0x10, 0x7f, 0x80, 0xff))
        sqe[1] = rng.choice((0, 0, 0, 1, 0x40))
        if rng.random() < 0.8:
            struct.pack_into('<QQ', sqe, 24, 4096 * rng.randrange(4096), 4096 * rng.randrange(4096))
            struct.pack_into('<II', sqe, 40, rng.choice((0, 1, 3, 0x3f0003, 7, 2, 0x400002)), rng.choice((1, 3, 0x10001, 0)))
        queue.cid = (queue.cid + 1) & 0xffff
        cid = queue.cid
        struct.pack_into('<H', sqe, 2, cid)
        if sqe[0] in (0, 4) and sqe[40] in (1, 2):    # our own queues are needed
            continue
        driver.memory.write(queue.sq + queue.tail * 64, bytes(sqe))
        queue.tail = (queue.tail + 1) % queue.entries
        queue.ring()
        driver.until(lambda: queue.finished(cid))


def test_doorbells_out_of_range(driver):
    for value in (64, 65, 0xffff, 0x10000, 0xffffffff):
        driver.doorbell(2, value)
        driver.doorbell(3, value)
    for number in (10, 11, 129, 1000, 1023):
        driver.doorbell(number, 1)
    driver.client.region_write(vu.BAR0, 0x1000, b'\1')
    driver.client.region_write(vu.BAR0, 0x1002, b'\1\0\0\0')
    driver.client.region_write(vu.BAR0, 0x1ffc, b'\1\0\0\0\1\0\0\0')
    driver.disable()
    driver.enable()


def test_registers_at_every_offset_and_size(driver):
    rng = random.Random(3)
    client = driver.client
    for offset in list(range(0, 0x60)) + [0xfff, 0x1ffd, 0x2fff, 0x3fff]:
        for size in (1, 2, 3, 4, 8, 16):
            if offset + size <= 16384:
                assert len(client.region_read(vu.BAR0, offset, size)) == size
    for _ in range(300):
        offset = rng.randrange(0, 0x40)
        client.region_write(vu.BAR0, offset, rng.randbytes(rng.choice((1, 2, 4, 8))))
    for _ in range(300):
        client.region_write(vu.CONFIG, rng.randrange(4090), rng.randbytes(rng.choice((1, 2, 4))))
    client.reset(timeout=20)
    assert driver.read32(nvme.CSTS) == 0


def test_enabling_with_queues_in_nowhere(driver):
    driver.disable()
    driver.write64(nvme.ASQ, 1 << 40)
    driver.write64(nvme.ACQ, 1 << 41)
    driver.write32(nvme.CC, 4 << 20 | 6 << 16 | 1)
    driver.until(lambda: driver.read32(nvme.CSTS) & (nvme.RDY | nvme.CFS))
    driver.doorbell(0, 1)
    driver.disable()
    driver.enable()
    driver.create_queue(1)
    driver.write(0, bytes(512))


def fill(driver, queue, count, size=64 << 10):
    cids = []
    for i in range(count):
        iova = driver.alloc(size)
        prp1, prp2 = driver.prps(iova, size)
        cids.append(queue.put(nvme.READ if i % 2 else nvme.WRITE, 1, prp1, prp2, cdw=(i * (size // 512), 0, size // 512 - 1)))
    queue.ring()
    return cids


def test_queue_memory_is_unmapped_under_io(driver):
    for _ in range(5):
        mark = driver.next_page
        fill(driver, driver.queues[1], 40)
        fill(driver, driver.queues[2], 40)
        driver.client.unmap(0, 32 * MiB)
        driver.doorbell(2, 3)
        driver.doorbell(4, 3)
        driver.client.map(driver.memory.memory, 0)
        driver.disable()
        driver.next_page = mark
        driver.enable()
        driver.create_queue(1)
        driver.create_queue(2)


def test_other_memory_at_the_same_place(driver):
    """Queues that were in use go on where the guest has put their memory."""
    driver.write(0, b'1' * 512)
    old, size = driver.memory.memory, 32 * MiB
    new = vu.Memory(size)
    new.write(0, old.read(0, size))
    driver.client.unmap(0, size)
    driver.client.map(new, 0)
    driver.memory.memory = new
    kept = old.read(0, size)
    driver.write(8, b'2' * 512)
    assert driver.read(0, 512) == b'1' * 512 and driver.read(8, 512) == b'2' * 512
    assert old.read(0, size) == kept
    driver.client.unmap(0, size)
    driver.client.map(old, 0)


def test_the_map_churns_under_io(driver):
    """QEMU takes a region away and puts it back in other pieces while I/O runs in the same memory; elsewhere files come and go."""
    client, memory = driver.client, driver.memory.memory
    data = os.urandom(64 << 10)
    driver.write(0, data)
    expected = data
    queue = driver.queues[2]
    iova = driver.alloc(64 << 10)
    prp1, prp2 = driver.prps(iova, 64 << 10)
    for i in range(60):
        cids = [queue.put(nvme.READ, 1, prp1, prp2, cdw=(0, 0, 127)) for _ in range(16)]
        queue.ring()
        other = vu.Memory(MiB)
        client.map(other, 1 << 40)
        client.unmap(1 << 40, MiB)
        other.close()
        # The half that no queue and no buffer is in.
        if i % 2:
            client.unmap(16 * MiB, 16 * MiB)
        else:
            if i == 0:
                client.unmap(0, 32 * MiB)
                client.map(memory, 0, size=16 * MiB)
            client.map(memory, 16 * MiB, size=16 * MiB, offset=16 * MiB)
        for cid in cids:
            driver.until(lambda c=cid: queue.finished(c))
        # While the region was away, a command may have failed.
        for cid in cids:
            queue.done.pop(cid)
    queue.wait(queue.submit(nvme.READ, 1, prp1, prp2, cdw=(0, 0, 127)))
    assert driver.memory.read(iova, 64 << 10) == expected


def test_memory_in_flight_stays_when_its_region_goes(start_controller, connect, image):
    """Commands that were fetched are finished in the memory they were given, though the guest has it no more."""
    with open(image, 'r+b') as f:
        content = os.urandom(MiB) * 16
        f.write(content)
    driver = connect(start_controller('--namespace', 'file:%s,cache=writeback' % image, '--io=threads'))
    queue = driver.queues[1]
    other = vu.Memory(61 * MiB)
    driver.client.map(other, 1 << 40)
    lists = []
    for i in range(60):
        page = driver.alloc(4096)
        driver.memory.write(page, struct.pack('<255Q', *range((1 << 40) + i * MiB + 4096, (1 << 40) + (i + 1) * MiB, 4096)))
        lists.append(page)
    cids = [queue.put(nvme.READ, 1, (1 << 40) + i * MiB, lists[i], cdw=(0, 0, 2047)) for i in range(60)]
    queue.ring()
    driver.until(queue.poll)    # they are under way
    driver.client.unmap(1 << 40, 61 * MiB)
    driver.until(lambda: queue.poll() is None or len(queue.done) == len(cids))
    finished = 0
    for i, cid in enumerate(cids):
        status, _ = queue.done.pop(cid)
        assert status & 0x7ff in (0, nvme.DATA_TRANSFER_ERROR), 'the kernel found no memory'
        if status == 0:
            finished += 1
            assert other.read(i * MiB, MiB) == content[:MiB]
    assert finished


def mappings(driver):
    with open('/proc/%d/maps' % driver.process.process.pid) as f:
        return sum('guest' in line for line in f)


def test_mappings_that_are_not_used_any_more_go(driver):
    if os.geteuid() != 0:
        pytest.skip('the maps of a process that cannot be dumped are for root')
    before = mappings(driver)
    for _ in range(40):
        other = vu.Memory(MiB)
        driver.client.map(other, 1 << 40)
        driver.client.unmap(1 << 40, MiB)
        other.close()
    driver.until(lambda: mappings(driver) == before)


def test_memory_that_shrinks_under_io(driver):
    """The file behind guest memory is truncated: the data is lost, the process is not."""
    queue = driver.queues[1]
    fill(driver, queue, 40)
    os.ftruncate(driver.memory.memory.fd, 16384)
    driver.doorbell(2, 45)
    driver.doorbell(4, 5)
    os.ftruncate(driver.memory.memory.fd, 32 * MiB)
    driver.client.reset(timeout=20)


def test_the_client_goes_away_under_io(driver, connect):
    process = driver.process
    for _ in range(5):
        fill(driver, driver.queues[1], 60)
        driver.client.close()
        driver = connect(process)


def test_random_messages(driver):
    rng = random.Random(4)
    driver.client.close()
    for _ in range(30):
        try:
            client = driver.process.connect()
            client.negotiate()
            for _ in range(50):
                command = rng.choice(range(0, 20))
                payload = rng.randbytes(rng.choice((0, 4, 8, 16, 20, 24, 32, 64, 200)))
                client.send(command, payload, flags=rng.choice((0, 0, vu.NO_REPLY, 1)),
                            size=rng.choice((None, None, None, 16, 24)))
            client.serve(0.01)
        except (vu.Closed, ConnectionError, TimeoutError, AssertionError):
            pass
        driver.process.clients[-1].close()


def test_a_flood_of_asynchronous_event_requests(driver):
    for _ in range(20):
        driver.admin.submit(nvme.AER)
    driver.until(driver.admin.poll)
    assert driver.identify(1)
