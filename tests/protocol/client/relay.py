# SPDX-License-Identifier: LGPL-2.1-or-later
"""The keeper's ends of a controller's channels: control requests, and the relay of one vfio-user device.

See docs/control.md and src/base/relay-frame.h. Nothing is kept for a successor."""
import array
import json
import mmap
import os
import select
import socket
import struct

from . import vfio_user as vu

HELLO, MESSAGE, ACK = 1, 2, 3
BULK = 1
INLINE_MAX = 32 << 10
FRAME = struct.Struct('<IIQQII')
AREA = 4 << 20
TO_CONTROLLER = 4096
TO_KEEPER = TO_CONTROLLER + AREA


def send_fds(sock, parts, fds):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
    return sock.sendmsg(parts, rights)


class Relay(vu.Client):
    """A vfio-user client behind a relay: what QEMU would say goes to the controller in frames."""

    def __init__(self, generation=1):
        self.sock, self.far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        super().__init__(sock=self.sock)
        self.bulk_fd = os.memfd_create('bulk', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.bulk_fd, TO_KEEPER + AREA)
        self.bulk = mmap.mmap(self.bulk_fd, TO_KEEPER + AREA)
        self.sequence = 0
        self.put_at = 0
        self.acks = 0
        self.numbers = {}       # id of a command -> its number
        hello = struct.pack('<IIQQQQ', 1, generation, TO_CONTROLLER, AREA, TO_KEEPER, AREA)
        send_fds(self.sock, [FRAME.pack(HELLO, 0, 0, 0, 0, 1) + hello], [self.bulk_fd])

    def send_raw(self, data, fds=()):
        msg_id, _, _, flags, _ = vu.HEADER.unpack_from(data)
        self.sequence += 1
        if flags & vu.TYPE_MASK == vu.COMMAND and not flags & vu.NO_REPLY:
            self.numbers[msg_id] = self.sequence
        header, payload = data[:16], data[16:]
        if len(payload) <= INLINE_MAX:
            frame = FRAME.pack(MESSAGE, 0, self.sequence, 0, 0, len(fds))
        else:
            # One at a time is enough here: the area is four times as large as a message.
            self.put_at = 0 if self.put_at + len(payload) > AREA else self.put_at
            place = TO_CONTROLLER + self.put_at
            self.bulk[place:place + len(payload)] = payload
            self.put_at += -(-len(payload) // 8) * 8
            frame, payload = FRAME.pack(MESSAGE, BULK, self.sequence, place, 0, len(fds)), b''
        try:
            send_fds(self.sock, [frame, header, payload], fds)
        except (BrokenPipeError, ConnectionResetError):
            raise vu.Closed() from None

    def receive(self, timeout=None):
        while True:
            if not select.select([self.sock], [], [], self.timeout if timeout is None else timeout)[0]:
                raise TimeoutError('no message from the controller')
            message = self._datagram()
            if message:
                return message

    def serve(self, timeout=0.0):
        any_served = False
        while select.select([self.sock], [], [], 0 if any_served else timeout)[0]:
            message = self._datagram()
            if message:
                self._take(message)
                any_served = True
        return any_served

    def _datagram(self):
        """The message in it, or None: it was an acknowledgement."""
        try:
            data, rights, _, _ = self.sock.recvmsg(64 << 10, socket.CMSG_SPACE(64), socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            raise vu.Closed() from None
        if not data:
            raise vu.Closed()
        kind, flags, sequence, offset, release, fd_count = FRAME.unpack_from(data)
        if kind == ACK:
            self.acks += 1
            return None
        assert kind == MESSAGE
        header, payload = data[32:48], data[48:]
        message = vu.Message(header, payload, [])
        for _, _, value in rights:
            message.fds.extend(array.array('i', value))
        assert fd_count == len(message.fds)
        if flags & BULK:
            message.payload = self.bulk[offset:offset + message.size - 16]
            self.bulk[64:68] = struct.pack('<I', release)
        assert len(message.payload) == message.size - 16
        if message.is_reply:
            assert self.numbers.pop(message.id) == sequence, 'a reply names another command'
        return message

    def processed(self):
        """Every message up to this number that wants no reply has been handled."""
        return struct.unpack_from('<Q', self.bulk, 0)[0]


class Channel:
    """Control requests to a controller."""

    def __init__(self, sock):
        self.sock = sock
        self.events = []
        self.last_id = 0

    def send(self, command, arguments=None, fds=()):
        self.last_id += 1
        text = json.dumps({'id': self.last_id, 'command': command, 'arguments': arguments or {}}).encode()
        send_fds(self.sock, [struct.pack('<I', len(text)) + text], list(fds))
        return self.last_id

    def receive(self, timeout=10):
        """The next message, or None at the end of the channel."""
        self.sock.settimeout(timeout)
        length = self._read(4)
        return json.loads(self._read(struct.unpack('<I', length)[0])) if length else None

    def _read(self, count):
        data = b''
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                return None
            data += part
        return data

    def call(self, command, arguments=None, fds=()):
        """The result; an OSError with the answer's code and sentence."""
        request = self.send(command, arguments, fds)
        while True:
            message = self.receive()
            assert message is not None, 'the controller closed its channel'
            if message.get('id') == request:
                break
            self.events.append(message)
        if 'error' in message:
            raise OSError(message['error']['code'], message['error']['message'])
        return message['result']
