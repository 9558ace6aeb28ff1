# SPDX-License-Identifier: LGPL-2.1-or-later
"""What Linux does with the optional commands: discard, write zeroes."""
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

    with QemuGuest(lab_host, machine='q35', extra_args=server.device()) as guest:
        queue = '/sys/block/nvme0n1/queue'
        guest.check(f'for i in $(seq 100); do [ -e {DEVICE} ] && exit 0; sleep 0.1; done; exit 1')
        assert int(guest.check(f'cat {queue}/discard_max_bytes')) >= SIZE << 20
        assert int(guest.check(f'cat {queue}/write_zeroes_max_bytes')) > 0

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
        assert complaints(guest) == []
