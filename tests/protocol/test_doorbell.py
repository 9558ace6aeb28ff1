# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shadow doorbells (Doorbell Buffer Config) against the real program, where threads really sleep."""
import os
import random
import struct
import time

import pytest

from client import idle, nvme


@pytest.mark.parametrize('threads', [1, 2])
def test_io_by_shadow_doorbells(start_controller, connect, image, threads):
    driver = connect(start_controller('--namespace', 'file:' + image, '--io-threads=%d' % threads), queues=4)
    driver.write(0, b'x' * 4096)
    driver.shadow_doorbells()
    before, commands = driver.trapped, 0
    expected = {}
    for round_number in range(16):
        cids = []
        for qid in range(1, 5):
            queue = driver.queues[qid]
            for i in range(40):
                lba = (qid * 40 + i) * 8
                data = struct.pack('<IIII', round_number, qid, i, 0) * 256
                iova = driver.alloc(4096)
                driver.memory.write(iova, data)
                cids.append((queue, queue.submit(nvme.WRITE, 1, iova, cdw=(lba, 0, 7))))
                expected[lba] = data
        for queue, cid in cids:
            queue.wait(cid)
        commands += len(cids)
        driver.next_page -= 160 * 4096
    driver.flush()
    with open(image, 'rb') as f:
        for lba, data in expected.items():
            f.seek(lba * 512)
            assert f.read(4096) == data
    # Each command has two doorbells, of which the second needs no one's attention.
    assert driver.trapped - before <= commands + 4 * 16


def test_a_sleeper_is_woken_each_time(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:1M'))
    driver.shadow_doorbells()
    queue = driver.queues[1]
    random.seed(1)
    for _ in range(400):
        time.sleep(random.choice((0, 0, 0.00002, 0.0001, 0.002)))
        queue.wait(queue.submit(nvme.READ, 1, 0x1000, cdw=(0, 0, 7)), 10)


def test_completions_wait_for_room(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:1M'), queues=0)
    driver.shadow_doorbells()
    queue = driver.create_queue(1, completions=4)
    cids = [queue.submit(nvme.READ, 1, 0x1000, cdw=(0, 0, 7)) for _ in range(40)]
    time.sleep(0.05)    # everybody sleeps, with three completions posted
    for cid in cids:
        queue.wait(cid, 10)


def switches(pid):
    """How often its threads went to sleep."""
    total = 0
    for task in os.listdir('/proc/%d/task' % pid):
        with open('/proc/%d/task/%s/status' % (pid, task)) as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith('voluntary_ctxt_switches'))
    return total


def test_nobody_wakes_up_at_idle(start_controller, connect):
    controller = start_controller('--namespace', 'memory:1M', '--io-threads=2')
    driver = connect(controller, queues=2)
    driver.shadow_doorbells()
    driver.write(0, b'x' * 4096, qid=1)
    driver.write(0, b'x' * 4096, qid=2)
    assert idle.comes_to_rest(lambda: switches(controller.process.pid), 1)


def test_a_reset_forgets_them(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:1M'))
    for _ in range(3):
        driver.shadow_doorbells()
        driver.write(0, b'x' * 4096)
        pages = driver.shadow, driver.events
        driver.disable()
        for page in pages:
            driver.memory.write(page, b'\x05' * 4096)
        driver.enable()
        driver.create_queue(1)
        assert driver.read(0, 4096) == b'x' * 4096
        for page in pages:
            assert driver.memory.read(page, 4096) == b'\x05' * 4096


def test_memory_without_a_descriptor_is_refused(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:1M'), fd=False)
    with pytest.raises(nvme.Failed) as failed:
        driver.shadow_doorbells()
    assert failed.value.status == nvme.INVALID_FIELD
    driver.write(0, b'x' * 4096)
    assert driver.read(0, 4096) == b'x' * 4096


@pytest.mark.parametrize('threads', [1, 2])
def test_io_by_mapped_doorbells(start_controller, connect, threads):
    driver = connect(start_controller('--namespace', 'memory:1M', '--doorbells=mapped', '--io-threads=%d' % threads), enable=False)
    driver.map_doorbells()
    random.seed(2)
    for _ in range(2):
        driver.enable()
        for qid in (1, 2):
            driver.create_queue(qid)
        for i in range(100):
            time.sleep(random.choice((0, 0, 0.00002, 0.0001, 0.002)))
            driver.write(8 * (i % 200), bytes([i]) * 4096, qid=1 + i % 2)
            assert driver.read(8 * (i % 200), 4096, qid=2 - i % 2) == bytes([i]) * 4096
            driver.next_page -= 2 * 4096
        driver.disable()
        driver.page[2] = driver.page[0] = 7     # of a driver that was there before
    assert not driver.trapped


def test_nobody_looks_without_queues(start_controller, connect):
    controller = start_controller('--namespace', 'memory:1M', '--doorbells=mapped')
    driver = connect(controller, enable=False)
    driver.map_doorbells()
    driver.enable()
    driver.disable()
    time.sleep(0.5)
    before = switches(controller.process.pid)
    time.sleep(1)
    assert switches(controller.process.pid) == before


def test_trapped_doorbells(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:1M', '--doorbells=trapped'))
    assert driver.client.region_info(0)['fd'] is None
    assert not struct.unpack_from('<H', driver.identify(1), 256)[0] & 0x100
    with pytest.raises(nvme.Failed) as failed:
        driver.shadow_doorbells()
    assert failed.value.status == nvme.INVALID_OPCODE
    driver.write(0, b'x' * 4096)
    assert driver.read(0, 4096) == b'x' * 4096
