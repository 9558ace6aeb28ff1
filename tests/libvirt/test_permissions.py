# SPDX-License-Identifier: LGPL-2.1-or-later
"""As on a real host: QEMU is libvirt-qemu, the controller a user of its own that can nothing, and strangers get nothing."""
import os
import stat
from pathlib import Path

from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml

# Another process of QEMU's user, as another domain's QEMU is one. For each socket: its owner and mode, and what
# became of a connection.
INTRUDER = '''#!/usr/bin/python3
import errno, os, socket, sys, time
for path in sys.argv[1:]:
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(5)
            begin = time.monotonic()
            mode = os.stat(path)
            owner = f'{mode.st_uid} {mode.st_mode & 0o777:o}'
            peer.connect(path)
            peer.sendall(bytes(16))
            said = 'answered' if peer.recv(1) else 'closed'
    except TimeoutError:
        said = 'held'
    except ConnectionError:
        said = 'closed'
    except OSError as error:
        said, owner = errno.errorcode[error.errno], '' if error.errno == errno.ENOENT else owner
    if time.monotonic() - begin > 2:
        said += ' late'
    print('intruder', os.path.basename(path), owner, said, file=sys.stderr, flush=True)
'''
# Has the intruder try as long as QEMU has not come to its sockets.
EMULATOR = '''#!/bin/sh
case "$*" in *virtnvme-nvme0*)
	directory=$(echo "$*" | grep -o '/run/virtnvme/[0-9a-f-]*' | head -n 1)
	/usr/local/bin/intruder $directory/nvme0.sock $directory/bus.sock $directory/qmp.sock $directory/keeper.sock
esac
exec /usr/bin/qemu-system-x86_64 "$@"
'''


def install(vhost, name, text):
    path = f'/usr/local/bin/{name}'
    vhost.write(path, text)
    vhost.host.path(path).chmod(0o755)
    return path


def uid_of(vhost, user):
    return int(vhost.host.run(['id', '-u', user]).stdout)


def owner_and_mode(vhost, path):
    found = vhost.host.path(path).lstat()
    return found.st_uid, stat.S_IMODE(found.st_mode)


def said_by_intruder(text):
    return sorted(line.split(' ', 1)[1] for line in text.splitlines() if line.startswith('intruder '))


def check_confinement(vhost, images):
    """The process that parses what the guest wrote."""
    pid, = [pid for pid, line in vhost.host.processes().items() if 'virtnvme-controller' in line]
    proc = Path(f'/proc/{pid}')
    status = dict(line.split(':\t', 1) for line in proc.joinpath('status').read_text().splitlines() if ':\t' in line)
    assert status['Uid'].split() == [str(uid_of(vhost, 'virtnvme'))] * 4
    assert status['Groups'].strip() == ''
    assert {int(status[f'Cap{which}'], 16) for which in ('Inh', 'Prm', 'Eff', 'Amb')} == {0}
    assert status['NoNewPrivs'] == '1'
    assert status['Seccomp'] == '2'
    assert os.listdir(proc / 'root') == []
    files = set()
    for fd in proc.joinpath('fd').iterdir():
        found, name = fd.stat(), os.readlink(fd)
        if stat.S_ISREG(found.st_mode) and not name.startswith('/memfd:'):
            files.add((found.st_dev, found.st_ino))
        else:
            assert name.startswith(('/memfd:', 'socket:', 'anon_inode:', 'pipe:')) or name.endswith('/dev/null'), name
    wanted = [vhost.host.path(image) for image in (*images, '/var/log/virtnvme/user.log')]
    assert files == {(path.stat().st_dev, path.stat().st_ino) for path in wanted}


def test_users_and_strangers(user_vhost):
    vhost = user_vhost
    qemu = uid_of(vhost, 'libvirt-qemu')
    intruder = install(vhost, 'intruder', INTRUDER)
    emulator = install(vhost, 'qemu-with-intruder', EMULATOR)
    image, second = f'{IMAGES}/user.raw', f'{IMAGES}/user-2.raw'
    vhost.host.run(f'truncate -s 16M {image} && chmod 600 {image}')
    guest = vhost.define('user', devices_xml(controller_xml(0, disk_xml('nvme0n1', image))),
                         devices=f'<emulator>{emulator}</emulator>')
    guest.start()
    directory = f'/run/virtnvme/{vhost.uuid("user")}'
    ps = vhost.host.run(['ps', '-eo', 'user:20,args']).stdout.splitlines()
    assert [line.split()[0] for line in ps if '/qemu-system-x86_64 -name' in line] == ['libvirt-qemu']
    # Before QEMU came.
    said = said_by_intruder(vhost.host.path('/var/log/libvirt/qemu/user.log').read_text(errors='replace'))
    assert said == [f'bus.sock {qemu} 600 closed', 'keeper.sock 0 600 EACCES', f'nvme0.sock {qemu} 600 closed',
                    f'qmp.sock {qemu} 600 closed']
    # And after that.
    paths = [f'{directory}/{name}.sock' for name in ('nvme0', 'bus', 'qmp', 'keeper')] + ['/run/virtnvme/virtnvmed.sock']
    done = vhost.host.run(['runuser', '-u', 'libvirt-qemu', '--', intruder, *paths])
    assert said_by_intruder(done.stderr) == ['bus.sock  ENOENT', 'keeper.sock 0 600 EACCES', 'nvme0.sock  ENOENT',
                                             'qmp.sock  ENOENT', 'virtnvmed.sock 0 660 EACCES']

    assert owner_and_mode(vhost, '/run/virtnvme') == (0, 0o755)
    assert owner_and_mode(vhost, directory) == (0, 0o711)
    assert owner_and_mode(vhost, image) == (0, 0o600)
    vhost.nvme('attach-disk', 'user', second, 'nvme1n1', '--capacity', '12M', '--live')
    vhost.host.wait_for(lambda: guest.exec('test -e /dev/nvme1n1').status == 0, 'the disk', 20)
    check_confinement(vhost, [image, second])
    guest.check('for d in /dev/nvme0n1 /dev/nvme1n1; do dd if=/dev/urandom of=$d bs=64k count=16 oflag=direct || exit 1; done 2>/dev/null')
    assert vhost.info('user')['keeper']['qemu']['connected']
    vhost.virsh('destroy', 'user')
    assert not vhost.traces(vhost.uuid('user'))
    assert owner_and_mode(vhost, image) == (0, 0o600)
