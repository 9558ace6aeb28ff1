# SPDX-License-Identifier: LGPL-2.1-or-later
"""What would lose the disks is refused, and the guest goes on."""
import pytest

from lab.host import connect
from libvirt_host import controller_xml, devices_xml, disk_xml
from test_hotplug import busy


@pytest.mark.parametrize('command', [
    ['save', 'shared', '/root/shared.save'],
    ['managedsave', 'shared'],
    ['snapshot-create-as', 'shared', 'snap', '--memspec', '/root/shared.mem', '--live'],
])
def test_refused(vhost, guest, command):
    before = guest.boot_id()
    with busy(guest):
        done = vhost.virsh(*command, check=False)
        assert done.returncode != 0
        assert done.stderr.strip()
        assert vhost.virsh('domstate', 'shared').stdout.strip() == 'running'
    assert guest.boot_id() == before
    assert vhost.disks('shared')['nvme0n1']['state'] == 'attached'


def test_migration_is_refused(vhost, destination, domain):
    connect(vhost.host, destination.host)
    guest = vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', kind='memory', capacity=64))))
    guest.start()
    before = guest.boot_id()
    with busy(guest):
        done = vhost.virsh('migrate', '--live', domain, f'qemu+tcp://{destination.host.address}/system',
                           '--migrateuri', f'tcp://{destination.host.address}', check=False)
        assert done.returncode != 0 and done.stderr.strip()
    assert guest.boot_id() == before
    assert 'VMState' in (vhost.host.path(f'/var/log/libvirt/qemu/{domain}.log').read_text())
    destination.host.wait_for(lambda: not destination.traces(vhost.uuid(domain)), 'the end of the other side', 10)
