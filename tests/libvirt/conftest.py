# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of the tests with libvirtd, virtnvmed and guests."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lab.fixtures import *      # noqa: E402,F401,F403 pylint: disable=wrong-import-position,unused-wildcard-import,wildcard-import
from lab.fixtures import close_host     # noqa: E402 pylint: disable=wrong-import-position
from lab.host import Host       # noqa: E402 pylint: disable=wrong-import-position
from libvirt_host import IMAGES, LibvirtHost, controller_xml, devices_xml, disk_xml     # noqa: E402 pylint: disable=wrong-import-position


IMAGE = f'{IMAGES}/shared.raw'


@pytest.fixture(scope='session')
def vhost(request, lab_root, product):
    """A pseudo host with libvirtd and virtnvmed running, for all tests that leave it as they found it."""
    yield from make_vhost(request, Host('host', root=lab_root, product=product))


@pytest.fixture(scope='session')
def user_vhost(request, lab_root, product):
    """The same as on a real host: QEMU is libvirt-qemu, and libvirt gives it the files it needs."""
    yield from make_vhost(request, Host('user', root=lab_root, product=product, qemu_user='libvirt-qemu'))


@pytest.fixture
def destination(request, lab_root, product):
    """Another host."""
    yield from make_vhost(request, Host('destination', root=lab_root, product=product))


def make_vhost(request, host):
    managed = LibvirtHost(host)
    try:
        managed.start()
        yield managed
    finally:
        close_host(request, host)


@pytest.fixture(scope='session')
def guest(vhost):
    """A running guest with a disk nvme0n1, for all tests that leave it as they found it."""
    one = vhost.define('shared', devices_xml(controller_xml(0, disk_xml('nvme0n1', IMAGE, capacity=64))), vcpus=2)
    one.start()
    return one


@pytest.fixture
def domain(vhost):
    """The name of a domain that is destroyed and undefined after the test."""
    yield 'other'
    vhost.remove('other')
    vhost.host.run(f'rm -rf {IMAGES}/other*')
