# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a run must not be worse than: nothing that a busy machine alone could break.

System calls and wake-ups for a command are counts of what the programs do. A median latency in polling mode, and the
processor time of the server, are not changed much by others that take the processor away for a while; they are compared to
the references of the same run, and the margin is large. Of everything the best run is taken: a client that does not get the
processor for a third of a second has seen one command."""

IDLE_KIB = 12 * 1024
START_MS = 200


def checks(summary):
    """(what, value, at most)"""
    cases, ratios = summary['cases'], summary['ratios']
    for name, row in cases.items():
        polling = 'shadow polling' in name and 'file' not in name and 'verify' not in name
        if polling and 'system_calls' in row:
            yield name + ': system calls a command', row['system_calls']['min'] / 1e6, 0.1
        if polling:
            yield name + ': wake-ups a command', row['switches']['min'] / 1e6, 0.05
        if 'trapped polling' in name and 'system_calls' in row:
            yield name + ': system calls a command', row['system_calls']['min'] / 1e6, 16
    for name, value in ((name, value['min']) for name, value in ratios.items()):
        if 'shadow' in name and 'p50' in name:
            yield name, value, 20
        if 'shadow' in name and 'server CPU' in name and 'null' in name:
            yield name, value, 15
    for quiet in summary['quiet'].values():
        yield 'idle: wake-ups in a second after load', quiet['after_load']['wake_ups'], 0
        yield 'idle: wake-ups in a second', quiet['wake_ups_per_second'], 0
        yield 'idle: nanoseconds of processor', quiet['after_load']['cpu_ns'], 0
        yield 'idle: percent of a processor, all', quiet['cpu_percent'], 1
        if quiet['private_kib']:
            yield 'private memory of one controller, KiB', quiet['private_kib'], IDLE_KIB
        yield 'anonymous memory of one controller, KiB', quiet['rss_anon_kib'], IDLE_KIB
        yield 'milliseconds from start to listening, the best', quiet['start_best_ms'], START_MS


def judge(summary):
    """0, or 1 when anything is worse."""
    status = 0
    print()
    for what, value, most in checks(summary):
        ok = value <= most
        print('%s %s: %.4g, at most %g' % ('ok    ' if ok else 'WORSE ', what, value, most))
        status |= not ok
    return status
