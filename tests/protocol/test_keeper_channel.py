# SPDX-License-Identifier: LGPL-2.1-or-later
"""The controller under a keeper, of which these tests play the part: control requests, relay, state file."""
import errno
import os
import socket
import struct
import subprocess
import time

import pytest

from client import nvme, relay, vfio_user as vu
from conftest import PROGRAM

MiB = 1 << 20
UUID = '6f1f2b1a-8a55-4f0e-9d7c-0a1b2c3d4e5f'


class Keeper:
    def __init__(self, folder):
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.log_path = os.path.join(folder, 'log')
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen([PROGRAM, '--control-fd=%d' % far.fileno(), '--io-threads=2', '--log-level=7'],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[far.fileno()])
        far.close()
        self.channel = relay.Channel(near)

    def add_controller(self, index=0, queues=4, state=None, frozen=False):
        client = relay.Relay()
        state = os.memfd_create('state', os.MFD_CLOEXEC) if state is None else state
        self.channel.call('add-controller', {'index': index, 'serial': 'VN%d' % index, 'uuid': UUID, 'queues': queues,
                                             'cntlid': index, 'frozen': frozen}, [state, client.far_end.fileno()])
        client.far_end.close()
        client.negotiate()
        client.state = state
        return client

    def add_namespace(self, index, nsid, path=None, **more):
        spec = {'nsid': nsid, 'target': 'nvme%dn%d' % (index, nsid), 'type': 'file' if path else 'memory',
                'bytes': 0 if path else 4 * MiB, 'cache': 'none', **more}
        fds = [os.open(path, os.O_RDWR | os.O_DIRECT)] if path else []
        try:
            return self.channel.call('add-namespace', {'index': index, 'namespace': spec}, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def end(self):
        with open(self.log_path, errors='replace') as f:
            log = f.read()
        assert self.process.wait(10) == 0, log
        assert 'runtime error' not in log and 'Sanitizer' not in log, log


@pytest.fixture
def keeper(folder):
    one = Keeper(folder)
    yield one
    if one.process.poll() is None:
        one.channel.sock.close()
    one.end()


def driver_of(client, vectors=5, queues=1):
    memory = vu.Memory(32 * MiB)
    client.map(memory, 0)
    driver = nvme.Driver(client, memory, vectors=vectors)
    driver.enable()
    for qid in range(1, queues + 1):
        driver.create_queue(qid)
    return driver


def test_a_disk_through_the_relay(keeper, image):
    client = keeper.add_controller()
    assert keeper.add_namespace(0, 1, image) == {'capacity': 16 * MiB, 'block_size': 512}
    assert os.fstat(client.state).st_size > 8192, 'the state is in the file'
    driver = driver_of(client)
    data = os.urandom(MiB)
    driver.write(8, data)
    assert driver.read(8, MiB) == data
    driver.wait_interrupt(1)
    with open(image, 'rb') as f:
        f.seek(4096)
        assert f.read(MiB) == data
    entry, = keeper.channel.call('counters')['controllers']
    assert entry['index'] == 0 and entry['csts'] & 1 == 1
    ns, = entry['namespaces']
    assert (ns['nsid'], ns['write_bytes'], ns['read_bytes'], ns['errors']) == (1, MiB, MiB, 0)


def test_memory_by_message_through_the_relay(keeper):
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, bytes=16 * MiB)
    memory = vu.Memory(32 * MiB, fd=False)
    client.map(memory, 0)
    driver = nvme.Driver(client, memory)
    driver.enable()
    driver.create_queue(1)
    data = os.urandom(MiB)
    driver.write(0, data)
    assert driver.read(0, MiB) == data


def test_posted_messages_are_acknowledged(keeper):
    client = keeper.add_controller()
    for _ in range(200):
        client.write32(0x1000 + 4 * 100, 0, posted=True)
    client.read32(0)
    assert client.processed() >= client.sequence - 1
    assert client.acks >= 2


def test_namespaces_come_and_go(keeper, image):
    client = keeper.add_controller()
    keeper.add_namespace(0, 1)
    driver = driver_of(client)
    driver.admin.command(nvme.SET_FEATURES, cdw=(0xb, 1 << 8))
    driver.log_page(4, 4096)    # the first namespace's arrival
    event = driver.admin.submit(nvme.AER)
    keeper.add_namespace(0, 2, image)
    assert driver.admin.wait(event) & 0xff0007 == 4 << 16 | 2
    assert driver.log_page(4, 4096)[:4] == b'\2\0\0\0'
    driver.write(0, b'2' * 512, nsid=2)
    keeper.channel.call('remove-namespace', {'index': 0, 'nsid': 2})
    with pytest.raises(nvme.Failed):
        driver.read(0, 512, nsid=2)
    driver.write(0, b'1' * 512, nsid=1)
    # Its descriptors are gone: the image's lock can be had.
    assert image not in ''.join(os.readlink(e.path) for e in os.scandir('/proc/%d/fd' % keeper.process.pid)) \
        if os.geteuid() == 0 else True
    for arguments, code in (({'index': 0, 'nsid': 2}, errno.ENOENT), ({'index': 7, 'nsid': 1}, errno.ENOENT)):
        with pytest.raises(OSError) as failed:
            keeper.channel.call('remove-namespace', arguments)
        assert failed.value.errno == code


def test_given_ids_are_shown(keeper):
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, uuid=UUID, nguid='00112233-4455-6677-8899-aabbccddeeff', eui64='0025385b91b0f2d3')
    keeper.add_namespace(0, 2)
    driver = driver_of(client)
    shown, other = driver.identify(0, 1), driver.identify(0, 2)
    assert shown[104:120].hex() == '00112233445566778899aabbccddeeff'
    assert shown[120:128].hex() == '0025385b91b0f2d3'
    assert other[104:120] not in (bytes(16), shown[104:120]) and other[120:128] == bytes(8)
    descriptors = driver.identify(3, 1)
    assert b'\1\x08\0\0' + shown[120:128] in descriptors and bytes.fromhex(UUID.replace('-', '')) in descriptors


def test_resize(keeper, image):
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, image)
    driver = driver_of(client)
    driver.admin.command(nvme.SET_FEATURES, cdw=(0xb, 1 << 8))
    event = driver.admin.submit(nvme.AER)
    os.truncate(image, 32 * MiB)
    assert keeper.channel.call('resize-namespace', {'index': 0, 'nsid': 1}) == {'capacity': 32 * MiB}
    driver.admin.wait(event)
    assert driver.namespace() == (32 * MiB // 512, 512)
    driver.write(32 * MiB // 512 - 1, b'e' * 512)


def test_iotune(keeper):
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, iotune={'total_iops_sec': 100})
    driver = driver_of(client)
    begin = time.monotonic()
    for _ in range(60):
        driver.read(0, 512)
    # Ten at once, then a hundred a second.
    assert time.monotonic() - begin > 0.45

    def limit(**iotune):
        keeper.channel.call('set-iotune', {'index': 0, 'nsid': 1, 'iotune': iotune})

    # One now, the next in a quarter of an hour, unless the limit goes. Writes are not meant.
    limit(read_bytes_sec=4, write_iops_sec=1000000)
    driver.read(0, 4096)
    buffer = driver.alloc(4096)
    cid = driver.transfer(driver.queues[1], nvme.READ, 0, 8, buffer, 4096)
    driver.write(8, b'w' * 512)
    assert not driver.queues[1].finished(cid)
    limit()
    driver.queues[1].wait(cid)
    with pytest.raises(OSError) as refused:
        keeper.channel.call('set-iotune', {'index': 0, 'nsid': 2, 'iotune': {}})
    assert refused.value.errno == errno.ENOENT


def test_two_controllers(keeper, image):
    clients = [keeper.add_controller(index) for index in range(2)]
    keeper.add_namespace(0, 1, image)
    keeper.add_namespace(1, 1)
    drivers = [driver_of(client, queues=2) for client in clients]
    for number, driver in enumerate(drivers):
        for qid in (1, 2):
            driver.write(8 * qid, bytes([number + 1, qid]) * 256, qid=qid)
    for number, driver in enumerate(drivers):
        for qid in (1, 2):
            assert driver.read(8 * qid, 512) == bytes([number + 1, qid]) * 256
    keeper.channel.call('remove-controller', {'index': 0})
    with pytest.raises(vu.Closed):
        drivers[0].read32(nvme.CSTS)
    drivers[1].write(0, bytes(512))


@pytest.mark.parametrize('command, arguments, fds', [
    ('add-controller', {'index': 1, 'serial': 'S', 'uuid': UUID, 'queues': 4, 'cntlid': 0}, 0),
    ('add-controller', {'index': 0, 'serial': 'S', 'uuid': UUID, 'queues': 4, 'cntlid': 0}, 2),
    ('add-controller', {'index': 1, 'serial': 'S' * 21, 'uuid': UUID, 'queues': 4, 'cntlid': 0}, 2),
    ('add-controller', {'index': 1, 'serial': 'S', 'uuid': 'x', 'queues': 4, 'cntlid': 0}, 2),
    ('add-controller', {'index': 1, 'serial': 'S', 'uuid': UUID, 'queues': 65, 'cntlid': 0}, 2),
    ('add-controller', {'index': 1, 'serial': 'S', 'uuid': UUID, 'queues': 4, 'cntlid': 64}, 2),
    ('add-namespace', {'index': 0, 'namespace': {}}, 0),
    ('add-namespace', {'index': 0, 'namespace': {'nsid': 0, 'type': 'memory', 'bytes': MiB}}, 0),
    ('add-namespace', {'index': 0, 'namespace': {'nsid': 1, 'type': 'memory', 'bytes': 0}}, 0),
    ('add-namespace', {'index': 0, 'namespace': {'nsid': 1, 'type': 'memory', 'bytes': MiB}}, 1),
    ('add-namespace', {'index': 0, 'namespace': {'nsid': 1, 'type': 'file'}}, 0),
    ('add-namespace', {'index': 0, 'namespace': {'nsid': 1, 'type': 'file', 'cache': 'some'}}, 1),
    ('add-namespace', {'index': 0, 'namespace': {'nsid': 1, 'type': 'memory', 'bytes': MiB, 'uuid': '12'}}, 0),
    ('add-namespace', {'index': 0, 'namespace': {'nsid': 1, 'type': 'memory', 'bytes': MiB, 'eui64': '0' * 17}}, 0),
    ('no-such-thing', {}, 0),
])
def test_wrong_requests_get_a_sentence(keeper, command, arguments, fds):
    keeper.add_controller()
    extra = [os.memfd_create('x') for _ in range(fds)]
    with pytest.raises(OSError) as failed:
        keeper.channel.call(command, arguments, extra)
    assert failed.value.strerror
    for fd in extra:
        os.close(fd)
    assert len(keeper.channel.call('counters')['controllers']) == 1


def test_stop_drains(keeper, image):
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, image)
    driver = driver_of(client)
    queue = driver.queues[1]
    for i in range(32):
        iova = driver.alloc(4096)
        driver.memory.write(iova, b'd' * 4096)
        queue.put(nvme.WRITE, 1, iova, cdw=(i * 8, 0, 7))
    queue.ring()
    driver.until(lambda: queue.poll() and len(queue.done) >= 1)
    assert keeper.channel.call('stop') == {}
    keeper.end()


def test_the_client_goes_away(keeper):
    client = keeper.add_controller()
    keeper.add_namespace(0, 1)
    driver_of(client)
    client.close()
    assert keeper.channel.receive() == {'event': 'closed', 'data': {'index': 0}}
    keeper.channel.call('remove-controller', {'index': 0})


def test_the_keeper_goes_away(keeper):
    driver_of(keeper.add_controller())
    keeper.channel.sock.close()
    keeper.end()


def test_memory_of_two_controllers_goes_at_once(keeper):
    """QEMU tells all devices the same: their old mappings wait for the same I/O threads at the same time."""
    clients = [keeper.add_controller(index) for index in range(2)]
    for index in range(2):
        keeper.add_namespace(index, 1, path=None)
    for i in range(100):
        calls = []
        for client in clients:
            memory = vu.Memory(MiB)
            client.map(memory, i << 32)
            memory.close()
        for client in clients:
            calls.append((client, client.send(vu.DMA_UNMAP, struct.pack('<IIQQ', 24, 0, i << 32, MiB))))
        for client, call in calls:
            assert not client.wait(call).flags & vu.ERROR
    for index in range(2):
        keeper.channel.call('remove-controller', {'index': index})


@pytest.mark.parametrize('vectors', [5, 0])
def test_a_successor_goes_on_with_the_queues(keeper, folder, image, vectors):
    """The guest writes its configuration space once: a successor has bus mastering and MSI-X from the state."""
    client = keeper.add_controller()
    keeper.add_namespace(0, 1, image)
    driver = driver_of(client, vectors=vectors)
    data = os.urandom(4096)
    driver.write(0, data)
    keeper.process.kill()
    keeper.process.wait()

    successor = Keeper(folder)
    driver.client = again = successor.add_controller(state=client.state)
    successor.add_namespace(0, 1, image)
    again.map(driver.memory.memory, 0)
    if vectors:
        again.enable_vectors(driver.vectors)
        driver.vectors[1].take()
    assert driver.read(0, 4096) == data
    if vectors:
        driver.wait_interrupt(1)
    successor.channel.sock.close()
    successor.end()
    keeper.end = lambda: None
