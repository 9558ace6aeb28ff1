# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who wakes up while nobody wants anything."""
import os
import time

SETTLE_S = 20

# A flush, or a write through the host's cache, leaves a thread of the kernel's behind (io-wq), which looks each five seconds
# whether it is still needed, and of which the last never ends. Nothing that a program can do about.
# And libvirtd asks who is connected each five seconds whether he lives (keepalive_interval in libvirtd.conf).
OTHERS = ('iou-wrk-', 'libvirt-events')
OTHERS_EACH_S = 5
CONNECTIONS = 2


def comes_to_rest(count, seconds):
    """There is a stretch of so many seconds in which count() stays the same. Who has still to fall asleep, on a busy machine, falls
    asleep; who wakes up by himself, sooner than after that time, never lets it be."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        before = count()
        time.sleep(seconds)
        if count() == before:
            return True
    return False


def activity(pid):
    """{'name tid': (wake-ups, nanoseconds of processor)} of its threads"""
    found = {}
    for tid in os.listdir('/proc/%d/task' % pid):
        folder = '/proc/%d/task/%s/' % (pid, tid)
        with open(folder + 'status', encoding='ascii') as f:
            lines = dict(line.rstrip('\n').split(':\t', 1) for line in f)
        with open(folder + 'schedstat', encoding='ascii') as f:
            found['%s %s' % (lines['Name'], tid)] = int(lines['voluntary_ctxt_switches']), int(f.read().split()[0])
    return found


def awake(pids, seconds=10):
    """{'name tid': (how often it woke up, nanoseconds it took)} in so many seconds; () for a thread that slept. What was begun
    before has until then to end."""
    def look():
        return {name: seen for pid in pids for name, seen in activity(pid).items()}

    def ours():
        return {name: seen for name, seen in look().items() if not name.startswith(OTHERS)}

    deadline = time.monotonic() + SETTLE_S
    last = None
    while last != (now := ours()) and time.monotonic() < deadline:
        last = now
        time.sleep(0.5)
    before = look()
    time.sleep(seconds)
    found = {}
    for name, seen in look().items():
        known = before.get(name, (0, 0))
        more = seen[0] - known[0], seen[1] - known[1]
        allowed = CONNECTIONS * (seconds // OTHERS_EACH_S + 1) if name.startswith(OTHERS) else 0
        found[name] = more if more[0] > allowed or (not allowed and more != (0, 0)) else ()
    return found
