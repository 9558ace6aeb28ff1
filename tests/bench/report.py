# SPDX-License-Identifier: LGPL-2.1-or-later
"""From many runs to one figure each, and to a table."""
import os
import platform
import statistics


def spread(values):
    return {'median': statistics.median(values), 'min': min(values), 'max': max(values)}


def pick(runs, *path):
    """That figure of each run; None when a run does not have it."""
    values = []
    for run in runs:
        for key in path:
            run = run.get(key) if run is not None else None
        if run is None:
            return None
        values.append(run)
    return spread(values)


def summarize_case(runs):
    row = {
        'iops': pick(runs, 'iops'),
        'bytes_per_second': pick(runs, 'bytes_per_second'),
        'cpu_ns': pick(runs, 'server', 'cpu_ns_per_command'),
        'client_cpu_ns': pick(runs, 'client', 'cpu_ns_per_command'),
        'switches': pick(runs, 'server', 'voluntary_switches_per_million'),
    }
    for name in ('p50', 'p99', 'p99.9'):
        row[name] = pick(runs, 'latency_ns', name)
    row['system_calls'] = pick([run.get('counted', run) for run in runs[:1]] if 'counted' in runs[0] else runs,
                               'server', 'system_calls_per_million')
    return {key: value for key, value in row.items() if value is not None}


def processor():
    with open('/proc/cpuinfo', encoding='utf-8') as f:
        for line in f:
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.machine()


def ratio(ratios, name, above, below):
    """The median over the runs, each by itself: what others do to the machine changes from run to run."""
    pairs = [a / b for a, b in zip(above, below) if a and b]
    if pairs:
        ratios[name] = spread(pairs)


def summarize(args, chosen, results, references, fio, quiet, busy):
    rows = {case.name: summarize_case(results[case.name]) for case in chosen if case.name in results}
    reference = {'ping_pong_p50_ns': pick(references, 'ping_pong_ns', 'p50')}
    for kind in ('4096', '4096_ahead', '131072'):
        for way in ('read', 'write'):
            reference['copy_%s_%s_ns' % (kind, way)] = pick(references, 'copy_%s_ns' % kind, way)
    ratios = {}
    ping = [run['ping_pong_ns']['p50'] for run in references]
    for case in chosen:
        runs = results.get(case.name)
        if not runs or case.verify:
            continue
        p50 = [run['latency_ns']['p50'] for run in runs]
        cpu = [run['server']['cpu_ns_per_command'] for run in runs]
        if case.backend == 'null' and not case.interrupts:
            if case.depth == 1:
                ratio(ratios, '%s: p50 / ping-pong' % case.name, p50, ping)
            else:
                ratio(ratios, '%s: server CPU / ping-pong' % case.name, cpu, ping)
        if case.backend == 'memory' and case.what in ('read', 'write') and case.depth == 1:
            ratio(ratios, '%s: p50 / (ping-pong + copy)' % case.name, p50,
                  [run['ping_pong_ns']['p50'] + run['copy_4096_ns'][case.what] for run in references])
        if case.backend == 'memory' and case.size == 128:
            copy = [run['copy_131072_ns'][case.what.replace('seq', '')] for run in references]
            ratio(ratios, '%s: bandwidth / memcpy' % case.name, [run['bytes_per_second'] for run in runs],
                  [131072 / ns * 1e9 for ns in copy])
            # Of what goes on while both have a processor: half of the commands are faster.
            ratio(ratios, '%s: depth / p50 / memcpy' % case.name, [case.depth * ns for ns in copy], p50)
            ratio(ratios, '%s: server CPU / memcpy' % case.name, cpu, copy)
        if case.backend == 'file' and case.depth in fio and case.what == 'read':
            ratio(ratios, '%s: IOPS / fio' % case.name, [run['iops'] for run in runs],
                  [run['iops'] for run in fio[case.depth]])
            ratio(ratios, '%s: server CPU / fio' % case.name, cpu,
                  [run['server']['cpu_ns_per_command'] for run in fio[case.depth]])
    return {
        'machine': {'processor': processor(), 'processors': os.cpu_count(), 'kernel': platform.release()},
        'runs': args.runs, 'milliseconds': args.milliseconds,
        'cases': rows, 'reference': reference, 'ratios': ratios, 'quiet': quiet, 'busy': busy,
        'fio': {'fio read 4k QD%d' % depth: summarize_case(runs) for depth, runs in fio.items()},
    }


def number(row, key, scale=1.0, digits=0):
    value = row.get(key.lstrip('^'))
    if isinstance(value, dict):
        value = value['max' if key.startswith('^') else 'median']
    return '-' if value is None else '%.*f' % (digits, value / scale)


# What is to be reached: a case's (or its ratio's) name, the least, the most; docs/performance.md says where it is from.
RATES = (
    ('memory read 4k QD1 Q1 shadow polling', 1.0), ('memory write 4k QD1 Q1 shadow polling', 1.28),
    ('memory read 4k QD32 Q1 shadow polling', 1.81), ('memory write 4k QD32 Q1 shadow polling', 2.88),
    ('null read 4k QD32 Q1 shadow polling', 4.0),
)
RATIOS = (('p50 / (ping-pong + copy)', None, 1.5), ('bandwidth / memcpy', 0.9, None), ('depth / p50 / memcpy', 0.9, None),
          ('IOPS / fio', 0.95, None), ('shadow polling: server CPU / fio', None, 1.25))


def to_reach(summary):
    """Markdown: what docs/performance.md has a line for each of."""
    lines = ['| | to reach | median | best run | at the median latency |', '|---|--:|--:|--:|--:|']
    for name, least in RATES:
        row = summary['cases'].get(name)
        if row:
            depth = int(name.split(' QD')[1].split()[0])
            lines.append('| %s, million a second | %.2f | %.2f | %.2f | %.2f |' % (
                name, least, row['iops']['median'] / 1e6, row['iops']['max'] / 1e6, depth * 1e3 / row['p50']['median']))
    for name, value in summary['ratios'].items():
        for what, least, most in RATIOS:
            if name.endswith(what) and 'interrupts' not in name:
                lines.append('| %s | %s %.2f | %.2f | %.2f | |' % (
                    name, 'at least' if least else 'at most', least or most, value['median'],
                    value['max'] if least else value['min']))
    return lines if len(lines) > 2 else []


COLUMNS = (
    ('kIOPS', 'iops', 1e3, 1), ('best', '^iops', 1e3, 1), ('MB/s', 'bytes_per_second', 1e6, 0), ('p50 us', 'p50', 1e3, 2), ('p99 us', 'p99', 1e3, 2),
    ('p99.9 us', 'p99.9', 1e3, 1), ('server CPU ns', 'cpu_ns', 1, 0), ('client CPU ns', 'client_cpu_ns', 1, 0),
    ('switches/M', 'switches', 1, 0), ('syscalls/M', 'system_calls', 1, 0),
)


def table(summary):
    """Markdown, so that it can go into a document as it is."""
    lines = ['%s, %d processors, Linux %s; median of %d runs of %d ms' % (
        summary['machine']['processor'], summary['machine']['processors'], summary['machine']['kernel'], summary['runs'],
        summary['milliseconds']), '']
    lines.append('| case | ' + ' | '.join(name for name, _, _, _ in COLUMNS) + ' |')
    lines.append('|---|' + '--:|' * len(COLUMNS))
    for name, row in list(summary['cases'].items()) + list(summary['fio'].items()):
        lines.append('| %s | ' % name + ' | '.join(number(row, *column[1:]) for column in COLUMNS) + ' |')
    lines += ['', '| reference | ns |', '|---|--:|']
    for name, value in summary['reference'].items():
        lines.append('| %s | %.0f |' % (name.replace('_ns', '').replace('_', ' '), value['median']))
    lines += ['', '| ratio | |', '|---|--:|']
    for name, value in summary['ratios'].items():
        lines.append('| %s | %.2f |' % (name, value['median']))
    lines += ['', *to_reach(summary)]
    lines += ['', '| controllers | start ms | private KiB | anonymous KiB | wake-ups/s | CPU % | after load: wake-ups | CPU ns |',
              '|--:|--:|--:|--:|--:|--:|--:|--:|']
    for count, quiet in summary['quiet'].items():
        lines.append('| %s | %.1f | %s | %d | %d | %.2f | %d | %d |' % (
            count, quiet['start_ms'], quiet['private_kib'] or '-', quiet['rss_anon_kib'], quiet['wake_ups_per_second'],
            quiet['cpu_percent'], quiet['after_load']['wake_ups'], quiet['after_load']['cpu_ns']))
    if summary['busy']:
        lines += ['', '| controllers that work | kIOPS, all | of the slowest | of the fastest | p50 us | p99 us | CPU ns | '
                  'switches/M | private KiB | one more starts in ms |', '|--:' * 10 + '|']
    for count, busy in summary['busy'].items():
        lines.append('| %s | %.1f | %.2f | %.2f | %.1f | %.0f | %.0f | %.0f | %s | %.1f |' % (
            count, busy['iops'] / 1e3, busy['least_iops'] / 1e3, busy['most_iops'] / 1e3, busy['p50_ns'] / 1e3,
            busy['p99_ns'] / 1e3, busy['cpu_ns'], busy['switches'], busy['private_kib'] or '-', busy['start_ms']))
    return '\n'.join(lines)


COMPARED = (
    ('p50', lambda run: run['latency_ns']['p50']),
    ('p99', lambda run: run['latency_ns']['p99']),
    ('server CPU', lambda run: run['server']['cpu_ns_per_command']),
    ('client CPU', lambda run: run['client']['cpu_ns_per_command']),
    ('switches', lambda run: run['server']['voluntary_switches_per_million']),
    ('syscalls', lambda run: run['server'].get('system_calls_per_million')),
)


def compared(pairs, figure):
    """The median of the ratios, and of the figures themselves: what both do not have is not there."""
    values = [(figure(other), figure(this)) for other, this in pairs]
    values = [(other, this) for other, this in values if other and this is not None]
    if not values:
        return '-'
    other, this = (statistics.median(column) for column in zip(*values))
    return '%.2f (%.4g → %.4g)' % (statistics.median(this / other for other, this in values), other, this)


def comparison(chosen, results):
    """Markdown: this build in parts of the other one."""
    lines = ['| case | ' + ' | '.join(name for name, _ in COMPARED) + ' |', '|---|' + '--:|' * len(COMPARED)]
    for case in chosen:
        lines.append('| %s | ' % case.name +
                     ' | '.join(compared(results[case.name], figure) for _, figure in COMPARED) + ' |')
    return '\n'.join(lines)
