# SPDX-License-Identifier: LGPL-2.1-or-later
"""Storage that fails, and power that fails, under libvirt."""
import errno
import os
import random
import signal
import tempfile
from pathlib import Path

import pytest

from lab.faults import Faults
from lab.guest import LibvirtGuest
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
    """Where an image is out here."""
    return host.run_dir / 'images' / name


@pytest.fixture
def storage():
    """What is left of a host that is gone: its own directories go with it."""
    with tempfile.TemporaryDirectory(prefix='virtnvme-storage-') as folder:
        os.chmod(folder, 0o711)
        yield Path(folder)


@pytest.fixture
def doomed(lab_root, product, storage):
    """A host of which nothing else will be left."""
    with Host('doomed', root=lab_root, product=product, binds=[(storage, IMAGES, False)]) as host:
        managed = LibvirtHost(host)
        managed.start()
        yield managed


def test_power_cut(doomed, storage, make_host):
    """Every process of the host is killed at once, over disks that lose what was not flushed."""
    host = doomed.host
    faults = {}
    for name, size in (('raw', 16), ('fs', 64)):
        image = storage / f'{name}.raw'
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
        image = storage / f'{name}.raw'
        its.cut_power(image, f'{image}.stable', seed=random.Random(seed + name).choice([None, seed]))

    with open(storage / 'raw.raw', 'rb') as raw:
        for slot in range(SLOTS):
            written = int(raw.read(4096).strip(b'\0 ') or 0)
            expected = max((i for i in range(1, safe + 1) if i % SLOTS == slot), default=0)
            assert written >= expected and written % SLOTS == slot, f'block {slot} has {written}, {expected} was safe'
    # The file system recovers, and has every file that was safe.
    tools = make_host('tools')
    copy = image_of(tools, 'fs.raw')
    copy.write_bytes((storage / 'fs.raw').read_bytes())
    assert tools.run(['e2fsck', '-fy', f'{IMAGES}/fs.raw'], check=False).returncode in (0, 1)
    tools.run(['e2fsck', '-fn', f'{IMAGES}/fs.raw'])
    commands = ''.join(f'cat /{i}\n' for i in range(1, safe + 1))
    found = tools.run(['debugfs', '-f', '-', f'{IMAGES}/fs.raw'], input=commands).stdout
    missing = [i for i in range(1, safe + 1) if f'round {i}\n' not in found]
    assert not missing


@pytest.fixture
def paused(vhost):
    """paused(name): is it, and why, by virsh and by virt-nvme."""
    def look(name):
        return vhost.virsh('domstate', name).stdout.strip() == 'paused' and vhost.info(name).get('problem')
    return look


def with_policy(vhost, domain, policy, image=f'{IMAGES}/other.raw', cache='none'):
    vhost.define(domain, devices_xml(controller_xml(0, disk_xml(
        'nvme0n1', image, driver=f"cache='{cache}' error_policy='{policy}'"))))


def test_full_file_system_pauses_the_domain(vhost, domain, paused):
    """A sparse image on a file system that runs full; room is made, and the guest has seen nothing of it."""
    host = vhost.host
    folder = f'{IMAGES}/other.small'
    host.run(f'mkdir {folder} && mount -t tmpfs -o size=12m none {folder} && truncate -s 32M {folder}/a.raw && '
             f'head -c 8M /dev/zero > {folder}/ballast')
    try:
        with_policy(vhost, domain, 'enospace', f'{folder}/a.raw', 'writeback')
        guest = LibvirtGuest(host, domain)
        guest.start()
        guest.check('dd if=/dev/urandom of=/tmp/data bs=1M count=8 2> /dev/null; dmesg -c > /dev/null')
        guest.check('(sleep 1; dd if=/tmp/data of=/dev/nvme0n1 bs=64k oflag=direct conv=fsync 2> /tmp/log; echo $? > /tmp/status) > /dev/null 2>&1 &')
        problem = host.wait_for(lambda: paused(domain), 'the pause', 60)
        assert 'nvme0n1' in problem and 'No space left on device' in problem
        assert 'No space left on device' in vhost.nvme('list').stderr
        assert vhost.disks(domain)['nvme0n1']['state'] == 'paused'
        # Nothing has changed: paused again.
        vhost.virsh('resume', domain)
        host.wait_for(lambda: paused(domain), 'the second pause', 60)
        host.run(['rm', f'{folder}/ballast'])
        vhost.virsh('resume', domain)
        guest.check('for i in $(seq 300); do [ -e /tmp/status ] && break; sleep 0.1; done; '
                    '[ "$(cat /tmp/status)" = 0 ] && dd if=/dev/nvme0n1 bs=64k count=128 iflag=direct 2> /dev/null | cmp - /tmp/data', 90)
        assert vhost.disks(domain)['nvme0n1']['state'] == 'attached'
        assert 'problem' not in vhost.info(domain)
        assert not [line for line in guest.check('dmesg').splitlines() if 'nvme' in line or 'error' in line]
    finally:
        vhost.remove(domain)
        host.run(f'umount {folder}', check=False)


def test_failing_storage_pauses_the_domain(vhost, domain, paused):
    host = vhost.host
    image = image_of(host, 'other.raw')
    with open(image, 'wb') as f:
        f.truncate(32 * MIB)
    faults = Faults.make(f'{image}.control', capacity=32 * MIB)
    with_policy(vhost, domain, 'stop')
    guest = LibvirtGuest(host, domain)
    guest.start()
    guest.check('dd if=/dev/urandom of=/dev/nvme0n1 bs=1M count=2 oflag=direct 2>/dev/null; dmesg -c > /dev/null')
    faults.read.fail(errno.EIO)
    guest.check('(sleep 1; dd if=/dev/nvme0n1 of=/dev/null bs=64k count=8 iflag=direct 2> /tmp/log; echo $? > /tmp/status) > /dev/null 2>&1 &')
    assert 'Input/output error' in host.wait_for(lambda: paused(domain), 'the pause', 60)
    # Who pauses it himself meanwhile, or restarts the daemon, changes nothing.
    vhost.virsh('suspend', domain, check=False)
    vhost.restart_daemon()
    assert 'Input/output error' in paused(domain)
    # Nor does a controller that dies: its successor fails as well.
    os.kill(next(pid for pid, line in host.processes().items() if 'virtnvme-controller' in line and runs_for(vhost, domain, pid)),
            signal.SIGKILL)
    host.wait_for(lambda: vhost.info(domain)['keeper']['controller']['generation'] > 1, 'the successor')
    faults.clear()
    vhost.virsh('resume', domain)
    guest.check('for i in $(seq 300); do [ -e /tmp/status ] && break; sleep 0.1; done; [ "$(cat /tmp/status)" = 0 ]', 90)
    assert not [line for line in guest.check('dmesg').splitlines() if 'nvme' in line or 'error' in line]
    # Given up on: destroy works.
    faults.write.fail(errno.EIO)
    guest.check('(sleep 1; dd if=/dev/zero of=/dev/nvme0n1 bs=64k count=1 oflag=direct) > /dev/null 2>&1 &')
    host.wait_for(lambda: paused(domain), 'another pause', 60)
    vhost.virsh('destroy', domain)
    host.wait_for(lambda: not vhost.traces(vhost.uuid(domain)), 'the end of the keeper', 30)


def runs_for(vhost, domain, pid):
    """Is this the controller of that domain? Its parent is the keeper."""
    keeper = vhost.info(domain)['keeper']['pid']
    status = dict(line.split(':\t', 1) for line in open(f'/proc/{pid}/status').read().splitlines())
    parent = dict(line.split(':\t', 1) for line in open(f'/proc/{status["PPid"]}/status').read().splitlines())
    return int(parent['NSpid'].split()[-1]) == keeper
