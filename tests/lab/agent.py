# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test's end of the guest agent's line; the protocol is described in guest/agent.c."""
import itertools
import socket
import threading
import time
from typing import NamedTuple

from .error import GuestRebooted, GuestTimeout, LabError

COMMAND_MAX = 32 * 1024     # as in guest/agent.c
SYNC_INTERVAL = 0.5


class Result(NamedTuple):
    """How a command in a guest ended, and its stdout and stderr as they came."""
    status: int
    output: str


class Agent:
    """PATH is a function that returns the path of the line's socket: QEMU may be another by now."""

    def __init__(self, path):
        self._path = path
        self._socket = None
        self._buffer = b''
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._running = None        # the number of a command that has not said exit
        self.boot_id = None

    def close(self):
        if self._socket:
            self._socket.close()
        self._socket, self._buffer = None, b''

    def _connect(self):
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(self._path()))
        except OSError:
            line.close()
            return
        self.close()
        self._socket = line

    def _receive(self, deadline):
        """More bytes into the buffer; raises TimeoutError, or EOFError when QEMU is gone."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionError:
            data = b''
        if not data:
            self.close()
            raise EOFError
        self._buffer += data

    def _frame(self, deadline):
        """The next frame as (word, number, rest); whatever is not a frame is skipped."""
        while True:
            while b'\n' not in self._buffer:
                self._receive(deadline)
            line, self._buffer = self._buffer.split(b'\n', 1)
            words = line.decode(errors='replace').split()
            if len(words) != 3 or words[0] not in ('ready', 'out', 'exit') or not words[1].isdigit():
                continue
            if words[0] == 'exit' and int(words[1]) == self._running:
                self._running = None
            if words[0] != 'out':
                return words[0], int(words[1]), words[2]
            length = int(words[2])
            while len(self._buffer) < length:
                self._receive(deadline)
            data, self._buffer = self._buffer[:length], self._buffer[length:]
            return 'out', int(words[1]), data

    def _sync(self, deadline):
        """Ask until the agent answers; it may not run yet, and QEMU neither."""
        while time.monotonic() < deadline:
            if not self._socket:
                self._connect()
            if not self._socket:
                time.sleep(0.1)
                continue
            number = next(self._numbers)
            try:
                self._socket.sendall(f'\nsync {number}\n'.encode())
                until = min(deadline, time.monotonic() + SYNC_INTERVAL)
                while True:
                    word, answered, rest = self._frame(until)
                    # One without /proc is going down, and must not be taken for the one that comes.
                    if word == 'ready' and answered == number and rest != 'unknown':
                        if rest != self.boot_id:
                            self.boot_id, self._running = rest, None
                        return
            except TimeoutError:
                pass
            except (EOFError, ConnectionError):
                self.close()
        raise GuestTimeout('the guest\'s agent does not answer')

    def wait(self, timeout, other_than=None):
        """Wait until a guest answers, one whose boot id is not OTHER_THAN."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while True:
                self._sync(deadline)
                if self.boot_id != other_than:
                    return
                time.sleep(SYNC_INTERVAL)

    def exec(self, command, timeout):
        text = command.encode()
        if len(text) > COMMAND_MAX:
            raise ValueError('a command for a guest is too long')
        deadline = time.monotonic() + timeout
        with self._lock:
            self._sync(deadline)
            self._wait_idle(deadline)
            number = self._running = next(self._numbers)
            self._socket.sendall(f'run {number} {len(text)}\n'.encode() + text)
            return self._result(command, number, deadline)

    def _wait_idle(self, deadline):
        """An earlier command was given up and killed, but the agent runs one at a time."""
        try:
            while self._running:
                self._frame(deadline)
        except TimeoutError:
            raise GuestTimeout('an earlier command in the guest cannot be killed') from None

    def _result(self, command, number, deadline):
        output = []
        try:
            while True:
                word, of, rest = self._frame(deadline)
                if word == 'ready' and of == 0:
                    raise GuestRebooted(f'the guest restarted during: {command}')
                if of == number and word == 'out':
                    output.append(rest)
                elif of == number and word == 'exit':
                    return Result(int(rest), b''.join(output).decode(errors='replace'))
        except TimeoutError:
            self._socket.sendall(f'\nkill {number}\n'.encode())
            said = b''.join(output).decode(errors='replace')
            raise GuestTimeout(f'too slow in the guest: {command}\n{said}') from None
        except EOFError:
            raise LabError(f'QEMU ended during: {command}') from None
