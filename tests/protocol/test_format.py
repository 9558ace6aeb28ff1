# SPDX-License-Identifier: LGPL-2.1-or-later
"""Format to the other block size: it ends when the domain's definition has it, whoever dies meanwhile."""
import json
import os
import signal
import socket
import struct

import pytest

from client import nvme
from test_crash import kill, status
from test_keeper import MIB, Refused, disk, drive, keeper, until    # noqa: F401 pylint: disable=unused-import

FORMAT = 0x80
IN_PROGRESS = 0x84


class Daemon:
    """What the keeper knows of it: somebody who is told to look."""

    def __init__(self, keeper):     # pylint: disable=redefined-outer-name
        self.path = os.path.join(os.path.dirname(keeper.run), 'virtnvmed.sock')
        self.uuid = keeper.uuid
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.bind(self.path)
        self.socket.listen()

    def looks(self):
        connection, _ = self.socket.accept()
        with connection:
            size, = struct.unpack('<I', connection.recv(4, socket.MSG_WAITALL))
            request = json.loads(connection.recv(size, socket.MSG_WAITALL))
            assert request['command'] == 'look' and request['arguments'] == {'domain': self.uuid}
            text = json.dumps({'id': request['id'], 'result': {}}).encode()
            connection.sendall(struct.pack('<I', len(text)) + text)

    def close(self):
        self.socket.close()
        os.unlink(self.path)


def sizes(keeper):      # pylint: disable=redefined-outer-name
    namespace = keeper.call('status')['controllers'][0]['namespaces'][0]
    return namespace['block_size'], namespace.get('next_block_size')


def refused(driver):
    with pytest.raises(nvme.Failed) as failed:
        driver.write(0, b'x' * 4096)
    return failed.value.status == IN_PROGRESS


def begin(disk, driver, lbaf):  # noqa: F811
    cid = driver.admin.submit(FORMAT, nsid=1, cdw=(lbaf,))
    driver.until(lambda: sizes(disk)[1])
    return cid


def test_another_block_size(disk):  # noqa: F811
    daemon = Daemon(disk)
    client, driver = drive(disk)
    assert driver.namespace() == (16 * MIB // 512, 512)
    driver.write(0, b'a' * 4096)
    cid = begin(disk, driver, 1)
    daemon.looks()
    assert sizes(disk) == (512, 4096)
    assert refused(driver) and not driver.admin.finished(cid)
    assert driver.namespace() == (16 * MIB // 512, 512)
    # Neither a successor nor a reset lets anybody in before it is known.
    kill(disk)
    assert refused(driver) and not driver.admin.finished(cid)
    driver.disable()
    driver.enable()
    driver.create_queue(1)
    kill(disk)
    assert refused(driver)
    with pytest.raises(Refused):
        disk.call('set-block-size', index=0, nsid=1, block_size=512)
    # Whoever was told and did nothing is told again.
    daemon.looks()
    disk.call('set-block-size', index=0, nsid=1, block_size=4096)
    assert sizes(disk) == (4096, None)
    assert driver.namespace() == (16 * MIB // 4096, 4096)
    assert driver.read(0, 4096, block_size=4096) == bytes(4096)
    driver.write(16 * MIB // 4096 - 1, b'z' * 4096, block_size=4096)
    kill(disk)
    assert driver.namespace() == (16 * MIB // 4096, 4096)
    assert driver.read(16 * MIB // 4096 - 1, 4096, block_size=4096) == b'z' * 4096
    client.close()
    daemon.close()
    disk.stop()


def test_recorded_while_the_controller_dies(disk):  # noqa: F811
    """Its successor has the new size, and ends the command."""
    client, driver = drive(disk)
    cid = begin(disk, driver, 1)
    pid = status(disk)['pid']
    os.kill(pid, signal.SIGSTOP)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(disk.socket('keeper.sock'))
        text = json.dumps({'id': 1, 'command': 'set-block-size',
                           'arguments': {'index': 0, 'nsid': 1, 'block_size': 4096}}).encode()
        sock.sendall(struct.pack('<I', len(text)) + text)
        until(lambda: sizes(disk) == (4096, None))
        os.kill(pid, signal.SIGKILL)
        size, = struct.unpack('<I', sock.recv(4, socket.MSG_WAITALL))
        assert 'error' not in json.loads(sock.recv(size, socket.MSG_WAITALL))
    assert driver.admin.wait(cid) == 0
    assert driver.namespace() == (16 * MIB // 4096, 4096)
    driver.write(16 * MIB // 4096 - 1, b'z' * 4096, block_size=4096)
    client.close()
    disk.stop()
