# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QMP client: commands, and the events that came meanwhile."""
import json
import socket
import threading
import time

from .error import LabError


class QmpError(LabError):
    """QEMU's answer was an error; `error` is the object it sent."""

    def __init__(self, command, error):
        self.error = error
        super().__init__(f'{command}: {error["desc"]}')


class Qmp:
    """QMP = Qmp(path); QMP('query-status'); QMP.wait_event('RESET')."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._changed = threading.Condition()
        self._commands = threading.Lock()
        self._answer = None
        self._closed = False
        self.events = []
        threading.Thread(target=self._read, daemon=True).start()
        self('qmp_capabilities')

    def _read(self):
        try:
            with self._socket.makefile('r', encoding='utf-8') as lines:
                for line in lines:
                    self._take(json.loads(line))
        except (OSError, ValueError):
            pass
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take(self, message):
        with self._changed:
            if 'event' in message:
                self.events.append(message)
            elif 'QMP' not in message:
                self._answer = message
            self._changed.notify_all()

    def __call__(self, command, timeout=60, **arguments):
        """Returns what QEMU returned. An underscore in an argument's name stands for a dash."""
        named = {name.replace('_', '-'): value for name, value in arguments.items()}
        with self._commands:
            try:
                self._socket.sendall(json.dumps({'execute': command, 'arguments': named}).encode() + b'\n')
            except OSError as error:
                raise LabError(f'{command}: QEMU is gone') from error
            with self._changed:
                if not self._changed.wait_for(lambda: self._answer or self._closed, timeout):
                    raise LabError(f'{command}: QEMU did not answer within {timeout} s')
                answer, self._answer = self._answer, None
        if not answer:
            raise LabError(f'{command}: QEMU is gone')
        if 'error' in answer:
            raise QmpError(command, answer['error'])
        return answer['return']

    def hmp(self, line):
        return self('human-monitor-command', command_line=line)

    def wait_event(self, name, timeout=30, since=0, match=lambda data: True):
        """The first event NAME from number SINCE of `events` on whose data MATCH accepts."""
        def find():
            return next((event for event in self.events[since:]
                         if event['event'] == name and match(event.get('data', {}))), None)
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (event := find()):
                if self._closed or not self._changed.wait(deadline - time.monotonic()):
                    raise LabError(f'no event {name} within {timeout} s')
            return event

    def close(self):
        self._socket.close()
