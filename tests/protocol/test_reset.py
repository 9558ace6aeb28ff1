# SPDX-License-Identifier: LGPL-2.1-or-later
"""Resets of every kind, with I/O under way: nothing arrives afterwards, and the controller works again."""
import os
import struct

import pytest

from client import nvme, vfio_user as vu


def load(driver, commands=48):
    """Reads of 128 KiB, as many as the queue takes."""
    queue = driver.queues[1]
    buffers = []
    for i in range(commands):
        iova = driver.alloc(128 << 10)
        prp1, prp2 = driver.prps(iova, 128 << 10)
        queue.put(nvme.READ, 1, prp1, prp2, cdw=(i * 256, 0, 255))
        buffers.append(iova)
    queue.ring()
    return buffers


def by_cc(driver):
    driver.disable()


def by_message(driver):
    driver.client.reset(timeout=20)


def by_flr(driver):
    client = driver.client
    offset = client.find_capability(0x10)
    control = client.config(offset + 8, 2)
    client.write_config(offset + 8, control | 0x8000, 2)
    driver.until(lambda: driver.read32(nvme.CSTS) & nvme.RDY == 0)


def by_power(driver):
    client = driver.client
    offset = client.find_capability(1)
    for state in (3, 0):
        client.write_config(offset + 4, client.config(offset + 4, 2) & ~3 | state, 2)
    driver.until(lambda: driver.read32(nvme.CSTS) & nvme.RDY == 0)


@pytest.mark.parametrize('reset', [by_cc, by_message, by_flr, by_power])
def test_reset_with_commands_in_flight(start_controller, connect, image, reset):
    driver = connect(start_controller('--namespace', 'file:' + image))
    for _ in range(3):
        mark = driver.next_page
        buffers = load(driver)
        reset(driver)
        # Over: whatever the guest does with this memory now must stay.
        for iova in buffers:
            driver.memory.write(iova, b'\xa5' * 64)
        driver.next_page = mark
        driver.enable()
        driver.create_queue(1)
        data = os.urandom(4096)
        driver.write(5, data)
        assert driver.read(5, 4096) == data
        driver.next_page = mark
        for iova in buffers[2:]:
            assert driver.memory.read(iova, 64) == b'\xa5' * 64


def test_device_reset_clears_the_function(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:1M'))
    assert driver.read32(nvme.CC) & nvme.EN
    assert driver.client.config(4, 2) & 4
    driver.client.reset()
    assert driver.read32(nvme.CC) == 0 and driver.read32(nvme.CSTS) == 0 and driver.read32(nvme.AQA) == 0
    assert driver.client.config(4, 2) & 7 == 0


def test_reset_ends_a_wait_for_the_client(start_controller, connect):
    """A worker that waits for a DMA_READ which is never answered does not hold up a reset."""
    driver = connect(start_controller('--namespace', 'memory:1M'), fd=False)
    driver.client.hold = True
    driver.queues[1].submit(nvme.WRITE, 1, driver.alloc(4096), cdw=(0, 0, 7))
    driver.until(lambda: any(m.command == vu.DMA_READ for m in driver.client.held))
    driver.client.reset(timeout=3)
    driver.client.hold = False
    for message in driver.client.held:
        driver.client.answer(message)
    driver.client.held = []
    driver.enable()
    driver.create_queue(1)
    driver.write(0, b'q' * 512)
    assert driver.read(0, 512) == b'q' * 512


def test_shutdown_notification(start_controller, connect, image):
    driver = connect(start_controller('--namespace', 'file:%s,cache=writeback' % image))
    driver.write(0, b's' * 512)
    driver.write32(nvme.CC, driver.read32(nvme.CC) | 1 << 14)
    driver.wait_csts(3 << 2, 2 << 2)
    driver.disable()
    driver.enable()
    driver.create_queue(1)
    assert driver.read(0, 512) == b's' * 512


def test_a_queue_in_use_is_deleted(start_controller, connect, image):
    driver = connect(start_controller('--namespace', 'file:' + image))
    queue = driver.queues[1]
    load(driver, 20)
    driver.admin.command(nvme.DELETE_SQ, cdw=(1,))
    driver.admin.command(nvme.DELETE_CQ, cdw=(1,))
    queue.poll()
    assert len(queue.done) == 20, 'every command is completed before its queue is gone'
    assert all(status & 0x7ff in (0, nvme.ABORTED_SQ_DELETED) for status, _ in queue.done.values())
    driver.create_queue(1)
    driver.write(0, struct.pack('<I', 7) * 128)
