# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes of ours die under a guest's verified I/O, and the guest does not notice.

The long form: VIRTNVME_CRASH_KILLS=200 pytest tests/guest/test_crash.py::test_killed_and_upgraded_under_load (about 6 minutes):
200 kills of the controller and 50 upgrades, each of which executes the keeper anew."""
import json
import os
import random
import signal
import statistics
import time

import pytest

import test_migrate
from lab.error import LabError
from lab.guest import QemuGuest

from conftest import IMAGES, complaints
from test_keeper import RUN, devices, nothing_left, refuse_migration, start_keeper

KILLS = int(os.environ.get('VIRTNVME_CRASH_KILLS', '8'))
MIGRATIONS = max(1, KILLS // 8)
PROGRAM = '/usr/libexec/virtnvme/virtnvme-controller'
# A migration may be refused when the state is collected: a guest's doing, and a controller that dies just then.
LAST_MOMENT = ('raises its interrupt line', 'has just changed the interrupts', 'the connection was lost before',
               'the controller process is not running')

# Verified reads and writes with flushes, then trims, again and again until told to stop.
LOAD = '''
cat > /tmp/load.sh <<'END'
rm -f /tmp/load.stop /tmp/load.status
while [ ! -e /tmp/load.stop ]; do
	fio --name=x --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio --iodepth=32 --numjobs=4 --offset_increment=8M --size=2M \\
		--rw=randrw --bsrange=4k-64k --fsync=32 --verify=crc32c --verify_fatal=1 --group_reporting --output=/tmp/fio.log || break
	blkdiscard -o 1M -l 1M /dev/nvme0n1 || break
	date +%s >> /tmp/load.rounds
done
[ -e /tmp/load.stop ] && echo 0 > /tmp/load.status || echo 1 > /tmp/load.status
END
sh /tmp/load.sh > /dev/null 2>&1 &
'''


def call(host, command, **arguments):
    """A request to the keeper."""
    text = '''
import json, socket, struct, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
text = sys.argv[2].encode()
sock.sendall(struct.pack('<I', len(text)) + text)
size, = struct.unpack('<I', sock.recv(4, socket.MSG_WAITALL))
print(sock.recv(size, socket.MSG_WAITALL).decode())
'''
    request = json.dumps({'id': 1, 'command': command, 'arguments': arguments})
    answer = json.loads(host.run(['python3', '-c', text, f'{RUN}/keeper.sock', request]).stdout)
    assert 'result' in answer, answer
    return answer['result']


def controller(host):
    """The pid of the one that runs, out here; None between two."""
    for pid, line in host.processes().items():
        if line.startswith(PROGRAM):
            return pid
    return None


def end_load(guest):
    """It had no error."""
    guest.check('touch /tmp/load.stop; for i in $(seq 1200); do [ -e /tmp/load.status ] && break; sleep 0.1; done; '
                '[ "$(cat /tmp/load.status)" = 0 ] || { cat /tmp/fio.log; dmesg | tail -30; exit 1; }', 150)
    assert guest.check('cat /tmp/load.rounds')


def judge(host, guest):
    """Neither the guest's kernel nor the image says that anything was lost."""
    assert complaints(guest) == []
    theirs = guest.check('blockdev --flushbufs /dev/nvme0n1; sha256sum < /dev/nvme0n1', 120).split()[0]
    assert theirs == host.run(['sha256sum', f'{IMAGES}/keeper.raw']).stdout.split()[0]


def kill_one(host, signo=signal.SIGKILL):
    host.wait_for(lambda: controller(host), 'a controller')
    try:
        os.kill(controller(host), signo)
    except (ProcessLookupError, TypeError):
        return 0
    return 1


def test_killed_and_upgraded_under_load(lab_host):
    start_keeper(lab_host, queues=4)
    noise = random.Random()
    pauses = []
    with QemuGuest(lab_host, smp=4, extra_args=devices()) as guest:
        guest.exec(LOAD)
        kills = 0
        while kills < KILLS:
            time.sleep(noise.choice((0.05, 0.3, 1, 2)) * noise.random() + 0.4)
            kills += kill_one(lab_host)
            if kills % 4 == 0:
                lab_host.wait_for(lambda: call(lab_host, 'status')['controller']['state'] == 'running', 'the successor')
                pauses.append(call(lab_host, 'upgrade')['pause_us'] / 1000)
        lab_host.wait_for(lambda: call(lab_host, 'status')['controller']['state'] == 'running', 'the last successor')
        status = call(lab_host, 'status')['controller']
        assert (status['restarts'], status['generation']) == (kills, kills + len(pauses) + 1)
        print(f'{kills} kills; {len(pauses)} upgrades, pauses of {statistics.median(pauses):.1f} ms, at most {max(pauses):.1f} ms')
        # One that only stops for a while is waited for.
        pid = controller(lab_host)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(pid, signal.SIGCONT)
        assert guest.check('dd if=/dev/nvme0n1 of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null && echo alive', 30) == 'alive\n'
        end_load(guest)
        assert call(lab_host, 'status')['controller']['generation'] == status['generation']
        judge(lab_host, guest)
        refuse_migration(guest)
    lab_host.wait_for(lambda: nothing_left(lab_host), 'the end of the keeper')


def test_killed_while_it_migrates(lab_host):
    """The source's controller dies while memory is copied, and twice more before the end, the last time when nothing holds the end
    up any more; and so does one that waits for the guest. It goes through all the same, or is refused for what the last moment
    brought; the guest goes on with its disk, here or there. An upgrade has to wait."""
    side = test_migrate.Side(lab_host, 'a0')
    side.guest.check(test_migrate.LOAD)
    for number in range(MIGRATIONS):
        test_migrate.more_rounds(side)
        target = test_migrate.Side(lab_host, ('b' if side.name[0] == 'a' else 'a') + str(number + 1), incoming='defer')
        uri = f'unix:/run/lab/{target.name}.migrate'
        target.qmp('migrate-incoming', uri=uri)
        side.qmp('migrate-set-parameters', max_bandwidth=20 << 20)
        side.qmp('migrate', uri=uri)
        test_migrate.wait(lambda: side.status() == 'active', 'memory being copied')     # pylint: disable=cell-var-from-loop
        for _ in range(2):
            time.sleep(0.6)
            with pytest.raises(LabError, match='under way'):
                side.keeper('upgrade')
            lab_host.run('kill -9 %d' % side.keeper('status')['controller']['pid'])
        lab_host.run('kill -9 %d' % target.keeper('status')['controller']['pid'])
        last = side.keeper('status')['controller']['pid']
        side.qmp('migrate-set-parameters', max_bandwidth=1 << 30)
        lab_host.run('kill -9 %d' % last, check=False)
        test_migrate.wait(lambda: side.status() in ('completed', 'failed'), 'the end of the migration')     # pylint: disable=cell-var-from-loop
        print(f'migration {number}: {side.status()}')
        if side.status() == 'completed':
            test_migrate.arrived(target)
            side.end()
            side = target
        else:
            refusal = [line for line in side.log().splitlines() if 'or save is refused' in line][-1:]
            assert refusal and any(reason in refusal[0] for reason in LAST_MOMENT), refusal
            target.end()
        test_migrate.wait(lambda: len(os.listdir(lab_host.path('/run/virtnvme'))) == 2, 'the end of the keeper')
        test_migrate.wait(lambda: side.keeper('status')['migration'] == 'none', 'disks in use')     # pylint: disable=cell-var-from-loop
    test_migrate.more_rounds(side)
    test_migrate.end_load(side)
    side.end()
    lab_host.wait_for(lambda: nothing_left(lab_host), 'the end of the keepers')


def test_no_controller_can_run(lab_host):
    """The guest gets errors, not a hang; its QEMU and its other devices live."""
    script = '/root/controller'
    lab_host.path(script).write_text(f'#!/bin/sh\n[ -e /root/broken ] && kill -SEGV $$\nexec {PROGRAM} "$@"\n')
    lab_host.path(script).chmod(0o755)
    start_keeper(lab_host, program=script)
    with QemuGuest(lab_host, extra_args=devices(), cmdline='nvme_core.io_timeout=2 nvme_core.admin_timeout=2') as guest:
        guest.check('dd if=/dev/nvme0n1 of=/dev/null bs=4k count=1 iflag=direct')
        lab_host.path('/root/broken').touch()
        kill_one(lab_host)
        lab_host.wait_for(lambda: call(lab_host, 'status')['controller']['state'] == 'failed', 'the end of the attempts')
        assert 'signal 11' in call(lab_host, 'status')['controller']['reason']
        assert guest.exec('dd if=/dev/nvme0n1 of=/dev/null bs=4k count=1 iflag=direct', 60).status != 0
        assert guest.check('echo alive') == 'alive\n'
        assert 'blocked for more than' not in guest.check('dmesg')
    lab_host.wait_for(lambda: nothing_left(lab_host), 'the end of the keeper')
