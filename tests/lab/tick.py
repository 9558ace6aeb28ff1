# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long a guest stands still in a migration, as seen from outside: its own clocks stand still with it.

    ticks = Ticks(guest, '/dev/ttyS2', disk='/dev/nvme0n1')
    ticks.listen(source.path('/run/lab/x.tick'), destination.path('/run/lab/x.tick'))
    ... a migration ...
    ticks.standstill()      # {'c': milliseconds without a tick, 'd': without a read from the disk}

The line is a serial port more, which QEMU listens for on that socket: serial_xml() in a domain's devices. tick.c is what ticks in the guest.
"""
import base64
import selectors
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from xml.sax.saxutils import quoteattr

from .error import LabError

SOURCE = Path(__file__).with_name('tick.c')
COMPILE = ['gcc', '-O2', '-static', '-nostdlib', '-ffreestanding', '-fno-stack-protector', '-s', '-Wl,--build-id=none', '-Wl,-z,noseparate-code']


def serial_xml(name):
    """A domain's third serial port."""
    return f"<serial type='unix'><source mode='bind' path={quoteattr(f'/run/lab/{name}.tick')}/><target type='isa-serial' port='2'/></serial>"


def program():
    with tempfile.TemporaryDirectory(prefix='virtnvme-tick-') as place:
        subprocess.run([*COMPILE, '-o', f'{place}/tick', SOURCE], check=True)
        return Path(f'{place}/tick').read_bytes()


class Ticks:
    """Of GUEST, on its LINE; c is its clock, d its DISK."""

    def __init__(self, guest, line, disk=None):
        code = base64.b64encode(program()).decode()
        guest.check(f'[ -e /tmp/tick ] || echo {code} | base64 -d > /tmp/tick && chmod +x /tmp/tick && stty -F {line} raw -echo; '
                    f'(/tmp/tick {line} c > /dev/null 2>&1) & ' + (f'(/tmp/tick {line} d {disk} > /dev/null 2>&1) &' if disk else ''))
        self.letters = 'cd' if disk else 'c'
        self.guest = guest
        self._times = {}
        self._stop = self._thread = None

    def end(self):
        self.guest.check('killall tick')

    def listen(self, source, destination):
        """From now on, to the sockets of both; one that is not there yet is waited for. Returns when the source ticks."""
        self._times = {(side, letter): [] for side in (source, destination) for letter in self.letters}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, args=([source, destination],), daemon=True)
        self._thread.start()
        self._wait(source, 20)

    def _wait(self, side, count):
        deadline = time.monotonic() + 60
        while not all(len(self._times[side, letter]) > count for letter in self.letters):
            if time.monotonic() > deadline:
                raise LabError(f'the guest does not tick on {side}')
            time.sleep(0.01)

    def _listen(self, waiting):
        poll = selectors.DefaultSelector()
        while not self._stop.is_set():
            for path in list(waiting):
                line = socket.socket(socket.AF_UNIX)
                if line.connect_ex(str(path)) == 0:
                    waiting.remove(path)
                    poll.register(line, selectors.EVENT_READ, path)
                else:
                    line.close()
            for key, _ in poll.select(0.01):
                self._take(poll, key)
        for key in list(poll.get_map().values()):
            key.fileobj.close()

    def _take(self, poll, key):
        try:
            data = key.fileobj.recv(4096)
        except ConnectionError:
            data = b''
        now = time.monotonic()
        if not data:
            poll.unregister(key.fileobj)
            key.fileobj.close()
        for letter in set(data.decode(errors='replace')) & set(self.letters):
            self._times[key.data, letter].append(now)

    def standstill(self):
        """Ends the listening. Milliseconds from the last one on one side to the first on the other."""
        source, destination = {side: None for side, _ in self._times}
        self._wait(destination, 20)
        self._stop.set()
        self._thread.join()
        return {letter: (self._times[destination, letter][0] - self._times[source, letter][-1]) * 1e3 for letter in self.letters}
