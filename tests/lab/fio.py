# SPDX-License-Identifier: LGPL-2.1-or-later
"""fio in a guest, in the background, until it is told to stop.

Its handler of signals allocates memory and prints. In a process of a job, which allocates for each write that it will
verify, that waits now and then for a lock which the same process holds: it never ends. So only the first process is told,
which waits for the others and tells them by shared memory.
"""


def start(name, command):
    """What a shell runs: fio's output goes to /tmp/NAME.log; /tmp/NAME.status is there once it has ended."""
    return (f'rm -f /tmp/{name}.status\n'
            f'({command} > /tmp/{name}.log 2>&1 & echo $! > /tmp/{name}.pid; wait $!; echo $? > /tmp/{name}.status) &')


def stop(name, seconds):
    """What a shell runs to end it; killed after so many SECONDS."""
    return (f'for i in $(seq {2 * seconds}); do kill -INT $(cat /tmp/{name}.pid); sleep 0.5; [ -e /tmp/{name}.status ] && break; done\n'
            f'[ -e /tmp/{name}.status ] || killall -9 fio')
