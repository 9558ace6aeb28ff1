# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests under a bare QEMU with the standalone controller: no libvirt, no keeper."""
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lab.fixtures import *      # noqa: E402,F401,F403 pylint: disable=wrong-import-position,wildcard-import,unused-wildcard-import

PROGRAM = '/usr/libexec/virtnvme/virtnvme-controller'
IMAGES = '/var/lib/libvirt/images'

# What a guest's kernel must never say about us.
COMPLAINTS = re.compile(r'nvme.*(timeout|abort|I/O .*QID|error|fail|invalid|not ready|removing|device not)|blk_update_request|'
                        r'I/O error|Buffer I/O|EXT4-fs error', re.I)


class Server:
    """A standalone controller in a host."""

    def __init__(self, host, name, *args):
        self.host, self.name = host, name
        self.socket = f'/run/lab/{name}.sock'
        self.process = host.popen([PROGRAM, '--socket', self.socket, '--log-level=7', *args],
                                  stdout=open(host.logs / f'{name}.controller.log', 'ab'), stderr=-2)
        host.wait_for(lambda: self.process.poll() is not None or host.path(self.socket).exists(), f'the socket of {name}')
        assert self.process.poll() is None, self.log()

    def log(self):
        return (self.host.logs / f'{self.name}.controller.log').read_text(errors='replace')

    def device(self, **more):
        """QEMU's arguments for it."""
        return ['-device', json.dumps({'driver': 'vfio-user-pci', 'id': self.name,
                                       'socket': {'type': 'unix', 'path': self.socket}, 'x-msg-timeout': 30000, **more})]

    def pid(self):
        """Out here."""
        return next(pid for pid, line in self.host.processes().items() if line.startswith(PROGRAM) and self.socket in line)

    def stop(self):
        if self.process.poll() is None:
            os.kill(self.pid(), signal.SIGTERM)    # not nsenter: that has no status of its own to give
        status = self.process.wait(30)
        assert status == 0, self.log()


@pytest.fixture
def lab_host(make_host, product):
    """A host with the product, without libvirtd."""
    return make_host('host', product=product)


@pytest.fixture
def serve(lab_host):
    """serve(name, args...) starts a controller; its end is judged after the test."""
    servers = []

    def start(name, *args):
        servers.append(Server(lab_host, name, *args))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def image(lab_host):
    """image(name, MiB) makes a sparse raw image; its path inside the host."""
    def make(name, size):
        path = f'{IMAGES}/{name}'
        lab_host.run(['truncate', '-s', f'{size}M', path])
        return path
    return make


def complaints(guest):
    """Lines of the guest's kernel log that should not be there."""
    return [line for line in guest.check('dmesg').splitlines() if COMPLAINTS.search(line)]
