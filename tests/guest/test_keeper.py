# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real QEMU on a keeper's sockets: disks, bus and second monitor, without libvirt."""
import json
import os
import signal
import time

import pytest

from lab.error import LabError
from lab.guest import QemuGuest

from conftest import IMAGES, complaints

UUID = '5f0c9d0a-27f9-4b7c-8a55-6c7c0e3b0001'
RUN = f'/run/virtnvme/{UUID}'
IDS = ','.join('virtnvme-%d' % n for n in range(16))
# In the host: hand the configuration over, print the ready line.
START = '''
import os, subprocess, sys
config, ready = os.pipe(), os.pipe()
os.write(config[1], sys.stdin.buffer.read())
os.close(config[1])
keeper = subprocess.Popen(["/usr/libexec/virtnvme/virtnvme-keeper", "--config-fd=%d" % config[0], "--ready-fd=%d" % ready[1]],
                          pass_fds=(config[0], ready[1]), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
os.close(ready[1])
print(os.read(ready[0], 65536).decode())
'''


def start_keeper(host, queues=2, program='/usr/libexec/virtnvme/virtnvme-controller'):
    config = {
        'uuid': UUID, 'name': 'guest', 'runtime_dir': RUN, 'owner': {'uid': 0, 'gid': 0},
        'controller_program': program, 'controller_user': 'virtnvme', 'log_level': 7,
        'controllers': [{
            'index': 0, 'serial': 'VNKEEPER', 'uuid': UUID, 'queues': queues,
            'namespaces': [{'nsid': 1, 'target': 'nvme0n1', 'type': 'file', 'path': f'{IMAGES}/keeper.raw',
                            'capacity': 64 << 20, 'cache': 'none', 'io': 'io_uring', 'discard': True, 'uuid': UUID}]}],
    }
    done = host.run(['python3', '-c', START], input=json.dumps(config))
    assert json.loads(done.stdout) == {'result': {}}, done.stdout


def devices():
    return ['-object', json.dumps({'qom-type': 'dbus-vmstate', 'id': 'virtnvme-vmstate', 'addr': f'unix:path={RUN}/bus.sock',
                                   'id-list': IDS}),
            '-chardev', f'socket,id=virtnvme-qmp,path={RUN}/qmp.sock', '-mon', 'chardev=virtnvme-qmp,mode=control',
            '-device', json.dumps({'driver': 'vfio-user-pci', 'id': 'virtnvme-nvme0', 'x-msg-timeout': 30000,
                                   'socket': {'type': 'unix', 'path': f'{RUN}/nvme0.sock'}})]


def ours(host):
    return {pid: line for pid, line in host.processes().items() if '/usr/libexec/virtnvme/' in line}


def nothing_left(host):
    return not ours(host) and (not host.path('/run/virtnvme').exists() or not os.listdir(host.path('/run/virtnvme')))


@pytest.mark.parametrize('shared', [True, False], ids=['shared', 'private'])
def test_disk_behind_a_keeper(lab_host, shared):
    start_keeper(lab_host)
    with QemuGuest(lab_host, extra_args=devices(), shared_memory=shared) as guest:
        assert os.listdir(lab_host.path(RUN)) == ['keeper.sock']
        guest.check('dd if=/dev/urandom of=/dev/nvme0n1 bs=1M count=8 oflag=direct 2>/dev/null')
        theirs = guest.check('dd if=/dev/nvme0n1 bs=1M count=8 iflag=direct 2>/dev/null | sha256sum').split()[0]
        assert theirs == lab_host.run(f'head -c 8M {IMAGES}/keeper.raw | sha256sum').stdout.split()[0]
        guest.check('nvme reset /dev/nvme0 && dd if=/dev/nvme0n1 of=/dev/null bs=64k count=16 iflag=direct')
        guest.reboot()
        assert theirs == guest.check('dd if=/dev/nvme0n1 bs=1M count=8 iflag=direct 2>/dev/null | sha256sum').split()[0]
        assert not complaints(guest)
        # The image is locked against everybody else.
        with pytest.raises(LabError):
            lab_host.run(['qemu-img', 'resize', '-f', 'raw', f'{IMAGES}/keeper.raw', '128M'])
        refuse_migration(guest)
    lab_host.wait_for(lambda: nothing_left(lab_host), 'the end of the keeper')


def refuse_migration(guest):
    """It fails, and the guest goes on with its disk."""
    guest.qmp('migrate', uri='exec:cat > /dev/null')
    deadline = time.monotonic() + 120
    while guest.qmp('query-migrate')['status'] not in ('failed', 'completed'):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert guest.qmp('query-migrate')['status'] == 'failed'
    assert guest.qmp('query-status')['status'] == 'running'
    guest.check('dd if=/dev/urandom of=/dev/nvme0n1 bs=64k count=16 oflag=direct')


def test_qemu_killed(lab_host):
    start_keeper(lab_host)
    with QemuGuest(lab_host, extra_args=devices()) as guest:
        guest.exec('(dd if=/dev/zero of=/dev/nvme0n1 bs=4k oflag=direct) > /dev/null 2>&1 &')
        time.sleep(0.5)
        qemu = next(pid for pid, line in lab_host.processes().items() if line.startswith('qemu-system'))
        os.kill(qemu, signal.SIGKILL)
        lab_host.wait_for(lambda: nothing_left(lab_host), 'the end of the keeper')
    # And again.
    start_keeper(lab_host)
    with QemuGuest(lab_host, name='again', extra_args=devices()) as guest:
        guest.check('dd if=/dev/nvme0n1 of=/dev/null bs=64k count=16 iflag=direct')
    lab_host.wait_for(lambda: nothing_left(lab_host), 'the end of the keeper')
