# SPDX-License-Identifier: LGPL-2.1-or-later
"""Write Uncorrectable: what is marked lasts as long as the image."""
import os

import pytest

from client import nvme
from test_crash import kill
from test_keeper import MIB, drive, keeper     # noqa: F401 pylint: disable=unused-import

WRITE_UNCORRECTABLE = 4
UNRECOVERED_READ = 0x281
FILE_BYTES = 8192


@pytest.fixture
def disk(keeper):   # noqa: F811
    """A keeper of one disk of 16 MiB whose blocks can be marked."""
    keeper.marks = keeper.path('marks')
    keeper.controller()['namespaces'].append(keeper.file_disk(capacity=16 * MIB, uncorrectable=keeper.marks))
    return keeper.start()


def mark(driver, lba, blocks):
    driver.queues[1].command(WRITE_UNCORRECTABLE, 1, cdw=(lba, 0, blocks - 1))


def marked(driver, *blocks):
    """Those of these blocks that are."""
    found = []
    for lba in blocks:
        try:
            driver.read(lba, 512)
        except nvme.Failed as failed:
            assert failed.status == UNRECOVERED_READ
            found.append(lba)
    return found


def test_it_lasts(disk):
    client, driver = drive(disk)
    assert driver.identify(1)[520] & 2
    driver.write(0, b'x' * 16 * 512)
    mark(driver, 4, 4)
    assert marked(driver, *range(16)) == [4, 5, 6, 7]
    kill(disk)
    assert marked(driver, *range(16)) == [4, 5, 6, 7]
    driver.write(4, b'y' * 512)
    kill(disk)
    disk.call('upgrade')
    assert marked(driver, *range(16)) == [5, 6, 7]
    assert driver.read(4, 512) == b'y' * 512
    client.close()
    disk.stop()
    # Another life of the domain, or another domain.
    disk.start()
    client, driver = drive(disk)
    assert marked(driver, *range(16)) == [5, 6, 7]
    driver.write_zeroes(0, 16)
    assert not marked(driver, *range(16))
    client.close()
    disk.stop()
    disk.start()
    client, driver = drive(disk)
    assert not marked(driver, *range(16))
    client.close()
    disk.stop()
    name, = os.listdir(disk.marks)
    assert os.stat(os.path.join(disk.marks, name)).st_size == FILE_BYTES


def test_no_file_is_left_where_nothing_was_marked(disk):
    client, driver = drive(disk)
    driver.write(0, b'x' * 4096)
    assert len(os.listdir(disk.marks)) == 1
    client.close()
    disk.stop()
    assert not os.listdir(disk.marks)


def test_who_cannot_keep_them_has_none(keeper):     # noqa: F811
    with open(keeper.path('file'), 'w'):
        pass
    keeper.controller()['namespaces'].append(keeper.file_disk(capacity=16 * MIB, uncorrectable=keeper.path('file')))
    keeper.start()
    client, driver = drive(keeper)
    assert not driver.identify(1)[520] & 2
    with pytest.raises(nvme.Failed) as failed:
        mark(driver, 4, 4)
    assert failed.value.status == 1
    client.close()
    keeper.stop()
