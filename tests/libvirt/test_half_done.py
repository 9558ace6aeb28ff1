# SPDX-License-Identifier: LGPL-2.1-or-later
"""virtnvmed is killed in the middle of attaching and detaching a disk; the next one finishes it, or undoes it.

What the daemon does for others to see, it does by messages: to a keeper by sendmsg(), to libvirt by write() to a socket. So
dying before the first, the second, the third and so on of them is dying at every step. Every VIRTNVME_KILL_EVERYth step is
tried (default 5; with 1 it takes some minutes).
"""
import contextlib
import json
import os
from pathlib import Path

import pytest

from libvirt_host import IMAGES

EVERY = int(os.environ.get('VIRTNVME_KILL_EVERY', '5'))
SHARED_MEMORY = "<source type='memfd'/><access mode='shared'/>"
ATTACH = ('attach-disk', 'other', f'{IMAGES}/other.raw', 'nvme0n1', '--capacity', '8M', '--live')
DETACH = ('detach-disk', 'other', 'nvme0n1', '--live')


def is_traced(pid):
    return all('TracerPid:\t0' not in (task / 'status').read_text() for task in Path(f'/proc/{pid}/task').iterdir())


@contextlib.contextmanager
def dies_before(vhost, call, number):
    """In the meantime virtnvmed is killed as a thread of it makes its NUMBERth system call CALL for a socket; then the next
    one is started. Yields a function that says whether it was."""
    pid = next(pid for pid, line in vhost.host.processes().items() if line == 'virtnvmed')
    sockets = [fd.name for fd in Path(f'/proc/{pid}/fd').iterdir() if os.readlink(fd).startswith('socket:')]
    # A keeper that is started meanwhile is let go; its socket, which is to be counted, is not there yet.
    only = ['--trace-fds=' + ','.join(sockets)] if call == 'write' else []
    strace = vhost.host.popen(['strace', '-f', '-b', 'execve', '-o', f'/run/lab/{call}-{number}.strace', '-e', f'trace={call}', *only,
                               '-e', f'inject={call}:signal=KILL:when={number}', '-p', vhost.host.run(['pidof', 'virtnvmed']).stdout.strip()])
    vhost.host.wait_for(lambda: is_traced(pid), 'the tracing')
    try:
        yield lambda: vhost.daemon.poll() is not None
    finally:
        strace.terminate()
        strace.wait()
        if vhost.daemon.poll() is not None:
            vhost.start_daemon()
            vhost.host.wait_for(vhost.connected, 'the connection to libvirt')


def seen(vhost):
    """What each of the three has: the record, the keeper and QEMU; None while they do not agree."""
    info = vhost.info('other')
    disks = {d['target']: d['state'] for c in info['controllers'] for d in c['disks']}
    record = {c['index']: c['state'] for c in info['controllers']}
    there = info.get('keeper', {}).get('controllers', [])
    kept = {f"nvme{c['index']}n{n['nsid']}" for c in there for n in c['namespaces']}
    answer = vhost.virsh('qemu-monitor-command', 'other', json.dumps(
        {'execute': 'qom-list', 'arguments': {'path': '/machine/peripheral'}})).stdout
    plugged = {int(entry['name'].rpartition('nvme')[2]) for entry in json.loads(answer)['return']
               if entry['name'].startswith('virtnvme-nvme')}
    agree = (set(disks.values()) <= {'attached'} and kept == set(disks) and plugged == set(record) == {c['index'] for c in there}
             and set(record.values()) == {'attached' if disks else 'parked'} - (set() if record else {'attached', 'parked'}))
    return (disks, record, kept, plugged) if agree else None


def try_step(vhost, call, number):
    """Both, with a death at this step; whether either had so many."""
    reached = False
    vhost.virsh('create', '--paused', vhost.xml('other', '', machine='pc', memory=64, kernel=False, memory_backing=SHARED_MEMORY))
    uuid = vhost.uuid('other')
    for command, wanted in ((ATTACH, {'nvme0n1'}), (DETACH, set())):
        with dies_before(vhost, call, number) as died:
            done = vhost.nvme(*command, check=False)
            if done.returncode != 0:
                vhost.host.wait_for(died, f'the end of virtnvmed, or why else is it that {done.stderr}')
            dead = died()
        vhost.host.wait_for(lambda: seen(vhost), f'one view of it after {command[0]} ended at {call} {number}')
        disks = set(vhost.disks('other'))
        print(f'{command[0]}, {call} {number}: {"dead" if dead else "alive"}, {"finished" if disks == wanted else "undone"}')
        if disks != wanted:
            vhost.nvme(*command)
            vhost.host.wait_for(lambda: seen(vhost), f'one view of it after another {command[0]}')
            assert set(vhost.disks('other')) == wanted
        reached |= dead
    vhost.virsh('destroy', 'other')
    vhost.host.wait_for(lambda: not [t for t in vhost.traces(uuid) if uuid in t], 'the end of the keeper')
    return reached


@pytest.mark.parametrize('call', ['sendmsg', 'write'])
def test_the_daemon_dies_at_every_step(vhost, domain, call):    # pylint: disable=unused-argument
    number, steps = max(1, EVERY - 1), 0
    while try_step(vhost, call, number):
        number, steps = number + EVERY, steps + 1
    assert steps
