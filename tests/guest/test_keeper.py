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
# One request on its control socket.
ASK = '''
import socket, struct, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
request = sys.stdin.buffer.read()
sock.sendall(struct.pack("<I", len(request)) + request)
size, = struct.unpack("<I", sock.recv(4, socket.MSG_WAITALL))
print(sock.recv(size, socket.MSG_WAITALL).decode())
'''


def ask(host, command, **arguments):
    done = host.run(['python3', '-c', ASK, f'{RUN}/keeper.sock'],
                    input=json.dumps({'id': 1, 'command': command, 'arguments': arguments}))
    answer = json.loads(done.stdout)
    assert 'result' in answer, answer
    return answer['result']


def start_keeper(host, queues=2, program='/usr/libexec/virtnvme/virtnvme-controller', controllers=None):
    config = {
        'uuid': UUID, 'name': 'guest', 'runtime_dir': RUN, 'owner': {'uid': 0, 'gid': 0},
        'controller_program': program, 'controller_user': 'virtnvme', 'log_level': 7,
        'controllers': controllers or [{
            'index': 0, 'serial': 'VNKEEPER', 'uuid': UUID, 'queues': queues,
            'namespaces': [{'nsid': 1, 'target': 'nvme0n1', 'type': 'file', 'path': f'{IMAGES}/keeper.raw',
                            'capacity': 64 << 20, 'cache': 'none', 'io': 'io_uring', 'discard': True, 'uuid': UUID}]}],
    }
    done = host.run(['python3', '-c', START], input=json.dumps(config))
    assert json.loads(done.stdout) == {'result': {}}, done.stdout


def devices(count=1):
    vfio = []
    for n in range(count):
        vfio += ['-device', json.dumps({'driver': 'vfio-user-pci', 'id': f'virtnvme-nvme{n}', 'x-msg-timeout': 30000,
                                        'socket': {'type': 'unix', 'path': f'{RUN}/nvme{n}.sock'}})]
    return ['-object', json.dumps({'qom-type': 'dbus-vmstate', 'id': 'virtnvme-vmstate', 'addr': f'unix:path={RUN}/bus.sock',
                                   'id-list': IDS}),
            '-chardev', f'socket,id=virtnvme-qmp,path={RUN}/qmp.sock', '-mon', 'chardev=virtnvme-qmp,mode=control',
            *vfio]


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


SUBSYSTEM = '5f0c9d0a-27f9-4b7c-8a55-6c7c0e3b00ff'
PATHS = '/sys/class/nvme-subsystem/nvme-subsys?'      # Linux numbers it, and the controllers, as they become ready


def path_namespace(index):
    return {'nsid': 1, 'target': f'nvme{index}n1', 'type': 'file', 'path': f'{IMAGES}/paths.raw', 'capacity': 64 << 20, 'cache': 'none',
            'shareable': True, 'uuid': UUID, 'nguid': UUID}


def path_controller(index):
    return {'index': index, 'serial': 'VNPATHS', 'uuid': UUID[:-1] + str(index), 'subsystem': SUBSYSTEM, 'queues': 2,
            'namespaces': [path_namespace(index)]}


def wait_for_paths(guest, *controllers):
    """The disk has a path by each of these controllers, and by no other."""
    want = ' '.join(f'c{n}n1' for n in controllers)
    guest.check(f'for i in $(seq 300); do [ "$(cd /sys/block; ls -d nvme?c?n1 2>/dev/null | cut -c6- | xargs)" = "{want}" ] && exit; sleep 0.1; done; '
                f'ls /sys/block {PATHS}; dmesg | tail -20; exit 1', 60)


def reads_and_writes(guest):
    """How many of them the controllers have served: the paths' own counters."""
    return [int(n) for n in guest.check('cat /sys/block/nvme?c?n1/stat | awk \'{print $1 + $5}\'').split()]


def test_two_paths(lab_host):
    """Linux sees one disk behind two controllers, and loses one path and then the other under load without a wrong byte or an error."""
    start_keeper(lab_host, controllers=[path_controller(0), path_controller(1)])
    with QemuGuest(lab_host, extra_args=devices(2)) as guest:
        wait_for_paths(guest, 0, 1)
        disk, = guest.check('ls /dev/nvme?n?').split()
        assert guest.check('cat /sys/block/nvme?c?n1/ana_state').split() == ['optimized'] * 2
        number = guest.check(f'cat {PATHS}/nvme?/cntlid').split()
        assert sorted(number) == ['1', '2']
        first, second = number.index('1'), number.index('2')
        guest.check(f'for policy in {PATHS}/iopolicy; do echo round-robin > $policy; done')
        guest.check(f'(while [ ! -e /tmp/enough ]; do fio --name=x --filename={disk} --direct=1 --ioengine=libaio --iodepth=16 --rw=randrw '
                    '--bs=4k --size=2M --fsync=64 --verify=crc32c --verify_fatal=1 --output=/tmp/fio.log || { echo 1 > /tmp/status; exit; }; done; '
                    'echo 0 > /tmp/status) > /dev/null 2>&1 &')
        guest.check('for i in $(seq 300); do [ -s /tmp/fio.log ] && exit; sleep 0.1; done; exit 1', 60)
        assert all(reads_and_writes(guest)), 'both paths are used'

        # A namespace is taken from one controller, and comes back.
        ask(lab_host, 'remove-namespace', index=0, nsid=1)
        wait_for_paths(guest, second)
        ask(lab_host, 'add-namespace', index=0, namespace=path_namespace(0))
        wait_for_paths(guest, 0, 1)
        # The controller is killed, and both paths go on.
        os.kill(next(pid for pid, line in ours(lab_host).items() if 'virtnvme-controller' in line), signal.SIGKILL)
        # The guest takes a controller out.
        guest.check(f'echo 1 > /sys/class/nvme/nvme{second}/device/remove', 120)
        wait_for_paths(guest, first)

        guest.check('rm /tmp/fio.log; for i in $(seq 900); do [ -s /tmp/fio.log ] && exit; [ -e /tmp/status ] && exit; sleep 0.1; done; exit 1', 120)
        guest.check('touch /tmp/enough; for i in $(seq 900); do [ -e /tmp/status ] && break; sleep 0.1; done; '
                    '[ "$(cat /tmp/status)" = 0 ] || { cat /tmp/fio.log; dmesg | tail -30; exit 1; }', 120)
        assert not complaints(guest)
    lab_host.wait_for(lambda: nothing_left(lab_host), 'the end of the keeper')
