# SPDX-License-Identifier: LGPL-2.1-or-later
"""The controller's half of restarts: frozen and thawed, state files adopted, the dead process's requests waited for."""
import errno
import fcntl
import os
import select
import struct
import time
import uuid

import pytest

from client import nvme
from test_keeper_channel import UUID, Keeper, driver_of, keeper  # noqa: F401 pylint: disable=unused-import
from test_message_mode import fault_disk

F_OFD_SETLK = 37
GENERATION_BYTE = 400


def generation_byte(nsid):
    """As block/lock.h and controller/generation-lock.c have it: of this controller's namespace alone."""
    key = 0xcbf29ce484222325
    for byte in uuid.UUID(UUID).bytes + bytes([nsid]):
        key = (key ^ byte) * 0x100000001b3 % (1 << 64)
    return GENERATION_BYTE + key % (1 << 48)


def try_lock(fd, kind, byte):
    try:
        fcntl.fcntl(fd, F_OFD_SETLK, struct.pack('hhqqi', kind, os.SEEK_SET, byte, 1, 0))
    except OSError as error:
        assert error.errno in (errno.EAGAIN, errno.EACCES)
        return False
    return True


def submit_writes(driver, count, value, first=0):
    queue, cids = driver.queues[1], []
    for i in range(count):
        iova = driver.alloc(4096)
        driver.memory.write(iova, bytes([value]) * 4096)
        cids.append(queue.submit(nvme.WRITE, 1, iova, cdw=((first + i) * 8, 0, 7)))
    return cids


def test_frozen_and_thawed(keeper, image):      # noqa: F811
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, image)
    driver = driver_of(client)
    cids = submit_writes(driver, 16, 1)
    assert keeper.channel.call('freeze') == {}
    cids += submit_writes(driver, 16, 2, first=16)
    queue = driver.queues[1]
    driver.until(lambda: client.processed() >= client.sequence - 1)
    time.sleep(0.05)
    seen = len(queue.done) if queue.poll() else len(queue.done)
    time.sleep(0.1)
    queue.poll()
    assert len(queue.done) == seen < 32, 'a frozen controller has completed a command'
    assert driver.read32(nvme.CSTS) & nvme.RDY
    driver.vectors[0].take()
    assert keeper.channel.call('thaw') == {}
    for cid in cids:
        queue.wait(cid)
    driver.wait_interrupt(0)        # every queue's, whether anything was posted or not
    assert driver.read(0, 65536) == b'\1' * 65536 and driver.read(128, 65536) == b'\2' * 65536


def test_each_freeze_syncs_what_was_written(keeper, folder):      # noqa: F811
    """A migration that came to nothing, and the next one. A second time in a row there is nothing to sync."""
    client = keeper.add_controller()
    faults = fault_disk(keeper, folder)
    driver = driver_of(client)
    for count in 1, 2:
        driver.write(0, bytes([count]) * 4096)
        for _ in range(2):
            keeper.channel.call('freeze')
            assert faults.flush.begun == count
        keeper.channel.call('thaw')


def test_the_client_leaves_on_the_way_there(keeper, folder):      # noqa: F811
    """What is at the image is waited for, as ever: only then may somebody else have it."""
    client = keeper.add_controller()
    faults = fault_disk(keeper, folder)
    driver = driver_of(client)
    faults.write.hang()
    submit_writes(driver, 4, 1)
    driver.until(lambda: faults.write.held == 4)
    request = keeper.channel.send('freeze', {})
    time.sleep(0.1)
    client.close()
    assert not select.select([keeper.channel.sock], [], [], 0.5)[0], 'neither frozen nor closed'
    faults.write.release()
    messages = [keeper.channel.receive() for _ in range(2)]
    assert {message.get('event') for message in messages} == {'closed', None}
    assert {message.get('id') for message in messages} == {request, None}
    assert faults.write.succeeded == 4
    keeper.channel.call('remove-controller', {'index': 0})


@pytest.mark.parametrize('sync', [True, False])
def test_the_state_goes_to_another_process(keeper, folder, image, sync):        # noqa: F811
    """As for an upgrade: frozen, killed, adopted."""
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, image)
    driver = driver_of(client)
    cids = submit_writes(driver, 32, 3)
    keeper.channel.call('freeze', {'sync': sync})
    keeper.process.kill()
    keeper.process.wait()
    keeper.end = lambda: None

    successor = Keeper(folder)
    driver.client = again = successor.add_controller(state=client.state)
    successor.add_namespace(0, 1, image)
    again.map(driver.memory.memory, 0)
    again.enable_vectors(driver.vectors)
    for cid in cids:
        driver.queues[1].wait(cid)
    assert driver.read(0, 32 * 4096) == b'\3' * (32 * 4096)
    successor.channel.sock.close()
    successor.end()


def test_a_device_leaves_its_state_and_comes_back_frozen(keeper, image):        # noqa: F811
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, image)
    driver = driver_of(client)
    driver.write(0, b'a' * 4096)
    keeper.channel.call('remove-controller', {'index': 0, 'keep_state': True})
    driver.client = again = keeper.add_controller(state=client.state, frozen=True)
    keeper.add_namespace(0, 1, image)
    again.map(driver.memory.memory, 0)
    again.enable_vectors(driver.vectors)
    assert driver.read32(nvme.CSTS) & nvme.RDY
    iova = driver.alloc(4096)
    cid = driver.queues[1].submit(nvme.READ, 1, iova, cdw=(0, 0, 7))
    again.serve(0.1)
    assert not driver.queues[1].finished(cid)
    keeper.channel.call('thaw')
    driver.queues[1].wait(cid)
    assert driver.memory.read(iova, 4096) == b'a' * 4096


def test_the_dead_process_s_requests_are_waited_for(keeper, image):     # noqa: F811
    """Its file description, and with it the lock, lives as long as its last request."""
    dead = os.open(image, os.O_RDWR)
    assert try_lock(dead, fcntl.F_WRLCK, generation_byte(1))
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, image)
    keeper.add_namespace(0, 2)
    driver = driver_of(client)
    iova = driver.alloc(4096)
    cid = driver.queues[1].submit(nvme.READ, 1, iova, cdw=(0, 0, 7))
    driver.write(0, b'o' * 4096, nsid=2)        # another namespace, admin commands, registers
    assert driver.identify(0, 1)[:8] != bytes(8)
    client.serve(0.2)
    assert not driver.queues[1].finished(cid)
    os.close(dead)
    driver.queues[1].wait(cid)


def test_frozen_the_lock_is_free(keeper, image):        # noqa: F811
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, image)
    driver = driver_of(client)
    driver.write(0, b'x' * 512)
    other = os.open(image, os.O_RDWR)
    assert not try_lock(other, fcntl.F_WRLCK, generation_byte(1))
    keeper.channel.call('freeze')
    assert try_lock(other, fcntl.F_WRLCK, generation_byte(1)), 'who goes on with the state waits for us'
    keeper.channel.call('thaw')
    cid = driver.queues[1].submit(nvme.FLUSH, 1)
    client.serve(0.1)
    assert not driver.queues[1].finished(cid)
    os.close(other)
    driver.queues[1].wait(cid)


def test_an_awaited_namespace_can_be_given_up(keeper, folder, image):   # noqa: F811
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, image)
    keeper.add_namespace(0, 2)
    driver = driver_of(client)
    keeper.process.kill()
    keeper.process.wait()
    keeper.end = lambda: None

    successor = Keeper(folder)
    driver.client = again = successor.add_controller(state=client.state)
    again.map(driver.memory.memory, 0)
    again.enable_vectors(driver.vectors)
    successor.add_namespace(0, 1, image)
    cid = driver.queues[1].submit(nvme.FLUSH, 1)
    again.serve(0.1)
    assert not driver.queues[1].finished(cid), 'namespace 2 may still come'
    successor.channel.call('remove-namespace', {'index': 0, 'nsid': 2})
    driver.queues[1].wait(cid)
    with pytest.raises(nvme.Failed):
        driver.read(0, 512, nsid=2)
    successor.channel.sock.close()
    successor.end()
