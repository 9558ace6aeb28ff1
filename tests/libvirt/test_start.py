# SPDX-License-Identifier: LGPL-2.1-or-later
"""virsh define, start, destroy: the disks are there, and nothing is left behind."""
from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml


def test_destroy_leaves_nothing(vhost, domain):
    pins = "<nvme:cputune><nvme:iothreadpin iothread='2' cpuset='0'/><nvme:iothreadpin iothread='1' cpuset='1022'/></nvme:cputune>"
    vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/other.raw', capacity=8), attributes="iothreads='2'"),
                                     pins))
    others = set(vhost.host.processes())
    vhost.virsh('start', '--paused', domain)
    uuid = vhost.uuid(domain)
    assert vhost.host.path(f'/run/virtnvme/{uuid}/keeper.sock').exists()
    assert 'virtnvme-controller' in ' '.join(vhost.host.processes().values())
    info = vhost.nvme('info', domain).stdout
    assert 'I/O thread 2 to processors 0\n' in info
    assert 'I/O thread 1 to processors 1022, but it may run on' in info
    vhost.virsh('destroy', domain)
    assert not vhost.host.path(f'/run/virtnvme/{uuid}').exists()
    assert not vhost.host.path(f'/run/virtnvme/{uuid}.lock').exists()
    left = {pid: line for pid, line in vhost.host.processes().items() if pid not in others and 'virtnvme' in line}
    assert not left
    # Nobody holds the image's lock.
    vhost.host.run(['qemu-io', '-f', 'raw', '-c', 'write 0 4k', f'{IMAGES}/other.raw'])


def test_a_killed_qemu_leaves_nothing(vhost, domain):
    vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/other.raw', capacity=8))))
    vhost.virsh('start', '--paused', domain)
    uuid = vhost.uuid(domain)
    vhost.host.run(f'kill -9 $(cat /run/libvirt/qemu/{domain}.pid)')
    vhost.host.wait_for(lambda: not vhost.host.path(f'/run/virtnvme/{uuid}').exists(), 'the end of the keeper', 10)
    vhost.host.wait_for(lambda: vhost.virsh('domstate', domain).stdout.strip() == 'shut off', 'the end of the domain')
    vhost.virsh('start', '--paused', domain)


def test_a_killed_keeper_is_told_of_and_leaves_nothing(vhost, domain):
    vhost.define(domain, devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/other.raw', capacity=8))))
    vhost.virsh('start', '--paused', domain)
    uuid = vhost.uuid(domain)
    assert 'problem' not in vhost.info(domain)
    vhost.host.run(['kill', '-9', str(vhost.info(domain)['keeper']['pid'])])
    vhost.host.wait_for(lambda: 'virtnvme-keeper has ended' in vhost.info(domain).get('problem', ''), 'the sentence')
    vhost.virsh('destroy', domain)
    assert not [trace for trace in vhost.traces(uuid) if uuid in trace]
    vhost.virsh('start', '--paused', domain)


def test_malformed_metadata_is_seen_in_the_list(vhost, domain):
    vhost.virsh('define', vhost.xml(domain, devices_xml('<nvme:controller/>')))
    vhost.refusal('virsh', 'start', domain)
    listed = vhost.nvme('list')
    assert domain in listed.stdout
    assert f"domain '{domain}': devices/controller[0]: the attribute \"index\" is missing or empty" in listed.stderr
