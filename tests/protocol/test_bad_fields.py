# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every command with bad fields: one table with the status of each and the byte that its entry in the error log names.
Nothing else of it may be seen: not in the guest's memory, and not in the image."""
import random
import struct
import threading

import pytest

from client import nvme

MiB = 1 << 20
END = 32 * MiB                  # of the guest's memory
BLOCKS = 16 * MiB // 512
ALL = 0xffffffff
FORMAT = 0x80
COPY = 0x19

OPCODE, FIELD, TRANSFER, SEQUENCE, NSID, SGL_TYPE, PRP, RANGE = 1, 2, 4, 0xc, 0xb, 0x11, 0x13, 0x80
NO_CQ, QUEUE_ID, QUEUE_SIZE, VECTOR, LBA_FORMAT, IN_USE, NOT_SAVED = 0x100, 0x101, 0x102, 0x108, 0x10a, 0x10c, 0x10d
MISSING_FUSED, SIZE_LIMIT, READ_ONLY, CONFLICTING = 0xa, 0x183, 0x20, 0x187
AT_FLAGS, AT_NSID, AT_PRP1, AT_PRP2, AT_CDW10, AT_CDW11, AT_CDW12, AT_CDW14 = 1, 4, 24, 32, 40, 44, 48, 56
NOWHERE = 0xffff
MORE, DNR = 1 << 13, 1 << 14

WITH_LBA = (nvme.READ, nvme.WRITE, nvme.COMPARE, nvme.WRITE_ZEROES, nvme.VERIFY)
WITH_DATA = (nvme.READ, nvme.WRITE, nvme.COMPARE)


def lba(first, blocks=1):
    return (first & ALL, first >> 32, blocks - 1)


def bad_io_commands(anything, page):
    """Queue 1. `anything` is for data, page(bytes) is one with other contents."""
    data = anything
    for opcode in (nvme.FLUSH, *WITH_LBA, nvme.DATASET_MANAGEMENT, COPY):
        for nsid in (0, 65, 0x80000000, ALL - 1, ALL):
            yield 'nsid', opcode, nsid, data, 0, (), 0, NSID, NOWHERE
        yield 'inactive nsid', opcode, 64, data, 0, (), 0, FIELD, AT_NSID
        for flags in (0x80, 0xc0):
            yield 'PSDT', opcode, 1, data, 0, (), flags, FIELD, AT_FLAGS
        yield 'FUSE', opcode, 1, data, 0, (), 3, FIELD, AT_FLAGS
        for flags in (1, 2):
            yield 'half a pair', opcode, 1, data, 0, (), flags, MISSING_FUSED, NOWHERE
    for opcode in WITH_LBA:
        for first, blocks in ((BLOCKS, 1), (BLOCKS - 1, 2), (0x100000000, 1), (1 << 55, 1), ((1 << 55) - 1, 1), (1 << 63, 8),
                              ((1 << 64) - 1, 1), ((1 << 64) - 1, 2), ((1 << 64) - 8, 16)):
            yield 'LBA %x + %d' % (first, blocks), opcode, 1, data, data + 4096, lba(first, blocks), 0, RANGE, NOWHERE
    for first, blocks in ((BLOCKS, 1), (0, BLOCKS + 1), (1, ALL), ((1 << 64) - 1, 2), (1 << 55, 1)):
        yield 'range', nvme.DATASET_MANAGEMENT, 1, page(struct.pack('<IIQIIQ', 0, 8, 0, 0, blocks, first)), 0, (1, 4), 0, RANGE, NOWHERE
    good, beyond = page(struct.pack('<QQH', 0, 0, 7)), page(struct.pack('<QQH', 0, (1 << 64) - 4, 7))
    yield 'destination', COPY, 1, good, 0, lba(BLOCKS - 7, 1), 0, RANGE, NOWHERE
    yield 'destination around', COPY, 1, good, 0, lba((1 << 64) - 4, 1), 0, RANGE, NOWHERE
    yield 'source', COPY, 1, beyond, 0, lba(64, 1), 0, RANGE, NOWHERE
    yield 'overlap', COPY, 1, good, 0, lba(4, 1), 0, CONFLICTING, NOWHERE
    yield 'format', COPY, 1, good, 0, (64, 0, 1 << 8), 0, FIELD, AT_CDW12 + 1
    yield 'ranges', COPY, 1, good, 0, (64, 0, 64), 0, SIZE_LIMIT, NOWHERE
    same = page(b'\x5a' * 4096)
    for opcode in WITH_DATA:
        # It compares as far as there is no difference.
        data = same if opcode == nvme.COMPARE else anything

        def prps(prp1, prp2, blocks, status, opcode=opcode):
            return 'PRPs %x %x' % (prp1, prp2), opcode, 1, prp1, prp2, lba(0, blocks), 0, status, NOWHERE
        yield 'MDTS', opcode, 1, data, data, lba(0, 2049), 0, FIELD, AT_CDW12
        yield prps(data + 1, 0, 1, PRP)
        yield prps(data + 2, 0, 1, PRP)
        yield prps(data, data + 8, 16, PRP)
        yield prps(data, data + 2048, 16, PRP)
        for outside in (END, END + 4096, 1 << 62, (1 << 64) - 4096):
            yield prps(outside, 0, 8, TRANSFER)
            yield prps(data, outside, 16, TRANSFER)
            yield prps(data, outside, 24, TRANSFER)                                 # the list
            yield prps(data, page(struct.pack('<2Q', data, outside)), 24, TRANSFER)   # the last entry
        yield prps(END - 512, END, 8, TRANSFER)
        yield prps(data, page(struct.pack('<2Q', data, data)) + 4, 24, PRP)
        yield prps(data, page(struct.pack('<2Q', data, data + 512)), 24, PRP)
        itself = page(b'')
        yield prps(data, page(bytes(4080) + struct.pack('<2Q', data, itself + 4080), itself) + 4080, 64, PRP)
        yield 'SGL', opcode, 1, data, 512 | 0x50 << 56, lba(0), 0x40, SGL_TYPE, NOWHERE
    for opcode in (3, 4, 0xd, 0x11, 0x15, 0x7f, 0x80, 0xff):
        yield 'opcode', opcode, 1, data, 0, (), 0, OPCODE, NOWHERE


def bad_admin_commands(data):
    for opcode in (3, 0xd, 0x10, 0x14, 0x19, 0x1a, 0x7f, 0x81, 0xc0, 0xff):
        yield 'opcode', opcode, 0, data, 0, (), 0, OPCODE, NOWHERE
    for opcode in (nvme.DELETE_SQ, nvme.CREATE_SQ, nvme.GET_LOG, nvme.DELETE_CQ, nvme.CREATE_CQ, nvme.IDENTIFY, nvme.ABORT,
                   nvme.SET_FEATURES, nvme.GET_FEATURES, nvme.AER, nvme.DOORBELL_BUFFER, FORMAT):
        for flags in (1, 2, 3, 0x40, 0x80, 0xc0):
            yield 'flags', opcode, 0, data, 0, (), flags, FIELD, AT_FLAGS
    for qid in (0, 1, 5, 0xffff):
        yield 'CQ %d' % qid, nvme.CREATE_CQ, 0, data, 0, (63 << 16 | qid, 1), 0, QUEUE_ID, NOWHERE
        yield 'SQ %d' % qid, nvme.CREATE_SQ, 0, data, 0, (63 << 16 | qid, 1 << 16 | 1), 0, QUEUE_ID, NOWHERE
    for opcode, cqid in ((nvme.CREATE_CQ, 0), (nvme.CREATE_SQ, 1 << 16)):
        for entries in (0, 1024, 0xffff):
            yield '%d + 1 entries' % entries, opcode, 0, data, 0, (entries << 16 | 3, cqid | 1), 0, QUEUE_SIZE, NOWHERE
        yield 'not contiguous', opcode, 0, data, 0, (63 << 16 | 3, cqid), 0, FIELD, AT_CDW11
        yield 'PRP', opcode, 0, data + 512, 0, (63 << 16 | 3, cqid | 1), 0, PRP, NOWHERE
    yield 'vector', nvme.CREATE_CQ, 0, data, 0, (63 << 16 | 3, 5 << 16 | 3), 0, VECTOR, NOWHERE
    for cqid, status in ((0, QUEUE_ID), (3, NO_CQ), (5, QUEUE_ID), (0xffff, QUEUE_ID)):
        yield 'CQ of SQ', nvme.CREATE_SQ, 0, data, 0, (63 << 16 | 3, cqid << 16 | 1), 0, status, NOWHERE
    for qid in (0, 3, 5, 0xffff):
        yield 'SQ', nvme.DELETE_SQ, 0, 0, 0, (qid,), 0, QUEUE_ID, NOWHERE
        yield 'CQ', nvme.DELETE_CQ, 0, 0, 0, (qid,), 0, QUEUE_ID, NOWHERE
    yield 'CQ in use', nvme.DELETE_CQ, 0, 0, 0, (1,), 0, IN_USE, NOWHERE
    for cns in (4, 9, 0x14, 0x1d, 0x20, 0xff):
        yield 'CNS', nvme.IDENTIFY, 1, data, 0, (cns,), 0, FIELD, AT_CDW10
    for cns in (0, 3, 5, 8, 0x11, 0x12):
        for nsid in (0, 65):
            yield 'nsid', nvme.IDENTIFY, nsid, data, 0, (cns,), 0, NSID, NOWHERE
    yield 'list after the last', nvme.IDENTIFY, ALL, data, 0, (2,), 0, NSID, NOWHERE
    for cns in (5, 6, 7):
        yield 'CSI', nvme.IDENTIFY, 1, data, 0, (cns, 1 << 24), 0, FIELD, AT_CDW11 + 3
    yield 'PRP', nvme.IDENTIFY, 0, data + 2, 0, (1,), 0, PRP, NOWHERE
    yield 'PRP', nvme.IDENTIFY, 0, data + 512, data + 516, (1,), 0, PRP, NOWHERE
    yield 'outside', nvme.IDENTIFY, 0, END, 0, (1,), 0, TRANSFER, NOWHERE
    yield 'outside', nvme.IDENTIFY, 0, data + 512, END, (1,), 0, TRANSFER, NOWHERE
    for log in (6, 0xd, 0x80, 0xc1, 0xff):
        yield 'log', nvme.GET_LOG, ALL, data, 0, (127 << 16 | log,), 0, FIELD, AT_CDW10
    yield 'SMART of a namespace', nvme.GET_LOG, 1, data, 0, (127 << 16 | 2,), 0, FIELD, AT_NSID
    yield 'too long', nvme.GET_LOG, ALL, data, 0, (2, 4), 0, FIELD, AT_CDW10
    yield 'offset', nvme.GET_LOG, ALL, data, 0, (127 << 16 | 2, 0, 2), 0, FIELD, AT_CDW12
    yield 'offset', nvme.GET_LOG, ALL, data, 0, (127 << 16 | 2, 0, 516), 0, FIELD, AT_CDW12
    yield 'offset', nvme.GET_LOG, ALL, data, 0, (127 << 16 | 2, 0, 0, 1), 0, FIELD, AT_CDW12
    yield 'index', nvme.GET_LOG, ALL, data, 0, (127 << 16 | 2, 0, 0, 0, 1 << 23), 0, FIELD, AT_CDW14
    for feature in (0, 3, 0xc, 0x80, 0xc0, 0xff):
        for opcode in (nvme.SET_FEATURES, nvme.GET_FEATURES):
            yield 'feature', opcode, 0, data, 0, (feature,), 0, FIELD, AT_CDW10
    yield 'SEL', nvme.GET_FEATURES, 0, data, 0, (4 << 8 | 1,), 0, FIELD, AT_CDW10
    yield 'saved', nvme.SET_FEATURES, 0, data, 0, (1 << 31 | 1,), 0, NOT_SAVED, NOWHERE
    yield 'power state', nvme.SET_FEATURES, 0, data, 0, (2, 1), 0, FIELD, AT_CDW11
    yield 'sensor', nvme.SET_FEATURES, 0, data, 0, (4, 1 << 16), 0, FIELD, AT_CDW11
    yield 'queues', nvme.SET_FEATURES, 0, data, 0, (7, 0xffff), 0, FIELD, AT_CDW11
    yield 'queues too late', nvme.SET_FEATURES, 0, data, 0, (7, 0x10001), 0, SEQUENCE, NOWHERE
    yield 'vector', nvme.SET_FEATURES, 0, data, 0, (9, 5), 0, FIELD, AT_CDW11
    yield 'host id', nvme.SET_FEATURES, 0, END, 0, (0x81, 1), 0, TRANSFER, NOWHERE
    for prp1, prp2, where in ((data + 512, data, AT_PRP1), (data, data + 512, AT_PRP2), (END, data, AT_PRP1), (data, 1 << 63, AT_PRP2)):
        yield 'buffers', nvme.DOORBELL_BUFFER, 0, prp1, prp2, (), 0, FIELD, where
    yield 'nsid', FORMAT, 0, 0, 0, (), 0, NSID, NOWHERE
    yield 'nsid', FORMAT, 64, 0, 0, (), 0, FIELD, AT_NSID
    yield 'all', FORMAT, ALL, 0, 0, (), 0, FIELD, AT_NSID
    for cdw10 in (2, 15, 1 << 5, 1 << 12):
        yield 'LBAF', FORMAT, 1, 0, 0, (cdw10,), 0, LBA_FORMAT, NOWHERE
    for erase in (2, 3, 7):
        yield 'SES', FORMAT, 1, 0, 0, (erase << 9,), 0, FIELD, AT_CDW10 + 1


class Judge:
    """What a bad command comes back with."""

    def __init__(self, driver):
        self.driver = driver
        self.wrong = []
        self.count = 0
        self.log = driver.alloc(4096)

    def newest(self):
        self.driver.admin.command(nvme.GET_LOG, ALL, self.log, cdw=(15 << 16 | 1,))
        return struct.unpack('<QHHHHQI', self.driver.memory.read(self.log, 28))

    def __call__(self, queue, name, opcode, nsid, prp1, prp2, cdw, flags, status, location):
        cid = queue.submit(opcode, nsid, prp1, prp2, cdw=cdw, flags=flags)
        self.driver.until(lambda: queue.finished(cid))
        raw, _ = queue.done.pop(cid)
        self.count += 1
        entry = self.newest()
        # With "more", and but where memory may be there the next time with "do not retry".
        status |= MORE if status == TRANSFER else MORE | DNR
        # Count, queue, command, status, byte, and the namespace that it named.
        if (raw, entry[:5], entry[6]) != (status, (self.count, queue.qid, cid, raw << 1, location), nsid):
            self.wrong.append((name, hex(opcode), hex(nsid), 'status 0x%x for 0x%x' % (raw, status), entry))


@pytest.fixture
def driver(start_controller, connect, image):
    with open(image, 'r+b') as f:
        f.write(b'\x5a' * (16 * MiB))
    return connect(start_controller('--namespace', 'file:%s,discard=unmap' % image), queues=2)


def test_bad_fields(driver, image):
    canary = bytes(range(256)) * 16
    data = driver.alloc(8192)
    driver.memory.write(data, canary * 2)

    def page(content, iova=None):
        iova = driver.alloc(4096) if iova is None else iova
        driver.memory.write(iova, content)
        return iova

    judge = Judge(driver)
    for row in bad_io_commands(data, page):
        judge(driver.queues[1], *row)
    for row in bad_admin_commands(data):
        judge(driver.admin, *row)
    assert not judge.wrong, '%d of %d:\n%s' % (len(judge.wrong), judge.count, '\n'.join(map(repr, judge.wrong[:30])))
    assert driver.memory.read(data, 8192) == canary * 2
    with open(image, 'rb') as f:
        assert f.read() == b'\x5a' * (16 * MiB)


def test_lists_that_loop_end(driver):
    """A list that goes on in itself describes no more than the command asks for."""
    data, page = driver.alloc(4096), driver.alloc(4096)
    driver.memory.write(page, struct.pack('<Q', data) * 511 + struct.pack('<Q', page))
    driver.queues[1].command(nvme.READ, 1, data, page + 4080, cdw=lba(0, 2048))
    assert driver.memory.read(data, 4096) == b'\x5a' * 4096
    assert driver.memory.read(page, 4096) == struct.pack('<Q', data) * 511 + struct.pack('<Q', page)


def test_one_id_twice(driver):
    """Commands are told apart by their place, not by the number that the guest gives them."""
    queue, iova = driver.queues[1], driver.alloc(8192)
    for i in range(2):
        queue.put(nvme.READ, 1, iova + i * 4096, cdw=lba(0, 8))
        queue.cid -= 1
    queue.ring()
    driver.until(lambda: driver.memory.read(iova, 8192) == b'\x5a' * 8192)
    queue.cid += 10
    queue.command(nvme.FLUSH, 1)


def test_doorbells_are_told(driver):
    for number, value, info in ((2 * 3, 1, 0), (2 * 5 + 1, 1, 0), (2, 64, 1), (3, 0xffffffff, 1)):
        cid = driver.admin.submit(nvme.AER)
        driver.doorbell(number, value)
        assert driver.admin.wait(cid) == 1 << 16 | info << 8, 'an error, told in page 1'
        _, *entry = struct.unpack_from('<Q4H', driver.log_page(1, 64))
        assert entry == [0xffff, 0xffff, (FIELD if info else QUEUE_ID) << 1, NOWHERE]
        driver.read(0, 512)


def test_commands_that_change_under_the_reader(driver):
    """The guest writes into its queue while it is read."""
    queue, iova = driver.queues[1], driver.alloc(4096)
    good = struct.pack('<BBHIQQQQ6I', nvme.READ, 0, 7, 1, 0, 0, iova, 0, 0, 0, 7, 0, 0, 0)
    junk = random.Random(5).randbytes(64)
    stop = threading.Event()

    def scribble():
        # Anything but what may write into the image.
        while not stop.is_set():
            for command in (good, good[:4] + junk[4:], good[:24] + junk[24:], good[:1] + junk[1:]):
                driver.memory.write(queue.sq, command * 64)

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        for _ in range(40):
            head = queue.head
            queue.tail = (queue.tail + 32) % 64
            queue.ring()
            driver.until(lambda begin=head: queue.poll() is not None and (queue.head - begin) % 64 == 32)
    finally:
        stop.set()
        thread.join()
    queue.cid = 100
    assert driver.read(0, 512) == b'\x5a' * 512
