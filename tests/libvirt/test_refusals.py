# SPDX-License-Identifier: LGPL-2.1-or-later
"""What cannot be had is refused with one line that says what to do."""
import contextlib
import re

import pytest

from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml

SMALL = {'memory': 64, 'kernel': False}


def one_disk(image, capacity=8, **kwargs):
    return devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/{image}', capacity=capacity, **kwargs)))


def ours(vhost):
    return {pid for pid, line in vhost.host.processes().items() if 'virtnvme-keeper' in line or 'virtnvme-controller' in line}


def refused_start(vhost, name):
    """The line that the start of a domain ends with; and nothing is left of it."""
    before = ours(vhost)
    line = vhost.refusal('virsh', '-c', 'qemu:///system', 'start', '--paused', name)
    uuid = vhost.uuid(name)
    vhost.host.wait_for(lambda: ours(vhost) <= before, 'the end of the keeper', 5)
    assert not list(vhost.host.path('/run/virtnvme').glob(f'{uuid}*'))
    assert 'virtnvme: ' in line, line
    return line


def test_the_image_is_missing(vhost, domain):
    vhost.define(domain, one_disk('other.raw', capacity=None), **SMALL)
    assert f'{IMAGES}/other.raw' in refused_start(vhost, domain)


def test_the_image_of_a_new_disk_is_missing(vhost, domain):
    """Said at once, and not by the next start."""
    vhost.define(domain, one_disk('other.raw'), **SMALL)
    before = vhost.metadata(domain, '--config')
    line = vhost.refusal('virt-nvme', 'attach-disk', domain, f'{IMAGES}/other-none.raw', 'nvme0n2', '--config')
    assert 'other-none.raw does not exist' in line and '--capacity' in line
    assert vhost.metadata(domain, '--config') == before
    vhost.virsh('start', '--paused', domain)
    assert 'paused' in vhost.nvme('info', domain).stdout and 'paused' in vhost.nvme('list').stdout


def test_the_image_is_a_directory(vhost, domain):
    vhost.host.path(f'{IMAGES}/other.raw').mkdir()
    vhost.define(domain, one_disk('other.raw', capacity=None), **SMALL)
    assert f'{IMAGES}/other.raw' in refused_start(vhost, domain)


def test_the_image_is_a_loop_of_links(vhost, domain):
    vhost.host.run(f'ln -s other.raw {IMAGES}/other.raw')
    vhost.define(domain, one_disk('other.raw'), **SMALL)
    line = refused_start(vhost, domain)
    assert f'{IMAGES}/other.raw' in line and 'name the file itself' in line


def test_the_image_is_locked(vhost, domain):
    vhost.host.run(['truncate', '-s', '8M', f'{IMAGES}/other.raw'])
    vhost.define(domain, one_disk('other.raw'), **SMALL)
    holder = vhost.host.popen(['qemu-nbd', '-t', '-k', '/run/lab/nbd.sock', '-f', 'raw', f'{IMAGES}/other.raw'])
    try:
        vhost.host.wait_for(lambda: vhost.host.path('/run/lab/nbd.sock').exists(), 'qemu-nbd')
        line = refused_start(vhost, domain)
        assert f'{IMAGES}/other.raw' in line and 'in use' in line
    finally:
        holder.kill()
        holder.wait()
    vhost.virsh('start', '--paused', domain)


def test_another_domain_uses_the_image(vhost, domain):
    vhost.define(domain, one_disk('other.raw'), **SMALL)
    vhost.virsh('start', '--paused', domain)
    try:
        vhost.define('other-2', one_disk('other.raw'), **SMALL)
        line = refused_start(vhost, 'other-2')
        assert f"in use by domain '{domain}'" in line
    finally:
        vhost.remove('other-2')


@pytest.mark.parametrize('metadata, words', [
    (devices_xml("<nvme:controller index='0'><nvme:disk type='file'/></nvme:controller>"), 'devices/controller[0]/disk[0]'),
    (devices_xml("<nvme:controller/>"), 'devices/controller[0]'),
    (devices_xml(controller_xml(0, disk_xml('sda', '/x'))), 'target'),
])
def test_malformed_metadata(vhost, domain, metadata, words):
    file = vhost.xml(domain, metadata, **SMALL)
    line = vhost.refusal('virt-nvme', 'validate', file)
    assert words in line and f'{file}:' in line
    assert words in vhost.refusal('virt-nvme', 'define', file)
    # libvirt itself does not look into metadata.
    vhost.virsh('define', file)
    assert words in refused_start(vhost, domain)


def test_a_volume_of_no_pool(vhost, domain):
    vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', 'nowhere/vol', kind='volume', capacity=8))),
                 **SMALL)
    line = refused_start(vhost, domain)
    assert 'no storage pool nowhere' in line and 'virsh pool-define' in line


def test_private_memory(vhost, domain):
    """The block is there, the shared memory is not."""
    vhost.define(domain, one_disk('other.raw'), **SMALL)
    xml = vhost.virsh('dumpxml', '--inactive', domain).stdout
    vhost.virsh('undefine', domain)
    line = vhost.refusal('virsh', '-c', 'qemu:///system', 'create', '--paused',
                         vhost.write('/root/private.xml', xml.replace("mode='shared'", "mode='private'")))
    assert 'shared' in line and 'define' in line, line


def test_a_private_cell(vhost, domain):
    """Of the guest's memory only a part can be mapped."""
    vhost.define(domain, one_disk('other.raw'), **SMALL)
    xml = vhost.virsh('dumpxml', '--inactive', domain).stdout
    vhost.virsh('undefine', domain)
    cell = "<numa><cell id='0' cpus='0' memory='64' unit='MiB' memAccess='private'/></numa>"
    private = re.sub(r'<cpu ([^>]*)/>', rf'<cpu \1>{cell}</cpu>', xml)
    assert cell in private
    line = vhost.refusal('virsh', '-c', 'qemu:///system', 'create', '--paused', vhost.write('/root/cell.xml', private))
    assert 'shared' in line and 'numa/cell: memAccess="private"' in line and 'define' in line, line


def test_a_type_that_is_not_served(vhost, domain):
    network = devices_xml(controller_xml(0, disk_xml('nvme0n1', 'x', kind='network')))
    file = vhost.xml(domain, network, **SMALL)
    assert 'network' in vhost.refusal('virt-nvme', 'validate', file)
    vhost.virsh('define', file)
    assert 'network' in refused_start(vhost, domain)


def test_a_session_domain(vhost):
    """Another libvirtd, of an ordinary user."""
    file = vhost.xml('session', one_disk('session.raw'), memory_backing="<source type='memfd'/><access mode='shared'/>", **SMALL)
    xml = vhost.host.path(file).read_text()
    vhost.write('/tmp/session.xml', re.sub(r'<serial .*</serial>', '', xml, flags=re.S))
    vhost.host.run('useradd -m somebody')
    environment = ['env', 'HOME=/home/somebody', 'XDG_RUNTIME_DIR=/home/somebody', 'runuser', '-u', 'somebody', '--']
    server = vhost.host.popen([*environment, 'libvirtd'])
    try:
        vhost.host.wait_for(lambda: vhost.host.path('/home/somebody/libvirt/libvirt-sock').exists(), 'the libvirtd')
        line = vhost.refusal(*environment, 'virsh', '-c', 'qemu:///session', 'create', '/tmp/session.xml')
        assert 'qemu:///system' in line
    finally:
        server.terminate()
        server.wait()


def test_too_few_hugepages(vhost, domain):
    backing = "<hugepages><page size='2' unit='M'/></hugepages>"
    vhost.define(domain, one_disk('other.raw'), memory=1 << 20, kernel=False, memory_backing=backing)
    line = refused_start(vhost, domain)
    assert re.search(rf'it needs {1 << 19} hugepages .*: sysctl vm.nr_hugepages=\d+$', line), line


@contextlib.contextmanager
def no_daemon(vhost):
    vhost.stop_daemon()
    try:
        yield
    finally:
        vhost.start_daemon()


def test_the_daemon_does_not_run(vhost, domain):
    vhost.define(domain, one_disk('other.raw'), **SMALL)
    vhost.virsh('define', vhost.xml('other-foreign', '', **SMALL))
    with no_daemon(vhost):
        assert 'systemctl start virtnvmed.socket' in refused_start(vhost, domain)
        assert 'systemctl start virtnvmed.socket' in vhost.refusal('virt-nvme', 'list')
        # A domain that is not ours does not care.
        vhost.virsh('start', '--paused', 'other-foreign')
        vhost.virsh('destroy', 'other-foreign')
    vhost.virsh('undefine', 'other-foreign')
    vhost.virsh('start', '--paused', domain)


def test_a_qemu_without_the_device(vhost, domain):
    vhost.write('/usr/local/bin/old-qemu', '#!/bin/sh\nqemu=/usr/bin/qemu-system-x86_64\n'
                                           'case "$*" in *" -device help") $qemu "$@" | grep -v vfio-user; exit;; esac\n'
                                           'exec $qemu "$@"\n')
    vhost.host.run('chmod +x /usr/local/bin/old-qemu')
    vhost.define(domain, one_disk('other.raw'), devices='<emulator>/usr/local/bin/old-qemu</emulator>', **SMALL)
    line = refused_start(vhost, domain)
    assert '/usr/local/bin/old-qemu' in line and 'QEMU 10.1' in line


def test_a_copied_block(vhost, domain):
    """Another domain's sockets in <qemu:commandline>, defined while nobody could rewrite it."""
    vhost.define(domain, one_disk('other.raw'), **SMALL)
    xml = vhost.virsh('dumpxml', '--inactive', domain).stdout
    uuid = vhost.uuid(domain)
    copy = xml.replace(f'<name>{domain}<', '<name>other-2<').replace(
        f'<uuid>{uuid}', '<uuid>00000000-1111-2222-3333-444444444444')
    script = f'virsh -q create --paused {vhost.write("/root/copy.xml", copy)}'
    line = vhost.refusal('sh', '-c', script)
    assert 'another domain' in line


def test_unknown_things(vhost):
    assert "'nobody'" in vhost.refusal('virt-nvme', 'info', 'nobody')
    assert 'sda' in vhost.refusal('virt-nvme', 'attach-disk', 'nobody', '/x', 'sda')
    assert vhost.nvme('frobnicate', check=False).returncode == 2
    assert vhost.nvme('info', check=False).returncode == 2
    assert vhost.nvme('resize', 'a', 'b', 'c', check=False).returncode == 2
