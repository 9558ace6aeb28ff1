# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks come and go while the guest runs, with I/O on another one."""
import contextlib
import os
import re
import time

import pytest

from lab import fio
from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml

BUSY = ('fio --name=busy --filename=/dev/nvme0n1 --rw=randrw --bs=4k --ioengine=libaio --iodepth=4 --direct=1 '
        '--size=16M --verify=crc32c --verify_fatal=1 --time_based --runtime=1000')


START = f'''count() {{ awk '{{ print $5 }}' /sys/block/nvme0n1/stat; }}
before=$(count)
{fio.start('busy', BUSY)}
until [ $(count) -gt $((before + 100)) ]; do sleep 0.1; [ ! -e /tmp/busy.status ] || exit 1; done'''


WRITE_BEHIND = '''until [ -e /tmp/enough ]; do
dd if=/dev/zero of=/dev/nvme0n2 bs=64k seek=192 count=128 oflag=direct || sleep 0.1; done'''


@contextlib.contextmanager
def busy(guest):
    """I/O on nvme0n1 in the meantime, without an error."""
    guest.check(START)
    try:
        yield
        assert guest.exec('cat /tmp/busy.status').status != 0, guest.check('cat /tmp/busy.log /tmp/busy.status')
    finally:
        guest.exec(fio.stop('busy', 10))
    assert 'err= 0' in guest.check('cat /tmp/busy.log')


def has_disk(guest, size, count=1):
    """So many namespaces of SIZE MiB in the guest."""
    sectors = size * 2048
    return guest.exec(f'[ $(cat /sys/block/nvme*/size | grep -cx {sectors}) -eq {count} ]').status == 0


def wait_disk(vhost, guest, size, count=1):
    vhost.host.wait_for(lambda: has_disk(guest, size, count), f'{count} disks of {size} MiB in the guest', 20)


def functions(guest):
    return guest.check('lspci -n | grep -c "Class 0108\\| 0108:" || true').strip()


def test_attach_and_detach_by_cli(vhost, guest):
    with busy(guest):
        for turn in range(20):
            vhost.nvme('attach-disk', 'shared', f'{IMAGES}/plug.raw', 'nvme0n2', '--capacity', '24M', '--live')
            wait_disk(vhost, guest, 24)
            if turn == 0:
                guest.check('echo plugged | dd of=/dev/nvme0n2 conv=fsync 2>/dev/null')
            assert guest.check('head -c 7 /dev/nvme0n2') == 'plugged'
            vhost.nvme('detach-disk', 'shared', 'nvme0n2', '--live')
            wait_disk(vhost, guest, 24, 0)
    assert 'nvme0n2' not in vhost.metadata('shared', '--live')


def test_attach_and_detach_by_virsh_metadata(vhost, guest):
    first = disk_xml('nvme0n1', f'{IMAGES}/shared.raw', capacity=64)
    second = disk_xml('nvme0n2', f'{IMAGES}/plug.raw')
    with busy(guest):
        for _ in range(20):
            vhost.set_metadata('shared', devices_xml(controller_xml(0, first, second)), '--live')
            wait_disk(vhost, guest, 24)
            vhost.set_metadata('shared', devices_xml(controller_xml(0, first)), '--live')
            wait_disk(vhost, guest, 24, 0)
    # The record, which --set has thrown away, is back.
    vhost.host.wait_for(lambda: 'virtnvme-port0' in vhost.metadata('shared', '--live'), 'the record')


def test_limits_change_while_it_runs(vhost, guest):
    def seconds():
        start = time.monotonic()
        guest.check('dd if=/dev/nvme0n1 of=/dev/null bs=4k count=60 iflag=direct')
        return time.monotonic() - start

    def limit(extra):
        disk = disk_xml('nvme0n1', f'{IMAGES}/shared.raw', capacity=64, extra=extra)
        vhost.set_metadata('shared', devices_xml(controller_xml(0, disk)), '--live')

    limit('<nvme:iotune><nvme:read_iops_sec>20</nvme:read_iops_sec></nvme:iotune>')
    vhost.host.wait_for(lambda: seconds() > 2.5, 'at most 20 reads a second', 30)
    assert 'read_iops_sec' in vhost.metadata('shared', '--live')
    assert vhost.disks('shared')['nvme0n1']['iotune'] == {'read_iops_sec': 20}
    assert re.search('^Limits: +nvme0n1: read_iops_sec=20$', vhost.nvme('info', 'shared').stdout, re.M)
    limit('')
    vhost.host.wait_for(lambda: seconds() < 1.5, 'no limit', 30)
    assert 'iotune' not in vhost.disks('shared')['nvme0n1']


def test_a_controller_is_parked_and_used_again(vhost, guest):
    before = functions(guest)
    pid = vhost.host.run(['cat', '/run/libvirt/qemu/shared.pid']).stdout
    with busy(guest):
        for _ in range(3):
            vhost.nvme('attach-disk', 'shared', '64M', 'nvme1n1', '--type', 'memory', '--capacity', '20M', '--live')
            wait_disk(vhost, guest, 20)
            after = functions(guest)
            vhost.nvme('detach-disk', 'shared', 'nvme1n1', '--live')
            wait_disk(vhost, guest, 20, 0)
            # Unplugging it would abort this QEMU.
            assert functions(guest) == after
            assert "parked=\"yes\"" in vhost.metadata('shared', '--live')
    assert int(after) in (int(before), int(before) + 1)
    assert vhost.host.run(['cat', '/run/libvirt/qemu/shared.pid']).stdout == pid


def test_a_record_survives_the_daemon_and_virsh(vhost, guest):
    vhost.stop_daemon()
    vhost.set_metadata('shared', devices_xml(controller_xml(
        0, disk_xml('nvme0n1', f'{IMAGES}/shared.raw', capacity=64))), '--live')
    assert 'parked' not in vhost.metadata('shared', '--live')
    vhost.start_daemon()
    vhost.host.wait_for(lambda: 'parked' in vhost.metadata('shared', '--live'), 'the record')
    guest.check('dd if=/dev/nvme0n1 of=/dev/null bs=64k count=4 iflag=direct')


def test_a_failed_wish_is_marked(vhost, guest):
    first = disk_xml('nvme0n1', f'{IMAGES}/shared.raw', capacity=64)
    missing = disk_xml('nvme0n3', f'{IMAGES}/late.raw')
    vhost.set_metadata('shared', devices_xml(controller_xml(0, first, missing)), '--live')
    vhost.host.wait_for(lambda: 'state="failed"' in vhost.metadata('shared', '--live'), 'the mark')
    assert 'late.raw' in vhost.disks('shared')['nvme0n3']['reason']
    assert vhost.disks('shared')['nvme0n1']['state'] == 'attached'
    # Wished again, it is tried again.
    vhost.host.run(['truncate', '-s', '28M', f'{IMAGES}/late.raw'])
    vhost.set_metadata('shared', devices_xml(controller_xml(0, first, missing)), '--live')
    wait_disk(vhost, guest, 28)
    vhost.nvme('detach-disk', 'shared', 'nvme0n3', '--live', '--remove-storage')
    wait_disk(vhost, guest, 28, 0)
    assert not vhost.host.path(f'{IMAGES}/late.raw').exists()


def test_a_refused_attach_leaves_no_trace(vhost, guest):
    before = vhost.metadata('shared', '--live')
    line = vhost.refusal('virt-nvme', 'attach-disk', 'shared', f'{IMAGES}/none.raw', 'nvme0n4', '--live')
    assert 'none.raw' in line
    assert vhost.metadata('shared', '--live') == before
    line = vhost.refusal('virt-nvme', 'attach-disk', 'shared', f'{IMAGES}/none.raw', 'nvme0n1', '--live')
    assert 'nvme0n1' in line or 'nsid' in line
    guest.check('true')


def test_storage_in_use_is_not_removed(vhost, guest):
    image = vhost.host.path(f'{IMAGES}/used.raw')
    vhost.nvme('attach-disk', 'shared', f'{IMAGES}/used.raw', 'nvme0n3', '--capacity', '14M', '--live', '--config')
    line = vhost.refusal('virt-nvme', 'detach-disk', 'shared', 'nvme0n3', '--config', '--remove-storage')
    assert 'detached, but not deleted' in line and 'used.raw is in use' in line
    assert image.exists()
    vhost.nvme('detach-disk', 'shared', 'nvme0n3', '--live', '--remove-storage')
    assert not image.exists()


def test_an_image_of_another_domain_is_refused(vhost, guest, domain):
    vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/other.raw', capacity=8))))
    vhost.virsh('start', '--paused', domain)
    line = vhost.refusal('virt-nvme', 'attach-disk', 'shared', f'{IMAGES}/other.raw', 'nvme0n2', '--live')
    assert f"in use by domain '{domain}'" in line
    guest.check('true')


def test_there_is_no_place_left(vhost, guest):
    """Two spare root ports, of which parked controllers take one each."""
    lines = []
    for index in (1, 2, 3):
        done = vhost.nvme('attach-disk', 'shared', '8M', f'nvme{index}n1', '--live', check=False)
        lines.append(done.stderr.strip())
    for index in (1, 2):
        vhost.nvme('detach-disk', 'shared', f'nvme{index}n1', '--live')
    assert lines[:2] == ['', ''] and lines[2].startswith('error: '), lines
    assert set(vhost.disks('shared')) == {'nvme0n1'}
    guest.check('true')


def test_a_parked_controller_is_gone_at_the_next_start(vhost, domain):
    vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/other.raw', capacity=8))))
    for _ in range(2):
        vhost.virsh('start', '--paused', domain)
        assert [c['index'] for c in vhost.info(domain)['controllers']] == [0]
        vhost.nvme('attach-disk', domain, '4M', 'nvme1n1', '--live')
        vhost.nvme('detach-disk', domain, 'nvme1n1', '--live')
        assert [c['state'] for c in vhost.info(domain)['controllers']] == ['attached', 'parked']
        vhost.virsh('destroy', domain)


def test_resize(vhost, guest):
    image = vhost.host.path(f'{IMAGES}/grow.raw')
    vhost.nvme('attach-disk', 'shared', f'{IMAGES}/grow.raw', 'nvme0n2', '--capacity', '12M', '--live')
    wait_disk(vhost, guest, 12)
    vhost.nvme('resize', 'shared', 'nvme0n2', '18M')
    wait_disk(vhost, guest, 18)
    # By somebody else.
    os.truncate(image, 20 << 20)
    assert str(20 << 20) in vhost.nvme('resize', 'shared', 'nvme0n2').stdout
    wait_disk(vhost, guest, 20)
    line = vhost.refusal('virt-nvme', 'resize', 'shared', 'nvme0n2', '12M')
    assert 'grow.raw has 20971520 bytes' in line and '--force' in line
    # What the guest writes there meanwhile makes the file no larger.
    guest.check(f'''rm -f /tmp/enough; ({WRITE_BEHIND}) > /dev/null 2>&1 &
        for i in $(seq 300); do [ $(awk '{{ print $5 }}' /sys/block/nvme0n2/stat) -gt 100 ] && exit 0; sleep 0.1; done; exit 1''')
    vhost.nvme('resize', 'shared', 'nvme0n2', '12M', '--force')
    wait_disk(vhost, guest, 12)
    guest.check('touch /tmp/enough')
    assert 'range' in guest.exec('nvme write /dev/nvme0n2 -s 24576 -c 0 -z 512 -d /dev/zero 2>&1').output.lower()
    guest.check('nvme write /dev/nvme0n2 -s 24575 -c 0 -z 512 -d /dev/zero')
    assert image.stat().st_size == 12 << 20

    def set_capacity(size):
        disks = disk_xml('nvme0n1', f'{IMAGES}/shared.raw', capacity=64), disk_xml('nvme0n2', f'{IMAGES}/grow.raw', capacity=size)
        vhost.set_metadata('shared', devices_xml(controller_xml(0, *disks)), '--live')

    # A new <capacity> does the same, but makes nothing smaller: it is put back.
    set_capacity(14)
    wait_disk(vhost, guest, 14)
    set_capacity(13)
    vhost.host.wait_for(lambda: f'>{14 << 20}<' in vhost.metadata('shared', '--live'), 'the size that it has', 60)
    assert image.stat().st_size == 14 << 20
    vhost.nvme('detach-disk', 'shared', 'nvme0n2', '--live', '--remove-storage')


def test_a_new_size_is_in_the_definition(vhost, domain):
    pool = f"<pool type='dir'><name>other-pool</name><target><path>{IMAGES}/other-pool</path></target></pool>"
    vhost.host.run(['mkdir', f'{IMAGES}/other-pool'])
    vhost.virsh('pool-define', vhost.write('/root/other-pool.xml', pool))
    vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', 'other-pool/vol', kind='volume', capacity=8))))
    vhost.virsh('start', '--paused', domain)
    vhost.nvme('resize', domain, 'nvme0n1', '10M')
    assert f'>{10 << 20}<' in vhost.virsh('dumpxml', '--inactive', domain).stdout
    assert f'>{10 << 20}<' in vhost.metadata(domain, '--live')
    vhost.virsh('destroy', domain)
    vhost.nvme('resize', domain, 'nvme0n1', '11M')
    assert f'>{11 << 20}<' in vhost.virsh('dumpxml', domain).stdout
    assert '--force' in vhost.refusal('virt-nvme', 'resize', domain, 'nvme0n1', '9M')
    # libvirt does not make a volume smaller than what it occupies.
    image = vhost.host.path(f'{IMAGES}/other-pool/vol')
    image.write_bytes(os.urandom(11 << 20))
    assert 'Allocation:     11.00 MiB' in vhost.virsh('vol-info', 'vol', '--pool', 'other-pool').stdout
    vhost.nvme('resize', domain, 'nvme0n1', '9M', '--force')
    assert f'>{9 << 20}<' in vhost.virsh('dumpxml', domain).stdout
    assert image.stat().st_size == 9 << 20
    assert 'Capacity:       9.00 MiB' in vhost.virsh('vol-info', 'vol', '--pool', 'other-pool').stdout


@pytest.mark.parametrize('where', ['--config'])
def test_attach_to_the_definition(vhost, domain, where):
    vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/other.raw', capacity=8))))
    vhost.nvme('attach-disk', domain, f'{IMAGES}/other-2.raw', 'nvme1n1', '--capacity', '8M', where)
    assert 'virtnvme-nvme1' in vhost.virsh('dumpxml', '--inactive', domain).stdout
    vhost.virsh('start', '--paused', domain)
    assert {t: d['state'] for t, d in vhost.disks(domain).items()} == {'nvme0n1': 'attached', 'nvme1n1': 'attached'}
    vhost.virsh('destroy', domain)
    vhost.nvme('detach-disk', domain, 'nvme1n1', where)
    assert 'virtnvme-nvme1' not in vhost.virsh('dumpxml', '--inactive', domain).stdout
