# SPDX-License-Identifier: LGPL-2.1-or-later
"""What would lose the disks is refused, and the guest goes on."""
from lab.host import connect
from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml
from test_boot import device_of
from test_hotplug import busy, wait_disk


def refuses(vhost, guest, *command):
    """The guest does not notice, and its log says why."""
    before = guest.boot_id()
    with busy(guest):
        done = vhost.virsh(*command, check=False)
        assert done.returncode != 0
        assert done.stderr.strip()
        assert vhost.virsh('domstate', guest.name).stdout.strip() == 'running'
    assert guest.boot_id() == before
    assert vhost.disks(guest.name)['nvme0n1']['state'] == 'attached'
    return vhost.host.path(f'/var/log/virtnvme/{guest.name}.log').read_text()


def test_a_snapshot_is_refused(vhost, guest):
    assert 'a snapshot with memory' in refuses(vhost, guest, 'snapshot-create-as', 'shared', 'snap', '--memspec', '/root/shared.mem',
                                               '--live')


SHARED_DISK = f'{IMAGES}/other-fence.raw'


def join(vhost, guest, number):
    """It gets the disk, and registers with the key NUMBER. Returns its device."""
    vhost.nvme('attach-disk', guest.name, SHARED_DISK, 'nvme0n2', '--capacity', '26M', '--shareable', '--live')
    wait_disk(vhost, guest, 26)
    device = device_of(guest, 26)
    guest.check(f'printf %016d {number} > /tmp/id && nvme set-feature /dev/nvme0 --feature-id=0x81 --value=1 --data-len=16 --data=/tmp/id')
    guest.check(f'nvme resv-register {device} --rrega=0 --nrkey={number}')
    return device


def writes(guest, device):
    return guest.exec(f'dd if=/dev/zero of={device} bs=4k count=1 oflag=direct').status == 0


def fence(vhost, one, two):
    """Two guests with one disk: the second takes it from the first."""
    first, second = join(vhost, one, 1), join(vhost, two, 2)
    try:
        assert vhost.disks(one.name)['nvme0n2']['reservations'] == {'offered': True, 'persistent': True}
        assert 'nvme0n2: offered, through a loss of power' in vhost.nvme('info', one.name).stdout
        one.check(f'nvme resv-acquire {first} --rtype=1 --racqa=0 --crkey=1')
        assert writes(one, first) and not writes(two, second)
        two.check('dmesg | grep -i "reservation conflict"')
        two.check(f'nvme resv-acquire {second} --rtype=1 --racqa=2 --crkey=2 --prkey=1')
        assert writes(two, second) and not writes(one, first)
        assert 'regctl    : 1' in two.check(f'nvme resv-report {second} --eds')
        vhost.host.wait_for(lambda: 'Registration Preempted' in one.check('nvme resv-notif-log /dev/nvme0'), 'the notification', 30)
        two.check(f'nvme resv-release {second} --rtype=1 --rrela=0 --crkey=2')
        assert writes(one, first)
        two.check(f'nvme resv-register {second} --rrega=2 --iekey --nrkey=2 --cptpl=3')
        two.check(f'nvme resv-acquire {second} --rtype=1 --racqa=0 --crkey=2')
    finally:
        for guest in (one, two):
            vhost.nvme('detach-disk', guest.name, 'nvme0n2', '--live')
    # As after a power cut: nobody has the disk, and what was in memory is gone.
    vhost.host.run('rm /run/virtnvme/reservations/*')
    first = join(vhost, one, 1)
    try:
        assert 'ptpls     : 1' in one.check(f'nvme resv-report {first} --eds') and not writes(one, first)
        one.check(f'nvme resv-acquire {first} --rtype=1 --racqa=1 --crkey=1 --prkey=2')
        assert writes(one, first)
    finally:
        vhost.nvme('detach-disk', one.name, 'nvme0n2', '--live')


def test_a_disk_in_memory_stays(vhost, destination, domain, guest):
    """And while there are two guests, they share a disk."""
    shared = guest
    connect(vhost.host, destination.host)
    guest = vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', kind='memory', capacity=64))))
    guest.start()
    fence(vhost, shared, guest)
    for command in (['save', domain, '/root/other.save'], ['managedsave', domain],
                    ['migrate', '--live', domain, f'qemu+tcp://{destination.host.address}/system',
                     '--migrateuri', f'tcp://{destination.host.address}']):
        assert "in this host's memory" in refuses(vhost, guest, *command)
    destination.host.wait_for(lambda: not destination.traces(vhost.uuid(domain)), 'the end of the other side', 10)
    # The file that libvirt leaves of a managed save that was refused is no obstacle to the next start.
    vhost.virsh('destroy', domain)
    vhost.virsh('start', '--paused', domain)
