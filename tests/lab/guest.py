# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests: the lab's kernel and initramfs under a bare QEMU, or as a libvirt domain."""
import json
import subprocess
import uuid as uuids
from xml.sax.saxutils import quoteattr

from .agent import Agent
from .error import GuestTimeout, LabError
from .qmp import Qmp

KERNEL, INITRAMFS = '/boot/lab/vmlinuz', '/boot/lab/initramfs'
CMDLINE = 'console=ttyS0 panic=-1'
OVMF_CODE, OVMF_VARS = '/usr/share/OVMF/OVMF_CODE_4M.fd', '/usr/share/OVMF/OVMF_VARS_4M.fd'
BOOT_TIMEOUT = 120


class Guest:
    """What a bare QEMU and a domain have in common: a console log and an agent."""

    def __init__(self, host, name):
        self.host, self.name = host, name
        self.console_path = f'/run/lab/{name}.console'
        self.agent_path = f'/run/lab/{name}.agent'
        self.agent = Agent(lambda: self.host.path(self.agent_path))

    def console(self):
        """All that the guest's console said so far."""
        path = self.host.path(self.console_path)
        return path.read_text(errors='replace') if path.exists() else ''

    def wait_boot(self, timeout=BOOT_TIMEOUT, other_than=None):
        try:
            self.agent.wait(timeout, other_than)
        except GuestTimeout as error:
            tail = '\n'.join(self.console().splitlines()[-25:])
            raise GuestTimeout(f'guest {self.name} did not boot within {timeout} s; its console ends:\n{tail}') from error

    def exec(self, command, timeout=60):
        """Run a shell command in the guest; returns Result(status, output)."""
        return self.agent.exec(command, timeout)

    def check(self, command, timeout=60):
        """The same for a command that must succeed; returns its output."""
        status, output = self.exec(command, timeout)
        if status != 0:
            raise LabError(f'in guest {self.name}: {command}: exit status {status}\n{output}')
        return output

    def reboot(self, timeout=BOOT_TIMEOUT):
        """Restart from inside and wait for the new boot."""
        before = self.boot_id()
        self.exec('(sleep 0.2; reboot) > /dev/null 2>&1 &')
        self.wait_boot(timeout, before)

    def boot_id(self):
        return self.check('cat /proc/sys/kernel/random/boot_id').strip()


class QemuGuest(Guest):
    """A QEMU of our own in HOST, started at once; `with QemuGuest(host) as guest:`.

    memory          MiB
    shared_memory   a memfd, shared, as a vfio-user device wants it; else private memory without a file
    hugepages       the memfd is made of 2 MiB pages (host.add_hugepages() first)
    firmware        None is SeaBIOS; 'uefi' is OVMF
    kernel          boot the lab's kernel; False: what the firmware finds on the disks
    extra_args      more of QEMU's command line
    """

    def __init__(self, host, name='guest', machine='q35', memory=512, smp=2, extra_args=(), shared_memory=True,
                 hugepages=False, firmware=None, kernel=True, cmdline='', wait=True):
        super().__init__(host, name)
        self.qmp_path = f'/run/lab/{name}.qmp'
        backend = {'qom-type': 'memory-backend-memfd' if shared_memory or hugepages else 'memory-backend-ram',
                   'id': 'ram', 'size': memory << 20, 'share': shared_memory}
        if hugepages:
            backend |= {'hugetlb': True, 'hugetlbsize': 2 << 20}
        argv = ['qemu-system-x86_64', '-name', name, '-nodefaults', '-no-user-config', '-accel', 'tcg,thread=multi',
                '-machine', f'{machine},memory-backend=ram', '-cpu', 'max', '-m', f'{memory}M', '-smp', str(smp),
                '-object', json.dumps(backend), '-display', 'none',
                '-serial', f'file:{self.console_path}',
                '-chardev', f'socket,id=agent,path={self.agent_path},server=on,wait=off', '-serial', 'chardev:agent',
                '-qmp', f'unix:{self.qmp_path},server=on,wait=off']
        if kernel:
            argv += ['-kernel', KERNEL, '-initrd', INITRAMFS, '-append', f'{CMDLINE} {cmdline}']
        if firmware == 'uefi':
            variables = f'/run/lab/{name}.vars'
            host.run(['cp', OVMF_VARS, variables])
            argv += ['-drive', f'if=pflash,format=raw,readonly=on,file={OVMF_CODE}',
                     '-drive', f'if=pflash,format=raw,file={variables}']
        self.log = host.logs / f'{name}.qemu.log'
        with open(self.log, 'ab') as log:
            self.process = host.popen(argv + list(extra_args), stdout=log, stderr=subprocess.STDOUT)
        try:
            host.wait_for(self._has_monitor, f'the monitor of {name}')
            self.qmp = Qmp(host.path(self.qmp_path))
            if wait:
                self.wait_boot()
        except BaseException:
            self.process.kill()
            raise

    def _has_monitor(self):
        if self.process.poll() is not None:
            raise LabError(f'QEMU of {self.name} ended: {self.log.read_text(errors="replace").strip()}')
        return self.host.path(self.qmp_path).exists()

    @property
    def events(self):
        return self.qmp.events

    def close(self):
        self.agent.close()
        self.qmp.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class LibvirtGuest(Guest):
    """A domain made from domain_xml(), for exec() and the like; it is the caller who starts it.

    After a migration, assign the other Host to `host`: the agent's line goes on there.
    """

    def start(self, timeout=BOOT_TIMEOUT):
        self.host.virsh('start', self.name)
        self.wait_boot(timeout)


def domain_xml(name, uuid=None, machine='q35', memory=512, vcpus=2, devices='', metadata='', memory_backing='',
               firmware=None, kernel=True, os='', features='', cmdline='', commandline=''):
    """XML of a domain that a LibvirtGuest of the same name can talk to.

    devices, metadata, memory_backing (the content of <memoryBacking>), os (more inside <os>), features
    (more inside <features>) and commandline (the content of <qemu:commandline>) are XML.
    """
    boot = (f'<kernel>{KERNEL}</kernel><initrd>{INITRAMFS}</initrd><cmdline>{CMDLINE} {cmdline}</cmdline>'
            if kernel else '')
    loader = (f"<loader readonly='yes' type='pflash'>{OVMF_CODE}</loader><nvram template='{OVMF_VARS}'/>"
              if firmware == 'uefi' else '')
    # No USB and no balloon, which libvirt adds by itself: they only cost boot time.
    return f'''<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <uuid>{uuid or uuids.uuid4()}</uuid>
  <metadata>{metadata}</metadata>
  <memory unit='MiB'>{memory}</memory>
  <memoryBacking>{memory_backing}</memoryBacking>
  <vcpu>{vcpus}</vcpu>
  <os><type arch='x86_64' machine='{machine}'>hvm</type>{loader}{boot}{os}</os>
  <features><acpi/><apic/>{features}</features>
  <cpu mode='maximum'/>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='file'><source path={quoteattr(f'/run/lab/{name}.console')} append='on'/><target type='isa-serial' port='0'/></serial>
    <serial type='unix'><source mode='bind' path={quoteattr(f'/run/lab/{name}.agent')}/><target type='isa-serial' port='1'/></serial>
    {devices}
  </devices>
  <qemu:commandline>{commandline}</qemu:commandline>
</domain>
'''
