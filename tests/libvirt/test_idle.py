# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest with the driver loaded that does no I/O costs nothing."""
from protocol.client import idle


def test_nobody_wakes_up_at_idle(vhost, guest):
    """In none of the three programs; Linux has shadow doorbells, trapped ones are seen in tests/protocol."""
    guest.check('dd if=/dev/zero of=/dev/nvme0n1 bs=4k count=200 oflag=direct conv=fsync')
    awake = idle.awake([pid for pid, line in vhost.host.processes().items() if 'virtnvme' in line.split(' ')[0]])
    assert {name.split(' ')[0] for name in awake} >= {'virtnvmed', 'libvirt-events', 'virtnvme-keeper', 'virtnvme-contro', 'io-0'}
    assert not any(awake.values()), awake
