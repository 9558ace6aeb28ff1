# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests whose firmware boots from an NVMe disk, and one with hugepages, two controllers and three namespaces."""
import hashlib
import json

import pytest

from lab.boot_disk import make_boot_disk
from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml

VIRTIO = (f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{IMAGES}/other-virtio.raw'/>"
          "<target dev='vda' bus='virtio'/></disk>")
FIO = ('fio --name=verify --rw=randwrite --bs=16k --ioengine=libaio --iodepth=8 --direct=1 --verify=crc32c '
       '--verify_fatal=1 --do_verify=1')
HUGEPAGES = 128     # of 2 MiB, the whole guest


def device_of(guest, size):
    """The guest's name for the disk of SIZE MiB; the kernel numbers its controllers as they come."""
    return '/dev/' + guest.check(f'grep -lx {size * 2048} /sys/block/nvme*/size').split('/')[3]


def digest_in(guest, device):
    return guest.check(f'blockdev --flushbufs {device}; md5sum < {device}').split()[0]


def digest_of(vhost, image):
    return hashlib.md5(vhost.host.path(image).read_bytes()).hexdigest()


def scribble(guest, device):
    """Something else in every block."""
    guest.check(f'dd if=/dev/urandom of={device} bs=256k conv=fsync 2>/dev/null; true')


# SeaBIOS boots from a controller's first namespace only, OVMF from any.
@pytest.mark.parametrize('machine, firmware, boot, data', [
    ('q35', 'uefi', 'nvme0n2', 'nvme0n1'),
    ('pc', 'bios', 'nvme0n1', 'nvme0n2'),
])
def test_firmware_boots_from_it(vhost, domain, machine, firmware, boot, data):
    """In one case beside a disk of libvirt's that is as bootable, and which libvirt alone would boot from."""
    image = f'{IMAGES}/other-data.raw'
    make_boot_disk(vhost.host, f'{IMAGES}/other-boot.raw', firmware, cmdline='booted=nvme')
    if firmware == 'bios':
        make_boot_disk(vhost.host, f'{IMAGES}/other-virtio.raw', firmware, cmdline='booted=virtio')
    guest = vhost.define(domain, devices_xml(controller_xml(
        0, disk_xml(boot, f'{IMAGES}/other-boot.raw', extra="<nvme:boot order='1'/>"), disk_xml(data, image, capacity=6))),
        machine=machine, firmware=firmware, kernel=False, memory=512, devices=VIRTIO if firmware == 'bios' else '')
    guest.start()
    assert 'booted=nvme' in guest.check('cat /proc/cmdline')
    scribble(guest, device_of(guest, 6))
    written = digest_in(guest, device_of(guest, 6))
    guest.reboot()
    assert 'booted=nvme' in guest.check('cat /proc/cmdline')
    assert digest_in(guest, device_of(guest, 6)) == written
    vhost.virsh('destroy', domain)
    assert digest_of(vhost, image) == written


def block_size(guest, device):
    return int(guest.check(f'blockdev --getss {device}'))


def format_while_the_daemon_is_away(vhost, name, guest, device):
    """The new block size is in the definition when the guest hears of it."""
    vhost.stop_daemon()
    guest.check(f'(nvme format {device} -l 1 --force; echo $? > /tmp/formatted) > /dev/null 2>&1 &')
    log = vhost.host.path(f'/var/log/virtnvme/{name}.log')
    vhost.host.wait_for(lambda: 'formatted it to blocks of 4096 bytes' in log.read_text(), 'the format', 120)
    assert guest.exec('test -e /tmp/formatted').status != 0
    vhost.start_daemon()
    vhost.host.wait_for(lambda: guest.exec('test -s /tmp/formatted').status == 0, 'the end of the format', 120)
    for where in ('--live', '--config'):
        assert 'logical_block_size="4096"' in vhost.metadata(name, where)
    assert guest.check('cat /tmp/formatted').strip() == '0'
    vhost.host.wait_for(lambda: block_size(guest, device) == 4096, 'the new block size in the guest', 30)
    guest.check(f'cmp -n 16777216 {device} /dev/zero')


@pytest.fixture
def hugepages(vhost):
    vhost.host.add_hugepages(HUGEPAGES)


def hugetlb_of(vhost, name):
    """KiB that a domain's QEMU has in huge pages."""
    maps = vhost.host.run(f'cat /proc/$(cat /run/libvirt/qemu/{name}.pid)/smaps_rollup').stdout
    return sum(int(line.split()[1]) for line in maps.splitlines() if line.startswith(('Shared_Hugetlb', 'Private_Hugetlb')))


def test_hugepages_and_three_namespaces(vhost, domain, hugepages):
    """Two controllers; a file, a created volume of a pool that is not running, and memory."""
    pool = f"<pool type='dir'><name>other-pool</name><target><path>{IMAGES}/other-pool</path></target></pool>"
    vhost.host.run(['mkdir', f'{IMAGES}/other-pool'])
    vhost.virsh('pool-define', vhost.write('/root/other-pool.xml', pool))
    guest = vhost.define(domain, devices_xml(
        controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/other-a.raw', capacity=24),
                       disk_xml('nvme0n2', 'other-pool/vol', kind='volume', capacity=12)),
        controller_xml(1, disk_xml('nvme1n1', kind='memory', capacity=16),
                       extra='<nvme:serial>VN0001</nvme:serial>')),
        memory_backing='<hugepages/>', vcpus=2, memory=HUGEPAGES * 2)
    guest.start()
    assert hugetlb_of(vhost, domain) >= 64 << 10     # what it has touched
    assert vhost.virsh('pool-info', 'other-pool').stdout.count('running') == 1
    volume = vhost.virsh('vol-path', 'vol', '--pool', 'other-pool').stdout.strip()
    assert vhost.host.path(volume).stat().st_size == 12 << 20

    listed = json.loads(guest.check('nvme list -o json'))['Devices']
    assert sorted(d['PhysicalSize'] >> 20 for d in listed) == [12, 16, 24]
    assert {d['PhysicalSize'] >> 20 for d in listed if d['SerialNumber'].strip() == 'VN0001'} == {16}
    for command in ('id-ctrl', 'smart-log'):
        guest.check(f'nvme {command} /dev/nvme0')
    guest.check(f'nvme id-ns {device_of(guest, 24)}')
    guest.check(f'{FIO} --filename={device_of(guest, 24)} --size=8M')
    guest.check(f'mkfs.ext4 -q {device_of(guest, 12)} && mkdir -p /mnt && mount {device_of(guest, 12)} /mnt')
    guest.check(f'{FIO} --filename=/mnt/fio --size=4M && sync && umount /mnt')
    for size in (24, 16):
        scribble(guest, device_of(guest, size))
    written = {size: digest_in(guest, device_of(guest, size)) for size in (24, 12, 16)}
    assert len(set(written.values())) == 3
    guest.reboot()
    assert {size: digest_in(guest, device_of(guest, size)) for size in (24, 12, 16)} == written
    format_while_the_daemon_is_away(vhost, domain, guest, device_of(guest, 16))
    vhost.virsh('destroy', domain)
    assert digest_of(vhost, f'{IMAGES}/other-a.raw') == written[24]
    assert digest_of(vhost, volume) == written[12]

    guest.start()
    assert digest_in(guest, device_of(guest, 24)) == written[24]
    assert digest_in(guest, device_of(guest, 12)) == written[12]
    guest.check(f'mount {device_of(guest, 12)} /mnt && {FIO} --filename=/mnt/fio --size=4M --verify_only && umount /mnt')
    assert block_size(guest, device_of(guest, 16)) == 4096
    # Memory is as volatile as it says.
    guest.check(f'cmp -n 16777216 {device_of(guest, 16)} /dev/zero')
    vhost.virsh('destroy', domain)
    vhost.virsh('pool-destroy', 'other-pool')
    vhost.virsh('pool-undefine', 'other-pool')
