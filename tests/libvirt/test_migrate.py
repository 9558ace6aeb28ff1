# SPDX-License-Identifier: LGPL-2.1-or-later
"""virsh migrate and virsh save with NVMe disks that are in use."""
import contextlib
import hashlib
import shutil
import tempfile
from pathlib import Path

import pytest

from lab.fixtures import log_directory
from lab.host import Host
from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml
from pair import SHARED, Pair, Traveller

KNOWN = 24      # MiB of data that the guest reads again and again


@pytest.fixture(scope='module')
def pair(request, lab_root, product):
    shared = Path(tempfile.mkdtemp(prefix='virtnvme-shared-'))
    shared.chmod(0o711)
    hosts = []

    def make(name, binds):
        hosts.append(Host(name, root=lab_root, product=product, binds=binds))
        return hosts[-1]
    try:
        yield Pair(make, shared)
    finally:
        for host in hosts:
            if request.session.testsfailed:
                host.keep_logs(log_directory(request.node) / host.name)
            host.close()
        shutil.rmtree(shared)


def make_known(pair, name='known.raw', size=KNOWN):
    """An image of data of which no two pages are alike."""
    path = pair.shared / name
    with open('/dev/urandom', 'rb') as noise, open(path, 'wb') as image:
        image.write(noise.read(size << 20))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture(scope='module')
def traveller(pair):
    """A running guest, for all tests that leave it running, on whatever host."""
    make_known(pair)
    guest = pair.a.define('traveller', devices_xml(controller_xml(
        0, disk_xml('nvme0n1', f'{SHARED}/load.raw', capacity=64),
        disk_xml('nvme0n2', f'{SHARED}/known.raw'), attributes="queues='2'")), vcpus=2, memory=256)
    guest.start()
    return Traveller(pair, guest, pair.a)


@pytest.fixture(autouse=True)
def whole(request):
    """Each test leaves the guest alive and its keeper idle."""
    yield
    if 'traveller' in request.fixturenames and not getattr(request.node, 'lab_failed', False):
        one = request.getfixturevalue('traveller')
        one.settle()
        assert one.state() == 'running'
        assert {d['state'] for d in one.at.disks(one.name).values()} == {'attached'}
        one.no_complaint()


def where_is(traveller):
    """The record of what is where, which the next migration is made of."""
    return traveller.at.metadata(traveller.name, '--live')


#
# What is refused, with the guest going on
#

def log_of(vhost, name):
    return vhost.host.path(f'/var/log/virtnvme/{name}.log').read_text()


def test_a_snapshot_with_memory_is_refused(traveller):
    with traveller.load():
        done = traveller.at.virsh('snapshot-create-as', traveller.name, 'snap', '--memspec', '/root/snap.mem', '--live', check=False)
        assert done.returncode != 0
        traveller.settle()
    assert 'a snapshot with memory does not contain the NVMe disks' in log_of(traveller.at, traveller.name)


def test_postcopy_is_refused(traveller):
    with traveller.load():
        traveller.refused('--live', '--postcopy', '--postcopy-after-precopy')


@contextlib.contextmanager
def without_image(traveller):
    """The other host's directory is another one."""
    host = traveller.destination.host
    host.run(['mount', '-t', 'tmpfs', 'none', SHARED])
    try:
        yield
    finally:
        host.run(['umount', SHARED])


def test_the_other_host_has_no_image(traveller):
    with traveller.load(), without_image(traveller):
        said = traveller.refused('--live')
        assert f'{SHARED}/load.raw' in said
        assert not list(traveller.destination.host.path(SHARED).iterdir())


def test_the_other_host_has_no_virtnvme(traveller):
    hook = traveller.destination.host.path('/etc/libvirt/hooks/qemu.d/50-virtnvme')
    with traveller.load():
        traveller.destination.stop_daemon()
        try:
            assert 'virtnvmed' in traveller.refused('--live')
        finally:
            traveller.destination.start_daemon()
        moved = hook.rename(hook.with_name('.away'))
        traveller.destination.host.libvirtd.restart()
        try:
            traveller.refused('--live')
        finally:
            moved.rename(hook)
            traveller.destination.host.libvirtd.restart()
            traveller.destination.host.wait_for(traveller.destination.connected, 'the connection to libvirt')


def migrates(pair, name, devices, **kwargs):
    """A domain that is not to go: what virsh and its keeper say."""
    pair.a.define(name, devices, memory=64, kernel=False, **kwargs)
    try:
        pair.a.virsh('start', name)
        check = pair.a.nvme('migrate-check', name, check=False)
        assert check.returncode == 1
        done = pair.a.virsh('migrate', '--live', name, f'qemu+tcp://{pair.b.host.address}/system',
                            '--migrateuri', f'tcp://{pair.b.host.address}', check=False)
        assert done.returncode != 0
        assert pair.a.virsh('domstate', name).stdout.strip() == 'running'
        return log_of(pair.a, name), check.stdout
    finally:
        pair.a.remove(name)


@pytest.mark.parametrize('disk, why', [
    (disk_xml('nvme0n1', f'{IMAGES}/local.raw', capacity=8), 'is on storage that other hosts do not have'),
    (disk_xml('nvme0n1', f'{SHARED}/cached.raw', capacity=8, driver="cache='writeback'"), 'cache="writeback"'),
    (disk_xml('nvme0n1', kind='memory', capacity=8), "in this host's memory"),
], ids=['local', 'cached', 'memory'])
def test_disks_that_cannot_go(pair, disk, why):
    # The other host has the file, too: what is judged is not whether it is there.
    pair.b.host.run(['truncate', '-s', '8M', f'{IMAGES}/local.raw'])
    log, check = migrates(pair, 'homebody', devices_xml(controller_xml(0, disk)))
    assert why in log
    assert why in check


def test_migrate_check(traveller):
    uri = f'qemu+tcp://{traveller.destination.host.address}/system'
    done = traveller.at.nvme('migrate-check', traveller.name, uri)
    assert 'FAIL' not in done.stdout
    assert 'destination: its QEMU is new enough' in done.stdout
    assert 'host-validate' in done.stdout
    done = traveller.at.nvme('migrate-check', traveller.name, 'qemu+tcp://127.0.0.1/system', check=False)
    assert done.returncode == 1 and 'it is this one' in done.stdout
