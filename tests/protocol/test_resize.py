# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks become smaller while they are in use: nothing is written behind the new end any more when the image is cut off."""
import errno
import os

import pytest

from client import nvme
from test_crash import kill
from test_keeper import MIB, Refused, disk, drive, keeper       # noqa: F401 pylint: disable=unused-import
from test_keeper_channel import driver_of, keeper as channel    # noqa: F401 pylint: disable=unused-import
from test_message_mode import fault_disk

OUT_OF_RANGE = 0x80


def refused(driver, lba):
    with pytest.raises(nvme.Failed) as failed:
        driver.read(lba, 512)
    return failed.value.status == OUT_OF_RANGE


def write_later(driver, lba):
    return driver.transfer(driver.queues[1], nvme.WRITE, lba, 8, driver.alloc(4096), 4096)


def send_limit(keeper, value):
    return keeper.channel.send('resize-namespace', {'index': 0, 'nsid': 1, 'limit': value})


def test_a_write_under_way_is_waited_for(channel, folder):      # noqa: F811
    client = channel.add_controller()
    faults = fault_disk(channel, folder)
    driver = driver_of(client)
    driver.admin.command(nvme.SET_FEATURES, cdw=(0xb, 1 << 8))
    event = driver.admin.submit(nvme.AER)
    faults.write.hang()
    behind = write_later(driver, 12 * MIB // 512)
    driver.until(lambda: faults.write.held == 1)
    request = send_limit(channel, 8 * MIB)
    # The guest is told, and what comes now is refused; the answer waits for what is at the image.
    driver.admin.wait(event)
    assert driver.namespace() == (8 * MIB // 512, 512)
    assert refused(driver, 8 * MIB // 512)
    driver.read(8 * MIB // 512 - 1, 512)
    with pytest.raises(TimeoutError):
        channel.channel.receive(timeout=0.3)
    faults.write.release()
    driver.queues[1].wait(behind)
    assert channel.channel.receive() == {'id': request, 'result': {'capacity': 8 * MIB}}
    image = os.path.join(folder, 'f.raw')
    os.truncate(image, 8 * MIB)
    assert channel.channel.call('resize-namespace', {'index': 0, 'nsid': 1}) == {'capacity': 8 * MIB}
    driver.write(8 * MIB // 512 - 8, b'e' * 4096)
    assert os.path.getsize(image) == 8 * MIB


def test_a_write_that_waits_does_not_begin(channel, image):     # noqa: F811
    """It was parsed when the disk was larger, and is held up by a limit."""
    client = channel.add_controller()
    channel.add_namespace(0, 1, image, iotune={'write_iops_sec': 10})
    driver = driver_of(client)
    writes = [write_later(driver, 12 * MIB // 512) for _ in range(12)]
    driver.until(lambda: driver.queues[1].finished(writes[0]))
    request = send_limit(channel, 8 * MIB)
    assert channel.channel.receive() == {'id': request, 'result': {'capacity': 8 * MIB}}
    os.truncate(image, 8 * MIB)
    channel.channel.call('set-iotune', {'index': 0, 'nsid': 1, 'iotune': {}})
    driver.until(lambda: all(driver.queues[1].finished(cid) for cid in writes))
    results = [driver.queues[1].done[cid][0] & 0x7ff for cid in writes]
    assert results[0] == 0 and results[-1] == OUT_OF_RANGE and set(results) == {0, OUT_OF_RANGE}, results
    assert os.path.getsize(image) == 8 * MIB


def test_a_limit_that_leaves_nothing(channel, image):   # noqa: F811
    client = channel.add_controller()
    channel.add_namespace(0, 1, image)
    driver = driver_of(client)
    with pytest.raises(OSError) as failed:
        channel.channel.call('resize-namespace', {'index': 0, 'nsid': 1, 'limit': 4095})
    assert failed.value.errno == errno.EINVAL
    assert driver.namespace() == (16 * MIB // 512, 512)
    # One that somebody else leaves nothing of is not announced.
    os.truncate(image, 511)
    with pytest.raises(OSError) as failed:
        channel.channel.call('resize-namespace', {'index': 0, 'nsid': 1})
    assert failed.value.errno == errno.EINVAL
    assert driver.namespace() == (16 * MIB // 512, 512)
    os.truncate(image, 16 * MIB)
    # A limit is none to an image that is smaller.
    assert channel.channel.call('resize-namespace', {'index': 0, 'nsid': 1, 'limit': 64 * MIB}) == {'capacity': 16 * MIB}


def capacity(keeper):
    return keeper.call('status')['controllers'][0]['namespaces'][0]['capacity']


def test_a_successor_keeps_to_it(disk):     # noqa: F811
    """The controller dies between the two steps, and in the midst of the first."""
    client, driver = drive(disk)
    assert disk.call('resize-namespace', index=0, nsid=1, limit=8 * MIB) == {'capacity': 8 * MIB}
    kill(disk)
    assert refused(driver, 8 * MIB // 512) and capacity(disk) == 8 * MIB
    # It is given up: as large as the image.
    assert disk.call('resize-namespace', index=0, nsid=1) == {'capacity': 16 * MIB}
    kill(disk)
    driver.read(8 * MIB // 512, 512)
    # What is refused is not in force for a successor.
    with pytest.raises(Refused):
        disk.call('resize-namespace', index=0, nsid=1, limit=4095)
    kill(disk)
    driver.read(8 * MIB // 512, 512)
    assert capacity(disk) == 16 * MIB
    client.close()
    disk.stop()
