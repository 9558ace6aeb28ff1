# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keep Alive: a guest that is silent is given up, and one that was stopped is not."""
import socket
import threading
import time

from client import nvme
from test_crash import kill
from test_faults import Monitor, until
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


class Qemu(threading.Thread):
    """Says at each question whether the domain runs."""

    def __init__(self, keeper):
        super().__init__(daemon=True)
        self.monitor = Monitor(keeper)
        self.monitor.sock.settimeout(None)
        self.running, self.questions = False, 0
        self.start()

    def run(self):
        try:
            while True:
                self.monitor.serve('query-status', running=self.running)
                self.questions += 1
        except (OSError, ValueError):
            pass    # the connection has ended, which is no JSON

    def wait(self, questions):
        """For so many more."""
        questions += self.questions
        until(lambda: self.questions >= questions)

    def close(self):
        self.monitor.sock.shutdown(socket.SHUT_RDWR)
        self.join()
        self.monitor.close()


def test_who_is_silent_is_given_up(disk):
    client, driver = drive(disk)
    qemu = Qemu(disk)
    set_timeout(driver, 1000)
    # The domain is suspended for longer than that, and nobody takes its disks.
    qemu.wait(2)
    assert not failed(driver)
    # A successor counts, too, and resumed late the guest has its whole time again.
    kill(disk)
    qemu.wait(2)
    assert not failed(driver)
    resumed = time.monotonic()
    qemu.monitor.cont()
    qemu.running = True
    until(lambda: failed(driver), 30)
    assert time.monotonic() >= resumed + 0.99
    # It stays so until the guest comes back.
    kill(disk)
    assert failed(driver)
    driver.disable()
    driver.enable()
    assert status_of_last_error(driver) == EXPIRED
    client.close()
    qemu.close()
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
