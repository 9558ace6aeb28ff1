# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands end to end: queues and data in guest memory, the image on disk."""
import os
import struct
import subprocess
import time

import pytest

from client import nvme

MiB = 1 << 20


def image_bytes(path, offset, size):
    with open(path, 'rb') as f:
        f.seek(offset)
        return f.read(size)


@pytest.mark.parametrize('args', [(), ('--io=threads',), ('--io-threads=2',)], ids=['io_uring', 'threads', 'two'])
@pytest.mark.parametrize('cache', ['none', 'writeback', 'writethrough'])
def test_what_is_written_is_in_the_image(start_controller, connect, image, args, cache):
    driver = connect(start_controller('--namespace', 'file:%s,cache=%s' % (image, cache), *args), queues=2)
    for qid, lba, size in ((1, 8, 4096), (2, 100, 512), (1, 1000, 128 << 10), (2, 8192, MiB)):
        data = os.urandom(size)
        driver.write(lba, data, qid=qid)
        driver.flush(qid=qid)
        assert image_bytes(image, lba * 512, size) == data
        assert driver.read(lba, size, qid=3 - qid) == data
    driver.wait_interrupt(1)
    driver.wait_interrupt(2)


@pytest.mark.parametrize('offset', [0, 512, 2560, 3584])
def test_prps_begin_anywhere_in_a_page(start_controller, connect, image, offset):
    driver = connect(start_controller('--namespace', 'file:' + image))
    queue = driver.queues[1]
    for size in (512, 4096, 8192, 64 << 10):
        iova = driver.alloc(size + 4096) + offset
        data = os.urandom(size)
        driver.memory.write(iova, data)
        queue.wait(driver.transfer(queue, nvme.WRITE, 16, size // 512, iova, size))
        assert image_bytes(image, 16 * 512, size) == data


def test_many_commands_at_once(start_controller, connect, image):
    driver = connect(start_controller('--namespace', 'file:' + image), queues=4)
    expected = {}
    for round_number in range(8):
        cids = []
        for qid in range(1, 5):
            queue = driver.queues[qid]
            for i in range(40):
                lba = (qid * 40 + i) * 8
                data = struct.pack('<IIII', round_number, qid, i, 0) * 256
                iova = driver.alloc(4096)
                driver.memory.write(iova, data)
                cids.append((queue, queue.put(nvme.WRITE, 1, iova, cdw=(lba, 0, 7))))
                expected[lba] = data
            queue.ring()
        for queue, cid in cids:
            queue.wait(cid)
        driver.next_page -= 160 * 4096
    driver.flush()
    for lba, data in expected.items():
        assert image_bytes(image, lba * 512, 4096) == data


def test_completions_wait_for_room(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:1M'), queues=0)
    queue = driver.create_queue(1, completions=4)
    iova = driver.alloc(4096)
    cids = [queue.put(nvme.READ, 1, iova, cdw=(0, 0, 7)) for _ in range(40)]
    queue.ring()
    time.sleep(0.05)    # everybody sleeps, with three completions posted
    for cid in cids:
        queue.wait(cid)


def test_two_namespaces_of_different_kinds(start_controller, connect, image):
    driver = connect(start_controller('--namespace', 'memory:8M', '--namespace', 'file:%s,block-size=4096' % image))
    assert driver.namespace(1) == (8 * MiB // 512, 512)
    assert driver.namespace(2) == (16 * MiB // 4096, 4096)
    assert struct.unpack_from('<3I', driver.identify(2)) == (1, 2, 0)
    driver.write(0, b'a' * 4096, nsid=1)
    driver.write(0, b'b' * 8192, nsid=2, block_size=4096)
    assert driver.read(0, 4096, nsid=1) == b'a' * 4096
    assert driver.read(0, 8192, nsid=2, block_size=4096) == b'b' * 8192
    assert image_bytes(image, 0, 8192) == b'b' * 8192
    with pytest.raises(nvme.Failed) as failed:
        driver.read(0, 512, nsid=3)
    assert failed.value.status == nvme.INVALID_FIELD, 'inactive'
    with pytest.raises(nvme.Failed) as failed:
        driver.read(0, 512, nsid=1000)
    assert failed.value.status == nvme.INVALID_NAMESPACE


def test_read_only(start_controller, connect, image):
    os.chmod(image, 0o444)
    driver = connect(start_controller('--namespace', 'file:%s,read-only' % image))
    assert driver.read(0, 4096) == bytes(4096)
    with pytest.raises(nvme.Failed) as failed:
        driver.write(0, b'x' * 512)
    assert failed.value.status == nvme.WRITE_PROTECTED
    assert image_bytes(image, 0, 512) == bytes(512)


def test_null_reads_nothing_and_takes_everything(start_controller, connect):
    driver = connect(start_controller('--namespace', 'null:1T'))
    assert driver.namespace() == ((1 << 40) // 512, 512)
    driver.write((1 << 31) - 8, b'x' * 4096)
    driver.read((1 << 31) - 8, 4096)


def test_the_end_of_the_disk(start_controller, connect, image):
    driver = connect(start_controller('--namespace', 'file:' + image))
    last = 16 * MiB // 512 - 1
    driver.write(last, b'z' * 512)
    for lba, size in ((last, 1024), (last + 1, 512), ((1 << 63) - 1, 512), (1 << 40, 4096)):
        with pytest.raises(nvme.Failed) as failed:
            driver.read(lba, size)
        assert failed.value.status == nvme.LBA_OUT_OF_RANGE
    assert os.stat(image).st_size == 16 * MiB


@pytest.mark.parametrize('args', [(), ('--io=threads',)], ids=['io_uring', 'threads'])
@pytest.mark.parametrize('cache', ['none', 'writeback', 'writethrough'])
def test_deallocated_blocks_leave_the_image_and_read_as_zeroes(start_controller, connect, image, args, cache):
    driver = connect(start_controller('--namespace', 'file:%s,cache=%s,discard=unmap' % (image, cache), *args))
    assert driver.identify(0, 1)[33] == 9, 'DLFEAT'
    data = os.urandom(MiB)
    driver.write(0, data, flags=nvme.FUA)
    full = os.stat(image).st_blocks
    driver.deallocate((0, 1024), (1536, 8), (2040, 8))
    assert os.stat(image).st_blocks <= full - 1024
    expected = bytes(512 << 10) + data[512 << 10:768 << 10] + bytes(4096) + data[772 << 10:1020 << 10] + bytes(4096)
    assert driver.read(0, MiB) == expected
    full = os.stat(image).st_blocks
    driver.write_zeroes(1024, 256, flags=nvme.DEAC)
    assert os.stat(image).st_blocks <= full - 256
    full = os.stat(image).st_blocks
    driver.write_zeroes(1280, 128, flags=nvme.FUA)
    assert os.stat(image).st_blocks == full, 'their space is kept'
    assert driver.read(0, MiB) == bytes(704 << 10) + expected[704 << 10:]
    for ranges in (((0, 1), (32768, 1)), ((1 << 63, 8),), ((0, 0xffffffff),)):
        with pytest.raises(nvme.Failed) as failed:
            driver.deallocate(*ranges)
        assert failed.value.status == nvme.LBA_OUT_OF_RANGE
    assert os.stat(image).st_size == 16 * MiB


def test_without_discard_the_image_keeps_its_space(start_controller, connect, image):
    driver = connect(start_controller('--namespace', 'file:' + image))
    assert driver.identify(0, 1)[33] == 0, 'DLFEAT'
    data = os.urandom(MiB)
    driver.write(0, data)
    full = os.stat(image).st_blocks
    driver.deallocate((0, 2048))
    driver.write_zeroes(0, 64, flags=nvme.DEAC)
    assert os.stat(image).st_blocks == full
    assert driver.read(0, MiB) == bytes(32 << 10) + data[32 << 10:]


@pytest.mark.parametrize('fd', [True, False], ids=['mapped', 'by-message'])
def test_compare_and_verify(start_controller, connect, image, fd):
    driver = connect(start_controller('--namespace', 'file:' + image), fd=fd)
    queue, data = driver.queues[1], os.urandom(128 << 10)
    driver.write(8, data)
    iova = driver.alloc(len(data) + 4096) + 512
    driver.memory.write(iova, data)
    queue.wait(driver.transfer(queue, nvme.COMPARE, 8, 256, iova, len(data)))
    driver.memory.write(iova + 100000, bytes((data[100000] ^ 1,)))
    with pytest.raises(nvme.Failed) as failed:
        queue.wait(driver.transfer(queue, nvme.COMPARE, 8, 256, iova, len(data)))
    assert failed.value.status == nvme.COMPARE_FAILURE
    queue.command(nvme.VERIFY, 1, cdw=(0, 0, 32767))
    with pytest.raises(nvme.Failed) as failed:
        queue.command(nvme.VERIFY, 1, cdw=(1, 0, 32767))
    assert failed.value.status == nvme.LBA_OUT_OF_RANGE
    assert driver.read(8, len(data)) == data


def test_memory_is_deallocated(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:8M'))
    driver.write(0, b'x' * MiB)
    driver.deallocate((1, 100))
    driver.write_zeroes(1000, 10)
    assert driver.read(0, MiB) == b'x' * 512 + bytes(51200) + b'x' * (512 * 899) + bytes(5120) + b'x' * (MiB - 1010 * 512)


def test_forced_unit_access(start_controller, connect, image):
    driver = connect(start_controller('--namespace', 'file:%s,cache=writeback' % image))
    data = os.urandom(4096)
    driver.write(3, data, flags=nvme.FUA)
    assert image_bytes(image, 3 * 512, 4096) == data


def test_identify_names_the_controller(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:1M', '--serial', 'SN42'))
    data = driver.identify(1)
    vid, ssvid = struct.unpack_from('<HH', data)
    assert (vid, ssvid) == (driver.client.config(0, 2), driver.client.config(0x2c, 2))
    assert data[4:24] == b'SN42'.ljust(20)
    assert data[24:64].rstrip()


def test_ids_are_stable_over_restarts(start_controller, connect):
    seen = set()
    for _ in range(2):
        process = start_controller('--namespace', 'memory:1M')
        driver = connect(process)
        seen.add(driver.identify(1)[4:24] + driver.identify(3, 1)[:64])
        driver.client.close()
        process.stop()
    assert len(seen) == 1


def test_counters_in_the_smart_log(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:4M'))
    before = driver.log_page(2, 512)
    for _ in range(5):
        driver.write(0, bytes(512))
        driver.read(0, 512)
    after = driver.log_page(2, 512)
    for offset in (64, 80):
        assert struct.unpack_from('<Q', after, offset)[0] - struct.unpack_from('<Q', before, offset)[0] == 5


def test_a_full_file_system_is_capacity_exceeded(start_controller, connect, folder):
    if os.geteuid() != 0:
        pytest.skip('mounting a small tmpfs needs root')
    mount = os.path.join(folder, 'small')
    os.mkdir(mount)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'small', mount], check=True)
    try:
        path = os.path.join(mount, 'image')
        with open(path, 'wb') as f:
            f.truncate(8 * MiB)
        process = start_controller('--namespace', 'file:%s,cache=writeback' % path)
        driver = connect(process)
        driver.write(0, b'1' * 4096)
        with pytest.raises(nvme.Failed) as failed:
            for lba in range(0, 4 * MiB // 512, 256):
                driver.write(lba, b'2' * (128 << 10))
        assert failed.value.status == nvme.CAPACITY_EXCEEDED
        assert driver.read(0, 512)[:1] in (b'1', b'2')
        driver.client.close()
        process.stop()
    finally:
        subprocess.run(['umount', '-l', mount], check=True)
