# SPDX-License-Identifier: LGPL-2.1-or-later
"""The program around the device: start, clients that come and go, end, confinement, idleness."""
import errno
import json
import os
import signal
import subprocess

import pytest

from client import idle, nvme, vfio_user as vu
from conftest import PROGRAM


def refused(*args):
    """Its one sentence when it does not start."""
    done = subprocess.run([PROGRAM, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith('virtnvme-controller:')]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_capabilities():
    done = subprocess.run([PROGRAM, '--print-capabilities'], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer['type'] == 'virtnvme-controller' and 'io_uring' in answer['features']


@pytest.mark.parametrize('args, sentence', [
    ((), '--socket'),
    (('--socket=x.sock',), '--namespace'),
    (('--socket=x.sock', '--namespace=memory:1M', '--queues=65'), '--queues'),
    (('--socket=x.sock', '--namespace=memory:1M', '--io-threads=0'), '--io-threads'),
    (('--socket=x.sock', '--namespace=memory:1M', '--io-thread-pin=0'), 'use N:CPUSET'),
    (('--socket=x.sock', '--namespace=memory:1M', '--io-thread-pin=17:0'), 'use N:CPUSET'),
    (('--socket=x.sock', '--namespace=memory:1M', '--io-thread-pin=1:3-2'), 'not a list of processors'),
    (('--socket=x.sock', '--namespace=memory:1M', '--io-thread-pin=2:0'), 'no I/O thread 2'),
    (('--socket=x.sock', '--namespace=memory:much'), 'not a size'),
    (('--socket=x.sock', '--namespace=floppy:1M'), 'floppy'),
    (('--socket=x.sock', '--namespace=memory:1M,cache=none'), 'cache'),
    (('--socket=x.sock', '--namespace=file:/x,block-size=1024'), 'block-size'),
    (('--socket=x.sock', '--namespace=memory:1M', '--serial=' + 'x' * 21), 'serial'),
    (('--control-fd=9', '--socket=x.sock'), '--control-fd'),
])
def test_wrong_options_are_refused(folder, args, sentence):
    assert sentence in refused(*[a.replace('x.sock', os.path.join(folder, 'x.sock')) for a in args])
    assert not os.path.exists(os.path.join(folder, 'x.sock'))


def test_a_missing_image_is_named(folder):
    path = os.path.join(folder, 'missing.raw')
    assert path in refused('--socket', os.path.join(folder, 's'), '--namespace', 'file:' + path)


def test_an_image_in_use_is_refused(start_controller, image, folder):
    start_controller('--namespace', 'file:' + image)
    assert image in refused('--socket', os.path.join(folder, 'other.sock'), '--namespace', 'file:' + image)


def test_a_comma_in_a_path(start_controller, connect, folder):
    path = os.path.join(folder, 'a,b.raw')
    with open(path, 'wb') as f:
        f.truncate(1 << 20)
    assert connect(start_controller('--namespace', 'file:' + path.replace(',', ',,'))).namespace() == (2048, 512)


def test_a_second_client_is_refused_at_once(start_controller, connect):
    process = start_controller('--namespace', 'memory:1M')
    driver = connect(process)
    second = vu.Client(process.path)
    # Not just closed: QEMU aborts when its VERSION is not answered.
    with pytest.raises(vu.RemoteError) as error:
        second.negotiate()
    assert error.value.errno == errno.EBUSY
    with pytest.raises(vu.Closed):
        second.receive(5)
    for _ in range(40):
        vu.Client(process.path)
    driver.write(0, bytes(512))


def test_clients_come_and_go(start_controller, connect, image):
    process = start_controller('--namespace', 'file:' + image)
    for number in range(5):
        driver = connect(process)
        if number:
            assert driver.read(0, 4096) == bytes([number]) * 4096
        driver.write(0, bytes([number + 1]) * 4096)
        assert driver.client.read32(nvme.CSTS) & nvme.RDY
        driver.client.close()
    driver = connect(process, enable=False)
    assert driver.read32(nvme.CC) == 0, 'the next client finds a fresh controller'


@pytest.mark.parametrize('signo', [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_with_a_client_connected(start_controller, connect, image, signo):
    process = start_controller('--namespace', 'file:%s,cache=writeback' % image)
    driver = connect(process)
    driver.write(0, b'x' * 4096)
    queue = driver.queues[1]
    for _ in range(32):
        queue.put(nvme.READ, 1, driver.alloc(4096), cdw=(0, 0, 7))
    queue.ring()
    process.stop(signo)
    assert not os.path.exists(process.path)
    with open(image, 'rb') as f:
        assert f.read(4096) == b'x' * 4096
    with pytest.raises(vu.Closed):
        driver.read32(nvme.CSTS)


def test_a_dead_socket_is_replaced(start_controller, connect):
    process = start_controller('--namespace', 'memory:1M')
    process.kill()
    assert os.path.exists(process.path)
    connect(start_controller('--namespace', 'memory:1M'))


def status(process, key):
    with open('/proc/%d/status' % process.process.pid) as f:
        for line in f:
            if line.startswith(key + ':'):
                return line.split(':')[1].strip()
    return None


def test_it_is_confined(start_controller):
    process = start_controller('--namespace', 'memory:1M')
    assert status(process, 'NoNewPrivs') == '1'
    assert int(status(process, 'CapEff'), 16) == 0
    capabilities = json.loads(subprocess.run([PROGRAM, '--print-capabilities'], capture_output=True, check=True).stdout)
    if 'seccomp' in capabilities['features']:
        assert status(process, 'Seccomp') == '2'


def switches(process):
    total = 0
    for tid in os.listdir('/proc/%d/task' % process.process.pid):
        with open('/proc/%d/task/%s/status' % (process.process.pid, tid)) as f:
            total += sum(int(line.split(':')[1]) for line in f if 'ctxt_switches' in line)
    return total


def test_it_sleeps_when_there_is_nothing_to_do(start_controller, connect, image):
    process = start_controller('--namespace', 'file:' + image, '--io-threads=2')
    driver = connect(process, queues=4)
    for qid in driver.queues:
        driver.write(0, bytes(4096), qid=qid)
    assert idle.comes_to_rest(lambda: switches(process), 0.5)
    driver.write(0, bytes(512))


def test_no_doorbell_is_lost(start_controller, connect):
    """One command at a time, at all distances from the moment the thread falls asleep."""
    driver = connect(start_controller('--namespace', 'null:1M'), vectors=0)
    queue = driver.queues[1]
    iova = driver.alloc(4096)
    for number in range(1500):
        cid = queue.submit(nvme.READ, 1, iova, cdw=(0, 0, 0))
        while not queue.finished(cid):
            driver.until(lambda: queue.finished(cid))
        for _ in range(number % 100):
            pass
