# SPDX-License-Identifier: LGPL-2.1-or-later
"""virtnvmed as systemd starts it: a socket that is there already, READY before libvirt is."""
from libvirt_host import IMAGES, LibvirtHost, controller_xml, devices_xml, disk_xml

# What systemd does, in a shell's worth of Python.
ACTIVATE = """
import os, socket, subprocess, sys
os.makedirs('/run/virtnvme', exist_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind('/run/virtnvme/virtnvmed.sock')
listener.listen()
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind('/run/notify')
notify.settimeout(5)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
pid = os.fork()
if pid == 0:
    os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid()), 'NOTIFY_SOCKET': '/run/notify'}
    os.execvp('virtnvmed', ['virtnvmed'])
print(notify.recv(100).decode(), flush=True)
print(subprocess.run(['virt-nvme', 'host-validate'], stdout=subprocess.PIPE, text=True).stdout, flush=True)
os.waitpid(pid, 0)
"""


def test_ready_before_libvirt(make_host, product):
    """And then the domains that libvirt starts by itself, before we are connected to it."""
    host = make_host('boot', product=product, qemu_user='libvirt-qemu')
    vhost = LibvirtHost(host)
    vhost.start()
    vhost.define('first', devices_xml(controller_xml(0, disk_xml('nvme0n1', f'{IMAGES}/first.raw', capacity=8))),
                 memory=64, kernel=False)
    vhost.virsh('autostart', 'first')
    host.libvirtd.stop()
    vhost.stop_daemon()
    host.run('rm -f /run/virtnvme/virtnvmed.sock /run/libvirt/qemu/autostarted')

    script = vhost.write('/root/activate.py', ACTIVATE)
    log = host.logs / 'activate.log'
    with open(log, 'wb') as out:
        host.popen(['/usr/bin/python3', script], stdout=out)
    host.wait_for(lambda: 'READY=1' in log.read_text(), 'READY', 10)
    host.wait_for(lambda: 'no connection to libvirt' in log.read_text(), 'the answer', 10)
    host.libvirtd.start()
    host.wait_for(lambda: vhost.virsh('domstate', 'first', check=False).stdout.strip() == 'running', 'the autostart', 30)
    host.wait_for(vhost.connected, 'the connection to libvirt')
    assert vhost.disks('first')['nvme0n1']['state'] == 'attached'
