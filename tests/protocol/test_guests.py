# SPDX-License-Identifier: LGPL-2.1-or-later
"""What drivers that no test here can boot are known to do, in their order: Windows' StorNVMe and FreeBSD's nvme(4)."""
import os
import struct

import pytest

from client import nvme, vfio_user as vu

ERROR_LOG, SMART_LOG, FIRMWARE_LOG = 1, 2, 3
TEMPERATURE, ERROR_RECOVERY, WRITE_CACHE, QUEUES, COALESCING, EVENTS, APST, TIMESTAMP = 4, 5, 6, 7, 8, 0xb, 0xc, 0xe


class Line:
    """INTx as QEMU has it: masked when it is raised, and raised again at the unmasking while the device asserts it."""

    def __init__(self, client):
        self.client, self.interrupt = client, vu.Interrupt()
        client.set_irqs(vu.DATA_EVENTFD | vu.TRIGGER, vu.INTX, 0, 1, fds=[self.interrupt.fd])

    def is_up(self):
        self.interrupt.take()
        self.client.set_irqs(vu.DATA_NONE | vu.UNMASK, vu.INTX, 0, 1)
        return bool(self.interrupt.take())


def handle(driver, line, queue, cid):
    """An interrupt handler without MSI-X: the line goes down by INTMS, comes back by INTMC, and ends with the completion."""
    driver.until(line.is_up)
    driver.write32(nvme.INTMS, 1)
    assert driver.read32(nvme.INTMS) == driver.read32(nvme.INTMC) == 1
    driver.until(lambda: not line.is_up())
    driver.write32(nvme.INTMC, 1)
    driver.until(line.is_up)
    driver.write32(nvme.INTMS, 1)
    queue.wait(cid)
    driver.write32(nvme.INTMC, 1)
    driver.until(lambda: not line.is_up())


def refused(status, function, *args, **kwargs):
    with pytest.raises(nvme.Failed) as failed:
        function(*args, **kwargs)
    assert failed.value.status == status


def park_events(driver, count):
    """As many event requests as the controller takes, or fewer: they stay where they are until something happens."""
    number = min(driver.identify(1)[259] + 1, count)
    return [driver.admin.submit(nvme.AER) for _ in range(number)]


def shut_down(driver):
    driver.write32(nvme.CC, driver.read32(nvme.CC) & ~(3 << 14) | 1 << 14)
    driver.wait_csts(3 << 2, 2 << 2)


@pytest.mark.parametrize('vectors', [0, 5], ids=['intx', 'msix'])
def test_windows(start_controller, connect, image, vectors):
    driver = connect(start_controller('--namespace', 'file:%s,discard=unmap,cache=writeback' % image), vectors=vectors, enable=False)
    client = driver.client
    line = None if vectors else Line(client)
    # BAR0 is sized; less than 16 KiB is a device that cannot be started.
    client.write_config(0x10, 0xffffffff, 4)
    assert client.config(0x10) & 0xfffffff0 == 0xffffc000
    assert client.region_info(vu.BAR0)['size'] >= 16384
    assert client.irq_info(vu.MSIX)[1] <= 128
    driver.write32(nvme.INTMS, 0xffffffff)
    driver.disable()
    driver.enable()
    driver.write32(nvme.INTMC, 0xffffffff)
    # Server 2025 looks whether what it wrote is still there.
    assert driver.read32(nvme.AQA) == 31 << 16 | 31
    assert driver.read64(nvme.ASQ) == driver.admin.sq and driver.read64(nvme.ACQ) == driver.admin.cq
    assert driver.read32(nvme.ASQ + 4) == driver.admin.sq >> 32 and driver.read32(nvme.ACQ) == driver.admin.cq & 0xffffffff

    events = park_events(driver, 4)
    assert struct.unpack_from('<I', driver.identify(2)) == (1,)
    driver.identify(3, 1)
    for log in SMART_LOG, ERROR_LOG, FIRMWARE_LOG:
        driver.log_page(log, 512)
    # What it tries, and does without.
    refused(nvme.INVALID_FIELD, driver.log_page, 0xc1, 512)
    for feature in APST, 0xd0:
        refused(nvme.INVALID_FIELD, driver.admin.command, nvme.SET_FEATURES, prp1=driver.alloc(4096), cdw=(feature, 1))
        refused(nvme.INVALID_FIELD, driver.admin.command, nvme.GET_FEATURES, prp1=driver.alloc(4096), cdw=(feature,))
    for opcode in 0xc0, 0xc1, 0xff:
        refused(nvme.INVALID_OPCODE, driver.admin.command, opcode)
    driver.admin.command(nvme.SET_FEATURES, cdw=(QUEUES, 3 << 16 | 3))
    driver.admin.command(nvme.SET_FEATURES, cdw=(WRITE_CACHE, 1))
    driver.admin.command(nvme.SET_FEATURES, prp1=driver.alloc(4096), cdw=(TIMESTAMP,))
    assert driver.admin.command(nvme.GET_FEATURES, cdw=(WRITE_CACHE,)) & 1

    for qid in range(1, 4):
        driver.create_queue(qid)
    # Without Doorbell Buffer Config each doorbell is written to the register.
    for qid in range(1, 4):
        data = os.urandom(64 << 10)
        driver.write(qid * 128, data, qid=qid, flags=nvme.FUA if qid == 2 else 0)
        assert driver.read(qid * 128, len(data), qid=qid) == data
        if vectors:
            driver.wait_interrupt(qid)
    if line:
        driver.until(lambda: not line.is_up())
        queue = driver.queues[2]
        handle(driver, line, queue, queue.submit(nvme.READ, 1, driver.alloc(4096), cdw=(256, 0, 7)))
    driver.deallocate((128, 128))
    driver.flush()
    assert driver.read(128, 64 << 10) == bytes(64 << 10)
    driver.admin.poll()
    assert not set(events) & set(driver.admin.done), 'an event request is never failed'
    shut_down(driver)
    driver.disable()
    driver.enable()
    driver.create_queue(1)
    assert driver.read(3 * 128, len(data)) == data


@pytest.mark.parametrize('vectors', [0, 5], ids=['intx', 'msix'])
def test_freebsd(start_controller, connect, image, vectors):
    driver = connect(start_controller('--namespace', 'file:%s,discard=unmap' % image), vectors=vectors, enable=False)
    line = None if vectors else Line(driver.client)
    low, high = driver.read32(nvme.CAP), driver.read32(nvme.CAP + 4)
    assert high & 0xf == 0 and high >> 16 & 0xf == 0, 'DSTRD and MPSMIN: what its page size wants'
    assert driver.read32(nvme.VS) >= 0x10000 and low >> 24, 'CAP.TO'
    driver.disable()
    driver.enable(min((low & 0xffff) + 1, 128))
    driver.identify(1)
    driver.admin.command(nvme.SET_FEATURES, cdw=(QUEUES, 1 << 16 | 1))
    for qid in (1, 2):
        driver.create_queue(qid, 256)
    nn, = struct.unpack_from('<I', driver.identify(1), 516)
    for nsid in range(1, min(nn, 4) + 1):
        driver.identify(0, nsid)
    # All that SMART knows, and what OAES offers, whether the controller has it or not.
    driver.admin.command(nvme.GET_FEATURES, cdw=(TEMPERATURE,))
    oaes, = struct.unpack_from('<I', driver.identify(1), 92)
    driver.admin.command(nvme.SET_FEATURES, cdw=(EVENTS, 0x1f | oaes & 0x300))
    events = park_events(driver, 8)
    for value in 0, 2 << 8 | 3:
        driver.admin.command(nvme.SET_FEATURES, cdw=(COALESCING, value))
        assert driver.admin.command(nvme.GET_FEATURES, cdw=(COALESCING,)) == value
    for qid in (1, 2):
        queue = driver.queues[qid]
        cid = queue.submit(nvme.READ, 1, driver.alloc(4096), cdw=(0, 0, 7))
        if line:
            handle(driver, line, queue, cid)
        else:
            # Fewer than the threshold: the time brings it.
            driver.wait_interrupt(qid)
            queue.wait(cid)
    driver.admin.poll()
    assert not set(events) & set(driver.admin.done)
    shut_down(driver)
