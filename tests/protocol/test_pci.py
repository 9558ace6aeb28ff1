# SPDX-License-Identifier: LGPL-2.1-or-later
"""The PCI function as QEMU sees it."""
import pytest

from client import nvme, vfio_user as vu


def test_regions_and_interrupts(start_controller):
    client = start_controller('--namespace', 'memory:1M', '--queues=8').connect()
    client.negotiate()
    assert client.region_info(vu.BAR0)['size'] == 16384
    assert client.region_info(vu.CONFIG)['size'] == 4096
    assert [client.region_info(i)['size'] for i in range(1, 7)] == [0] * 6
    assert client.irq_info(vu.MSIX)[1] == 9
    assert client.irq_info(vu.INTX)[1] == 1


def test_configuration_space(start_controller):
    client = start_controller('--namespace', 'memory:1M').connect()
    client.negotiate()
    assert client.config(8, 4) >> 8 == 0x010802, 'class: NVMe I/O controller'
    assert client.config(0x10, 4) & 0xf == 4, 'BAR0: 64 bits, memory, not prefetchable'
    offset = client.find_capability(0x11)
    assert client.config(offset + 2, 2) & 0x7ff == 4, 'five vectors'
    table, pba = client.config(offset + 4), client.config(offset + 8)
    assert table & 7 == pba & 7 == 0 and table & ~7 >= 0x2000
    assert (pba & ~7) + 8 <= 16384 and (table & ~7) + 5 * 16 <= 16384
    assert client.find_capability(0x10) and client.find_capability(1)


def test_the_msix_table_keeps_what_is_written(start_controller):
    client = start_controller('--namespace', 'memory:1M').connect()
    client.negotiate()
    table = client.config(client.find_capability(0x11) + 4) & ~7
    client.region_write(vu.BAR0, table, b'\x11\x22\x33\x44')
    client.region_write(vu.BAR0, table + 4 * 16 + 12, b'\1\0\0\0')
    assert client.region_read(vu.BAR0, table, 4) == b'\x11\x22\x33\x44'
    assert client.region_read(vu.BAR0, table + 4 * 16 + 12, 4) == b'\1\0\0\0'
    assert client.region_read(vu.BAR0, 16384 - 8, 8) == bytes(8)
    client.region_write(vu.BAR0, 16384 - 8, b'x' * 8)


def test_no_dma_without_bus_master(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:1M'))
    driver.bus_master(False)
    queue = driver.queues[1]
    cid = queue.submit(nvme.READ, 1, driver.alloc(4096), cdw=(0, 0, 7))
    with pytest.raises(TimeoutError):
        driver.until(lambda: queue.finished(cid), 0.2)
    driver.bus_master(True)
    queue.wait(cid)


def test_intx_when_msix_is_off(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:1M'), vectors=0, enable=False)
    client = driver.client
    line = vu.Interrupt()
    client.set_irqs(vu.DATA_EVENTFD | vu.TRIGGER, vu.INTX, 0, 1, fds=[line.fd])
    driver.enable()
    driver.create_queue(1)
    # The last completion may have been seen before it raised the line: taken after this answer only.
    client.set_irqs(vu.DATA_NONE | vu.UNMASK, vu.INTX, 0, 1)
    line.take()
    # The line is up only as long as the completion has not been taken.
    queue = driver.queues[1]
    cid = queue.submit(nvme.READ, 1, driver.alloc(4096), cdw=(0, 0, 7))
    driver.until(line.take)
    client.set_irqs(vu.DATA_NONE | vu.UNMASK, vu.INTX, 0, 1)
    assert line.take(), 'still up'
    queue.wait(cid)
    client.set_irqs(vu.DATA_NONE | vu.UNMASK, vu.INTX, 0, 1)
    assert not line.take()


def test_each_queue_has_its_vector(start_controller, connect):
    driver = connect(start_controller('--namespace', 'memory:1M'), queues=4)
    for qid in (3, 1, 4, 2):
        driver.write(0, bytes(512), qid=qid)
        driver.wait_interrupt(qid)
        # The admin queue's, 0, may still come for the queues' creation.
        assert [v.take() for v in driver.vectors[1:]] == [0] * 4
