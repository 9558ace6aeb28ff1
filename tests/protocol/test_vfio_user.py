# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every vfio-user command, and every way in which one can be wrong, against the real controller."""
import errno
import os
import select
import socket
import struct
import time

import pytest

from client import vfio_user as v

RW = v.READ | v.WRITE


def ended(client, timeout=5):
    """Has the server closed the connection?"""
    try:
        while True:
            client.receive(timeout)
    except v.Closed:
        return True
    except TimeoutError:
        return False


def still_served(controller):
    """A new client is served: the last one did no harm."""
    deadline = time.monotonic() + 5
    while True:
        try:
            with controller.connect() as client:
                client.negotiate()
                assert client.device_info()[1] == v.NUM_REGIONS
                return
        except (v.Closed, ConnectionRefusedError, v.RemoteError) as error:
            # The server may still be taking leave of the last one.
            if time.monotonic() > deadline or getattr(error, 'errno', 0) not in (0, errno.EBUSY, errno.ECONNREFUSED):
                raise
            time.sleep(0.05)


# VERSION

def test_version(controller):
    with controller.connect() as client:
        major, minor, capabilities = client.negotiate()
        assert (major, minor) == (0, 0)
        assert capabilities['max_msg_fds'] >= 8
        assert capabilities['max_data_xfer_size'] == 1 << 20
        assert capabilities['max_dma_maps'] == 65535
        assert capabilities['write_multiple'] is True


def test_version_without_capabilities(controller):
    with controller.connect() as client:
        assert client.negotiate(capabilities=None)[:2] == (0, 0)


@pytest.mark.parametrize('text', [
    b'{', b'{\0', b'[]\0', b'null\0', b'{"capabilities":1}\0', b'{"capabilities":{"max_msg_fds":"x"}}\0',
    b'{"capabilities":{"max_msg_fds":-1}}\0', b'{"capabilities":{"max_data_xfer_size":0}}\0', b'[' * 100 + b'\0',
    b'{"capabilities":{}}', b'\xff' * 100 + b'\0', b'{' + b' ' * 70000 + b'}\0'])
def test_version_malformed(controller, text):
    with controller.connect() as client:
        with pytest.raises(v.RemoteError) as e:
            client.negotiate(text=text)
        assert e.value.errno == errno.EINVAL
        assert ended(client)
    still_served(controller)


def test_version_other_major(controller):
    with controller.connect() as client:
        with pytest.raises(v.RemoteError) as e:
            client.negotiate(major=1)
        assert e.value.errno == errno.ENOTSUP
        assert ended(client)


def test_version_short(controller):
    with controller.connect() as client:
        assert client.errno(v.VERSION, b'\0\0') == errno.EINVAL
        assert ended(client)


@pytest.mark.parametrize('command', [0, *range(2, 20), 0xffff])
def test_before_version(controller, command):
    with controller.connect() as client:
        assert client.errno(command, bytes(64)) == errno.EINVAL
        assert ended(client)
    still_served(controller)


def test_version_twice(client):
    with pytest.raises(v.RemoteError) as e:
        client.negotiate()
    assert e.value.errno == errno.EINVAL
    assert client.device_info()[1] == v.NUM_REGIONS


# Information

def test_device_info(client):
    flags, regions, irqs = client.device_info()
    assert flags & 1 and flags & 2  # reset, PCI
    assert regions == v.NUM_REGIONS
    assert irqs == v.NUM_IRQS
    assert client.errno(v.GET_INFO, struct.pack('<IIII', 15, 0, 0, 0)) == errno.EINVAL
    assert client.errno(v.GET_INFO, bytes(12)) == errno.EINVAL


def test_region_info(client):
    bar0 = client.region_info(v.BAR0)
    assert bar0['size'] >= 16384 and bar0['size'] & (bar0['size'] - 1) == 0
    assert bar0['flags'] & (v.REGION_FLAG_READ | v.REGION_FLAG_WRITE) == 3
    assert client.region_info(v.CONFIG)['size'] in (256, 4096)
    for index in range(v.NUM_REGIONS):
        info = client.region_info(index)
        assert info['index'] == index
        for offset, size in info['areas']:
            assert offset + size <= info['size']
        if info['fd'] is not None:
            os.close(info['fd'])


def test_region_info_as_qemu_asks(client):
    """First with the bare structure, whose reply must not be larger; then with what was said."""
    for index in range(v.NUM_REGIONS):
        reply = client.call(v.GET_REGION_INFO, struct.pack('<IIIIQQ', 32, 0, index, 0, 0, 0))
        assert len(reply.payload) == 32
        argsz = struct.unpack_from('<I', reply.payload)[0]
        if argsz > 32:
            assert not reply.fds
            info = client.region_info(index, argsz)
            assert info['argsz'] == argsz
            if info['fd'] is not None:
                os.close(info['fd'])


@pytest.mark.parametrize('payload', [b'', bytes(31), struct.pack('<IIIIQQ', 31, 0, 0, 0, 0, 0),
                                     struct.pack('<IIIIQQ', 32, 0, v.NUM_REGIONS, 0, 0, 0),
                                     struct.pack('<IIIIQQ', 32, 0, 0xffffffff, 0, 0, 0)])
def test_region_info_malformed(client, payload):
    assert client.errno(v.GET_REGION_INFO, payload) == errno.EINVAL


def test_region_io_fds(client):
    reply = client.call(v.GET_REGION_IO_FDS, struct.pack('<IIII', 16, 0, 0, 0))
    assert struct.unpack('<IIII', reply.payload) == (16, 0, 0, 0)
    assert not reply.fds
    for bad in [(15, 0, 0, 0), (16, 1, 0, 0), (16, 0, v.NUM_REGIONS, 0), (16, 0, 0, 1), (0xffffffff, 0, 0, 0)]:
        assert client.errno(v.GET_REGION_IO_FDS, struct.pack('<IIII', *bad)) == errno.EINVAL


def test_irq_info(client):
    flags, count = client.irq_info(v.MSIX)
    assert flags & 1
    assert count >= 2
    for index in range(v.NUM_IRQS):
        client.irq_info(index)
    for bad in [(15, 0, 0, 0), (16, 0, v.NUM_IRQS, 0), (16, 0, 0xffffffff, 0)]:
        assert client.errno(v.GET_IRQ_INFO, struct.pack('<IIII', *bad)) == errno.EINVAL


def test_feature(client):
    for feature in range(12):
        assert client.errno(v.DEVICE_FEATURE, struct.pack('<II', 8, v.FEATURE_PROBE | feature)) == errno.ENOTTY
    assert client.errno(v.DEVICE_FEATURE, struct.pack('<I', 8)) == errno.EINVAL
    assert client.errno(v.DEVICE_FEATURE, struct.pack('<II', 7, 0)) == errno.EINVAL
    assert client.errno(v.DEVICE_FEATURE, struct.pack('<II', 0xffffffff, 0)) == errno.EINVAL


@pytest.mark.parametrize('command,expected', [
    (0, errno.EINVAL), (14, errno.EINVAL), (19, errno.EINVAL), (0xffff, errno.EINVAL), (v.DMA_READ, errno.EINVAL),
    (v.DMA_WRITE, errno.EINVAL), (v.MIG_DATA_READ, errno.ENOTSUP), (v.MIG_DATA_WRITE, errno.ENOTSUP)])
def test_commands_not_served(client, command, expected):
    assert client.errno(command, bytes(32)) == expected
    assert client.device_info()[1] == v.NUM_REGIONS


# DMA_MAP, DMA_UNMAP

def dma_map(iova, size, offset=0, access=RW, argsz=32):
    return struct.pack('<IIQQQ', argsz, access, offset, iova, size)


def dma_unmap(iova, size, flags=0, argsz=24):
    return struct.pack('<IIQQ', argsz, flags, iova, size)


def test_map_unmap(client):
    memory = v.Memory(1 << 20)
    client.map(memory, 0x100000)
    assert client.errno(v.DMA_MAP, dma_map(0x100000, 1 << 20), [memory.fd]) == errno.EEXIST
    assert client.errno(v.DMA_MAP, dma_map(0x1ff000, 8192), [memory.fd]) == errno.EEXIST
    assert client.errno(v.DMA_MAP, dma_map(0, 1 << 32)) == errno.EEXIST
    assert client.errno(v.DMA_UNMAP, dma_unmap(0x100000, 4096)) == errno.ENOENT
    assert client.errno(v.DMA_UNMAP, dma_unmap(0, 0x100000)) == errno.ENOENT
    client.unmap(0x100000, 1 << 20)
    assert client.errno(v.DMA_UNMAP, dma_unmap(0x100000, 1 << 20)) == errno.ENOENT
    client.map(memory, 0x100000)
    client.map(v.Memory(65536, fd=False), 0xfff00000)
    client.unmap_all()
    client.map(memory, 0x100000)


@pytest.mark.parametrize('payload', [
    b'', bytes(31), dma_map(0, 4096, argsz=31), dma_map(0, 0), dma_map(0, 4096, access=4), dma_map(0, 4096, access=0xffffffff),
    dma_map(0xfffffffffffff000, 8192), dma_map(0, 4096, offset=0xfffffffffffff000), dma_map(0, 1 << 63),
    dma_map(1, 0xffffffffffffffff), dma_map(0, (1 << 20) + 1), dma_map(0, 4096, offset=1 << 20)])
def test_map_malformed(client, payload):
    memory = v.Memory(1 << 20)
    assert client.errno(v.DMA_MAP, payload, [memory.fd]) == errno.EINVAL
    client.map(memory, 0)


def test_map_what_is_no_file(client):
    read_end, write_end = os.pipe()
    for fd in (read_end, client.sock.fileno(), os.open('/dev/null', os.O_RDWR), os.open('/', os.O_RDONLY)):
        assert client.errno(v.DMA_MAP, dma_map(0, 4096), [fd]) == errno.EINVAL
    assert client.errno(v.DMA_MAP, dma_map(0, 4096), [read_end, write_end]) == errno.EINVAL
    client.device_info()


def test_map_read_only_file(client, tmp_path):
    path = tmp_path / 'rom'
    path.write_bytes(bytes(8192))
    fd = os.open(path, os.O_RDONLY)
    client.call(v.DMA_MAP, dma_map(0, 8192, access=v.READ), [fd])
    assert client.errno(v.DMA_MAP, dma_map(8192, 8192, access=RW), [fd]) == errno.EACCES


@pytest.mark.parametrize('payload', [
    b'', bytes(23), dma_unmap(0, 4096, argsz=23), dma_unmap(0, 4096, argsz=0xffffffff), dma_unmap(0, 4096, flags=4),
    dma_unmap(0, 4096, flags=v.UNMAP_DIRTY_BITMAP), dma_unmap(0, 0, flags=v.UNMAP_ALL | v.UNMAP_DIRTY_BITMAP),
    dma_unmap(0, 4096, flags=v.UNMAP_ALL), dma_unmap(4096, 0, flags=v.UNMAP_ALL)])
def test_unmap_malformed(client, payload):
    client.map(v.Memory(4096), 0)
    assert client.errno(v.DMA_UNMAP, payload) == errno.EINVAL
    client.unmap(0, 4096)


def test_map_many(client):
    memory = v.Memory(4096)
    for i in range(2000):
        client.send(v.DMA_MAP, dma_map(i * 8192, 4096), flags=v.NO_REPLY, fds=[memory.fd])
    assert client.errno(v.DMA_MAP, dma_map(1999 * 8192, 4096), [memory.fd]) == errno.EEXIST
    client.unmap_all()


def test_file_truncated_under_it(client):
    memory = v.Memory(1 << 20)
    client.map(memory, 0)
    os.ftruncate(memory.fd, 0)
    client.device_info()
    client.unmap_all()
    client.device_info()


# SET_IRQS

def irqs(flags, index, start, count, data=b'', argsz=None):
    return struct.pack('<IIIII', 20 + len(data) if argsz is None else argsz, flags, index, start, count) + data


def test_set_irqs_and_trigger(client):
    _, count = client.irq_info(v.MSIX)
    interrupts = [v.Interrupt() for _ in range(count)]
    client.enable_vectors(interrupts)
    client.set_irqs(v.DATA_NONE | v.TRIGGER, v.MSIX, 0, count)
    assert all(i.take() for i in interrupts)
    client.set_irqs(v.DATA_BOOL | v.TRIGGER, v.MSIX, 0, 2, b'\0\1')
    assert [i.take() for i in interrupts[:2]] == [0, 1]
    client.set_irqs(v.DATA_NONE | v.MASK, v.MSIX, 0, 1)
    client.set_irqs(v.DATA_NONE | v.TRIGGER, v.MSIX, 0, 1)
    assert interrupts[0].take() == 0
    client.set_irqs(v.DATA_NONE | v.UNMASK, v.MSIX, 0, 1)
    assert interrupts[0].take() == 1
    # No descriptors: the vector has none any more.
    client.set_irqs(v.DATA_EVENTFD | v.TRIGGER, v.MSIX, 0, 1)
    client.set_irqs(v.DATA_NONE | v.TRIGGER, v.MSIX, 0, 2)
    assert [i.take() for i in interrupts[:2]] == [0, 1]
    client.disable_vectors()
    client.set_irqs(v.DATA_NONE | v.TRIGGER, v.MSIX, 0, count)
    assert not any(i.take() for i in interrupts)


@pytest.mark.parametrize('payload', [
    b'', bytes(19), irqs(33, v.MSIX, 0, 1, argsz=19), irqs(33, v.MSIX, 0, 1, argsz=0xffffffff), irqs(33, v.NUM_IRQS, 0, 1),
    irqs(33, v.MSIX, 4000, 1), irqs(33, v.MSIX, 0, 0xffffffff), irqs(33, v.MSIX, 0xffffffff, 1), irqs(32, v.MSIX, 0, 1),
    irqs(1, v.MSIX, 0, 1), irqs(35, v.MSIX, 0, 1), irqs(0x31, v.MSIX, 0, 1), irqs(0x19, v.MSIX, 0, 1), irqs(0x61, v.MSIX, 0, 1),
    irqs(34, v.MSIX, 0, 2, b'\0'), irqs(34, v.MSIX, 0, 1, b'\1', argsz=20), irqs(9, v.MSIX, 0, 0), irqs(36, v.MSIX, 0, 0)])
def test_set_irqs_malformed(client, payload):
    assert client.errno(v.SET_IRQS, payload) == errno.EINVAL
    client.device_info()


def test_set_irqs_descriptors(client):
    interrupt = v.Interrupt()
    read_end, write_end = os.pipe()
    eventfd = v.DATA_EVENTFD | v.TRIGGER
    assert client.errno(v.SET_IRQS, irqs(eventfd, v.MSIX, 0, 2), [interrupt.fd]) == errno.EINVAL
    assert client.errno(v.SET_IRQS, irqs(eventfd, v.MSIX, 0, 1), [interrupt.fd] * 2) == errno.EINVAL
    assert client.errno(v.SET_IRQS, irqs(v.DATA_NONE | v.TRIGGER, v.MSIX, 0, 1), [interrupt.fd]) == errno.EINVAL
    assert client.errno(v.SET_IRQS, irqs(eventfd, v.MSIX, 0, 1), [write_end]) == errno.EINVAL
    assert client.errno(v.SET_IRQS, irqs(v.DATA_EVENTFD | v.UNMASK, v.MSIX, 0, 1), [interrupt.fd]) == errno.ENOTTY
    os.close(read_end)
    os.close(write_end)


# Regions

def test_config_space(client):
    assert client.config(0x0a, 2) == 0x0108  # NVM Express
    assert client.config(0x0e, 1) == 0
    assert client.find_capability(0x01)
    assert client.find_capability(0x10)
    msix = client.find_capability(0x11)
    assert (client.config(msix + 2, 2) & 0x7ff) + 1 == client.irq_info(v.MSIX)[1]
    bar0 = client.region_info(v.BAR0)['size']
    client.write_config(0x10, 0xffffffff)
    assert (~(client.config(0x10) & 0xfffffff0) & 0xffffffff) + 1 == bar0
    client.write_config(0x10, 0)
    client.write_config(0, 0)
    assert client.config(0, 2) not in (0, 0xffff)
    assert len(client.region_read(v.CONFIG, 0, 256)) == 256


def test_registers(client):
    assert client.read64(0) & 0xffff  # CAP.MQES
    assert client.read32(8) >> 16 >= 1  # VS
    assert client.read32(0x1c) & 1 == 0  # CSTS.RDY


@pytest.mark.parametrize('region,offset,count', [
    (v.BAR0, 1 << 40, 4), (v.BAR0, 0xffffffffffffffff, 1), (v.BAR0, 0xfffffffffffffffc, 4), (v.BAR0, 0, 0xffffffff),
    (v.BAR0, 0, (1 << 20) + 1), (1, 0, 4), (v.NUM_REGIONS, 0, 4), (0xffffffff, 0, 4), (v.CONFIG, 4096, 1), (v.CONFIG, 4095, 2)])
def test_access_out_of_bounds(client, region, offset, count):
    assert client.errno(v.REGION_READ, struct.pack('<QII', offset, region, count)) == errno.EINVAL
    data = bytes(min(count, 1 << 20))
    assert client.errno(v.REGION_WRITE, struct.pack('<QII', offset, region, count) + data) == errno.EINVAL


@pytest.mark.parametrize('payload', [b'', bytes(15), struct.pack('<QII', 0, 0, 4), struct.pack('<QII', 0, 0, 4) + bytes(3),
                                     struct.pack('<QII', 0, 0, 4) + bytes(5)])
def test_write_of_another_size(client, payload):
    assert client.errno(v.REGION_WRITE, payload) == errno.EINVAL


def test_write_multi(client):
    assert client.write_multi([(v.CONFIG, 0x3c, b'\x05'), (v.CONFIG, 0x0c, b'\x10')]) == 2
    assert client.config(0x3c, 1) == 5
    assert client.config(0x0c, 1) == 0x10
    one = struct.pack('<QII8s', 0x3c, v.CONFIG, 1, b'\x07')
    too_long = struct.pack('<QII8s', 0x3c, v.CONFIG, 9, b'\x07')
    outside = struct.pack('<QII8s', 4096, v.CONFIG, 1, b'\x07')
    for bad in (b'', struct.pack('<Q', 2) + one, struct.pack('<Q', 1) + one + b'x', struct.pack('<Q', 1 << 61) + one,
                struct.pack('<Q', 2) + one + too_long, struct.pack('<Q', 2) + one + outside, struct.pack('<Q', 201) + one * 201):
        assert client.errno(v.REGION_WRITE_MULTI, bad) == errno.EINVAL
    assert client.config(0x3c, 1) == 5, 'a refused multi-write was done in part'


def test_posted_writes_are_not_answered(client):
    for i in range(1000):
        client.region_write(v.CONFIG, 0x3c, bytes([i & 0xff]), posted=True)
    client.send(v.REGION_WRITE, struct.pack('<QII', 1 << 40, 0, 1) + b'x', flags=v.NO_REPLY)
    assert client.config(0x3c, 1) == 999 & 0xff
    assert not client.replies


# DEVICE_RESET

def test_reset(client):
    client.write_config(4, 6, 2)
    client.reset()
    assert client.read32(0x1c) & 1 == 0
    assert client.errno(v.DEVICE_RESET, b'x') == errno.EINVAL
    for _ in range(20):
        client.reset()


# The stream

def test_one_byte_at_a_time(client):
    message = v.HEADER.pack(500, v.REGION_READ, 32, 0, 0) + struct.pack('<QII', 0, v.BAR0, 8)
    for i in range(len(message)):
        client.send_raw(message[i:i + 1])
    assert len(client.wait(500).payload) == 24


def test_many_in_one_write(client):
    message = b''.join(v.HEADER.pack(i, v.REGION_READ, 32, 0, 0) + struct.pack('<QII', 0, v.BAR0, 8) for i in range(1000, 1500))
    client.send_raw(message)
    for i in range(1000, 1500):
        assert client.wait(i).error == 0


@pytest.mark.parametrize('header', [
    (1, v.GET_INFO, 0, 0, 0), (1, v.GET_INFO, 15, 0, 0), (1, v.GET_INFO, (1 << 20) + 4097, 0, 0),
    (1, v.GET_INFO, 0xffffffff, 0, 0), (1, v.GET_INFO, 16, 2, 0), (1, v.GET_INFO, 16, 15, 0)])
def test_header_that_cannot_be(controller, header):
    with controller.connect() as client:
        client.negotiate()
        client.send_raw(v.HEADER.pack(*header))
        assert ended(client)
    still_served(controller)


@pytest.mark.parametrize('flags', [v.ERROR, 0x40, 0xffffff00])
def test_unknown_flags(client, flags):
    assert client.errno(v.DEVICE_RESET, flags=flags) == errno.EINVAL
    client.device_info()


def test_unasked_reply(controller):
    with controller.connect() as client:
        client.negotiate()
        client.send(v.DMA_READ, struct.pack('<QQ', 0, 4) + b'data', flags=v.REPLY)
        assert ended(client)
    still_served(controller)


def test_descriptors_where_none_belong(client):
    interrupt = v.Interrupt()
    for command in (v.GET_INFO, v.REGION_READ, v.DEVICE_RESET, v.REGION_WRITE_MULTI):
        assert client.errno(command, bytes(16), [interrupt.fd]) == errno.EINVAL


def test_too_many_descriptors(controller):
    interrupt = v.Interrupt()
    with controller.connect() as client:
        client.negotiate()
        client.send(v.SET_IRQS, irqs(36, v.MSIX, 0, 17), fds=[interrupt.fd] * 17)
        assert ended(client)
    still_served(controller)


def test_descriptors_are_not_kept(controller, client):
    """Whatever is refused, its descriptors are closed."""
    def count():
        return len(os.listdir('/proc/%d/fd' % controller.process.pid))

    interrupt = v.Interrupt()
    before = count()
    for _ in range(50):
        assert client.errno(v.SET_IRQS, irqs(36, v.MSIX, 0, 2), [interrupt.fd]) == errno.EINVAL
        assert client.errno(v.DMA_MAP, dma_map(0, 4096), [interrupt.fd]) == errno.EINVAL
        assert client.errno(v.GET_INFO, bytes(16), [interrupt.fd] * 3) == errno.EINVAL
    client.device_info()    # the last reply comes before the descriptors are closed
    assert count() == before


def test_half_a_message(controller):
    with controller.connect() as client:
        client.negotiate()
        client.send_raw(v.HEADER.pack(1, v.REGION_WRITE, 1000, 0, 0) + bytes(100))
    still_served(controller)


def test_garbage(controller):
    with controller.connect() as client:
        try:
            client.send_raw(os.urandom(100000))
        except v.Closed:
            pass
        assert ended(client)
    still_served(controller)


def test_client_that_reads_nothing(controller):
    """Its replies fill the socket; the server gives it up after a while instead of waiting for ever."""
    with controller.connect() as client:
        client.negotiate()
        client.sock.setblocking(False)
        read = v.HEADER.pack(1, v.REGION_READ, 32, 0, 0) + struct.pack('<QII', 0, v.CONFIG, 4096)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                client.sock.send(read)
            except BlockingIOError:
                select.select([], [client.sock], [], 0.5)
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            pytest.fail('a client that reads nothing is kept for ever')
    still_served(controller)


# One client at a time

def test_second_client_is_refused_at_once(controller, client):
    second = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    second.settimeout(5)
    begin = time.monotonic()
    second.connect(controller.path)
    try:
        assert second.recv(1) == b''
    except ConnectionResetError:
        pass
    assert time.monotonic() - begin < 2
    assert client.device_info()[1] == v.NUM_REGIONS


def test_next_client_is_served(controller):
    for _ in range(10):
        still_served(controller)
