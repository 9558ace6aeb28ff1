# SPDX-License-Identifier: LGPL-2.1-or-later
"""The long form, run by long-memory: does QEMU alone move the memory of an emulated guest? There is nothing of virtnvme in it.

docs/migration.md, "Emulated guests", says what is known."""
import base64
import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from lab.guest import QemuGuest
from lab.tick import COMPILE

HERE = Path(__file__).parent
MIGRATIONS = int(os.environ.get('VIRTNVME_MIGRATIONS', '100'))
PAGES = int(os.environ.get('VIRTNVME_PAGES', '4000'))
ARMED = '/root/armed'
# It does not end as long as the guest changes something, until the limits are lifted.
TIGHT = {'downtime-limit': 0, 'max-bandwidth': 160000000}
WIDE = {'downtime-limit': 300, 'max-bandwidth': 1000000000}
TIGHT_FOR = 2       # seconds


def program():
    with tempfile.TemporaryDirectory(prefix='virtnvme-pages-') as place:
        subprocess.run([*COMPILE, '-o', f'{place}/pages', HERE / 'pages.c'], check=True)
        return base64.b64encode(Path(f'{place}/pages').read_bytes()).decode()


def preload(host, before):
    """From now on QEMUs of HOST have late_entry."""
    arm(host, False)
    subprocess.run(['gcc', '-O2', '-Wall', '-shared', '-fPIC', f'-DBEFORE={before}', f'-DARMED="{ARMED}"', '-o', host.path('/root/late_entry.so'),
                    HERE / 'late_entry.c'], check=True)
    host.path('/etc/ld.so.preload').write_text('/root/late_entry.so\n')


def arm(host, on):
    """In place: QEMU has it mapped."""
    fd = os.open(host.path(ARMED), os.O_CREAT | os.O_WRONLY)
    os.write(fd, bytes([on]))
    os.close(fd)


def ended(side):
    return side.qmp('query-migrate')['status'] in ('completed', 'failed')


def migrate(host, side, number):
    target = QemuGuest(host, name=f'g{number}', memory=256, wait=False, extra_args=['-incoming', 'defer'])
    uri = f'unix:/run/lab/{number}.migrate'
    target.qmp('migrate-incoming', uri=uri)
    side.qmp('migrate-set-parameters', **TIGHT)
    side.qmp('migrate', uri=uri)
    deadline = time.monotonic() + TIGHT_FOR
    while not ended(side) and time.monotonic() < deadline:
        time.sleep(0.02)
    if not ended(side):
        side.qmp('migrate-set-parameters', **WIDE)
    while not ended(side):
        time.sleep(0.02)
    assert side.qmp('query-migrate')['status'] == 'completed'
    side.close()
    host.wait_for(lambda: target.qmp('query-status')['status'] == 'running', 'a guest that runs')
    return target


def look(guest):
    """(rounds, what was found to be wrong)"""
    rounds, *wrong = guest.check('cat /tmp/pages.log').splitlines()
    return int(rounds), wrong


@pytest.mark.parametrize('way, widened', [('stock', None), ('late', 0), ('control', 1)], ids=['stock', 'late', 'control'])
def test_memory_of_qemu_alone(make_host, way, widened):
    """How many of so many migrations lose stores of the guest. Only `late` is expected to."""
    host = make_host('host')
    if widened is not None:
        preload(host, widened)
    side = QemuGuest(host, name='g0', memory=256)
    if widened is not None:
        assert 'late_entry' in side.log.read_text()
    side.check(f'echo {program()} | base64 -d > /tmp/pages && chmod +x /tmp/pages; (taskset 1 /tmp/pages {PAGES} /tmp/pages.log > /dev/null 2>&1) &')
    host.wait_for(lambda: side.exec('cat /tmp/pages.log').status == 0 and look(side)[0] > 1, 'the first rounds', 120)
    known = losses = 0
    for number in range(1, MIGRATIONS + 1):
        if widened is not None:
            arm(host, True)
        side = migrate(host, side, number)
        if widened is not None:
            arm(host, False)
        before, _ = look(side)
        host.wait_for(lambda: look(side)[0] > before + 1, 'a whole round', 120)     # noqa: B023 pylint: disable=cell-var-from-loop
        _, wrong = look(side)
        if wrong[known:]:
            losses += 1
            print(f'{way}, migration {number}: page, round, round found: {", ".join(wrong[known:][:8])}')
        known = len(wrong)
    side.close()
    print(f'{way}: {losses} of {MIGRATIONS} migrations lost stores, in {known} pages')
    assert way == 'late' or not losses
