# SPDX-License-Identifier: LGPL-2.1-or-later
"""pytest fixtures of the lab. A test folder's conftest.py says

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from lab.fixtures import *      # noqa: F401,F403

Logs of a failed test are kept in $VIRTNVME_LAB_LOGS (default: <lab directory>/logs)/<test>/<host>.
"""
import os
import re
import shutil
from pathlib import Path

import pytest

from .host import Host, connect, convert_sigterm
from .root import LAB, install_product, make_root

__all__ = ['lab_root', 'product', 'make_host', 'host', 'two_hosts', 'pytest_runtest_makereport']

LOGS = Path(os.environ.get('VIRTNVME_LAB_LOGS', LAB / 'logs'))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    item.lab_failed = getattr(item, 'lab_failed', False) or report.failed
    if report.failed and call.when != 'teardown':
        report.sections.append(('lab', f'logs: {log_directory(item)}'))


def log_directory(item):
    return LOGS / re.sub(r'[^A-Za-z0-9_.-]+', '-', item.nodeid)


def close_host(request, host):
    """One of many tests: its logs are kept when one of them has failed."""
    if request.session.testsfailed:
        host.keep_logs(log_directory(request.node) / host.name)
    host.close()


@pytest.fixture(scope='session')
def lab_root():
    """The lab root; where it cannot be made the tests fail, in CI (CI is set), else they are skipped."""
    convert_sigterm()
    if os.geteuid() != 0 and not os.environ.get('CI'):
        pytest.skip('the lab needs root')
    return make_root()


@pytest.fixture(scope='session')
def product(lab_root):
    """The product of this checkout, built and installed for the lab root."""
    return install_product(Host, lab_root)


@pytest.fixture
def make_host(request, lab_root):
    """make_host(name, ...) makes a Host that is closed, and whose logs are kept, after the test."""
    hosts = []

    def make(name='host', **kwargs):
        hosts.append(Host(name, root=lab_root, **kwargs))
        return hosts[-1]

    directory = log_directory(request.node)
    shutil.rmtree(directory, ignore_errors=True)
    yield make
    for one in hosts:
        if getattr(request.node, 'lab_failed', False):
            one.keep_logs(directory / one.name)
        one.close()


@pytest.fixture
def host(make_host, product):
    """A pseudo host with the product installed and libvirtd running."""
    one = make_host('host', product=product)
    one.libvirtd.start()
    return one


@pytest.fixture
def two_hosts(make_host, product, tmp_path):
    """Two of them, a and b, with a cable between and /shared in common."""
    both = [make_host(name, product=product, binds=[(tmp_path, '/shared', False)]) for name in ('a', 'b')]
    connect(*both)
    for one in both:
        one.libvirtd.start()
    return both
