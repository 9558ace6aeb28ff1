# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults of an image while it is in use: the other end of src/block/fault.h.

    faults = Faults.make('/dir/a.control', capacity=64 << 20)
    controller --namespace fault:/dir/a.raw,control=/dir/a.control
    faults.write.delay(2.5)         # seconds, also for those that are already waiting
    faults.flush.hang()             # until release()
    faults.read.fail(errno.EIO, first=4096, last=8191, skip=2, times=1)
    faults.write.held               # how many wait at this moment
    faults.clear()

Behind a keeper: with VIRTNVME_FAULTS=FOLDER in its environment, FOLDER/NAME.control belongs to the image .../NAME.

With stable=PATH the image has a volatile cache: PATH has what a power cut would leave.
"""
import mmap
import os
import random
import struct

MAGIC = 0x746c7561666e7600
WITHOUT_END = 0xffffffff
BLOCK = 4096
OPS = ('read', 'write', 'flush', 'write_zeroes', 'discard')

RULE = struct.Struct('<6I6Q')
HEADER = 8 + len(OPS) * RULE.size
# Offsets in a rule.
DELAY, HANG, ERROR, SKIP, LEFT = 0, 4, 8, 12, 16
FIRST, LAST, BEGUN, HELD, SUCCEEDED, FAILED = 24, 32, 40, 48, 56, 64


class Rule:
    """Of one kind of request."""

    def __init__(self, memory, offset):
        self.memory, self.offset = memory, offset

    def _set(self, field, value, form):
        struct.pack_into(form, self.memory, self.offset + field, value)

    def _get(self, field):
        return struct.unpack_from('<Q', self.memory, self.offset + field)[0]

    def delay(self, seconds):
        self._set(DELAY, int(seconds * 1000), '<I')

    def hang(self, on=True):
        self._set(HANG, on, '<I')

    def release(self):
        self.hang(False)
        self.delay(0)

    def fail(self, error, first=0, last=0, skip=0, times=WITHOUT_END):
        """Those that touch bytes first to last (0: all) fail, `times` of them after the next `skip`."""
        self._set(ERROR, 0, '<I')
        self._set(FIRST, first, '<Q')
        self._set(LAST, last, '<Q')
        self._set(SKIP, skip, '<I')
        self._set(LEFT, times, '<I')
        self._set(ERROR, error, '<I')

    def succeed(self):
        self._set(ERROR, 0, '<I')

    begun = property(lambda self: self._get(BEGUN))
    held = property(lambda self: self._get(HELD))
    succeeded = property(lambda self: self._get(SUCCEEDED))
    failed = property(lambda self: self._get(FAILED))


class Faults:
    """A control file."""

    def __init__(self, path):
        with open(path, 'r+b') as f:
            self.memory = mmap.mmap(f.fileno(), 0)
        for n, name in enumerate(OPS):
            setattr(self, name, Rule(self.memory, 8 + n * RULE.size))

    @classmethod
    def make(cls, path, image=None, stable=None, capacity=0):
        """A new one. With `image` and `stable`: the stable file as well, as the image is now."""
        if stable:
            capacity = max(capacity, os.stat(image).st_size)
            with open(image, 'rb') as source, open(stable, 'wb') as target:
                for offset in range(0, capacity, 1 << 20):
                    data = source.read(1 << 20)
                    if data.count(0) != len(data):
                        os.pwrite(target.fileno(), data, offset)
                target.truncate(capacity)
        with open(path, 'wb') as f:
            f.write(struct.pack('<Q', MAGIC))
            f.truncate(HEADER + -(-capacity // BLOCK))
        return cls(path)

    def clear(self):
        """No faults any more; what is held goes on."""
        for name in OPS:
            rule = getattr(self, name)
            rule.release()
            rule.succeed()

    def behind(self):
        """Offsets of the blocks whose content a power cut would lose."""
        return [n * BLOCK for n, state in enumerate(self.memory[HEADER:]) if state]

    def cut_power(self, image, stable, seed=None):
        """The image as a power cut leaves it, everybody who used it being dead: of each block that is behind, what a
        disk may have of it: the old content or, with a seed, by chance the new."""
        chance = random.Random(seed)
        with open(image, 'r+b') as new, open(stable, 'rb') as old:
            for offset in self.behind():
                if seed is None or chance.random() < 0.5:
                    os.pwrite(new.fileno(), os.pread(old.fileno(), BLOCK, offset), offset)
        self.memory[HEADER:] = bytes(len(self.memory) - HEADER)
