# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pseudo host with the product on it: virtnvmed, and domains with NVMe disks."""
import json
import signal
import socket
import uuid as uuids

from lab.error import CommandFailed
from lab.guest import LibvirtGuest, domain_xml

IMAGES = '/var/lib/libvirt/images'
URN = 'urn:virtnvme:domain:1'
CONTROL_SOCKET = '/run/virtnvme/virtnvmed.sock'


def disk_xml(target, source=None, kind='file', capacity=None, driver='', extra=''):
    """A <disk>; SOURCE is a path, 'pool/volume', or nothing for memory. CAPACITY in MiB."""
    if kind == 'volume':
        pool, volume = source.split('/')
        where = f"<nvme:source pool='{pool}' volume='{volume}'/>"
    elif kind == 'memory':
        where = ''
    else:
        where = f"<nvme:source {'dev' if kind == 'block' else 'file'}='{source}'/>"
    size = f"<nvme:capacity unit='MiB'>{capacity}</nvme:capacity>" if capacity else ''
    return (f"<nvme:disk type='{kind}'><nvme:driver name='virtnvme' type='raw' {driver}/>{where}"
            f"<nvme:target dev='{target}' bus='nvme'/>{size}{extra}</nvme:disk>")


def controller_xml(index, *disks, attributes='', extra=''):
    return f"<nvme:controller index='{index}' {attributes}>{extra}{''.join(disks)}</nvme:controller>"


def devices_xml(*controllers):
    return f"<nvme:devices xmlns:nvme='{URN}'>{''.join(controllers)}</nvme:devices>"


class LibvirtHost:
    """HOST with libvirtd and virtnvmed; domains are made by define()."""

    def __init__(self, host):
        self.host = host
        self.daemon = None

    def start(self):
        self.start_daemon()
        self.host.libvirtd.start()
        self.host.wait_for(self.connected, 'the connection to libvirt')

    def start_daemon(self):
        # An image with a control file beside it can be made to fail (lab/faults.py).
        self.daemon = self.host.popen(['virtnvmed'], env={'VIRTNVME_FAULTS': IMAGES})
        self.host.wait_for(self.answers, 'the control socket')

    def answers(self):
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.host.path(CONTROL_SOCKET))) == 0

    def stop_daemon(self, signo=signal.SIGTERM):
        self.daemon.send_signal(signo)
        self.daemon.wait(10)

    def restart_daemon(self, signo=signal.SIGTERM):
        self.stop_daemon(signo)
        self.start_daemon()
        self.host.wait_for(self.connected, 'the connection to libvirt')

    def connected(self):
        checks = self.host.run(['virt-nvme', 'host-validate', '--json'], check=False).stdout
        return any(c['verdict'] == 'pass' for c in json.loads(checks or '[]') if 'virtnvmed' in c['check'])

    def nvme(self, *args, **kwargs):
        """virt-nvme ARGS"""
        return self.host.run(['virt-nvme', *args], **kwargs)

    def virsh(self, *args, **kwargs):
        return self.host.virsh(*args, **kwargs)

    def write(self, path, text):
        self.host.path(path).write_text(text)
        return path

    def xml(self, name, metadata, **kwargs):
        """The file of a domain's XML."""
        return self.write(f'/root/{name}.xml', domain_xml(name, metadata=metadata, memory=kwargs.pop('memory', 256),
                                                          vcpus=kwargs.pop('vcpus', 1), **kwargs))

    def define(self, name, metadata, **kwargs):
        """Define a domain by virsh and wait until it is rewritten; returns its LibvirtGuest."""
        self.virsh('define', self.xml(name, metadata, **kwargs))
        self.host.wait_for(lambda: self.rewritten(name), f'the rewrite of {name}')
        return LibvirtGuest(self.host, name)

    def rewritten(self, name):
        return 'virtnvme-vmstate' in self.virsh('dumpxml', '--inactive', name).stdout

    def uuid(self, name):
        return self.virsh('domuuid', name).stdout.strip()

    def info(self, name):
        return json.loads(self.nvme('info', '--json', name).stdout)

    def disks(self, name):
        """{target: its entry of `virt-nvme info`}"""
        return {d['target']: d for c in self.info(name)['controllers'] for d in c['disks']}

    def metadata(self, name, *where):
        done = self.virsh('metadata', name, '--uri', URN, *where, check=False)
        return done.stdout if done.returncode == 0 else ''

    def set_metadata(self, name, xml, *where):
        """By virsh, which wants the elements without namespace and puts them into ours."""
        xml = xml.replace(f" xmlns:nvme='{URN}'", '').replace('nvme:', '')
        self.virsh('metadata', name, '--uri', URN, '--key', 'nvme', '--set', xml, *where)

    def remove(self, name):
        """Whatever is left of a domain."""
        self.virsh('destroy', name, check=False)
        # A save that QEMU refused leaves libvirt's file behind, which virsh does not take for a managed save to remove.
        self.host.run(['rm', '-f', f'/var/lib/libvirt/qemu/save/{name}.save'])
        self.virsh('undefine', '--nvram', '--managed-save', name, check=False)

    def traces(self, uuid):
        """What is left of a domain's run: processes and files, to be empty."""
        directory = f'/run/virtnvme/{uuid}'
        found = [str(p) for p in (self.host.path(directory), self.host.path(directory + '.lock')) if p.exists()]
        return found + [f'{pid} {line}' for pid, line in self.host.processes().items()
                        if 'virtnvme-keeper' in line or 'virtnvme-controller' in line]

    def refusal(self, *argv):
        """Run a command that must fail; returns the last line it wrote to stderr."""
        done = self.host.run(list(argv), check=False)
        if done.returncode == 0:
            raise CommandFailed(argv, 0, done.stdout, 'this had to fail')
        return done.stderr.strip().splitlines()[-1]


def new_uuid():
    return str(uuids.uuid4())
