# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many domains that start at once."""
import statistics

import pytest

from libvirt_host import IMAGES, controller_xml, devices_xml, disk_xml

COUNT = 25
ANSWER = 5      # seconds in which libvirtd has to answer meanwhile; half a second on a machine that does nothing else

# One connection, so that it is libvirtd that is measured and not the start of a program.
ASK = '''
import libvirt, os, sys, time
conn = libvirt.open('qemu:///system')
while not os.path.exists('/root/many.done'):
    begin = time.monotonic()
    conn.listAllDomains()
    print(time.monotonic() - begin, flush=True)
    time.sleep(0.2)
'''


@pytest.fixture
def many(vhost):
    names = [f'many-{n}' for n in range(COUNT)]
    for name in names:
        vhost.define(name, devices_xml(controller_xml(
            0, disk_xml('nvme0n1', f'{IMAGES}/{name}.raw', capacity=4))), memory=64, kernel=False)
    yield names
    for name in names:
        vhost.remove(name)
    vhost.host.run(f'rm -f {IMAGES}/many*.raw /root/many*')


def all_end(processes):
    return [process.wait(120) for process in processes]


def test_many_start_at_once(vhost, many):
    """All come up, libvirtd answers others meanwhile, and in the end nothing is left."""
    before = set(vhost.host.processes())
    uuids = {name: vhost.uuid(name) for name in many}
    asking = vhost.host.popen(['/usr/bin/python3', vhost.write('/root/many.py', ASK)],
                              stdout=open(vhost.host.logs / 'many.times', 'wb'))
    assert all_end([vhost.host.popen(['virsh', '-q', 'start', '--paused', name]) for name in many]) == [0] * COUNT
    vhost.write('/root/many.done', '')
    assert asking.wait(30) == 0
    times = [float(line) for line in (vhost.host.logs / 'many.times').read_text().split()]
    print(f'{len(times)} answers, median {statistics.median(times):.3f} s, at most {max(times):.3f} s')
    assert len(times) > 5 and max(times) < ANSWER

    running = ' '.join(vhost.host.processes().values())
    assert running.count('virtnvme-keeper') >= COUNT and running.count('virtnvme-controller') >= COUNT
    assert {vhost.disks(name)['nvme0n1']['state'] for name in many} == {'attached'}
    assert all_end([vhost.host.popen(['virsh', '-q', 'destroy', name]) for name in many]) == [0] * COUNT
    left = {pid: line for pid, line in vhost.host.processes().items() if pid not in before and 'virtnvme' in line}
    assert not left
    run = vhost.host.path('/run/virtnvme')
    assert not [path.name for path in run.iterdir() if path.name.split('.')[0] in uuids.values()]
    for name in many:
        vhost.host.run(['qemu-io', '-f', 'raw', '-c', 'write 0 4k', f'{IMAGES}/{name}.raw'])
