# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guest memory without a descriptor: everything goes by DMA_READ and DMA_WRITE."""
import os
import struct
import time

import pytest

from client import nvme, vfio_user as vu

MiB = 1 << 20


@pytest.mark.parametrize('size', [512, 4096, 64 << 10, MiB])
@pytest.mark.parametrize('kind', ['memory', 'file'])
def test_all_by_message(start_controller, connect, image, kind, size):
    spec = 'file:' + image if kind == 'file' else 'memory:16M'
    driver = connect(start_controller('--namespace', spec), fd=False)
    data = os.urandom(size)
    driver.write(64, data)
    driver.flush()
    assert driver.read(64, size) == data
    if kind == 'file':
        with open(image, 'rb') as f:
            f.seek(64 * 512)
            assert f.read(size) == data
    assert {command for command, _, _ in driver.client.served} == {vu.DMA_READ, vu.DMA_WRITE}


def test_reads_are_small_enough_for_qemu(start_controller, connect):
    """A DMA_READ reply of more than 64 KiB is cut short by QEMU, and that much is outstanding at most."""
    driver = connect(start_controller('--namespace', 'memory:16M'), fd=False)
    outstanding = [0]
    answer = driver.client.answer
    driver.client.hold = True
    iova = driver.alloc(MiB)
    queue = driver.queues[1]
    cid = driver.transfer(queue, nvme.WRITE, 0, MiB // 512, iova, MiB)

    def step():
        held, driver.client.held = driver.client.held, []
        outstanding[0] = max(outstanding[0], sum(int.from_bytes(m.payload[8:16], 'little')
                                                 for m in held if m.command == vu.DMA_READ))
        for message in held:
            answer(message)
        return queue.finished(cid)

    driver.until(step)
    assert 0 < outstanding[0] <= 64 << 10


def test_data_by_message_and_queues_in_place(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:16M'))
    far = vu.Memory(MiB, fd=False)
    driver.client.map(far, 1 << 32)
    data = os.urandom(8192)
    far.write(4096, data)
    queue = driver.queues[1]
    base = (1 << 32) + 4096
    queue.command(nvme.WRITE, 1, base, base + 4096, cdw=(0, 0, 15))
    assert driver.read(0, 8192) == data
    queue.command(nvme.READ, 1, base + 65536, base + 65536 + 4096, cdw=(0, 0, 15))
    driver.until(lambda: far.read(4096 + 65536, 8192) == data)


def test_a_completion_in_place_does_not_overtake_data_by_message(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:16M'))
    far = vu.Memory(MiB, fd=False)
    driver.client.map(far, 1 << 32)
    driver.write(0, b'x' * 4096)
    queue, client = driver.queues[1], driver.client
    client.hold = True
    cid = queue.submit(nvme.READ, 1, 1 << 32, cdw=(0, 0, 7))
    driver.until(lambda: client.held)
    client.serve(0.1)
    assert not queue.finished(cid), 'the completion is there, and the data is not'
    client.hold = False
    for message in client.held:
        client.answer(message)
    queue.wait(cid)
    assert far.read(0, 4096) == b'x' * 4096
    # And then in place again.
    served = len(client.served)
    driver.write(0, bytes(512))
    assert len(client.served) == served


def test_an_interrupt_follows_the_writes_that_it_announces(start_controller, connect):
    """And a completion the data: until that is acknowledged, the command may have to be run again by a successor."""
    driver = connect(start_controller('--namespace', 'memory:16M'), fd=False)
    queue, client = driver.queues[1], driver.client
    iova = driver.alloc(4096)
    driver.vectors[1].take()
    # Reads are answered, writes are not.
    serve, kept = client.answer, []

    def answer(message):
        if message.command == vu.DMA_WRITE:
            kept.append(message)
        else:
            serve(message)

    client.answer = answer
    queue.submit(nvme.READ, 1, iova, cdw=(0, 0, 7))
    driver.until(lambda: kept)
    client.serve(0.1)
    data, = kept
    assert struct.unpack_from('<QQ', data.payload) == (iova, 4096)
    serve(data)
    driver.until(lambda: len(kept) == 2)
    client.serve(0.1)
    assert driver.vectors[1].take() == 0, 'the completion is on its way'
    client.answer = serve
    serve(kept[1])
    driver.wait_interrupt(1)
    assert queue.poll()


def test_memory_that_the_client_does_not_have(start_controller, connect):
    """The client fails a DMA_READ: the command fails, and nothing else."""
    driver = connect(start_controller('--namespace', 'memory:16M'))
    gone = vu.Memory(MiB, fd=False)
    region = driver.client.map(gone, 1 << 32)
    driver.client.regions.remove(region)
    with pytest.raises(nvme.Failed) as failed:
        driver.queues[1].command(nvme.WRITE, 1, 1 << 32, cdw=(0, 0, 7))
    assert failed.value.status in (nvme.DATA_TRANSFER_ERROR, 6)
    driver.write(0, bytes(512))


def test_the_map_changes_while_a_worker_waits_for_the_client(start_controller, connect):
    """A worker that waits for a DMA_READ stands still: DMA_MAP is answered meanwhile."""
    driver = connect(start_controller('--namespace', 'memory:16M'), fd=False)
    client = driver.client
    client.hold = True
    queue = driver.queues[1]
    cid = queue.submit(nvme.WRITE, 1, driver.alloc(4096), cdw=(0, 0, 7))
    driver.until(lambda: client.held)
    other = vu.Memory(MiB)
    client.map(other, 1 << 33)
    client.unmap(1 << 33, MiB)
    client.hold = False
    for message in client.held:
        client.answer(message)
    queue.wait(cid)


def test_a_queue_goes_on_when_its_memory_is_back(start_controller, connect):
    """QEMU takes regions away and gives them back; the doorbell came in between, and no other follows."""
    driver = connect(start_controller('--namespace', 'memory:16M'))
    client = driver.client
    region, = client.regions
    iova = driver.alloc(4096)
    driver.read(0, 512)
    # The file stays in use by another region, so that there is nothing to clean up.
    client.map(region.memory, 1 << 33)
    client.unmap(region.iova, region.size)
    queue = driver.queues[1]
    cid = queue.submit(nvme.READ, 1, iova, cdw=(0, 0, 7))
    time.sleep(0.2)
    client.map(region.memory, region.iova)
    queue.wait(cid)
