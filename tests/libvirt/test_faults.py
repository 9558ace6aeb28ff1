# SPDX-License-Identifier: LGPL-2.1-or-later
"""Storage that fails, and power that fails, under libvirt."""
import os
import random
import signal

import pytest

from lab.faults import Faults
from lab.host import Host
from libvirt_host import IMAGES, LibvirtHost, controller_xml, devices_xml, disk_xml

MIB = 1 << 20
SLOTS = 64      # blocks of the raw disk that are written in turn

# One raw disk, one with a file system; every round ends with what it wrote being safe, and says so.
WRITER = f'''
set -e
raw=$(grep -l '^{16 * MIB // 512}$' /sys/block/nvme*/size | cut -d/ -f4)
fs=$(grep -l '^{64 * MIB // 512}$' /sys/block/nvme*/size | cut -d/ -f4)
mkfs.ext4 -q -F /dev/$fs
mkdir -p /mnt/x
mount /dev/$fs /mnt/x
i=0
while i=$((i + 1)); do
    echo "round $i" > /mnt/x/$i
    sync /mnt/x/$i /mnt/x
    printf '%4096d' $i | dd of=/dev/$raw bs=4k seek=$((i % {SLOTS})) oflag=direct conv=notrunc,fsync 2> /dev/null
    echo "safe $i" > /dev/ttyS0
done
'''


def image_of(host, name):
    """Where an image is out here, also when the host is gone."""
    return host.run_dir / 'images' / name


@pytest.fixture
def doomed(lab_root, product):
    """A host of which nothing will be left."""
    with Host('doomed', root=lab_root, product=product) as host:
        managed = LibvirtHost(host)
        managed.start()
        yield managed


def test_power_cut(doomed, make_host):
    """Every process of the host is killed at once, over disks that lose what was not flushed."""
    host = doomed.host
    faults = {}
    for name, size in (('raw', 16), ('fs', 64)):
        image = image_of(host, f'{name}.raw')
        with open(image, 'wb') as f:
            f.truncate(size * MIB)
        faults[name] = Faults.make(f'{image}.control', image, f'{image}.stable')
    guest = doomed.define('doomed', devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/raw.raw', driver="cache='none'"),
                                                               disk_xml('nvme0n2', f'{IMAGES}/fs.raw', driver="cache='none'"))))
    guest.start()
    guest.check(f"cat > /tmp/writer <<'EOF'\n{WRITER}\nEOF\n(sh /tmp/writer > /tmp/writer.log 2>&1 &)")
    console = open(host.path(guest.console_path), errors='replace')     # pylint: disable=consider-using-with
    host.wait_for(lambda: 'safe 100\n' in guest.console(), 'a hundred rounds', 120)
    os.kill(host.pid, signal.SIGKILL)       # process 1 takes all others with it
    safe = max(int(line.split()[1]) for line in console.read().splitlines(keepends=True) if line.startswith('safe ') and line.endswith('\n'))
    console.close()
    seed = os.urandom(4).hex()
    print('safe', safe, 'seed', seed)
    for name, its in faults.items():
        image = image_of(host, f'{name}.raw')
        its.cut_power(image, f'{image}.stable', seed=random.Random(seed + name).choice([None, seed]))

    with open(image_of(host, 'raw.raw'), 'rb') as raw:
        for slot in range(SLOTS):
            written = int(raw.read(4096).strip(b'\0 ') or 0)
            expected = max((i for i in range(1, safe + 1) if i % SLOTS == slot), default=0)
            assert written >= expected and written % SLOTS == slot, f'block {slot} has {written}, {expected} was safe'
    # The file system recovers, and has every file that was safe.
    tools = make_host('tools')
    copy = image_of(tools, 'fs.raw')
    copy.write_bytes(image_of(host, 'fs.raw').read_bytes())
    assert tools.run(['e2fsck', '-fy', f'{IMAGES}/fs.raw'], check=False).returncode in (0, 1)
    tools.run(['e2fsck', '-fn', f'{IMAGES}/fs.raw'])
    commands = ''.join(f'cat /{i}\n' for i in range(1, safe + 1))
    found = tools.run(['debugfs', '-f', '-', f'{IMAGES}/fs.raw'], input=commands).stdout
    missing = [i for i in range(1, safe + 1) if f'round {i}\n' not in found]
    assert not missing
