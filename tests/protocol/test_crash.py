# SPDX-License-Identifier: LGPL-2.1-or-later
"""Controllers that die under a keeper: a successor, and when there can be none."""
import concurrent.futures
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import struct
import threading
import time

import pytest

from client import nvme, vfio_user as v
from test_keeper import (CONTROLLER, KEEPER, MIB, Keeper, Refused, alive, disk, drive, keeper,  # noqa: F401 pylint: disable=unused-import
                         until)

FAILED = os.path.join(os.path.dirname(CONTROLLER), 'virtnvme-failed')
QUICK = 1.0     # seconds: a controller that lived longer was no part of a loop


def status(keeper):
    return keeper.call('status')['controller']


def kill(keeper, signo=signal.SIGKILL):
    """The controller; until its successor serves."""
    before = status(keeper)
    os.kill(before['pid'], signo)
    until(lambda: status(keeper)['generation'] > before['generation'] and status(keeper)['state'] != 'restarting')


@pytest.fixture
def keeper_with_script(keeper):
    """Its controller is a script that does what the file `script` says, and then becomes the controller."""
    program = keeper.path('program')
    with open(program, 'w') as f:
        f.write('#!/bin/sh\n. %s\nexec %s "$@"\n' % (keeper.path('script'), CONTROLLER))
    os.chmod(program, 0o755)
    script(keeper, '')
    keeper.config.update(controller_program=program, failed_program=FAILED)
    keeper.controller()['namespaces'].append(keeper.file_disk(capacity=16 * MIB))
    return keeper


def script(keeper, text):
    with open(keeper.path('script.new'), 'w') as f:
        f.write(text + '\n')
    os.rename(keeper.path('script.new'), keeper.path('script'))


def test_a_successor_goes_on(disk):
    client, driver = drive(disk)
    driver.write(0, b'before' * 512)
    for number in range(4):
        kill(disk)
        assert driver.read(0, 6 * 512) == b'before' * 512
        driver.write(16, bytes([number]) * 4096)
        assert driver.read(16, 4096) == bytes([number]) * 4096
        assert driver.wait_interrupt(1)
        assert status(disk)['restarts'] == number + 1
        assert status(disk)['state'] == 'running'
        assert 'signal 9' in status(disk)['reason']
    client.close()
    disk.stop()


def test_a_register_read_is_not_held_up(disk):
    client, driver = drive(disk)
    gaps = []
    for _ in range(4):
        time.sleep(QUICK + 0.1)     # no loop
        os.kill(status(disk)['pid'], signal.SIGKILL)
        before = time.monotonic()
        assert driver.read32(nvme.CSTS) == nvme.RDY
        gaps.append((time.monotonic() - before) * 1000)
    print('a register read after a kill: median %.1f ms, longest %.1f ms' % (statistics.median(gaps), max(gaps)))
    assert statistics.median(gaps) < 1000   # 5 ms where nobody else uses the machine
    client.close()
    disk.stop()


def test_killed_in_the_middle_of_io(disk):
    """Each command completes once and does what it should; how long the next completion takes is printed."""
    client, driver = drive(disk)
    driver.create_queue(2, vector=2)
    noise = random.Random(4)
    slots = [driver.alloc(4096) for _ in range(2 * 16)]
    content = [bytes(4096)] * len(slots)     # of the disk, 4 KiB a slot
    gaps = []

    def submit(slot):
        queue = driver.queues[1 + slot % 2]
        if noise.random() < 0.5:
            return queue, queue.submit(nvme.READ, 1, slots[slot], cdw=(slot * 8, 0, 7)), None
        data = noise.randbytes(16) * 256
        driver.memory.write(slots[slot], data)
        return queue, queue.submit(nvme.WRITE, 1, slots[slot], cdw=(slot * 8, 0, 7)), data

    for _ in range(12):
        in_flight = {slot: submit(slot) for slot in range(len(slots))}
        deadline = time.monotonic() + QUICK + 0.2 * noise.random()
        killed, last, longest, after = False, time.monotonic(), 0, 0
        while in_flight:
            for slot, (queue, cid, data) in list(in_flight.items()):
                if not queue.finished(cid):
                    continue
                result, _ = queue.done.pop(cid)
                assert result == 0, 'status 0x%x' % result
                if data is None:
                    assert driver.memory.read(slots[slot], 4096) == content[slot]
                else:
                    content[slot] = data
                now = time.monotonic()
                if killed:
                    longest = max(longest, now - last)
                    after += 1
                last = now
                del in_flight[slot]
                if after < 400:
                    in_flight[slot] = submit(slot)
            if not killed and time.monotonic() > deadline:
                os.kill(status_while_stopped(disk), signal.SIGKILL)
                killed = True
            client.serve(0)
            assert time.monotonic() < deadline + 30, 'commands are lost: %s' % in_flight
        gaps.append(longest * 1000)
    assert status(disk)['restarts'] == 12
    for queue in driver.queues.values():
        assert not queue.done, 'a completion that nobody waits for'
    client.close()
    disk.stop()
    with open(disk.path('a.raw'), 'rb') as image:
        assert image.read(4096 * len(slots)) == b''.join(content)
    gaps.sort()
    print('between two completions around a kill: median %.1f ms, longest %.1f ms' % (statistics.median(gaps), gaps[-1]))
    assert statistics.median(gaps) < 1000


def test_a_memory_disk_outlives_its_controller(keeper):
    keeper.controller()['namespaces'].append({'nsid': 1, 'target': 'nvme0n1', 'type': 'memory', 'bytes': 8 * MIB, 'cache': 'none',
                                              'uuid': '8f6b0d3e-0000-4000-8000-000000000200'})
    keeper.start()
    client, driver = drive(keeper)
    assert driver.namespace() == (8 * MIB // 512, 512)
    driver.write(7, b'm' * 8192)
    driver.flush()
    kill(keeper)
    assert driver.read(7, 8192) == b'm' * 8192
    assert driver.read(8 * MIB // 512 - 1, 512) == bytes(512)
    keeper.call('upgrade')
    kill(keeper)
    assert driver.read(7, 8192) == b'm' * 8192
    client.close()
    keeper.stop()


def test_messages_wait_for_the_successor(disk):
    """What the client sends while nobody is there is answered once, in order."""
    client, driver = drive(disk)
    os.kill(disk.pid, signal.SIGSTOP)
    os.kill(status_while_stopped(disk), signal.SIGKILL)
    for value in range(200):
        driver.client.region_write(v.CONFIG, 0x3c, bytes([value]), posted=True)
    os.kill(disk.pid, signal.SIGCONT)
    assert driver.client.config(0x3c, 1) == 199
    driver.write(0, b'x' * 512)
    client.close()
    disk.stop()


def status_while_stopped(keeper):
    """The controller's pid without asking the keeper."""
    with open('/proc/%d/task/%d/children' % (keeper.pid, keeper.pid)) as f:
        return int(f.read().split()[0])


def test_requests_end_properly(disk):
    """A disk that is added when the controller dies is there afterwards, and one that is removed is gone."""
    client, driver = drive(disk)
    results = []

    def ask(command, **arguments):
        def run():
            try:
                results.append(disk.call(command, **arguments))
            except Refused as err:
                results.append(err)
        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def while_it_dies(*requests):
        """They are under way when the controller ends."""
        os.kill(status(disk)['pid'], signal.SIGSTOP)
        pid = status_while_stopped(disk)
        threads = [ask(command, **arguments) for command, arguments in requests]
        time.sleep(0.3)         # not needed for it to pass
        assert not results
        os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert not any(isinstance(result, Refused) for result in results), results
        results.clear()
        assert status(disk)['state'] == 'running'

    while_it_dies(('add-namespace', {'index': 0, 'namespace': disk.file_disk(2, 'b.raw', capacity=MIB)}))
    driver.write(0, b'b' * 512, nsid=2)
    assert driver.namespace(2)[0] == MIB // 512
    os.truncate(disk.path('b.raw'), 2 * MIB)
    while_it_dies(('resize-namespace', {'index': 0, 'nsid': 2}),
                  ('add-controller', {'controller': disk.controller(3, namespaces=[disk.file_disk(1, 'c.raw', capacity=MIB)])}))
    assert driver.namespace(2)[0] == 2 * MIB // 512
    other, third = drive(disk, 3)
    assert third.read(0, 512) == bytes(512)
    while_it_dies(('remove-namespace', {'index': 0, 'nsid': 2}))
    with pytest.raises(nvme.Failed):
        driver.read(0, 512, nsid=2)
    other.close()
    client.close()
    disk.stop()


def test_limits_are_the_successors_too(disk):
    client, driver = drive(disk)
    limits = {'total_iops_sec': 100, 'total_iops_sec_max': 200}
    disk.call('set-iotune', index=0, nsid=1, iotune=limits)
    pid = status(disk)['pid']
    os.kill(pid, signal.SIGKILL)
    driver.write(0, b'n' * 512)
    begin = time.monotonic()
    for _ in range(120):
        driver.read(0, 512)
    assert time.monotonic() - begin > 0.45      # 20 at once, then 200 a second
    assert status(disk)['pid'] != pid
    assert disk.call('status')['controllers'][0]['namespaces'][0]['iotune'] == limits
    with pytest.raises(Refused):
        disk.call('set-iotune', index=0, nsid=9, iotune={})
    client.close()
    disk.stop()


def test_a_stopped_controller_is_waited_for(disk):
    client, driver = drive(disk)
    pid = status(disk)['pid']
    os.kill(pid, signal.SIGSTOP)
    assert disk.call('status')['controllers'][0]['namespaces'][0]['counters'] == {}      # it is answered all the same
    threading.Timer(1.5, os.kill, (pid, signal.SIGCONT)).start()
    driver.write(0, b's' * 512)
    assert driver.read(0, 512) == b's' * 512
    assert (status(disk)['pid'], status(disk)['generation']) == (pid, 1)
    os.kill(pid, signal.SIGTERM)        # that is for the keeper to say
    driver.write(0, b't' * 512)
    assert status(disk)['pid'] == pid
    client.close()
    disk.stop()


def test_the_successor_is_of_the_same_version(keeper):
    """Whatever was installed at the path meanwhile."""
    program = keeper.path('program')
    shutil.copy(CONTROLLER, program)
    keeper.config['controller_program'] = program
    keeper.controller()['namespaces'].append(keeper.file_disk(capacity=16 * MIB))
    keeper.start()
    client, driver = drive(keeper)
    shutil.copy('/bin/false', program + '.new')
    os.rename(program + '.new', program)
    kill(keeper)
    driver.write(0, b'v' * 512)
    client.close()
    keeper.stop()


def judge_failed(keeper, client, driver):
    """What a guest sees of a controller that has failed."""
    until(lambda: status(keeper)['state'] == 'failed', 30)
    assert driver.read32(nvme.CSTS) == nvme.CFS
    driver.doorbell(2, 1)
    driver.write32(nvme.CC, 0)
    driver.write32(nvme.CC, 4 << 20 | 6 << 16 | nvme.EN)
    assert driver.read32(nvme.CSTS) == nvme.CFS
    assert driver.read64(nvme.CAP) >> 24 & 0xff == 1
    assert driver.client.config(0, 4) == driver.client.config(0x2c, 4)
    driver.client.reset()
    assert driver.read32(nvme.CSTS) == nvme.CFS
    driver.client.unmap(0, 8 * MIB)
    assert client.region_read(0, 0x1c, 4) == b'\x02\0\0\0'


def test_a_program_that_crashes_at_once(keeper_with_script):
    keeper = keeper_with_script.start()
    client, driver = drive(keeper)
    driver.write(0, b'w' * 512)
    script(keeper, 'kill -SEGV $$')
    os.kill(status_while_stopped(keeper), signal.SIGKILL)
    judge_failed(keeper, client, driver)
    assert 'signal 11' in status(keeper)['reason']
    with pytest.raises(Refused, match='signal 11'):
        keeper.call('add-namespace', index=0, namespace=keeper.file_disk(2, 'b.raw', capacity=MIB))
    assert not os.path.exists(keeper.path('b.raw'))
    client.close()
    keeper.stop()


def test_a_program_that_is_gone(keeper_with_script):
    keeper = keeper_with_script.start()
    client, driver = drive(keeper)
    os.unlink(keeper.path('program'))
    os.kill(status_while_stopped(keeper), signal.SIGKILL)
    # It is answered as soon as that is clear, not before.
    assert driver.read32(nvme.CSTS) == nvme.CFS
    judge_failed(keeper, client, driver)
    assert 'program' in status(keeper)['reason']
    client.close()
    keeper.stop()


def test_nobody_at_all(keeper_with_script):
    keeper_with_script.config['failed_program'] = '/nonexistent/failed'
    keeper = keeper_with_script.start()
    client, driver = drive(keeper)
    script(keeper, 'exit 1')
    os.kill(status_while_stopped(keeper), signal.SIGKILL)
    with pytest.raises(v.Closed):
        driver.read32(nvme.CSTS)
    assert status(keeper)['state'] == 'failed'
    keeper.stop()


FAKE = '''#!/usr/bin/python3
"""A controller that takes everything and dies of what the file `script` says."""
import json, os, re, signal, socket, struct, sys
fd = int(next(a for a in sys.argv if a.startswith('--control-fd=')).split('=')[1])
control = socket.socket(fileno=fd)
while True:
    size, = struct.unpack('<I', control.recv(4, socket.MSG_WAITALL))
    request = json.loads(control.recv(size, socket.MSG_WAITALL))
    with open(%(told)r, 'a') as f:
        f.write(json.dumps(request) + '\\n')
    answer = json.dumps({'id': request['id'], 'result': {}}).encode()
    control.sendall(struct.pack('<I', len(answer)) + answer)
    if request['command'] == 'stop':
        break
    with open(%(script)r) as f:
        signo = int(f.read() or 0)
    if signo:
        os.kill(os.getpid(), signo)
'''


@pytest.mark.parametrize('signo, poisoned', [(signal.SIGSEGV, True), (signal.SIGKILL, False)])
def test_what_was_in_hand_is_poisoned(keeper, signo, poisoned):
    """After the second fault in a row, and only of faults."""
    program, told = keeper.path('program'), keeper.path('told')
    with open(program, 'w') as f:
        f.write(FAKE % {'told': told, 'script': keeper.path('script')})
    os.chmod(program, 0o755)
    script(keeper, '0')
    keeper.config.update(controller_program=program, failed_program=FAILED)
    keeper.controller()
    keeper.start()
    script(keeper, str(int(signo)))
    os.kill(status_while_stopped(keeper), signo)
    until(lambda: status(keeper)['state'] == 'failed', 30)
    with open(told) as f:
        starts = [request for request in map(json.loads, f) if request['command'] == 'add-controller']
    poison = [start['arguments'].get('poison', False) for start in starts]
    assert poison[:2] == [False, False]
    assert poison[2:] == [poisoned] * (len(poison) - 2)
    assert len(poison) > 5
    keeper.stop()


def program_of(pid):
    return os.stat('/proc/%d/exe' % pid).st_ino


@pytest.fixture
def installed(keeper):
    """A keeper whose programs can be replaced; install(program, path) does so."""
    keeper.program = keeper.path('keeper')
    keeper.config.update(controller_program=keeper.path('controller'))
    keeper.controller()['namespaces'].append(keeper.file_disk(capacity=16 * MIB))

    def install(program, path=None):
        target = keeper.path(program)
        shutil.copy(path or {'keeper': KEEPER, 'controller': CONTROLLER}[program], target + '.new')
        os.chmod(target + '.new', 0o755)
        os.rename(target + '.new', target)
        return os.stat(target).st_ino

    keeper.install = install
    install('keeper')
    install('controller')
    return keeper.start()


@contextlib.contextmanager
def load(driver):
    """Writes that are read back, until the end."""
    done = threading.Event()
    rounds = []

    def run():
        iova = driver.next_page
        while not done.is_set():
            driver.next_page = iova
            data = os.urandom(4096)
            driver.write(8 * (len(rounds) % 100), data)
            assert driver.read(8 * (len(rounds) % 100), 4096) == data
            rounds.append(time.monotonic())

    with concurrent.futures.ThreadPoolExecutor() as pool:
        future = pool.submit(run)
        try:
            yield rounds
        finally:
            done.set()
            future.result()


def upgrade(keeper):
    """Both programs are new ones afterwards, and nothing else is; the pause in ms."""
    before = keeper.call('status')
    inodes = keeper.install('keeper'), keeper.install('controller')
    pause = keeper.call('upgrade')['pause_us'] / 1000
    after = keeper.call('status')
    assert (program_of(after['pid']), program_of(after['controller']['pid'])) == inodes
    old = before['controller'].pop('pid')
    assert after['controller'].pop('pid') != old and not os.path.exists('/proc/%d' % old)
    before['controller']['generation'] += 1
    for one in before, after:
        for entry in one['controllers']:
            for namespace in entry['namespaces']:
                namespace.pop('counters')
    assert after == before
    return pause


def test_upgrade_under_load(installed):
    client, driver = drive(installed)
    pauses = []
    with load(driver) as rounds:
        for _ in range(10):
            pauses.append(upgrade(installed))
            count = len(rounds)
            until(lambda: len(rounds) > count + 5)      # pylint: disable=cell-var-from-loop
    assert driver.wait_interrupt(1)
    inode = program_of(status(installed)['pid'])
    kill(installed)
    assert program_of(status(installed)['pid']) == inode
    driver.read(0, 512)
    pauses.sort()
    print('pause of an upgrade: median %.1f ms, longest %.1f ms' % (statistics.median(pauses), pauses[-1]))
    assert statistics.median(pauses) < 1000
    client.close()
    installed.stop()


def test_upgrade_with_memory_that_goes_by_message(installed):
    client, driver = drive(installed, memory=v.Memory(8 * MIB, fd=False), vectors=0)
    with load(driver) as rounds:
        for _ in range(5):
            upgrade(installed)
            count = len(rounds)
            until(lambda: len(rounds) > count + 5)      # pylint: disable=cell-var-from-loop
    client.close()
    installed.stop()


def affinities(pid):
    """{name of an I/O thread: the processors it may run on}, as the kernel says"""
    found = {}
    for tid in os.listdir('/proc/%d/task' % pid):
        with open('/proc/%d/task/%s/comm' % (pid, tid), encoding='ascii') as f:
            name = f.read().strip()
        if name.startswith('io-'):
            found[name] = os.sched_getaffinity(int(tid))
    return found


def test_pins_outlive_the_controller(installed):
    available = os.sched_getaffinity(0)
    cpu, far = min(available), 1023
    if far in available:
        pytest.skip('a machine with a processor 1023')
    installed.stop()
    # The fourth there is not.
    installed.config.update(io_threads=3, iothreadpin=[
        {'iothread': 1, 'cpuset': str(cpu)}, {'iothread': 2, 'cpuset': str(far)}, {'iothread': 4, 'cpuset': '0'}])
    installed.start()
    everywhere = affinities(status(installed)['pid'])['io-2']

    def as_pinned():
        """What cannot be had is said, and the guest is served."""
        process = status(installed)
        assert affinities(process['pid']) == {'io-0': {cpu}, 'io-1': everywhere, 'io-2': everywhere}
        threads = process['iothreads']
        assert [(thread['iothread'], thread.get('cpuset')) for thread in threads] == [(1, str(cpu)), (2, str(far)), (3, None)]
        assert threads[0]['affinity'] == str(cpu) and threads[1]['affinity'] == threads[2]['affinity']

    assert everywhere == available
    as_pinned()
    assert 'I/O thread 1 runs on processors %d' % cpu in installed.log()
    assert 'I/O thread 2 cannot run on processors 1023 (none of them is online and allowed here)' in installed.log()
    kill(installed)
    as_pinned()
    upgrade(installed)
    as_pinned()
    installed.stop()


def test_mapped_doorbells_outlive_the_controller(installed):
    """What the guest stored while nobody was there counts."""
    installed.stop()
    installed.config['controllers'][0]['doorbells'] = 'mapped'
    installed.start()
    client, driver = drive(installed)
    driver.map_doorbells()
    for number in range(4):
        before = status(installed)
        if number == 2:
            upgrade(installed)
        else:
            os.kill(before['pid'], signal.SIGKILL)
        driver.write(16, bytes([number]) * 4096)
        assert driver.read(16, 4096) == bytes([number]) * 4096
        until(lambda: status(installed)['generation'] > before['generation'])    # pylint: disable=cell-var-from-loop
    client.close()
    installed.stop()


def test_an_upgrade_keeps_everything(installed):
    """Locks, sockets nobody has connected to, half a message, half a line, disks that come and go."""
    other = Keeper(installed.folder, '8f6b0d3e-0000-4000-8000-000000000002')
    other.controller()['namespaces'].append(other.file_disk())
    installed.call('add-controller', controller=installed.controller(1, namespaces=[installed.file_disk(1, 'b.raw', capacity=MIB)]))
    client, driver = drive(installed)
    installed.call('add-namespace', index=0, namespace=installed.file_disk(2, 'c.raw', capacity=MIB))
    driver.write(0, b'c' * 512, nsid=2)
    monitor = socket.socket(socket.AF_UNIX)
    monitor.connect(installed.socket('qmp.sock'))
    monitor.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
    assert b'qmp_capabilities' in monitor.recv(4096)
    monitor.sendall(b'{"return": {}}\r\n{"event": "MIGR')
    until(lambda: installed.call('status')['qemu']['monitor'])
    upgrade(installed)
    monitor.sendall(b'ATION", "data": {"status": "cancelling"}}\r\n')
    until(lambda: 'MIGRATION cancelling' in installed.log())
    with pytest.raises(Refused, match='a.raw'):
        other.start()
    assert driver.read(0, 512, nsid=2) == b'c' * 512
    installed.call('remove-namespace', index=0, nsid=2)
    second, third = drive(installed, 1)
    third.write(0, b'b' * 512)
    # A message that has come in part is waited for.
    message = struct.pack('<HHIII', 77, 9, 32, 0, 0) + struct.pack('<QII', 8, 0, 4)
    client.send_raw(message[:20])
    threading.Timer(0.05, client.send_raw, (message[20:],)).start()
    upgrade(installed)
    assert client.receive().id == 77
    upgrade(installed)
    with pytest.raises(FileNotFoundError):
        drive(installed, 1)
    third.write(0, b'B' * 512)
    driver.write(0, b'A' * 512)
    for one in monitor, second, client:
        one.close()
    installed.stop()
    other.start().stop()


def test_the_bus_outlives_an_upgrade(installed):
    gi = pytest.importorskip('gi')
    assert gi
    from gi.repository import Gio, GLib
    bus = Gio.DBusConnection.new_for_address_sync(
        'unix:path=' + installed.socket('bus.sock'),
        Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)

    def owners():
        return bus.call_sync('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'ListQueuedOwners',
                             GLib.Variant('(s)', ('org.qemu.VMState1',)), None, 0, 5000, None).unpack()

    before = owners()
    for _ in range(3):
        upgrade(installed)
        assert owners() == before
    bus.close_sync(None)
    installed.stop()


OLD = """#!/usr/bin/python3
import json, socket, struct, sys
control = socket.socket(fileno=int(next(a for a in sys.argv if a.startswith('--control-fd=')).split('=')[1]))
while True:
    head = control.recv(4, socket.MSG_WAITALL)
    if not head:
        break
    request = json.loads(control.recv(struct.unpack('<I', head)[0], socket.MSG_WAITALL))
    answer = {'id': request['id'], 'result': {}}
    if request['command'] == 'judge-state':
        answer = {'id': request['id'], 'error': {'code': 95, 'message': 'version 7 is unknown here'}}
    text = json.dumps(answer).encode()
    control.sendall(struct.pack('<I', len(text)) + text)
"""


def test_an_upgrade_that_cannot_be(installed):
    """Programs that do not know the state, do not run, or are not there: the old ones go on."""
    client, driver = drive(installed)
    before = status(installed)
    old = installed.path('old')
    with open(old, 'w') as f:
        f.write(OLD)
    # At its start, and with the guest waiting.
    hangs, deaf = installed.path('hangs'), installed.path('deaf')
    with open(hangs, 'w') as f:
        f.write('#!/bin/sh\nexec sleep 1000\n')
    with open(deaf, 'w') as f:
        f.write(OLD.replace("        answer = {'id': request['id'], 'error'", "        continue\n        answer = {'id': request['id'], 'error'"))
    with load(driver) as rounds:
        for program, path, sentence in (('controller', hangs, 'does not answer'), ('controller', deaf, 'does not answer'),
                                        ('controller', old, 'version 7 is unknown here'), ('controller', '/bin/false', 'does not start'),
                                        ('controller', None, 'controller'), ('keeper', '/bin/false', 'cannot go on where'),
                                        ('keeper', hangs, 'cannot go on where'), ('keeper', None, 'cannot run')):
            if path:
                installed.install(program, path)
            else:
                os.unlink(installed.path(program))
            before_it = len(rounds)
            with pytest.raises(Refused, match=sentence):
                installed.call('upgrade')
            assert path != hangs or len(rounds) > before_it + 5, 'the guest waited as well'
            count = len(rounds)
            until(lambda: len(rounds) > count + 5)      # pylint: disable=cell-var-from-loop
            if program == 'controller' and not path:
                installed.install('controller')
    assert status(installed) == before
    # Changes are not held up for ever.
    installed.call('add-namespace', index=0, namespace=installed.file_disk(2, 'b.raw', capacity=MIB))
    driver.write(0, b'b' * 512, nsid=2)
    client.close()
    installed.stop()


# It says that it can go on, and that is the last of it. Whoever is started after it is a real one.
DIES = OLD.replace("        answer = {'id': request['id'], 'error': {'code': 95, 'message': 'version 7 is unknown here'}}\n", "        last = True\n").replace(
    'import json, ', 'import json, os, time, ').replace('control = ', """if os.path.exists('MARK'):
    os.execv('REAL', sys.argv)
open('MARK', 'w').close()
last = False
control = """) + """    if last:
        control.shutdown(socket.SHUT_RDWR)
        time.sleep(LIVES)
        break
"""

GIVEN_UP = 'ended meanwhile|does not answer|does not go on'   # the latter on a machine that is very busy


@pytest.mark.parametrize('lives', [0, 60], ids=['exits', 'hangs up'])
def test_an_upgrade_whose_controller_dies(installed, lives):
    """When the old one is being ended for it. If a new keeper does not take over before that, it was no upgrade."""
    client, driver = drive(installed)
    path = installed.path('dies')
    with open(path, 'w') as f:
        f.write(DIES.replace('MARK', installed.path('mark')).replace('REAL', CONTROLLER).replace('LIVES', str(lives)))
    installed.install('controller', path)
    inode = installed.install('keeper')
    with load(driver) as rounds:
        try:
            installed.call('upgrade')
            upgraded = True
        except Refused as err:
            assert re.search(GIVEN_UP, str(err))
            upgraded = False
        assert (program_of(installed.pid) == inode) == upgraded
        count = len(rounds)
        until(lambda: len(rounds) > count + 5)
    assert status(installed)['state'] == 'running'
    client.close()
    installed.stop()


ADOPTS_NOT = OLD.replace("'judge-state'", "'add-controller'").replace('version 7 is unknown here', 'not for me')


@pytest.mark.parametrize('program', [ADOPTS_NOT, ADOPTS_NOT.replace('        answer =', '        sys.exit(1)\n        answer ='),
                                     ADOPTS_NOT.replace('        answer =', '        continue\n        answer =')], ids=['refuses', 'exits', 'hangs'])
def test_an_upgrade_whose_controller_does_not_serve(installed, program):
    """It says that it can go on with the state, and does not: the guest has its disks, and the old programs serve them."""
    client, driver = drive(installed)
    before = installed.call('status')
    inodes = program_of(before['pid']), program_of(before['controller']['pid'])
    path = installed.path('adopts-not')
    with open(path, 'w') as f:
        f.write(program)
    installed.install('controller', path)
    installed.install('keeper')
    with load(driver) as rounds:
        with pytest.raises(Refused, match='the installed controller does not go on .*; the old one does'):
            installed.call('upgrade')
        count = len(rounds)
        until(lambda: len(rounds) > count + 5)
    after = installed.call('status')
    assert (program_of(after['pid']), program_of(after['controller']['pid'])) == inodes
    until(lambda: not os.path.exists('/proc/%d' % before['controller']['pid']))
    # The program that failed is nobody's any more.
    kill(installed)
    driver.read(0, 512)
    assert program_of(status(installed)['pid']) == inodes[1]
    upgrade(installed)
    driver.read(0, 512)
    client.close()
    installed.stop()


def test_an_upgrade_loses_no_request(installed):
    """Of the daemon, on connections of before and on new ones."""
    done = threading.Event()
    answers = []

    def ask(again):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(installed.socket('keeper.sock'))
            while not done.is_set():
                answers.append(installed.ask(sock, 'status') if again else installed.call('status'))

    with concurrent.futures.ThreadPoolExecutor() as pool:
        futures = [pool.submit(ask, again) for again in (True, True, False, False)]
        try:
            for _ in range(5):
                count = len(answers)
                upgrade(installed)
                until(lambda: len(answers) > count + 10)        # pylint: disable=cell-var-from-loop
        finally:
            done.set()
        for future in futures:
            future.result()
    installed.stop()


def test_a_keeper_that_cannot_be_executed(installed):
    """When it is too late to refuse: the controller is new, the keeper goes on."""
    client, driver = drive(installed)
    program = installed.path('script')
    with open(program, 'w') as f:
        f.write('#!/bin/sh\nrm "$0"\n')
    with load(driver) as rounds:
        installed.install('keeper', program)
        inode = installed.install('controller')
        with pytest.raises(Refused, match='the keeper is not'):
            installed.call('upgrade')
        count = len(rounds)
        until(lambda: len(rounds) > count + 5)
    assert program_of(status(installed)['pid']) == inode
    kill(installed)
    # Nothing stays open in what it starts.
    for fd in os.listdir('/proc/%d/fd' % status(installed)['pid']):
        assert 'virtnvme-keeper' not in os.readlink('/proc/%d/fd/%s' % (status(installed)['pid'], fd))
    # Of the upgrade that failed nothing is left that the next one could meet.
    slow, ready = installed.path('slow'), installed.path('ready')
    with open(slow, 'w') as f:
        f.write(OLD.replace('    answer = ', f"    open('{ready}.not', 'w').close()\n    while not os.path.exists('{ready}'):\n        time.sleep(0.01)\n"
                            '    answer = ', 1).replace('import json, ', 'import json, os, time, '))
    installed.install('controller', slow)
    installed.install('keeper')
    with concurrent.futures.ThreadPoolExecutor() as pool:
        future = pool.submit(installed.call, 'upgrade')
        until(lambda: os.path.exists(ready + '.not'))
        kill(installed)
        os.rename(ready + '.not', ready)
        with pytest.raises(Refused, match=GIVEN_UP):
            future.result()
    driver.read(0, 512)
    upgrade(installed)
    driver.read(0, 512)
    client.close()
    installed.stop()
