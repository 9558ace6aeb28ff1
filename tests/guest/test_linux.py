# SPDX-License-Identifier: LGPL-2.1-or-later
"""Linux's nvme driver on our controller: verified I/O, resets, removal, reboots; the image says the same as the guest."""
import json

import pytest

from lab.guest import QemuGuest

from conftest import IMAGES, complaints

SIZE = 64       # MiB an image
FIO = 'fio --name=x --direct=1 --ioengine=libaio --iodepth=32 --verify=crc32c --verify_fatal=1 --group_reporting --output=/tmp/fio.log'


def fio(guest, what):
    status, output = guest.exec(f'{FIO} {what} || (cat /tmp/fio.log; exit 1)', 300)
    assert status == 0, output


def verify_raw(guest, device):
    fio(guest, f'--filename={device} --rw=randrw --bsrange=4k-64k --size=6M --offset=1M')


def verify_ext4(guest, device):
    guest.check(f'mkfs.ext4 -q -F {device} && mkdir -p /mnt/x && mount {device} /mnt/x')
    fio(guest, '--directory=/mnt/x --rw=randwrite --bs=16k --size=4M --numjobs=2 --end_fsync=1')
    guest.check('find / -xdev -type f -size -64k 2>/dev/null | head -200 | tar -cf /mnt/x/files.tar -T - 2>/dev/null; sync; umount /mnt/x')
    guest.check(f'e2fsck -fn {device}')


def same_as_image(guest, host, device, image):
    """What the guest reads is what is in the file."""
    theirs = guest.check(f'blockdev --flushbufs {device}; sha256sum < {device}', 120).split()[0]
    assert theirs == host.run(['sha256sum', image]).stdout.split()[0]
    return theirs


def controller_of(device):
    """nvme0 of /dev/nvme0n1."""
    return device[5:].rsplit('n', 1)[0]


def describe(guest, serials, sizes):
    """nvme-cli's view is right; the devices in order of controllers and namespace ids.

    Linux probes controllers and namespaces in parallel: nvme0n2 may be the one of id 1, and nvme0 the second."""
    guest.check(f'for i in $(seq 100); do [ $(ls /sys/block | grep -c ^nvme) = {len(sizes)} ] && exit 0; sleep 0.1; done; exit 1')
    listed = json.loads(guest.check('nvme list -o json'))['Devices']
    found = []
    for d in listed:
        serial = d['SerialNumber'].strip()
        nsid = int(guest.check(f'cat /sys/block/{d["DevicePath"][5:]}/nsid'))
        found.append((serials.index(serial), nsid, d['PhysicalSize'], d['SectorSize'], d['DevicePath']))
    found.sort()
    assert [entry[:4] for entry in found] == sizes, found
    devices = [entry[4] for entry in found]
    for number, *_, device in found:
        controller = guest.check(f'nvme id-ctrl /dev/{controller_of(device)}')
        assert 'virtnvme' in controller and serials[number] in controller
        assert 'critical_warning' in guest.check(f'nvme smart-log /dev/{controller_of(device)}')
        assert 'nsze' in guest.check(f'nvme id-ns {device}')
        assert 'uuid' in guest.check(f'nvme ns-descs {device}')
    return devices


def reset_under_load(guest, device):
    guest.check(f'(fio --name=load --filename={device} --direct=1 --ioengine=libaio --iodepth=32 --rw=randrw --bs=4k --size=8M --offset=16M '
                f'--verify=crc32c --verify_fatal=1 --output=/tmp/load.log; echo $? > /tmp/load.status) > /dev/null 2>&1 &')
    for _ in range(3):
        guest.check('sleep 0.5')
        guest.check(f'echo 1 > /sys/class/nvme/{controller_of(device)}/reset_controller', 60)
    guest.check('for i in $(seq 600); do [ -e /tmp/load.status ] && break; sleep 0.2; done; '
                '[ "$(cat /tmp/load.status)" = 0 ] || { cat /tmp/load.log; exit 1; }; rm /tmp/load.status', 150)


def remove_and_rescan_under_load(guest, device):
    guest.check(f'fio --name=load --filename={device} --direct=1 --ioengine=libaio --iodepth=32 --rw=randread --bs=4k --time_based '
                '--runtime=100 > /dev/null 2>&1 &')
    guest.check(f'sleep 1; echo 1 > /sys/class/nvme/{controller_of(device)}/device/remove', 60)
    guest.check(f'[ ! -e {device} ]; killall fio; sleep 0.2; echo 1 > /sys/bus/pci/rescan', 60)


class Setup:
    """What a test of Linux runs on."""

    def __init__(self, name, machine, two=False, **qemu):
        self.name, self.machine, self.two, self.qemu = name, machine, two, qemu


SETUPS = [
    Setup('q35', 'q35'),
    Setup('q35-hugepages', 'q35', two=True, hugepages=True, memory=512),
    Setup('pc', 'pc'),
    Setup('pc-messages', 'pc', shared_memory=False),
]


@pytest.mark.parametrize('setup', SETUPS, ids=lambda setup: setup.name)
def test_linux(lab_host, serve, image, setup):
    first = image('first.raw', SIZE)
    arguments = ['--namespace', f'file:{first}', '--serial', 'FIRST', '--io-threads=2']
    serials, sizes = ['FIRST'], [(0, 1, SIZE << 20, 512)]
    port = []
    if setup.two:
        lab_host.add_hugepages(setup.qemu['memory'] // 2)
        second = image('second.raw', SIZE)
        arguments += ['--namespace', f'file:{second},block-size=4096,cache=writeback']
        sizes += [(0, 2, SIZE << 20, 4096), (1, 1, 32 << 20, 512)]
        serials.append('OTHER')
    servers = [serve('nvme0', *arguments)]
    if setup.two:
        servers.append(serve('nvme1', '--namespace', 'memory:32M', '--serial', 'OTHER', '--queues=1'))
    if setup.machine == 'q35':
        port = [word for number in range(len(servers))
                for word in ('-device', f'pcie-root-port,id=port{number},chassis={number + 1},slot={number + 1}')]
    devices = [word for number, server in enumerate(servers)
               for word in server.device(**({'bus': f'port{number}'} if port else {}))]
    with QemuGuest(lab_host, machine=setup.machine, extra_args=port + devices, **setup.qemu) as guest:
        disks = describe(guest, serials, sizes)
        for disk in disks:
            verify_raw(guest, disk)
        verify_ext4(guest, disks[-1])
        reset_under_load(guest, disks[0])
        assert complaints(guest) == []
        same_as_image(guest, lab_host, disks[0], first)

        guest.check('dmesg -c > /dev/null')
        remove_and_rescan_under_load(guest, disks[0])
        disks = describe(guest, serials, sizes)
        verify_raw(guest, disks[0])
        assert [line for line in guest.check('dmesg').splitlines() if 'timeout' in line or 'not ready' in line] == []

        verify_ext4(guest, disks[0])
        before = same_as_image(guest, lab_host, disks[0], first)
        guest.reboot()
        disks = describe(guest, serials, sizes)
        assert same_as_image(guest, lab_host, disks[0], first) == before
        if setup.two:
            verify_raw(guest, disks[1])
            same_as_image(guest, lab_host, disks[1], f'{IMAGES}/second.raw')
        assert complaints(guest) == []
