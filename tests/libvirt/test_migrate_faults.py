# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that leave a host because, or although, its storage fails."""
import errno

import pytest

from lab.faults import Faults
from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml
from pair import SHARED, Traveller
from test_migrate import pair      # noqa: F401 pylint: disable=unused-import

MIB = 1 << 20
COPY = ("(sleep 1; dd if=/tmp/data of=/dev/nvme0n1 bs=64k oflag=direct conv=fsync 2> /tmp/log; echo $? > /tmp/status) "
        "> /dev/null 2>&1 &")
COPIED = ('for i in $(seq 600); do [ -e /tmp/status ] && break; sleep 0.1; done; [ "$(cat /tmp/status)" = 0 ] && '
          'dd if=/dev/nvme0n1 bs=64k count=32 iflag=direct 2> /dev/null | cmp - /tmp/data')


@pytest.fixture
def victim(pair):       # noqa: F811
    """A guest with a disk that only host a has faults of; it writes /tmp/data there once the faults are in place."""
    image = pair.shared / 'victim.raw'
    with open(image, 'wb') as f:
        f.truncate(32 * MIB)
    control = f'{IMAGES}/victim.raw.control'
    faults = Faults.make(pair.a.host.path(control), capacity=32 * MIB)
    guest = pair.a.define('victim', devices_xml(controller_xml(
        0, disk_xml('nvme0n1', f'{SHARED}/victim.raw', driver="cache='none' error_policy='stop'"))))
    guest.start()
    guest.check('dd if=/dev/urandom of=/tmp/data bs=1M count=2 2> /dev/null; dmesg -c > /dev/null')
    traveller = Traveller(pair, guest, pair.a)
    traveller.faults = faults
    yield traveller
    faults.clear()
    for one in pair.both:
        one.remove('victim')


def test_a_domain_paused_by_its_storage_moves(victim):
    """The way out of a host that has lost its path to the storage: the other one executes what was held."""
    victim.faults.write.fail(errno.EIO)
    victim.guest.check(COPY)
    victim.at.host.wait_for(lambda: victim.at.info('victim').get('problem'), 'the pause', 60)
    victim.migrate('--live')
    assert victim.state() == 'paused'
    assert 'problem' not in victim.at.info('victim')
    victim.at.virsh('resume', 'victim')
    victim.guest.check(COPIED, timeout=120)
    victim.no_complaint()


def test_storage_that_hangs_at_the_end_keeps_the_domain_here(victim):
    """What is at the storage cannot be handed over: the migration fails, and the guest goes on where it is."""
    victim.faults.write.hang()
    victim.guest.check(COPY)
    victim.at.host.wait_for(lambda: victim.faults.write.held, 'a write', 60)
    print(victim.refused('--live'))
    assert victim.state() == 'running'
    victim.faults.write.release()
    victim.guest.check(COPIED, timeout=120)
    victim.settle()
    victim.no_complaint()
    victim.migrate('--live')
    victim.guest.check(COPIED, timeout=120)
