# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is measured."""

FIO_DEPTHS = (1, 4, 32)
NSIDS = {'null': 1, 'memory': 2, 'file': 3}
PATTERNS = {'read': 'randread', 'write': 'randwrite', 'mixed': 'randrw', 'seqread': 'read', 'seqwrite': 'write'}


class Case:
    """Named as 'memory read 4k QD32 Q1 shadow polling'."""

    def __init__(self, backend, what='read', size=4, depth=1, queues=1, doorbells='shadow', interrupts=False, verify=False):
        self.backend, self.what, self.size, self.depth, self.queues = backend, what, size, depth, queues
        self.doorbells, self.interrupts, self.verify = doorbells, interrupts, verify
        self.name = '%s %s %dk QD%d Q%d %s %s%s' % (
            backend, what, size, depth, queues, doorbells, 'interrupts' if interrupts else 'polling',
            ' verify' if verify else '')

    def arguments(self):
        args = ['--nsid', NSIDS[self.backend], '--pattern', PATTERNS[self.what], '--block-size', self.size * 1024,
                '--depth', self.depth, '--queues', self.queues, '--doorbells', self.doorbells]
        if self.interrupts:
            args.append('--interrupts')
        if self.verify:
            args += ['--verify', '--span', '16M']
        return [str(a) for a in args]


ALL = [
    Case('null', depth=1), Case('null', depth=4), Case('null', depth=32), Case('null', depth=128),
    Case('null', depth=32, queues=4),
    Case('null', depth=1, interrupts=True), Case('null', depth=32, interrupts=True),
    Case('null', depth=1, doorbells='trapped'), Case('null', depth=32, doorbells='trapped'),
    Case('null', depth=1, doorbells='trapped', interrupts=True), Case('null', depth=32, doorbells='trapped', interrupts=True),
    Case('memory', 'read', depth=1), Case('memory', 'read', depth=32),
    Case('memory', 'write', depth=1), Case('memory', 'write', depth=32),
    Case('memory', 'seqread', 128, depth=8), Case('memory', 'seqwrite', 128, depth=8),
    Case('file', 'read', depth=1), Case('file', 'read', depth=4), Case('file', 'read', depth=32),
    Case('file', 'read', depth=1, interrupts=True), Case('file', 'read', depth=4, interrupts=True),
    Case('file', 'read', depth=32, interrupts=True),
    Case('file', 'read', depth=32, doorbells='trapped', interrupts=True),
]

SHORT = [
    Case('null', depth=1), Case('null', depth=32), Case('null', depth=1, doorbells='trapped'),
    Case('null', depth=32, doorbells='trapped'), Case('null', depth=32, queues=4, interrupts=True),
    Case('memory', 'read', depth=1),
    Case('memory', 'mixed', depth=32, verify=True), Case('memory', 'mixed', depth=32, queues=4, interrupts=True, verify=True),
    Case('memory', 'mixed', 128, depth=8, doorbells='trapped', verify=True),
    Case('file', 'read', depth=32),
    Case('file', 'mixed', depth=32, interrupts=True, verify=True), Case('file', 'mixed', 64, depth=8, verify=True),
]

# How costs grow: with queues, depth and the size of a command.
SERIES = [Case('null', depth=32, queues=queues) for queues in (1, 2, 4)] + \
    [Case('memory', depth=depth) for depth in (1, 4, 16, 64, 256)] + \
    [Case('memory', 'read', size, depth=8) for size in (4, 16, 64, 256, 1024)]
# Each of many controllers has such a client.
BUSY = Case('memory', depth=4, interrupts=True)
