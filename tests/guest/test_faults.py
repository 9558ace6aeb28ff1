# SPDX-License-Identifier: LGPL-2.1-or-later
"""Storage that fails or hangs, as Linux sees it."""
import errno
import os
import threading
import time

import pytest

from lab.faults import Faults
from lab.guest import QemuGuest

from conftest import complaints

MIB = 1 << 20
MEDIUM_ERROR = 'No data available'      # Linux's word for Write Fault and Unrecovered Read Error
# A storage that hangs for a minute, against Linux's default timeout of 30 s; else a short form of the same.
LONG = bool(os.environ.get('VIRTNVME_LONG'))


@pytest.fixture
def faulty(lab_host, serve, image):
    """(server, faults) of an image of 32 MiB."""
    path = image('faulty.raw', 32)
    control = '/run/lab/faulty.control'
    faults = Faults.make(lab_host.path(control), capacity=32 * MIB)
    return serve('nvme0', '--namespace', f'fault:{path},control={control}'), faults


def test_errors_are_the_guests_to_see(lab_host, faulty):
    server, faults = faulty
    with QemuGuest(lab_host, extra_args=server.device()) as guest:
        guest.check('dd if=/dev/urandom of=/dev/nvme0n1 bs=1M count=4 oflag=direct 2>/dev/null')
        faults.read.fail(errno.EIO, first=MIB, last=MIB + 4095)
        status, output = guest.exec('dd if=/dev/nvme0n1 of=/dev/null bs=4k skip=256 count=1 iflag=direct')
        assert status != 0 and MEDIUM_ERROR in output
        guest.check('dd if=/dev/nvme0n1 of=/dev/null bs=4k count=256 iflag=direct && '
                    'dd if=/dev/nvme0n1 of=/dev/null bs=4k skip=257 count=256 iflag=direct')
        faults.write.fail(errno.ENOSPC)
        status, output = guest.exec('dd if=/dev/zero of=/dev/nvme0n1 bs=64k count=1 oflag=direct')
        assert status != 0 and 'No space left on device' in output
        faults.write.succeed()
        # Media errors are tried again by the guest: one that passes it never sees.
        faults.flush.fail(errno.EIO, times=1)
        guest.check('dd if=/dev/zero of=/dev/nvme0n1 bs=64k count=1 oflag=direct conv=fsync')
        assert faults.flush.failed == 1
        faults.flush.fail(errno.EIO)
        status, output = guest.exec('dd if=/dev/zero of=/dev/nvme0n1 bs=64k count=1 oflag=direct conv=fsync')
        assert status != 0 and MEDIUM_ERROR in output
        faults.clear()
        guest.check('dd if=/dev/zero of=/dev/nvme0n1 bs=1M count=4 oflag=direct conv=fsync && '
                    'dd if=/dev/nvme0n1 of=/dev/null bs=1M count=4 iflag=direct')


@pytest.mark.parametrize('timeout, hang', [(30, 5), (30, 60)] if LONG else [(30, 5), (4, 12)])
def test_a_hang_costs_time_and_no_data(lab_host, faulty, timeout, hang):
    """Shorter than Linux's timeout: nothing but a pause. Longer: it aborts, it resets, it sends everything again."""
    server, faults = faulty
    with QemuGuest(lab_host, extra_args=server.device(), cmdline=f'nvme_core.io_timeout={timeout}') as guest:
        guest.check('dd if=/dev/urandom of=/tmp/data bs=1M count=2 2>/dev/null; sync; dmesg -c > /dev/null')
        faults.write.hang()
        begun = faults.write.begun
        end = threading.Timer(hang, faults.write.release)
        start = time.monotonic()
        guest.exec('(dd if=/tmp/data of=/dev/nvme0n1 bs=64k oflag=direct conv=fsync 2> /tmp/dd.log; echo $? > /tmp/dd.status) &')
        lab_host.wait_for(lambda: faults.write.begun > begun, 'the first write')
        end.start()
        guest.check('for i in $(seq 1000); do [ -e /tmp/dd.status ] && break; sleep 0.2; done; '
                    '[ "$(cat /tmp/dd.status)" = 0 ] || { cat /tmp/dd.log; dmesg; exit 1; }', 200)
        assert time.monotonic() - start >= hang
        guest.check('dd if=/dev/nvme0n1 bs=64k count=32 iflag=direct 2>/dev/null | cmp - /tmp/data')
        said = '\n'.join(complaints(guest))
        print(said)
        if hang > timeout:
            assert 'timeout' in said
        else:
            assert not said
        assert not any(word in said for word in ('removing', 'I/O error', 'Disabling')), said


def test_reset_of_the_machine_during_a_hang(lab_host, faulty):
    """QEMU waits for the end of the hang, and the guest boots with its disk."""
    server, faults = faulty
    with QemuGuest(lab_host, extra_args=server.device()) as guest:
        before = guest.boot_id()
        faults.read.hang()
        guest.check('(dd if=/dev/nvme0n1 of=/dev/null bs=64k count=1 iflag=direct) > /dev/null 2>&1 &')
        lab_host.wait_for(lambda: faults.read.held > 0, 'a read')
        guest.qmp('system_reset')
        threading.Timer(4, faults.read.release).start()
        guest.wait_boot(other_than=before)
        guest.check('dd if=/dev/nvme0n1 of=/dev/null bs=64k count=16 iflag=direct')
        assert not complaints(guest)
