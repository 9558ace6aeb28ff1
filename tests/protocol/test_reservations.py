# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reservations between guests that share an image: processes that know nothing of each other but the image and a file."""
import os
import signal
import struct
import time

import pytest

import conftest
from client import idle, nvme
from lab.faults import Faults
from test_keeper import drive, keeper      # noqa: F401 pylint: disable=unused-import

MiB = 1 << 20
GET_LOG, SET_FEATURE, ASYNC_EVENT, HOST_ID, NOTIFICATIONS = 0x02, 0x09, 0x0c, 0x81, 0x80
REGISTER, REPORT, ACQUIRE, RELEASE = 0x0d, 0x0e, 0x11, 0x15
FORMAT = 0x80
CONFLICT, FORMAT_IN_PROGRESS = 0x83, 0x84
WRITE_EXCLUSIVE, PREEMPT_AND_ABORT = 1 << 8, 2
PERSIST = 3 << 30


def set_host_id(driver, number):
    iova = driver.alloc(4096)
    driver.memory.write(iova, struct.pack('<QQ', number, 0))
    driver.admin.command(SET_FEATURE, prp1=iova, cdw=(HOST_ID, 1))


def submit(driver, opcode, cdw10, key, other=0):
    iova = driver.alloc(4096)
    driver.memory.write(iova, struct.pack('<QQ', key, other))
    return driver.queues[1].submit(opcode, 1, iova, cdw=(cdw10,))


def reserve(driver, opcode, cdw10, key, other=0):
    driver.queues[1].wait(submit(driver, opcode, cdw10, key, other))


def write_status(driver, lba=0):
    try:
        driver.write(lba, bytes(512))
    except nvme.Failed as failed:
        return failed.status & 0x7ff
    return 0


def registered(driver):
    """How many controllers are."""
    iova = driver.alloc(4096)
    driver.next_page = iova     # it is asked again and again
    driver.queues[1].command(REPORT, 1, iova, cdw=(1023, 1))
    return struct.unpack('<H', driver.memory.read(iova + 5, 2))[0]


def notice(driver):
    """The next page of the log: count, type, how many are left."""
    iova = driver.alloc(4096)
    driver.admin.command(GET_LOG, prp1=iova, cdw=(NOTIFICATIONS | 15 << 16,))
    return struct.unpack('<QBB', driver.memory.read(iova, 10))


def is_stopped(pid):
    with open('/proc/%d/stat' % pid) as f:
        return f.read().rsplit(')', 1)[1].split()[0] == 'T'


def start_guests(folder, image, connect, controllers):
    tail = ',shareable,reservations=%s.reservations,persistence=%s.persistence' % (image, image)
    for name, namespace in (('a', 'file:%s' % image), ('b', 'fault:%s,control=%s.control' % (image, image))):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        controllers.append(conftest.Controller(os.path.join(folder, name), ('--namespace', namespace + tail)))
    drivers = [connect(controller) for controller in controllers[-2:]]
    for number, driver in enumerate(drivers):
        set_host_id(driver, number + 1)
    return drivers


@pytest.fixture(name='guests')
def fixture_guests(folder, image, connect):
    """Two controllers of two hosts; the storage of the second can be made to hang."""
    faults = Faults.make(image + '.control', capacity=16 * MiB)
    controllers = []
    drivers = start_guests(folder, image, connect, controllers)
    yield controllers, drivers, faults
    faults.clear()
    for controller in controllers:
        controller.stop()


def test_a_guest_is_fenced(guests):
    _, (a, b), faults = guests
    assert a.identify(1)[520] & 1 << 5 and a.identify(0, 1)[31] == 0xff
    reserve(a, REGISTER, 0, 0, 1)
    reserve(b, REGISTER, 0, 0, 2)
    reserve(b, ACQUIRE, WRITE_EXCLUSIVE, 2)
    assert (write_status(a), write_status(b)) == (CONFLICT, 0)
    event = b.admin.submit(ASYNC_EVENT)
    # What it has sent lands before the answer, and nothing after it.
    faults.write.hang()
    late = b.transfer(b.queues[1], nvme.WRITE, 8, 1, b.alloc(4096), 512)
    b.until(lambda: faults.write.held == 1)
    fence = submit(a, ACQUIRE, PREEMPT_AND_ABORT | WRITE_EXCLUSIVE, 1, 2)
    b.until(lambda: registered(b) == 1)
    assert write_status(b, 16) == CONFLICT
    time.sleep(0.2)     # it looks more often
    assert not a.queues[1].finished(fence) and not b.queues[1].finished(late)
    faults.clear()
    a.queues[1].wait(fence)
    b.queues[1].wait(late)
    assert (write_status(a), write_status(b)) == (0, CONFLICT)
    assert b.read(0, 512) == bytes(512)
    # It is told, although it sleeps: a registration was preempted.
    assert b.admin.wait(event) == 6 | NOTIFICATIONS << 16
    assert notice(b) == (1, 1, 0) and notice(b) == notice(a) == (0, 0, 0)


def test_a_format_of_the_other_is_in_progress(guests):
    (_, second), (a, b), faults = guests

    def format_hangs():
        faults.write_zeroes.hang()
        cid = b.admin.submit(FORMAT, 1)
        b.until(lambda: faults.write_zeroes.held == 1)
        assert a.identify(0, 1)[32] == 0x80 | 100
        assert write_status(a) == FORMAT_IN_PROGRESS
        return cid

    cid = format_hangs()
    faults.clear()
    b.admin.wait(cid)
    assert write_status(a) == 0 and a.identify(0, 1)[32] == 0x80
    # Nor is a guest that is there no more in the way of others.
    format_hangs()
    faults.clear()
    second.kill()
    a.until(lambda: write_status(a) == 0)


def test_a_dead_guest_is_not_waited_for(guests):
    (_, second), (a, b), _ = guests
    reserve(a, REGISTER, 0, 0, 1)
    reserve(b, REGISTER, 0, 0, 2)
    reserve(b, ACQUIRE, WRITE_EXCLUSIVE, 2)
    second.kill()
    reserve(a, ACQUIRE, PREEMPT_AND_ABORT | WRITE_EXCLUSIVE, 1, 2)
    assert write_status(a) == 0


def test_a_stopped_guest_is_waited_for(guests):
    """Its next write may have been judged already."""
    (_, second), (a, b), _ = guests
    reserve(a, REGISTER, 0, 0, 1)
    second.process.send_signal(signal.SIGSTOP)
    a.until(lambda: is_stopped(second.process.pid))
    fence = submit(a, ACQUIRE, WRITE_EXCLUSIVE, 1)
    time.sleep(0.1)
    assert not a.queues[1].finished(fence)
    second.process.send_signal(signal.SIGCONT)
    a.queues[1].wait(fence)
    assert write_status(b) == CONFLICT


def test_nobody_looks_for_changes(guests):
    """Who is idle is woken by a change, else by nothing."""
    controllers, (a, b), _ = guests
    reserve(a, REGISTER, 0, 0, 1)
    awake = idle.awake([controller.process.pid for controller in controllers], seconds=1)
    assert not any(awake.values()), awake
    reserve(a, ACQUIRE, WRITE_EXCLUSIVE, 1)
    assert write_status(b) == CONFLICT


def test_power_is_lost(guests, folder, image, connect):
    """All processes end at once, and the file in memory is gone. What was kept is whole, whenever they die."""
    controllers, (a, b), _ = guests
    reserve(a, REGISTER, PERSIST, 0, 1)
    reserve(b, REGISTER, 0, 0, 2)
    reserve(b, ACQUIRE, WRITE_EXCLUSIVE, 2)
    for key in range(2, 6):
        # One of them has the lock, or waits for the other's.
        submit(b, REGISTER, 2, key, key + 1)
        submit(a, REGISTER, 2, key - 1, key)
        if key == 3:
            time.sleep(0.001)
        for controller in controllers[-2:]:
            controller.kill()
        os.unlink(image + '.reservations')
        a, b = start_guests(folder, image, connect, controllers)
        assert (registered(a), write_status(a), write_status(b)) == (2, CONFLICT, 0)
        # Was the last one executed? Its host says so in any case.
        reserve(a, REGISTER, 2 | 1 << 3, 0, key)
        reserve(b, REGISTER, 2 | 1 << 3, 0, key + 1)
    reserve(b, RELEASE, 1 | WRITE_EXCLUSIVE, 6)
    for controller in controllers[-2:]:
        controller.kill()
    os.unlink(image + '.reservations')
    a, b = start_guests(folder, image, connect, controllers)
    assert (registered(a), write_status(a), write_status(b)) == (0, 0, 0)


def test_the_file_is_cut_off(guests, image):
    _, (a, b), _ = guests
    reserve(a, REGISTER, 0, 0, 1)
    reserve(a, ACQUIRE, WRITE_EXCLUSIVE, 1)
    assert write_status(b) == CONFLICT
    os.truncate(image + '.reservations', 0)
    assert (write_status(a), write_status(b)) == (CONFLICT, CONFLICT)
    b.identify(1)


def persistent(keeper):     # noqa: F811
    return [ns.get('persistent') for controller in keeper.call('status')['controllers'] for ns in controller['namespaces']]


def test_successors(keeper):    # noqa: F811
    """Of the controller and of the keeper: who holds it goes on holding it. A second controller of the guest is another host."""
    reservations, persistence = (os.path.join(keeper.folder, name) for name in ('reservations', 'persistence'))
    for index in range(2):
        disk = keeper.file_disk(capacity=16 * MiB, shareable=True)
        disk['reservations'], disk['persistence'] = reservations, persistence
        keeper.controller(index, serial='VNPATHS', subsystem='8f6b0d3e-0000-4000-8000-0000000000ff')['namespaces'] += [
            disk, keeper.file_disk(2 + index, 'own%d.raw' % index, capacity=1 * MiB)]
    keeper.start()
    paths = [drive(keeper, index) for index in range(2)]
    a, b = (driver for _, driver in paths)
    assert a.identify(0, 1)[31] == 0xff and a.identify(0, 2)[31] == 0
    for number, driver in enumerate((a, b)):
        set_host_id(driver, number + 1)
    reserve(a, REGISTER, PERSIST, 0, 1)
    reserve(a, ACQUIRE, WRITE_EXCLUSIVE, 1)
    assert (write_status(a), write_status(b)) == (0, CONFLICT)
    os.kill(keeper.call('status')['controller']['pid'], signal.SIGKILL)
    assert (write_status(a), write_status(b)) == (0, CONFLICT)
    assert persistent(keeper) == [True, None] * 2
    keeper.call('upgrade')
    assert (write_status(a), write_status(b)) == (0, CONFLICT)
    assert persistent(keeper) == [True, None] * 2
    assert len(os.listdir(reservations)) == 1 and os.stat(reservations).st_mode & 0o777 == 0o700
    reserve(b, REGISTER, 0, 0, 2)
    reserve(b, ACQUIRE, PREEMPT_AND_ABORT | WRITE_EXCLUSIVE, 2, 1)
    assert (write_status(a), write_status(b)) == (CONFLICT, 0)
    os.kill(keeper.call('status')['controller']['pid'], signal.SIGKILL)
    a.until(lambda: notice(a)[:2] == (1, 1))     # it may be told twice
    for client, _ in paths:
        client.close()
    keeper.stop()
    # The host starts again.
    for name in os.listdir(reservations):
        os.unlink(os.path.join(reservations, name))
    assert len(os.listdir(persistence)) == 1 and os.stat(persistence).st_mode & 0o777 == 0o700
    keeper.start()
    paths = [drive(keeper, index) for index in range(2)]
    a, b = (driver for _, driver in paths)
    assert (write_status(a), write_status(b)) == (CONFLICT, CONFLICT)
    for number, driver in enumerate((a, b)):
        set_host_id(driver, number + 1)
    assert (write_status(a), write_status(b)) == (CONFLICT, 0)
    for client, _ in paths:
        client.close()
    keeper.stop()
    # Where there is no such folder it says so.
    for controller in keeper.config['controllers']:
        controller['namespaces'][0]['persistence'] = keeper.path('a.raw')
    keeper.start()
    assert persistent(keeper) == [False, None] * 2
    keeper.stop()
