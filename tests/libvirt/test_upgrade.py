# SPDX-License-Identifier: LGPL-2.1-or-later
"""virt-nvme upgrade, and a controller that cannot be kept running, as an administrator sees them."""
import signal

import pytest

from lab.error import LabError
from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml
from test_hotplug import busy, wait_disk

PROGRAM = '/usr/libexec/virtnvme/virtnvme-controller'


def test_upgrade_under_load(vhost, guest):
    before = vhost.info('shared')['keeper']
    with busy(guest):
        assert "Domain 'shared' upgraded" in vhost.nvme('upgrade', 'shared').stdout
        vhost.restart_daemon(signal.SIGKILL)
        assert "Domain 'shared' upgraded" in vhost.nvme('upgrade', '--all').stdout
        after = vhost.info('shared')['keeper']
        assert after['pid'] == before['pid']
        assert after['controller']['pid'] != before['controller']['pid']
        assert (after['controller']['state'], after['qemu']) == ('running', before['qemu'])
        vhost.nvme('attach-disk', 'shared', f'{IMAGES}/upgrade.raw', 'nvme0n2', '--capacity', '18M', '--live')
        wait_disk(vhost, guest, 18)
        vhost.nvme('upgrade', 'shared')
        vhost.nvme('detach-disk', 'shared', 'nvme0n2', '--live', '--remove-storage')
        wait_disk(vhost, guest, 18, 0)


def test_upgrade_of_what_is_not_ours(vhost, domain):
    vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/other.raw', capacity=8))))
    with pytest.raises(LabError, match='does not run'):
        vhost.nvme('upgrade', domain)
    with pytest.raises(LabError, match='no domain'):
        vhost.nvme('upgrade', 'nobody')
    assert vhost.host.run('virt-nvme upgrade', check=False).returncode == 2


def test_no_controller_can_run(vhost, domain):
    """virt-nvme info says why, and destroy works."""
    real, broken = PROGRAM + '.real', '/root/broken'
    vhost.host.run(f'mv {PROGRAM} {real}')
    try:
        vhost.host.path(PROGRAM).write_text(f'#!/bin/sh\n[ -e {broken} ] && kill -SEGV $$\nexec {real} "$@"\n')
        vhost.host.path(PROGRAM).chmod(0o755)
        vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/other.raw', capacity=8))), memory=64,
                     kernel=False)
        vhost.virsh('start', domain)
        uuid = vhost.uuid(domain)
        vhost.host.path(broken).touch()
        vhost.host.run('kill -9 %d' % vhost.info(domain)['keeper']['controller']['pid'])
        vhost.host.wait_for(lambda: vhost.info(domain)['keeper']['controller']['state'] == 'failed', 'the end of the attempts')
        assert 'signal 11' in vhost.nvme('info', domain).stdout
        with pytest.raises(LabError, match='signal 11'):
            vhost.nvme('upgrade', domain)
        vhost.virsh('destroy', domain)
        vhost.host.wait_for(lambda: not vhost.host.path(f'/run/virtnvme/{uuid}').exists(), 'the end of the keeper', 10)
    finally:
        vhost.host.path(broken).unlink(missing_ok=True)
        vhost.host.run(f'mv {real} {PROGRAM}')
