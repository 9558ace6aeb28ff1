# SPDX-License-Identifier: LGPL-2.1-or-later
"""A firmware boots from our disk; a QEMU that is started again finds its disk at a controller that stayed."""
import json
import os
import time
from pathlib import Path

import pytest

from lab.boot_disk import make_boot_disk
from lab.error import LabError
from lab.guest import QemuGuest
from lab.host import process_group
from lab.qmp import QmpError

from conftest import IMAGES, complaints


@pytest.mark.parametrize('machine, firmware', [('q35', 'uefi'), ('pc', 'bios')])
def test_firmware_boots_from_nvme(lab_host, serve, image, machine, firmware):
    disk = f'{IMAGES}/boot.raw'
    make_boot_disk(lab_host, disk, firmware, 'lab.disk=nvme')
    other = image('other.raw', 32)
    # A firmware has no shadow doorbells: in one case they are mapped.
    boot = serve('nvme0', '--namespace', f'file:{disk}', *(['--doorbells=mapped'] if machine == 'q35' else []))
    port, bus = [], {}
    if machine == 'q35':
        port, bus = ['-device', 'pcie-root-port,id=port0,chassis=1,slot=1'], {'bus': 'port0'}
    # In one case a virtio disk is there too, and is not what is booted from.
    virtio = ['-drive', f'if=none,id=other,format=raw,file={other}', '-device', 'virtio-blk-pci,drive=other,bootindex=2'] \
        if machine == 'pc' else []
    with QemuGuest(lab_host, machine=machine, firmware='uefi' if firmware == 'uefi' else None, kernel=False, memory=1024,
                   extra_args=port + boot.device(bootindex=1, **bus) + virtio) as guest:
        assert 'lab.disk=nvme' in guest.check('cat /proc/cmdline')
        assert (guest.exec('test -d /sys/firmware/efi').status == 0) == (firmware == 'uefi')
        maps = ''.join(Path(f'/proc/{pid}/maps').read_text() for pid in process_group(guest.process.pid))
        assert ('virtnvme-doorbells' in maps) == (machine == 'q35')
        assert guest.check('blkid /dev/nvme0n1p1 || ls /dev/nvme0n1p1')
        assert complaints(guest) == []


def processor_time(pid):
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def test_qemu_restarts_against_a_living_controller(lab_host, serve, image):
    server = serve('nvme0', '--namespace', 'file:' + image('a.raw', 32))
    for number in range(3):
        guest = QemuGuest(lab_host, name=f'guest{number}', machine='pc', extra_args=server.device())
        if number:
            assert guest.check('dd if=/dev/nvme0n1 bs=4k count=1 iflag=direct 2>/dev/null | tr -d "\\0"') == f'round {number - 1}\n'
        guest.check(f'echo round {number} | dd of=/dev/nvme0n1 bs=4k conv=sync oflag=direct 2>/dev/null')
        assert complaints(guest) == []
        if number == 0:
            # A guest that does nothing with its disk costs the host nothing.
            before = processor_time(server.pid())
            time.sleep(2)
            assert processor_time(server.pid()) - before <= 0.02
            # A second QEMU is told so, and does not harm the first.
            with pytest.raises(LabError):
                QemuGuest(lab_host, name='second', extra_args=server.device())
            assert 'Device or resource busy' in (lab_host.logs / 'second.qemu.log').read_text()
            assert guest.check('echo alive') == 'alive\n'
            with pytest.raises(QmpError, match='Device or resource busy'):
                guest.qmp('device_add', **json.loads(server.device()[1]) | {'id': 'again'})
            assert guest.check('echo alive') == 'alive\n'
            guest.close()
        else:
            guest.check('dd if=/dev/nvme0n1 of=/dev/null bs=64k iflag=direct 2>/dev/null &')
            guest.process.kill()    # in the middle of it
            guest.close()
        lab_host.wait_for(lambda n=number: server.log().count('has disconnected') == n + 1, 'the end of QEMU')
