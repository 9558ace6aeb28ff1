# SPDX-License-Identifier: LGPL-2.1-or-later
"""How domains come to be: define, create, virt-install, virt-clone, edit, and the rewrite in between."""
import time

from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml, new_uuid

SMALL = {'memory': 64, 'kernel': False}
# Of libvirt's own; what a domain with any PCI device has.
ROOT_PORTS = ("<controller type='pci' index='0' model='pcie-root'/>"
              + ''.join(f"<controller type='pci' index='{n}' model='pcie-root-port'/>" for n in (1, 2)))
SHARED = "<source type='memfd'/><access mode='shared'/>"


def one_disk(image, **kwargs):
    return devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/{image}', capacity=8, **kwargs)))


def rewrites(vhost, name):
    return sum(f': {name}: definition rewritten' in line
               for log in vhost.host.logs.glob('virtnvmed*.log') for line in log.read_text().splitlines())


def test_a_definition_is_rewritten_once(vhost, domain):
    """Our own definition's event, and one that changes nothing, are no reason for another one."""
    vhost.define(domain, one_disk('other.raw'), **SMALL)
    before = vhost.virsh('dumpxml', '--inactive', domain).stdout
    done = rewrites(vhost, domain)
    events = vhost.host.popen(['timeout', '3', 'virsh', 'event', '--all', '--loop'])
    time.sleep(0.5)
    vhost.virsh('define', vhost.write('/root/same.xml', before))
    vhost.virsh('desc', domain, '--config', 'changed')
    events.wait()
    said = (vhost.host.logs / sorted(p.name for p in vhost.host.logs.glob('timeout-*.log'))[-1]).read_text()
    assert said.count("'lifecycle'") <= 2, said
    assert rewrites(vhost, domain) == done


def test_define_and_start(vhost, domain):
    """50 times, each followed by the start at once: it works, or says in one line what to do, and then it works."""
    refused = 0
    for turn in range(50):
        xml = vhost.xml(domain, one_disk('other.raw'), uuid=new_uuid(), **SMALL)
        started = vhost.host.run(f'virsh -q define {xml} && virsh -q start --paused {domain}', check=False)
        if started.returncode != 0:
            refused += 1
            assert 'start it again' in started.stderr.strip().splitlines()[-1], started.stderr
            vhost.host.wait_for(lambda: vhost.rewritten(domain), 'the rewrite', 5)
            vhost.virsh('start', '--paused', domain)
        assert vhost.disks(domain)['nvme0n1']['state'] == 'attached', turn
        vhost.virsh('destroy', domain)
        vhost.virsh('undefine', domain)
    print(f'{refused} of 50 starts came too early')


CREATE = '''
import libvirt, sys, time, uuid
conn = libvirt.open('qemu:///system')
xml = open(sys.argv[1]).read()
refused = 0
for turn in range(20):
    dom = conn.defineXML(xml.replace('UUID', str(uuid.uuid4())))
    try:
        dom.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    except libvirt.libvirtError as error:
        refused += 1
        assert 'start it again' in str(error).splitlines()[-1], error
        for _ in range(100):
            time.sleep(0.05)
            if 'virtnvme-vmstate' in dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE):
                break
        dom.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    dom.destroy()
    dom.undefine()
print(refused)
'''


def test_define_and_create_by_api(vhost, domain):
    xml = vhost.xml(domain, one_disk('other.raw'), uuid='UUID', **SMALL)
    script = vhost.write('/root/create.py', CREATE)
    vhost.host.run(['/usr/bin/python3', script, xml])


def test_a_domain_that_is_not_rewritten_is_attached_when_it_runs(vhost, domain):
    """A transient domain with shared memory that does not boot from us."""
    uuid = new_uuid()
    vhost.virsh('create', vhost.xml(domain, one_disk('other.raw'), uuid=uuid, memory_backing=SHARED,
                                   devices=ROOT_PORTS))
    vhost.host.wait_for(lambda: 'virtnvme-port' in vhost.metadata(domain, '--live')
                        or 'bus=' in vhost.metadata(domain, '--live'), 'the attach')
    disk = vhost.disks(domain)['nvme0n1']
    assert disk['state'] == 'attached', disk
    # What carries it through a migration came with it.
    objects = vhost.virsh('qemu-monitor-command', domain, '{"execute":"qom-list","arguments":{"path":"/objects"}}').stdout
    assert 'virtnvme-vmstate' in objects
    # virt-install defines it now.
    vhost.virsh('define', f'/root/{domain}.xml')
    vhost.host.wait_for(lambda: vhost.rewritten(domain), 'the rewrite')
    # One more controller a port; without a port nothing is made.
    for number in range(1, 9):
        image = f'{IMAGES}/more{number}.raw'
        done = vhost.host.run(['virt-nvme', 'attach-disk', domain, image, f'nvme{number}n1', '--capacity', '8M'],
                              check=False)
        assert vhost.host.path(image).exists() == (done.returncode == 0)
        if done.returncode != 0:
            break
    assert 'no PCIe root port is free' in done.stderr and 'virt-nvme define' in done.stderr
    assert f'nvme{number}' not in vhost.metadata(domain, '--live')
    vhost.virsh('destroy', domain)
    assert not vhost.host.path(f'/run/virtnvme/{uuid}').exists()


def test_a_transient_domain_with_private_memory_is_refused(vhost, domain):
    line = vhost.refusal('virsh', 'create', vhost.xml(domain, one_disk('other.raw'), **SMALL))
    assert 'virt-nvme define' in line


def test_a_transient_domain_without_a_free_root_port_is_refused(vhost, domain):
    """It would run without its disk."""
    line = vhost.refusal('virsh', 'create', vhost.xml(domain, one_disk('other.raw'), memory_backing=SHARED, **SMALL))
    assert 'virt-nvme define' in line


def test_virt_install(vhost, domain):
    """It creates a transient domain first and defines it then. The disk comes to the running guest."""
    vhost.host.run(['virt-install', '--connect', 'qemu:///system', '--name', domain, '--memory', '128', '--vcpus', '1',
                    '--virt-type', 'qemu', '--osinfo', 'detect=off,require=off', '--import', '--disk', 'none',
                    '--network', 'none', '--graphics', 'none', '--noautoconsole', '--machine', 'q35',
                    '--memorybacking', 'source.type=memfd,access.mode=shared'])
    vhost.set_metadata(domain, one_disk('other.raw'), '--live', '--config')
    vhost.host.wait_for(lambda: vhost.disks(domain).get('nvme0n1', {}).get('state') in ('attached', 'failed'), 'the attach')
    assert vhost.disks(domain)['nvme0n1']['state'] == 'attached', vhost.disks(domain)
    vhost.host.wait_for(lambda: vhost.rewritten(domain), 'the rewrite')
    vhost.virsh('destroy', domain)
    vhost.virsh('start', '--paused', domain)
    assert vhost.disks(domain)['nvme0n1']['state'] == 'attached'


def test_a_clone_has_its_own_ids_and_no_shared_disk(vhost, domain):
    vhost.define(domain, one_disk('other.raw'), **SMALL)
    try:
        vhost.host.run(['virt-clone', '--connect', 'qemu:///system', '-o', domain, '-n', 'other-clone', '--auto-clone'])
        vhost.host.wait_for(lambda: vhost.uuid('other-clone') in vhost.virsh('dumpxml', 'other-clone').stdout.split(
            'bus.sock')[0], 'the rewrite')
        xml = vhost.virsh('dumpxml', '--inactive', 'other-clone').stdout
        assert vhost.uuid(domain) not in xml
        vhost.virsh('start', '--paused', domain)
        line = vhost.refusal('virsh', 'start', '--paused', 'other-clone')
        assert f"in use by domain '{domain}'" in line and 'other.raw' in line
        vhost.virsh('destroy', domain)
        vhost.virsh('start', '--paused', 'other-clone')
    finally:
        vhost.remove('other-clone')


def test_edits_during_the_rewrite(vhost, domain):
    """50 edits by somebody else: none is lost, and the last definition is rewritten."""
    vhost.define(domain, one_disk('other.raw'), **SMALL)
    vhost.write('/root/editor', '#!/bin/sh\nsed -i "s|<description>.*</description>|<description>turn $TURN</description>|; '
                                's|nvme0n[0-9]*\\"|nvme0n$((TURN % 60 + 1))\\"|" "$1"\n')
    vhost.host.run('chmod +x /root/editor')
    vhost.virsh('desc', domain, '--config', 'turn 0')
    for turn in range(1, 51):
        vhost.host.run(['virsh', '-q', 'edit', domain], env={'EDITOR': '/root/editor', 'TURN': str(turn)},
                       stdin=None, input='')
        assert f'<description>turn {turn}<' in vhost.virsh('dumpxml', '--inactive', domain).stdout
    vhost.host.wait_for(lambda: vhost.rewritten(domain), 'the rewrite')
    vhost.virsh('start', '--paused', domain)
    assert list(vhost.disks(domain)) == [f'nvme0n{50 % 60 + 1}']


def test_define_by_cli_and_unmanage(vhost, domain):
    xml = vhost.xml(domain, one_disk('other.raw'), **SMALL)
    assert domain in vhost.nvme('define', xml).stdout
    assert vhost.rewritten(domain)
    assert domain in vhost.nvme('list').stdout
    assert domain in vhost.nvme('unmanage', domain).stdout
    left = vhost.virsh('dumpxml', '--inactive', domain).stdout
    assert 'virtnvme' not in left and 'memfd' not in left
    time.sleep(0.5)
    assert vhost.virsh('dumpxml', '--inactive', domain).stdout == left


def test_metadata_of_the_definition(vhost, domain):
    """A domain becomes ours, and is ours no more, by virsh metadata."""
    vhost.virsh('define', vhost.xml(domain, '', **SMALL))
    vhost.set_metadata(domain, one_disk('other.raw'), '--config')
    vhost.host.wait_for(lambda: vhost.rewritten(domain), 'the rewrite')
    vhost.virsh('metadata', domain, '--uri', 'urn:virtnvme:domain:1', '--remove', '--config')
    vhost.host.wait_for(lambda: not vhost.rewritten(domain), 'the rewrite')
