# SPDX-License-Identifier: LGPL-2.1-or-later
"""virsh migrate and virsh save with NVMe disks that are in use."""
import contextlib
import hashlib
import re

import pytest

from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml
from pair import Background, KNOWN, LOADED, SHARED, Traveller, make_pair, shared_directory, slow_migration
from test_hotplug import wait_disk


@pytest.fixture(scope='module')
def pair(request, lab_root, product):
    with shared_directory() as shared, make_pair(request, shared, root=lab_root, product=product) as one:
        yield one


def make_known(pair, name='known.raw', size=KNOWN):
    """An image of data of which no two pages are alike."""
    path = pair.shared / name
    with open('/dev/urandom', 'rb') as noise, open(path, 'wb') as image:
        image.write(noise.read(size << 20))
    return hashlib.md5(path.read_bytes()).hexdigest()


def start_traveller(pair):
    make_known(pair)
    paths = [controller_xml(n, disk_xml(f'nvme{n}n1', f'{SHARED}/known.raw', extra='<nvme:shareable/>'), attributes="queues='1' subsystem='0'")
             for n in (1, 2)]
    guest = pair.a.define('traveller', devices_xml(controller_xml(
        0, disk_xml('nvme0n1', f'{SHARED}/load.raw', capacity=LOADED),
        disk_xml('nvme0n2', f'{SHARED}/beside.raw', capacity=2), attributes="queues='2'"), *paths), vcpus=2, memory=256)
    guest.start()
    one = Traveller(pair, guest, pair.a)
    one.find_paths()
    one.known = one.device(KNOWN)
    return one


@pytest.fixture(scope='module')
def traveller(pair):
    """A running guest, for all tests that leave it running, on whatever host; its known disk has two paths."""
    return start_traveller(pair)


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


WAYS = [
    ['--live'],
    ['--live', '--p2p'],
    ['--live', '--p2p', '--tunnelled'],
    ['--live', '--parallel', '--parallel-connections', '2'],
    ['--live', '--auto-converge'],
    ['--live', '--timeout', '1', '--timeout-suspend'],
    [],
    ['--live'],
]


def test_all_the_ways_there_and_back(traveller):
    """One guest under load, from host to host in every way that libvirt has."""
    record = where_is(traveller)
    before = traveller.guest.boot_id()
    with traveller.load(), traveller.reader():
        for flags in WAYS:
            print(f'migrate {" ".join(flags)}')
            old = traveller.at
            traveller.migrate(*flags, direct='--p2p' not in flags)
            traveller.still_works()
            traveller.settle()
            assert traveller.state() == 'running'
            assert where_is(traveller) == record
            old.host.wait_for(lambda old=old: not old.traces(traveller.uuid), 'the end of the source', 20)
        traveller.both_paths_work()
    assert traveller.guest.boot_id() == before


def test_arrives_suspended(traveller):
    with traveller.load():
        traveller.migrate('--live', '--suspend')
        assert traveller.state() == 'paused'
        # On to the next host, and into a file and back, without having run.
        traveller.migrate('--live')
        assert traveller.state() == 'paused'
        file = f'/root/{traveller.name}.save'
        traveller.at.virsh('save', traveller.name, file)
        traveller.at.virsh('restore', '--paused', file)
        traveller.at.virsh('resume', traveller.name)


def test_the_definition_moves(traveller):
    """--persistent --undefinesource, and --dname there and back."""
    source = traveller.at
    source.virsh('define', source.write('/root/traveller.xml', source.virsh('dumpxml', '--inactive', traveller.name).stdout))
    # Of an earlier journey; libvirt takes no second name for a UUID.
    traveller.destination.virsh('undefine', traveller.name, check=False)
    traveller.migrate('--live', '--persistent', '--undefinesource', '--dname', 'renamed', name='renamed')
    assert 'traveller' not in source.virsh('list', '--all', '--name').stdout
    assert traveller.at.uuid('renamed') == traveller.uuid
    assert traveller.at.rewritten('renamed')
    traveller.guest.check(f'dd if={traveller.disk} of=/dev/null bs=64k count=4 iflag=direct')
    traveller.migrate('--live', '--persistent', '--undefinesource', '--dname', 'traveller', name='traveller')


def test_hotplug_after_a_migration(traveller):
    """Attached here, carried there, detached there; the parked controller goes along and comes back into use."""
    name = traveller.name
    traveller.at.nvme('attach-disk', name, f'{SHARED}/plug.raw', 'nvme3n1', '--capacity', '20M', '--live')
    wait_disk(traveller.at, traveller.guest, 20)
    device = traveller.guest.check('grep -lx 40960 /sys/block/nvme*/size').split('/')[3]
    traveller.guest.check(f'nvme format /dev/{device} -l 1 --force', 120)
    with traveller.load():
        traveller.migrate('--live')
        traveller.settle()
        device = traveller.guest.check('grep -lx 40960 /sys/block/nvme*/size').split('/')[3]
        assert traveller.guest.check(f'blockdev --getss /dev/{device}').strip() == '4096'
        traveller.guest.check(f'echo carried | dd of=/dev/{device} conv=fsync 2>/dev/null')
        traveller.at.nvme('detach-disk', name, 'nvme3n1', '--live')
        traveller.at.host.wait_for(lambda: 'parked' in traveller.at.metadata(name, '--live'), 'the record')
        traveller.migrate('--live')
        traveller.settle()
        traveller.at.host.wait_for(lambda: 'parked' in traveller.at.metadata(name, '--live'), 'the record')
        traveller.at.nvme('attach-disk', name, f'{SHARED}/plug.raw', 'nvme3n1', '--live')
        wait_disk(traveller.at, traveller.guest, 20)
        assert traveller.guest.check(f'head -c 7 /dev/{device}') == 'carried'
        traveller.at.nvme('detach-disk', name, 'nvme3n1', '--live', '--remove-storage')


def test_the_daemon_is_away_when_it_begins(traveller):
    """It permits what it did not hear of as soon as it is back."""
    source, name = traveller.at, traveller.name
    with traveller.load():
        source.stop_daemon()
        with Background(source, *traveller.command('--live', '--bandwidth', '1')) as migration:
            source.host.wait_for(lambda: 'Memory processed' in source.virsh('domjobinfo', name, check=False).stdout, 'the copying', 60)
            source.start_daemon()
            source.virsh('migrate-setspeed', name, '1000')
            migration.join()
        assert migration.done.returncode == 0, migration.done.stderr
        traveller.moved()


#
# To a file and back
#

def test_save_and_restore(traveller):
    file = f'/root/{traveller.name}.save'
    before = traveller.guest.boot_id()
    with traveller.load(), traveller.reader():
        traveller.at.virsh('save', traveller.name, file)
        traveller.guest.agent.close()
        assert not traveller.at.traces(traveller.uuid)
        traveller.at.virsh('restore', file)
        traveller.still_works()
        traveller.both_paths_work()
    assert traveller.guest.boot_id() == before


def test_managed_save_and_start(traveller):
    if not re.search(r'^Persistent:\s+yes', traveller.at.virsh('dominfo', traveller.name).stdout, re.M):
        traveller.migrate('--live')     # where its definition is
        traveller.settle()
    with traveller.load():
        traveller.at.virsh('managedsave', traveller.name)
        traveller.guest.agent.close()
        traveller.at.virsh('start', traveller.name)


def test_a_restore_that_failed_is_no_arrival(pair):
    """The start that comes next is one of the definition, with images created where they are missing."""
    pair.a.define('again', devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{SHARED}/again.raw', capacity=8))), memory=64, kernel=False)
    hook = pair.a.host.path('/etc/libvirt/hooks/qemu.d/60-refuses')
    try:
        pair.a.virsh('start', 'again')
        # A firmware that is at work has its interrupt line raised now and then, which is refused.
        pair.a.host.wait_for(lambda: pair.a.virsh('save', 'again', '/root/again.save', check=False).returncode == 0, 'a save', 60)
        hook.write_text('#!/bin/sh\n[ "$2" != restore ]\n')
        hook.chmod(0o755)
        assert pair.a.virsh('restore', '/root/again.save', check=False).returncode != 0
        hook.unlink()
        (pair.shared / 'again.raw').unlink()
        pair.a.virsh('start', 'again')
        assert pair.a.info('again')['keeper']['migration'] == 'none'
    finally:
        hook.unlink(missing_ok=True)
        pair.a.remove('again')


def test_a_saved_image_is_moved(traveller):
    """save-image-edit: another path of the same data."""
    file = f'/root/{traveller.name}.save'
    vhost = traveller.at
    digest = hashlib.md5((traveller.pair.shared / 'known.raw').read_bytes()).hexdigest()
    vhost.virsh('save', traveller.name, file)
    traveller.guest.agent.close()
    (traveller.pair.shared / 'known.raw').rename(traveller.pair.shared / 'moved.raw')
    vhost.host.run(['env', f'EDITOR=sed -i s,{SHARED}/known.raw,{SHARED}/moved.raw,', 'virsh', '-q', 'save-image-edit', file])
    vhost.virsh('restore', file)
    assert vhost.disks(traveller.name)['nvme1n1']['source'] == f'{SHARED}/moved.raw'
    traveller.guest.check('echo 3 > /proc/sys/vm/drop_caches')
    assert traveller.guest.check(f'md5sum < {traveller.known}').split()[0] == digest
    # Back again, for those who come after.
    vhost.virsh('save', traveller.name, file)
    traveller.guest.agent.close()
    (traveller.pair.shared / 'moved.raw').rename(traveller.pair.shared / 'known.raw')
    vhost.host.run(['env', f'EDITOR=sed -i s,{SHARED}/moved.raw,{SHARED}/known.raw,', 'virsh', '-q', 'save-image-edit', file])
    vhost.virsh('restore', file)


def test_a_dump_changes_nothing(traveller):
    with traveller.load():
        for flags in (['--live'], ['--memory-only']):
            done = traveller.at.virsh('dump', traveller.name, '/root/core', *flags, check=False)
            # The newest libvirt has no dump by migration any more.
            assert done.returncode == 0 or flags == ['--live'] and 'unsupported flags' in done.stderr, done.stderr
            traveller.still_works()
    traveller.at.host.run('rm -f /root/core')


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
        moved = hook.rename(traveller.destination.host.path('/root/hook'))
        traveller.destination.host.libvirtd.restart()
        try:
            traveller.refused('--live')
        finally:
            moved.rename(hook)
            traveller.destination.host.libvirtd.restart()
            traveller.destination.host.wait_for(traveller.destination.connected, 'the connection to libvirt')


def test_nothing_is_plugged_in_meanwhile(traveller):
    """And stopped and continued in the middle of the copy, and given up."""
    name = traveller.name
    with traveller.load(), slow_migration(traveller) as migration:
        for command in (['attach-disk', name, '8M', 'nvme0n3', '--live'], ['detach-disk', name, 'nvme0n2', '--live'],
                        ['resize', name, 'nvme0n1', '128M']):
            assert 'a migration or save of the domain is under way' in traveller.at.refusal('virt-nvme', *command)
        done = traveller.at.nvme('migrate-check', name, check=False)
        assert done.returncode == 1 and 'under way' in done.stdout
        traveller.at.virsh('suspend', name)
        # libvirt itself has `virsh resume` wait for the end.
        traveller.at.virsh('qemu-monitor-command', name, '{"execute": "cont"}')
        traveller.still_works()
        traveller.at.virsh('domjobabort', name)
        migration.join()
        assert migration.done.returncode != 0
        traveller.settle()
        traveller.still_works()


@pytest.mark.parametrize('what', ['keeper', 'daemon', 'libvirtd'])
def test_the_other_side_dies_in_mid_copy(traveller, what):
    with traveller.load(), slow_migration(traveller) as migration:
        other = traveller.destination
        if what == 'keeper':
            other.host.run('kill -9 $(pidof virtnvme-keeper)')
            traveller.at.virsh('migrate-setspeed', traveller.name, '1000')
        elif what == 'daemon':
            other.restart_daemon(9)
            traveller.at.virsh('domjobabort', traveller.name)
        else:
            other.host.libvirtd.kill()
            other.host.run('kill -9 $(pidof qemu-system-x86_64)', check=False)
        migration.join()
        assert migration.done.returncode != 0
        traveller.settle()
        traveller.still_works()
        if what == 'libvirtd':
            other.host.libvirtd.start()
            other.host.wait_for(other.connected, 'the connection to libvirt')
    traveller.destination.host.wait_for(lambda: not traveller.destination.traces(traveller.uuid), 'the end of the other side', 20)


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
