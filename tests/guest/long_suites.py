# SPDX-License-Identifier: LGPL-2.1-or-later
"""The long form, run by long-suites: other people's tests and tools, from a Debian on a second disk of the guest."""
import os
import shlex

import pytest

from lab.fixtures import close_host
from lab.guest import QemuGuest
from lab.host import Host

from conftest import IMAGES, Server, complaints

SIZE = 512      # MiB
DEVICE = '/dev/nvme0n1'
USERLAND = '/debian'

# nvme-cli's tests begin by deleting all namespaces and creating one, which is the host's business here: they get the one
# that is there.
WITHOUT_MANAGEMENT = f'''
import subprocess, sys, unittest
sys.path.insert(0, 'tests')
import nvme_test
def take_what_is_there(self):
    self.dps = self.flbas = 0
    self.nsze = self.ncap = int(subprocess.check_output(['blockdev', '--getsz', '{DEVICE}']))
    self.ctrl_id = '0'
nvme_test.TestNVMe.create_and_attach_default_ns = take_what_is_there
unittest.main(module=None, argv=['nvme-cli', '-v', sys.argv[1]])
'''
# All but those of Namespace Management (attach_detach_ns, create_max_ns, format) and Write Uncorrectable, which are refused.
NVME_CLI = ['compare', 'copy', 'ctrl_reset', 'dsm', 'error_log', 'flush', 'fw_log', 'get_features', 'get_lba_status', 'id_ctrl', 'id_ns',
            'lba_status_log', 'read_write', 'smart_log', 'verify', 'writezeros']

STRESS = ('stress-ng --temp-path /mnt --verify --timeout 20 --hdd 1 --hdd-bytes 24m --iomix 1 --iomix-bytes 24m --fallocate 1 '
          '--fallocate-bytes 24m --aiol 1 --rename 1 --dir 1 --metrics-brief')
FILESYSTEMS = {
    'ext4': ('mkfs.ext4 -q -F', 'e2fsck -fn'),
    'xfs': ('mkfs.xfs -q -f', 'xfs_repair -n'),
    'btrfs': ('mkfs.btrfs -q -f', 'btrfs check'),
}


@pytest.fixture(scope='module')
def guest(request, lab_root, product):
    """A guest with an empty disk nvme0n1, for all tests; run(...) has Debian's tools."""
    host = Host('suites', root=lab_root, product=product, binds=[(os.environ['VIRTNVME_LAB_USERLAND'], '/userland', True)])
    try:
        host.run(['truncate', '-s', f'{SIZE}M', f'{IMAGES}/disk.raw'])
        server = Server(host, 'nvme0', '--namespace', f'file:{IMAGES}/disk.raw,discard=unmap', '--io-threads=2')
        disk = ['-drive', 'if=none,id=userland,format=raw,snapshot=on,file=/userland/image', '-device', 'virtio-blk-pci,drive=userland']
        with QemuGuest(host, memory=1024, cmdline='iomem=relaxed', extra_args=server.device() + disk) as one:
            one.check(f'mkdir -p {USERLAND} && mount -t ext4 /dev/vda {USERLAND} && for i in dev proc sys run; do mount --bind /$i {USERLAND}/$i; done')
            one.check(f'cat > {USERLAND}/root/nvme-cli.py << "END"\n{WITHOUT_MANAGEMENT}\nEND')
            yield one
        server.stop()
    finally:
        close_host(request, host)


@pytest.fixture(autouse=True)
def no_complaint(guest):
    """The kernel has nothing to say about the disk afterwards."""
    guest.check('dmesg -c > /dev/null')
    yield
    assert complaints(guest) == []


def run(guest, command, timeout=900):
    """In Debian; it must succeed."""
    output = guest.check(f'chroot {USERLAND} /bin/bash -c {shlex.quote("set -e; cd /root; " + command)} 2>&1', timeout)
    print(output)
    return output


def is_zero(guest):
    run(guest, f'cmp -n $(blockdev --getsize64 {DEVICE}) {DEVICE} /dev/zero')


def wait_for(guest, *partitions):
    for partition in partitions:
        guest.check(f'for i in $(seq 100); do [ -e {partition} ] && exit; sleep 0.1; done; exit 1')


@pytest.mark.parametrize('name', NVME_CLI)
def test_nvme_cli(guest, name):
    said = run(guest, f'python3 nvme-cli.py nvme_{name}_test')
    if 'skipped' in said:
        pytest.skip(said.splitlines()[-1])


@pytest.mark.parametrize('engine', ['libaio', 'io_uring', 'psync'])
def test_fio(guest, engine):
    # With an asynchronous engine fio 3.39 falls over its own trims between verified writes, on any disk.
    trims = '--trim_percentage=20 --trim_backlog=32 --trim_verify_zero=1' if engine == 'psync' else ''
    run(guest, f'fio --name=x --filename={DEVICE} --direct=1 --ioengine={engine} --iodepth=16 --rw=randwrite --bsrange=4k-64k --blockalign=4k --size=32M '
               f'--verify=crc32c --verify_fatal=1 {trims}')
    run(guest, f'fio --name=x --filename={DEVICE} --direct=1 --ioengine={engine} --iodepth=16 --rw=randtrimwrite --bs=16k --size=32M')


@pytest.mark.parametrize('name', FILESYSTEMS)
def test_filesystem(guest, name):
    make, check = FILESYSTEMS[name]
    run(guest, f'modprobe {name}; {make} {DEVICE}; mount -o discard {DEVICE} /mnt')
    try:
        run(guest, 'fio --name=x --directory=/mnt --rw=randrw --bsrange=4k-64k --ioengine=libaio --iodepth=8 --direct=1 --numjobs=3 --size=16M '
                   '--verify=crc32c --verify_fatal=1 --fsync=64')
        run(guest, 'rm /mnt/x*; ' + STRESS)
        run(guest, 'dbench -D /mnt -t 10 2 > /tmp/dbench.log || { cat /tmp/dbench.log; exit 1; }; tail -n 3 /tmp/dbench.log')
        run(guest, 'rm -rf /mnt/*; sync; fstrim -v /mnt')
    finally:
        run(guest, 'umount /mnt')
    run(guest, f'{check} {DEVICE}; blkdiscard -f {DEVICE}')
    is_zero(guest)


def test_partitions(guest):
    first, second = DEVICE + 'p1', DEVICE + 'p2'
    run(guest, f'sgdisk -Z {DEVICE}; sgdisk -n 1:0:+64M -n 2:0:+128M -c 1:one {DEVICE}; partprobe {DEVICE}')
    wait_for(guest, first, second)
    run(guest, f'sgdisk -v {DEVICE}; parted -s {DEVICE} print; sfdisk -d {DEVICE} > /tmp/table; mkfs.vfat {first}; mkfs.ext4 -q -F {second}')
    run(guest, f'parted -s {DEVICE} resizepart 2 400MiB; partprobe {DEVICE}; e2fsck -f -p {second}; resize2fs {second}; e2fsck -fn {second}; '
               f'fsck.vfat -n {first}')
    run(guest, f'wipefs -a {second} {first} {DEVICE}; partprobe {DEVICE}; [ ! -e {first} ]; sfdisk {DEVICE} < /tmp/table')
    wait_for(guest, first, second)
    run(guest, f'parted -s {DEVICE} mklabel msdos; parted -s {DEVICE} mkpart primary ext4 1MiB 100%; fdisk -l {DEVICE}')
    wait_for(guest, first)
    run(guest, f'mkfs.ext4 -q -F {first}; e2fsck -fn {first}; blkdiscard -f {first}; wipefs -a {DEVICE}; partprobe {DEVICE}')


def test_zeroes(guest):
    for command in f'blkdiscard -f {DEVICE}', f'blkdiscard -f -z {DEVICE}', f'dd if=/dev/zero of={DEVICE} bs=1M oflag=direct || true':
        run(guest, f'dd if=/dev/urandom of={DEVICE} bs=1M count=64 oflag=direct; {command}')
        is_zero(guest)


def test_format(guest):
    """To every block size that there is, and back."""
    count = int(run(guest, f'nvme id-ns {DEVICE} | grep -c ^lbaf').split()[-1])
    for number in [*range(count), 0]:
        run(guest, f'dd if=/dev/urandom of={DEVICE} bs=1M count=8 oflag=direct; nvme format {DEVICE} -l {number} -s 1 -f; nvme id-ns {DEVICE} | grep in.use')
        is_zero(guest)
        run(guest, f'fio --name=x --filename={DEVICE} --direct=1 --ioengine=libaio --iodepth=16 --rw=randrw --bs=8k --size=16M --verify=crc32c --verify_fatal=1')


def test_what_tools_show(guest):
    run(guest, f'smartctl -x {DEVICE}; smartctl -H {DEVICE} | grep PASSED')
    for command in ('list -v', 'list-subsys', 'id-ctrl -H /dev/nvme0', f'id-ns -H {DEVICE}', f'ns-descs {DEVICE}', 'list-ns /dev/nvme0', 'list-ctrl /dev/nvme0',
                    'smart-log -H /dev/nvme0', 'error-log /dev/nvme0', 'fw-log /dev/nvme0', 'effects-log -H /dev/nvme0', 'show-regs -H /dev/nvme0',
                    'supported-log-pages /dev/nvme0', 'fid-support-effects-log /dev/nvme0', 'cmdset-ind-id-ns /dev/nvme0 -n 1',
                    'changed-ns-list-log /dev/nvme0', 'show-topology', 'reset /dev/nvme0', 'ns-rescan /dev/nvme0'):
        run(guest, f'nvme {command}')
