# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keep Alive: a guest that is silent is given up, and one that was stopped is not."""
import time

from client import nvme
from test_crash import kill
from test_faults import Monitor
from test_keeper import disk, drive, keeper     # noqa: F401 pylint: disable=unused-import

KEEP_ALIVE = 0x0f
EXPIRED = 0x19
SET_FEATURES, GET_FEATURES = 9, 10


def failed(driver):
    return driver.read32(nvme.CSTS) & nvme.CFS


def set_timeout(driver, ms):
    driver.admin.command(SET_FEATURES, cdw=(KEEP_ALIVE, ms))


def status_of_last_error(driver):
    entry = driver.log_page(1, 64)
    return int.from_bytes(entry[12:14], 'little') >> 1


def test_who_is_silent_is_given_up(disk):
    client, driver = drive(disk)
    monitor = Monitor(disk)
    set_timeout(driver, 1000)
    # The domain is suspended for longer than that, and nobody takes its disks.
    monitor.serve('query-status', running=False)
    monitor.serve('query-status', running=False)
    assert not failed(driver)
    # A successor counts, too, and resumed late the guest has its whole time again.
    kill(disk)
    monitor.serve('query-status', running=False)
    resumed = time.monotonic()
    monitor.cont()
    while not failed(driver):
        if not monitor.silent():
            monitor.serve('query-status', running=True)
        assert time.monotonic() < resumed + 30
    assert time.monotonic() >= resumed + 0.99
    # It stays so until the guest comes back.
    kill(disk)
    assert failed(driver)
    driver.disable()
    driver.enable()
    assert status_of_last_error(driver) == EXPIRED
    client.close()
    monitor.close()
    disk.stop()


def test_without_qemus_monitor_nobody_is(disk):
    client, driver = drive(disk)
    set_timeout(driver, 1000)
    time.sleep(1.5)
    assert not failed(driver)
    client.close()
    disk.stop()


def test_alone_the_controller_takes_the_guest_to_run(controller, connect):
    driver = connect(controller)
    set_timeout(driver, 1000)
    driver.wait_csts(nvme.CFS, nvme.CFS, 30)
    driver.disable()
    driver.enable()
    assert status_of_last_error(driver) == EXPIRED
