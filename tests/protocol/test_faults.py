# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults of the storage: what the guest gets to see of them."""
import errno
import os
import time

import pytest

from client import nvme
from lab.faults import Faults

KiB, MiB = 1 << 10, 1 << 20


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
