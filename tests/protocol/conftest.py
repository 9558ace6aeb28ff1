# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures: the real virtnvme-controller, and a toy driver connected to it."""
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from client import nvme, vfio_user as vu     # noqa: E402 pylint: disable=wrong-import-position

PROGRAM = os.path.join(os.environ.get('top_builddir', '.'), 'src', 'virtnvme-controller')
MiB = 1 << 20


class Controller:
    """A running virtnvme-controller."""

    def __init__(self, folder, args):
        self.path = os.path.join(folder, 'nvme.sock')
        self.clients = []
        self.log_path = os.path.join(folder, 'log%d' % len(os.listdir(folder)))
        with open(self.log_path, 'wb') as log:
            self.process = subprocess.Popen([PROGRAM, '--socket', self.path, '--log-level=7', *args],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while 'serving' not in self.log():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, 'it does not get ready:\n' + self.log()
            time.sleep(0.005)

    def log(self):
        with open(self.log_path, errors='replace') as log:
            return log.read()

    def connect(self, **kwargs):
        """A client that has said nothing yet."""
        self.clients.append(vu.Client(self.path, **kwargs))
        return self.clients[-1]

    def stop(self, signo=signal.SIGTERM):
        """End it in order; what it printed."""
        if self.alive:
            self.process.send_signal(signo)
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        log = self.log()
        assert status == 0, 'exit status %d:\n%s' % (status, log)
        assert not re.search(r'runtime error|AddressSanitizer|LeakSanitizer', log), log
        return log

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.stop = lambda: None    # there is no end in order to judge

    @property
    def alive(self):
        return self.process.poll() is None


@pytest.fixture
def folder():
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix='virtnvme-') as path:
        yield path


@pytest.fixture
def image(folder):
    """A raw image of 16 MiB."""
    path = os.path.join(folder, 'image.raw')
    with open(path, 'wb') as f:
        f.truncate(16 * MiB)
    return path


@pytest.fixture
def start_controller(folder):
    """start_controller(args...) starts one; stopped, and its end judged, after the test."""
    running = []

    def start(*args):
        running.append(Controller(folder, args))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def controller(start_controller):
    """One with 16 MiB of memory; it must outlive whatever the test does."""
    one = start_controller('--namespace', 'memory:16M')
    yield one
    assert one.alive, 'the controller died'


@pytest.fixture
def client(controller):
    """Connected and negotiated."""
    with controller.connect() as one:
        one.negotiate()
        yield one


@pytest.fixture
def connect():
    """connect(controller, ...) is a Driver with 16 MiB of memory at 0 and a queue pair, ready for I/O."""
    opened = []

    def make(controller, vectors=5, enable=True, fd=True, size=32 * MiB, queues=1, **kwargs):
        client = controller.connect(**kwargs)
        client.negotiate()
        memory = vu.Memory(size, fd=fd)
        client.map(memory, 0)
        driver = nvme.Driver(client, memory, vectors=vectors)
        opened.append((driver, client, memory))
        if enable:
            driver.enable()
            for qid in range(1, queues + 1):
                driver.create_queue(qid)
        return driver

    yield make
    for driver, client, memory in opened:
        driver.close()
        client.close()
        memory.close()
