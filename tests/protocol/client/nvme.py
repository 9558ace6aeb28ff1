# SPDX-License-Identifier: LGPL-2.1-or-later
"""A toy NVMe driver over a vfio-user client: queues, PRPs and interrupts in guest memory."""
import mmap
import os
import struct
import threading
import time

from . import vfio_user as vu

PAGE = 4096
CAP, VS, INTMS, INTMC, CC, CSTS, AQA, ASQ, ACQ = 0, 8, 0xc, 0x10, 0x14, 0x1c, 0x24, 0x28, 0x30
EN, RDY, CFS = 1, 1, 2
DELETE_SQ, CREATE_SQ, GET_LOG, DELETE_CQ, CREATE_CQ, IDENTIFY, ABORT, SET_FEATURES, GET_FEATURES, AER, \
    DOORBELL_BUFFER = 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 0x7c
FLUSH, WRITE, READ, COMPARE, WRITE_ZEROES, DATASET_MANAGEMENT, VERIFY = 0, 1, 2, 5, 8, 9, 12
FUA, DEAC = 1 << 30, 1 << 25

INVALID_OPCODE, INVALID_FIELD, DATA_TRANSFER_ERROR, INVALID_NAMESPACE = 1, 2, 4, 0xb
ABORTED_SQ_DELETED = 8
WRITE_PROTECTED, LBA_OUT_OF_RANGE, CAPACITY_EXCEEDED, COMPARE_FAILURE = 0x20, 0x80, 0x81, 0x285


class Failed(Exception):
    """A command completed with a status other than success."""

    def __init__(self, status):
        super().__init__('status 0x%x' % status)
        self.status = status & 0x7ff


class Queue:
    """A submission queue and its completion queue."""

    def __init__(self, driver, qid, entries, vector=0):
        self.driver, self.qid, self.entries, self.vector = driver, qid, entries, vector
        self.completions = entries
        self.sq = driver.alloc(entries * 64)
        self.cq = driver.alloc(entries * 16)
        self.tail = self.head = 0
        self.phase = 1
        self.cid = 0
        self.done = {}
        driver.memory.write(self.cq, bytes(entries * 16))

    def put(self, opcode, nsid=0, prp1=0, prp2=0, cdw=(), flags=0):
        """Write one command into the queue, without the doorbell; returns its id."""
        self.cid = (self.cid + 1) & 0xffff
        words = list(cdw) + [0] * (6 - len(cdw))
        sqe = struct.pack('<BBHIQQQQ6I', opcode, flags, self.cid, nsid, 0, 0, prp1, prp2, *words)
        self.driver.memory.write(self.sq + self.tail * 64, sqe)
        self.tail = (self.tail + 1) % self.entries
        return self.cid

    def ring(self):
        self.driver.doorbell(2 * self.qid, self.tail)

    def submit(self, *args, **kwargs):
        cid = self.put(*args, **kwargs)
        self.ring()
        return cid

    def poll(self):
        """Take the new completions: {cid: (status, result)}."""
        any_new = False
        while True:
            entry = self.driver.memory.read(self.cq + self.head * 16, 16)
            result, _, _, _, cid, status = struct.unpack('<IIHHHH', entry)
            if status & 1 != self.phase:
                break
            self.done[cid] = (status >> 1, result)
            any_new = True
            self.head += 1
            if self.head == self.completions:
                self.head = 0
                self.phase ^= 1
        if any_new:
            self.driver.doorbell(2 * self.qid + 1, self.head)
        return any_new

    def finished(self, cid):
        if cid not in self.done:
            self.poll()
        return cid in self.done

    def wait(self, cid, timeout=None):
        """The result dword, or Failed."""
        self.driver.until(lambda: self.finished(cid), timeout)
        status, result = self.done.pop(cid)
        if status:
            raise Failed(status)
        return result

    def command(self, *args, **kwargs):
        return self.wait(self.submit(*args, **kwargs))


class GuestMemory:
    """Memory at a guest address."""

    def __init__(self, memory, iova):
        self.memory, self.iova, self.size = memory, iova, memory.size

    def read(self, iova, count):
        return self.memory.read(iova - self.iova, count)

    def write(self, iova, data):
        self.memory.write(iova - self.iova, data)


class Driver:
    """The controller as a guest's driver sees it. All that it needs is in one piece of guest memory."""

    def __init__(self, client, memory, iova=0, vectors=0):
        self.client, self.memory = client, GuestMemory(memory, iova)
        self.next_page = iova + PAGE
        self.end = iova + memory.size
        self.admin = None
        self.queues = {}
        self.shadow = self.events = self.page = None
        self.trapped = 0
        self.fence = threading.Lock()
        self.vectors = [vu.Interrupt() for _ in range(vectors)]
        if vectors:
            client.enable_vectors(self.vectors)

    def close(self):
        for vector in self.vectors:
            vector.close()

    def until(self, condition, timeout=None):
        """Its value as soon as it is true; the server's requests are served meanwhile."""
        deadline = time.monotonic() + (self.client.timeout if timeout is None else timeout)
        pause = 0.00002    # it may come true in memory, where nothing wakes us
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise TimeoutError('the controller did not do it in time')
            self.client.serve(pause)
            pause = min(0.005, pause * 2)

    # memory

    def alloc(self, size):
        iova = self.next_page
        self.next_page += -(-size // PAGE) * PAGE
        assert self.next_page <= self.end, 'the toy driver is out of memory'
        return iova

    def prps(self, iova, size):
        """PRP1 and PRP2 for a buffer, with a list when it takes one."""
        first = PAGE - iova % PAGE
        if size <= first:
            return iova, 0
        pages = list(range(iova + first, iova + size, PAGE))
        if len(pages) == 1:
            return iova, pages[0]
        head = prp_list = self.alloc(PAGE)
        while len(pages) > PAGE // 8:
            following = self.alloc(PAGE)
            self.memory.write(prp_list, struct.pack('<%dQ' % (PAGE // 8), *pages[:PAGE // 8 - 1], following))
            pages = pages[PAGE // 8 - 1:]
            prp_list = following
        self.memory.write(prp_list, struct.pack('<%dQ' % len(pages), *pages))
        return iova, head

    # registers

    def read32(self, offset):
        return self.client.read32(offset)

    def read64(self, offset):
        return self.client.read64(offset)

    def write32(self, offset, value):
        self.client.write32(offset, value)

    def write64(self, offset, value):
        self.client.write64(offset, value)

    def shadow_doorbells(self):
        """Doorbell Buffer Config; the I/O queues use them from here on."""
        shadow, events = self.alloc(PAGE), self.alloc(PAGE)
        self.memory.write(shadow, bytes(PAGE))
        self.memory.write(events, bytes(PAGE))
        self.admin.command(DOORBELL_BUFFER, prp1=shadow, prp2=events)
        self.shadow, self.events = shadow, events

    def map_doorbells(self):
        """The registers' page: a store there and nothing more."""
        region = self.client.region_info(0)
        (offset, size), = region['areas']
        assert (offset, size) == (0x1000, PAGE)
        self.page = memoryview(mmap.mmap(region['fd'], size, offset=region['offset'] + offset)).cast('I')
        os.close(region['fd'])

    def doorbell(self, number, value):
        if self.page is not None:
            self.page[number] = value
            return
        if self.shadow is not None and number >= 2:
            old, = struct.unpack('<I', self.memory.read(self.shadow + number * 4, 4))
            self.memory.write(self.shadow + number * 4, struct.pack('<I', value))
            with self.fence:    # a full one: the value is there before the event index is read
                pass
            event, = struct.unpack('<I', self.memory.read(self.events + number * 4, 4))
            if (value - event - 1) & 0xffff >= (value - old) & 0xffff:
                return
        self.trapped += 1
        self.client.write32(0x1000 + number * 4, value, posted=True)

    def enable_msix(self, on=True):
        offset = self.client.find_capability(0x11)
        control = self.client.config(offset + 2, 2) & 0x7fff
        self.client.write_config(offset + 2, control | (0x8000 if on else 0), 2)

    def bus_master(self, on=True):
        self.client.write_config(4, 6 if on else 2, 2)

    # the controller

    def wait_csts(self, mask, value, timeout=None):
        self.until(lambda: self.read32(CSTS) & mask == value, timeout)

    def disable(self):
        self.shadow = self.events = None
        self.write32(CC, 0)
        self.wait_csts(RDY, 0)

    def enable(self, entries=32):
        self.bus_master()
        if self.vectors:
            self.enable_msix()
        self.queues = {}
        self.admin = Queue(self, 0, entries)
        self.write32(AQA, (entries - 1) << 16 | (entries - 1))
        self.write64(ASQ, self.admin.sq)
        self.write64(ACQ, self.admin.cq)
        self.write32(CC, 4 << 20 | 6 << 16 | EN)
        self.wait_csts(RDY | CFS, RDY)

    def create_queue(self, qid, entries=64, vector=None, completions=None):
        if vector is None:
            vector = qid if self.vectors else 0
        queue = Queue(self, qid, entries, vector)
        queue.completions = completions or entries
        self.admin.command(CREATE_CQ, prp1=queue.cq,
                           cdw=((queue.completions - 1) << 16 | qid, queue.vector << 16 | 2 | 1))
        self.admin.command(CREATE_SQ, prp1=queue.sq, cdw=((entries - 1) << 16 | qid, qid << 16 | 1))
        self.queues[qid] = queue
        return queue

    def identify(self, cns, nsid=0):
        page = self.alloc(PAGE)
        self.admin.command(IDENTIFY, nsid, page, cdw=(cns,))
        return self.memory.read(page, PAGE)

    def log_page(self, lid, size, nsid=0xffffffff):
        page = self.alloc(size)
        self.admin.command(GET_LOG, nsid, page, cdw=((size // 4 - 1) << 16 | lid,))
        return self.memory.read(page, size)

    def namespace(self, nsid=1):
        """(blocks, block size)"""
        data = self.identify(0, nsid)
        blocks, = struct.unpack_from('<Q', data)
        lbaf = data[128 + 4 * (data[26] & 15) + 2]
        return blocks, 1 << lbaf

    # I/O

    def transfer(self, queue, opcode, lba, blocks, iova, size, nsid=1, flags=0):
        prp1, prp2 = self.prps(iova, size)
        return queue.submit(opcode, nsid, prp1, prp2, cdw=(lba & 0xffffffff, lba >> 32, (blocks - 1) | flags))

    def write(self, lba, data, nsid=1, qid=1, block_size=512, flags=0):
        iova = self.alloc(len(data))
        self.memory.write(iova, data)
        queue = self.queues[qid]
        queue.wait(self.transfer(queue, WRITE, lba, len(data) // block_size, iova, len(data), nsid, flags))

    def read(self, lba, size, nsid=1, qid=1, block_size=512):
        iova = self.alloc(size)
        queue = self.queues[qid]
        queue.wait(self.transfer(queue, READ, lba, size // block_size, iova, size, nsid))
        return self.memory.read(iova, size)

    def flush(self, nsid=1, qid=1):
        self.queues[qid].command(FLUSH, nsid)

    def write_zeroes(self, lba, blocks, nsid=1, qid=1, flags=0):
        self.queues[qid].command(WRITE_ZEROES, nsid, cdw=(lba & 0xffffffff, lba >> 32, (blocks - 1) | flags))

    def deallocate(self, *ranges, nsid=1, qid=1):
        """(lba, blocks) each"""
        iova = self.alloc(PAGE)
        self.memory.write(iova, b''.join(struct.pack('<IIQ', 0, blocks, lba) for lba, blocks in ranges))
        self.queues[qid].command(DATASET_MANAGEMENT, nsid, iova, cdw=(len(ranges) - 1, 4))

    def wait_interrupt(self, vector):
        """How often it came since the last time, at least once."""
        return self.until(self.vectors[vector].take)
