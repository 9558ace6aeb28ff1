# SPDX-License-Identifier: LGPL-2.1-or-later
"""What Linux does with the optional commands: discard, write zeroes, copy, format, shadow doorbells."""
import re
from lab.guest import QemuGuest

from conftest import IMAGES, complaints

SIZE = 64       # MiB
DEVICE = '/dev/nvme0n1'
TRIM = ('fio --name=x --direct=1 --ioengine=psync --verify=crc32c --verify_fatal=1 --trim_percentage=20 --trim_backlog=16 '
        '--trim_verify_zero=1 --rw=randwrite --bs=4k --size=4M --output=/tmp/fio.log')


def test_discarded_blocks_go_back_to_the_host(lab_host, serve, image):
    path = image('disk.raw', SIZE)
    server = serve('nvme0', '--namespace', f'file:{path},discard=unmap')

    def allocated():
        """MiB of the image on the host."""
        return lab_host.path(f'{IMAGES}/disk.raw').stat().st_blocks // 2048

    # Else Debian's kernel lets nobody map the registers beside the driver, and nvme-cli sends a command of Fabrics instead.
    with QemuGuest(lab_host, machine='q35', extra_args=server.device(), cmdline='iomem=relaxed') as guest:
        queue = '/sys/block/nvme0n1/queue'
        guest.check(f'for i in $(seq 100); do [ -e {DEVICE} ] && exit 0; sleep 0.1; done; exit 1')
        assert int(guest.check(f'cat {queue}/discard_max_bytes')) >= SIZE << 20
        assert int(guest.check(f'cat {queue}/write_zeroes_max_bytes')) > 0
        assert re.search(r'version : 0x20000\n.*csts +: 0x1\n', guest.check('nvme show-regs /dev/nvme0'), re.S)
        for command_set in '', '-c 0', '-c 2':
            assert 'Format NVM' in guest.check(f'nvme effects-log /dev/nvme0 {command_set}')

        guest.check(f'dd if=/dev/urandom of={DEVICE} bs=1M count=32 oflag=direct')
        assert allocated() >= 32
        guest.check(f'blkdiscard -o 8M -l 16M {DEVICE}')
        assert allocated() <= 17
        assert guest.check(f'dd if={DEVICE} bs=1M skip=8 count=16 iflag=direct 2>/dev/null | tr -d "\\0" | wc -c').strip() == '0'
        guest.check(f'nvme write-zeroes {DEVICE} --namespace-id=1 --start-block=0 --block-count=16383 --deac')
        guest.check(f'blockdev --flushbufs {DEVICE}')
        assert guest.check(f'dd if={DEVICE} bs=1M count=8 iflag=direct 2>/dev/null | tr -d "\\0" | wc -c').strip() == '0'

        status, output = guest.exec(f'{TRIM} --filename={DEVICE} || (cat /tmp/fio.log; exit 1)', 200)
        assert status == 0, output
        guest.check(f'blkdiscard {DEVICE}')
        assert allocated() == 0

        guest.check(f'mkfs.ext4 -q -F {DEVICE} && mkdir -p /mnt/x && mount {DEVICE} /mnt/x')
        empty = allocated()
        guest.check('dd if=/dev/urandom of=/mnt/x/file bs=1M count=24 && sync')
        assert allocated() >= empty + 24
        guest.check('rm /mnt/x/file && sync && fstrim /mnt/x')
        assert allocated() <= empty + 4
        guest.check(f'umount /mnt/x && e2fsck -fn {DEVICE}')

        guest.check(f'dd if=/dev/urandom of={DEVICE} bs=4k count=2 oflag=direct')
        guest.check(f'nvme copy {DEVICE} --namespace-id=1 --sdlba=2048 --slbs=8,0 --blocks=7,7')
        guest.check(f'dd if={DEVICE} of=/tmp/all bs=4k count=2 iflag=direct; dd if={DEVICE} of=/tmp/copy bs=4k skip=256 count=2 iflag=direct')
        guest.check('(tail -c 4096 /tmp/all; head -c 4096 /tmp/all) | cmp - /tmp/copy')
        guest.check(f'nvme format {DEVICE} --namespace-id=1 --ses=1 --force')
        assert allocated() == 0
        assert guest.check(f'dd if={DEVICE} bs=1M count=2 iflag=direct 2>/dev/null | tr -d "\\0" | wc -c').strip() == '0'
        assert complaints(guest) == []


def trapped(host, path):
    """How many doorbell writes QEMU has seen."""
    return len(re.findall(r'vfio_region_write .*region0\+0x1[0-9a-f]{3},', host.path(path).read_text(errors='replace')))


def test_shadow_doorbells_are_seldom_trapped(lab_host, serve, image):
    path, trace = image('disk.raw', SIZE), '/run/lab/trace'
    server = serve('nvme0', '--namespace', f'file:{path}', '--io-threads=2')
    with QemuGuest(lab_host, machine='q35', extra_args=[*server.device(), '-D', trace, '-trace', 'vfio_region_write']) as guest:
        guest.check(f'for i in $(seq 100); do [ -e {DEVICE} ] && exit 0; sleep 0.1; done; exit 1')

        def completed():
            counts = guest.check('cat /sys/block/nvme0n1/stat').split()
            return int(counts[0]) + int(counts[4])

        before, earlier = trapped(lab_host, trace), completed()
        for jobs, depth in ((1, 32), (2, 4), (1, 1)):
            guest.check(f'fio --name=x --filename={DEVICE} --direct=1 --ioengine=libaio --iodepth={depth} --numjobs={jobs} --verify=crc32c '
                        f'--verify_fatal=1 --rw=randrw --bs=4k --size=4M --offset_increment=8M --output=/tmp/fio.log', 300)
            after = trapped(lab_host, trace)
            commands, earlier = completed() - earlier, completed()
            # At most one for each command, where the worker sleeps: the other of the two needs no one's attention.
            print('jobs', jobs, 'depth', depth, 'commands', commands, 'trapped', after - before)
            assert after - before <= commands * 1.1
            before = after
        guest.check('echo 1 > /sys/class/nvme/nvme0/reset_controller', 60)
        assert complaints(guest) == []
