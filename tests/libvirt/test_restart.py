# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirtd and virtnvmed come and go; the guest does not notice."""
import signal

from libvirt_host import IMAGES
from test_hotplug import busy, wait_disk


def test_restarts_under_load(vhost, guest):
    keeper = vhost.info('shared')['keeper']['pid']
    with busy(guest):
        vhost.host.libvirtd.restart()
        vhost.host.wait_for(vhost.connected, 'the connection to libvirt')
        vhost.restart_daemon()
        vhost.restart_daemon(signal.SIGKILL)
        vhost.host.libvirtd.kill()
        vhost.host.libvirtd.start()
        vhost.host.wait_for(vhost.connected, 'the connection to libvirt')
        assert vhost.info('shared')['keeper']['pid'] == keeper
        assert vhost.disks('shared')['nvme0n1']['state'] == 'attached'
        vhost.nvme('attach-disk', 'shared', f'{IMAGES}/restart.raw', 'nvme0n2', '--capacity', '14M', '--live')
        wait_disk(vhost, guest, 14)
        vhost.nvme('detach-disk', 'shared', 'nvme0n2', '--live', '--remove-storage')
        wait_disk(vhost, guest, 14, 0)


def test_what_happened_meanwhile_is_made_good(vhost, guest):
    """A wish while the daemon was away, and a domain that ended while libvirtd was."""
    vhost.stop_daemon()
    metadata = vhost.metadata('shared', '--live').strip()
    disk = (f"<disk type='file'><source file='{IMAGES}/away.raw'/><target dev='nvme0n5' bus='nvme'/>"
            "<capacity unit='MiB'>26</capacity></disk><live")
    vhost.set_metadata('shared', metadata.replace('<live bus', disk + ' bus', 1), '--live')
    vhost.start_daemon()
    wait_disk(vhost, guest, 26)
    vhost.nvme('detach-disk', 'shared', 'nvme0n5', '--live', '--remove-storage')
    wait_disk(vhost, guest, 26, 0)


def test_a_guest_outlives_a_dead_daemon(vhost, domain, guest):
    """destroy without a daemon: the keeper goes by itself."""
    from libvirt_host import controller_xml, devices_xml, disk_xml
    vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/other.raw', capacity=8))),
                 memory=64, kernel=False)
    vhost.virsh('start', '--paused', domain)
    uuid = vhost.uuid(domain)
    vhost.stop_daemon(signal.SIGKILL)
    try:
        vhost.virsh('destroy', domain)
        vhost.host.wait_for(lambda: not vhost.host.path(f'/run/virtnvme/{uuid}').exists(), 'the end of the keeper', 10)
        guest.check('dd if=/dev/nvme0n1 of=/dev/null bs=64k count=4 iflag=direct')
    finally:
        vhost.start_daemon()
