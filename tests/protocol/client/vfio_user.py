# SPDX-License-Identifier: LGPL-2.1-or-later
"""A vfio-user client of our own: every command, well-formed or not, and the client's half of DMA by message.

    memory = Memory(1 << 20)
    with Client(path) as client:
        client.negotiate()
        client.map(memory, 0x100000)
        client.region_write(0, 0x14, struct.pack('<I', cc))

Requests of the server (DMA_READ, DMA_WRITE) are served while a reply is waited for, and by serve().
A reply with an error raises RemoteError, whose errno is the server's; the end of the connection raises Closed.
"""
import array
import json
import mmap
import os
import select
import socket
import struct
import time

VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO, GET_REGION_IO_FDS = 1, 2, 3, 4, 5, 6
GET_IRQ_INFO, SET_IRQS, REGION_READ, REGION_WRITE, DMA_READ, DMA_WRITE = 7, 8, 9, 10, 11, 12
DEVICE_RESET, REGION_WRITE_MULTI, DEVICE_FEATURE, MIG_DATA_READ, MIG_DATA_WRITE = 13, 15, 16, 17, 18
NAMES = {value: name for name, value in list(globals().items()) if isinstance(value, int) and name.isupper()}

COMMAND, REPLY, TYPE_MASK, NO_REPLY, ERROR = 0, 1, 0xf, 0x10, 0x20
READ, WRITE = 1, 2
UNMAP_DIRTY_BITMAP, UNMAP_ALL = 1, 2

BAR0, CONFIG, NUM_REGIONS = 0, 7, 9
INTX, MSI, MSIX, ERR, REQ, NUM_IRQS = 0, 1, 2, 3, 4, 5
DATA_NONE, DATA_BOOL, DATA_EVENTFD, MASK, UNMASK, TRIGGER = 1, 2, 4, 8, 16, 32
REGION_FLAG_READ, REGION_FLAG_WRITE, REGION_FLAG_MMAP, REGION_FLAG_CAPS = 1, 2, 4, 8
FEATURE_GET, FEATURE_SET, FEATURE_PROBE = 1 << 16, 1 << 17, 1 << 18

MAX_FDS = 16
MAX_DATA = 1 << 20
CAPABILITIES = {'max_msg_fds': MAX_FDS, 'max_data_xfer_size': MAX_DATA, 'max_dma_maps': 65535, 'pgsizes': 4096,
                'write_multiple': True}
HEADER = struct.Struct('<HHIII')


class Closed(Exception):
    """The server has closed the connection."""


class RemoteError(Exception):
    def __init__(self, errno, command):
        super().__init__('%s: %s' % (NAMES.get(command, command), os.strerror(errno)))
        self.errno = errno
        self.command = command


class Message:
    def __init__(self, header, payload, fds):
        self.id, self.command, self.size, self.flags, self.error = HEADER.unpack(header)
        self.payload = payload
        self.fds = fds

    @property
    def is_reply(self):
        return self.flags & TYPE_MASK == REPLY

    def close_fds(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Memory:
    """Guest memory: a memfd that the server maps, or, with fd=False, memory that it reaches by message only."""

    def __init__(self, size, fd=True):
        self.size = size
        self.fd = os.memfd_create('guest', os.MFD_CLOEXEC) if fd else -1
        if fd:
            os.ftruncate(self.fd, size)
            self.bytes = mmap.mmap(self.fd, size)
        else:
            self.bytes = mmap.mmap(-1, size)

    def read(self, offset, count):
        return self.bytes[offset:offset + count]

    def write(self, offset, data):
        self.bytes[offset:offset + len(data)] = data

    def close(self):
        self.bytes.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Region:
    """What one DMA_MAP declared."""

    def __init__(self, memory, iova, size, offset, access):
        self.memory, self.iova, self.size, self.offset, self.access = memory, iova, size, offset, access

    def holds(self, iova, count):
        return self.iova <= iova and iova + count <= self.iova + self.size


class Interrupt:
    """An eventfd for a vector."""

    def __init__(self):
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def take(self):
        """How often it was signalled since the last time."""
        try:
            return os.eventfd_read(self.fd)
        except BlockingIOError:
            return 0

    def close(self):
        os.close(self.fd)


class Client:
    def __init__(self, path=None, sock=None, timeout=10.0):
        self.timeout = timeout
        self.sock = sock
        if sock is None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.connect(path)
        self.next_id = 0
        self.regions = []
        self.replies = {}      # id -> Message: replies that came while another was waited for
        self.bus_master = True  # what QEMU asks before it executes a DMA of ours
        self.served = []       # (command, iova, count) of the server's requests, oldest first
        self.hold = False      # do not answer the server's requests: they collect in `held`
        self.held = []
        self.capabilities = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    # The wire.

    def send_raw(self, data, fds=()):
        """Bytes as they are; the descriptors go with the first of them."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        try:
            sent = self.sock.sendmsg([data], rights)
            if sent < len(data):
                self.sock.sendall(data[sent:])
        except (BrokenPipeError, ConnectionResetError):
            raise Closed() from None

    def send(self, command, payload=b'', flags=COMMAND, fds=(), size=None, msg_id=None, error=0):
        """A command; returns its id. `size` and `msg_id` may lie."""
        if msg_id is None:
            msg_id = self.next_id = (self.next_id + 1) & 0xffff
        header = HEADER.pack(msg_id, command, 16 + len(payload) if size is None else size, flags, error)
        self.send_raw(header + payload, fds)
        return msg_id

    def _read(self, count, deadline, fds):
        data = b''
        while len(data) < count:
            ready, _, _ = select.select([self.sock], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError('no message from the server')
            try:
                part, rights, _, _ = self.sock.recvmsg(count - len(data), socket.CMSG_SPACE(4 * 64), socket.MSG_CMSG_CLOEXEC)
            except ConnectionResetError:
                raise Closed() from None
            for level, kind, value in rights:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.extend(array.array('i', value[:len(value) // 4 * 4]))
            if not part:
                raise Closed()
            data += part
        return data

    def receive(self, timeout=None):
        """The next message of the server, whatever it is."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        fds = []
        header = self._read(HEADER.size, deadline, fds)
        size = HEADER.unpack(header)[2]
        assert size >= HEADER.size, 'the server sent a size of %d' % size
        payload = self._read(size - HEADER.size, deadline, fds) if size > HEADER.size else b''
        return Message(header, payload, fds)

    def wait(self, msg_id, timeout=None):
        """The reply to that command; what the server asks meanwhile is served."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while msg_id not in self.replies:
            self._take(self.receive(max(0, deadline - time.monotonic())))
        return self.replies.pop(msg_id)

    def call(self, command, payload=b'', fds=(), timeout=None, flags=COMMAND):
        """Send, wait, raise on an error; returns the reply."""
        reply = self.wait(self.send(command, payload, flags, fds), timeout)
        assert reply.command == command, 'a reply to %d for a command %d' % (reply.command, command)
        if reply.flags & ERROR:
            raise RemoteError(reply.error, command)
        return reply

    def errno(self, command, payload=b'', fds=(), flags=COMMAND):
        """What the server answers: 0 or an errno."""
        try:
            self.call(command, payload, fds, flags=flags)
            return 0
        except RemoteError as e:
            return e.errno

    # The server's requests.

    def _take(self, message):
        if message.is_reply:
            assert message.id not in self.replies, 'two replies to %d' % message.id
            self.replies[message.id] = message
        elif self.hold:
            self.held.append(message)
        else:
            self.answer(message)

    def serve(self, timeout=0.0):
        """Serve what is there, or comes within @timeout seconds; True when there was anything."""
        any_served = False
        while select.select([self.sock], [], [], 0 if any_served else timeout)[0]:
            self._take(self.receive())
            any_served = True
        return any_served

    def answer(self, message):
        """Execute a DMA_READ or DMA_WRITE as QEMU does, and reply."""
        iova, count = struct.unpack_from('<QQ', message.payload)
        self.served.append((message.command, iova, count))
        region = next((r for r in self.regions if r.holds(iova, count)), None)
        if message.command not in (DMA_READ, DMA_WRITE) or region is None or not self.bus_master:
            self.reply(message, error=22)
            return
        offset = iova - region.iova + region.offset
        data = b''
        if message.command == DMA_READ:
            data = region.memory.read(offset, count)
        else:
            assert len(message.payload) == 16 + count, 'a DMA_WRITE of another size than it says'
            region.memory.write(offset, message.payload[16:])
        self.reply(message, struct.pack('<QQ', iova, count) + data)

    def reply(self, message, payload=b'', error=0):
        if message.flags & NO_REPLY:
            return
        self.send(message.command, payload, REPLY | (ERROR if error else 0), msg_id=message.id, error=error)

    # The commands.

    def negotiate(self, major=0, minor=1, capabilities=CAPABILITIES, text=None):
        """VERSION; returns (major, minor, the server's capabilities). `text` replaces the whole JSON."""
        payload = struct.pack('<HH', major, minor)
        if text is None and capabilities is not None:
            text = json.dumps({'capabilities': capabilities}).encode() + b'\0'
        reply = self.call(VERSION, payload + (text or b''))
        major, minor = struct.unpack_from('<HH', reply.payload)
        assert reply.payload[-1:] == b'\0', 'the JSON does not end with a NUL'
        self.capabilities = json.loads(reply.payload[4:-1])['capabilities']
        return major, minor, self.capabilities

    def map(self, memory, iova, size=None, offset=0, access=READ | WRITE):
        size = memory.size if size is None else size
        fds = (memory.fd,) if memory.fd >= 0 else ()
        # Before the server may use it, it must be servable.
        region = Region(memory, iova, size, offset, access)
        self.regions.append(region)
        try:
            self.call(DMA_MAP, struct.pack('<IIQQQ', 32, access, offset, iova, size), fds)
        except Exception:
            self.regions.remove(region)
            raise
        return region

    def unmap(self, iova, size, flags=0):
        self.call(DMA_UNMAP, struct.pack('<IIQQ', 24, flags, iova, size))
        if flags & UNMAP_ALL:
            self.regions = []
        else:
            self.regions = [r for r in self.regions if (r.iova, r.size) != (iova, size)]

    def unmap_all(self):
        self.unmap(0, 0, UNMAP_ALL)

    def device_info(self):
        """(flags, regions, irqs)"""
        return struct.unpack('<IIII', self.call(GET_INFO, struct.pack('<IIII', 16, 0, 0, 0)).payload)[1:]

    def region_info(self, index, argsz=4096):
        """A dictionary; `areas` are the sparse areas, `fd` the descriptor to map them (the caller's), or None."""
        reply = self.call(GET_REGION_INFO, struct.pack('<IIIIQQ', argsz, 0, index, 0, 0, 0))
        size, flags, index, cap, length, offset = struct.unpack_from('<IIIIQQ', reply.payload)
        areas = []
        if flags & REGION_FLAG_CAPS and cap and len(reply.payload) >= cap + 16:
            kind, _, _, count, _ = struct.unpack_from('<HHIII', reply.payload, cap)
            assert kind == 1, 'a capability %d' % kind
            areas = [struct.unpack_from('<QQ', reply.payload, cap + 16 + 16 * i) for i in range(count)]
        return {'argsz': size, 'flags': flags, 'index': index, 'size': length, 'offset': offset, 'areas': areas,
                'fd': reply.fds[0] if reply.fds else None}

    def irq_info(self, index):
        """(flags, count)"""
        reply = self.call(GET_IRQ_INFO, struct.pack('<IIII', 16, 0, index, 0))
        _, flags, _, count = struct.unpack('<IIII', reply.payload)
        return flags, count

    def set_irqs(self, flags, index, start=0, count=1, data=b'', fds=()):
        self.call(SET_IRQS, struct.pack('<IIIII', 20 + len(data), flags, index, start, count) + data, fds)

    def enable_vectors(self, interrupts, index=MSIX, start=0):
        """Eventfds for consecutive vectors, in as many messages as they need."""
        for at in range(0, len(interrupts), MAX_FDS):
            part = interrupts[at:at + MAX_FDS]
            self.set_irqs(DATA_EVENTFD | TRIGGER, index, start + at, len(part), fds=[i.fd for i in part])

    def disable_vectors(self, index=MSIX):
        self.set_irqs(DATA_NONE | TRIGGER, index, 0, 0)

    def region_read(self, region, offset, count):
        reply = self.call(REGION_READ, struct.pack('<QII', offset, region, count))
        assert struct.unpack_from('<QII', reply.payload) == (offset, region, count), 'the reply repeats another access'
        assert len(reply.payload) == 16 + count
        return reply.payload[16:]

    def region_write(self, region, offset, data, posted=False):
        payload = struct.pack('<QII', offset, region, len(data)) + data
        if posted:
            self.send(REGION_WRITE, payload, NO_REPLY)
        else:
            self.call(REGION_WRITE, payload)

    def write_multi(self, writes):
        """[(region, offset, data of at most 8 bytes)]; returns how many were done."""
        payload = struct.pack('<Q', len(writes))
        for region, offset, data in writes:
            payload += struct.pack('<QII8s', offset, region, len(data), data)
        return struct.unpack('<Q', self.call(REGION_WRITE_MULTI, payload).payload)[0]

    def reset(self, timeout=None):
        self.call(DEVICE_RESET, timeout=timeout)

    def feature(self, flags, data=b''):
        return self.call(DEVICE_FEATURE, struct.pack('<II', 8 + len(data), flags) + data).payload

    # Registers.

    def read32(self, offset, region=BAR0):
        return struct.unpack('<I', self.region_read(region, offset, 4))[0]

    def read64(self, offset, region=BAR0):
        return struct.unpack('<Q', self.region_read(region, offset, 8))[0]

    def write32(self, offset, value, region=BAR0, posted=False):
        self.region_write(region, offset, struct.pack('<I', value), posted)

    def write64(self, offset, value, region=BAR0, posted=False):
        self.region_write(region, offset, struct.pack('<Q', value), posted)

    def config(self, offset, size=4):
        return int.from_bytes(self.region_read(CONFIG, offset, size), 'little')

    def write_config(self, offset, value, size=4):
        self.region_write(CONFIG, offset, value.to_bytes(size, 'little'))

    def find_capability(self, wanted):
        """Offset of a PCI capability, or 0."""
        offset = self.config(0x34, 1)
        for _ in range(48):
            if not offset or self.config(offset, 1) == wanted:
                return offset
            offset = self.config(offset + 1, 1)
        raise AssertionError('the list of capabilities has no end')
