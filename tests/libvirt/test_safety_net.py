# SPDX-License-Identifier: LGPL-2.1-or-later
"""What would lose the disks is refused, and the guest goes on."""
from lab.host import connect
from libvirt_host import controller_xml, devices_xml, disk_xml
from test_hotplug import busy


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


def test_a_disk_in_memory_stays(vhost, destination, domain):
    connect(vhost.host, destination.host)
    guest = vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', kind='memory', capacity=64))))
    guest.start()
    for command in (['save', domain, '/root/other.save'], ['managedsave', domain],
                    ['migrate', '--live', domain, f'qemu+tcp://{destination.host.address}/system',
                     '--migrateuri', f'tcp://{destination.host.address}']):
        assert "in this host's memory" in refuses(vhost, guest, *command)
    destination.host.wait_for(lambda: not destination.traces(vhost.uuid(domain)), 'the end of the other side', 10)
    # The file that libvirt leaves of a managed save that was refused is no obstacle to the next start.
    vhost.virsh('destroy', domain)
    vhost.virsh('start', '--paused', domain)
