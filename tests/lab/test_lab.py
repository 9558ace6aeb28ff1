# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab itself, without the product."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.boot_disk import make_boot_disk
from lab.error import CommandFailed, GuestRebooted, GuestTimeout
from lab.guest import LibvirtGuest, QemuGuest, domain_xml
from lab.host import connect

TESTS = Path(__file__).resolve().parents[1]


def test_a_command_on_a_host_returns_output_and_status(make_host):
    host = make_host()
    done = host.run('echo out; echo err >&2; cat; exit 3', check=False, input='in')
    assert (done.returncode, done.stdout, done.stderr) == (3, 'out\nin', 'err\n')
    with pytest.raises(CommandFailed, match='exit status 1'):
        host.run(['false'])
    with pytest.raises(subprocess.TimeoutExpired):
        host.run('sleep 100', timeout=0.2)
    host.wait_for(lambda: not host.processes(), 'the end of the timed out command', 5)


def test_a_host_does_not_change_the_root(make_host, lab_root):
    host = make_host()
    host.run('rm /etc/os-release; touch /lab-was-here')
    assert (lab_root / 'etc/os-release').is_symlink()
    assert not (lab_root / 'lab-was-here').exists()


@pytest.mark.parametrize('machine', ['q35', 'pc'])
def test_a_command_in_a_guest_returns_output_and_status(make_host, machine):
    with QemuGuest(make_host(), machine=machine) as guest:
        assert guest.exec('echo out; echo err >&2; exit 3') == (3, 'out\nerr\n')
        assert guest.exec('kill -9 $$').status == 128 + signal.SIGKILL
        size, line = 3 << 20, 'A line of the output that is to come back.\n'
        assert guest.check(f'yes "{line.strip()}" | head -c {size}') == (line * (size // len(line) + 1))[:size]
        assert guest.check('sleep 300 & echo started') == 'started\n'
        with pytest.raises(GuestTimeout, match='first'):
            guest.exec('echo first; sleep 100', timeout=2)
        assert guest.check('echo again') == 'again\n'
        for program in ('fio --version', 'nvme version', 'mkfs.ext4 -V', 'e2fsck -V', 'lspci --version'):
            guest.check(program)


def test_a_guest_survives_its_reboot(make_host):
    with QemuGuest(make_host()) as guest:
        before = guest.boot_id()
        guest.reboot()
        assert guest.boot_id() != before
        assert guest.qmp.wait_event('RESET')
        with pytest.raises(GuestRebooted):
            guest.exec('reboot -f', timeout=60)


@pytest.mark.parametrize('firmware', ['uefi', 'bios'])
def test_a_guest_boots_from_a_disk(make_host, firmware):
    host = make_host()
    disk = '/var/lib/libvirt/images/boot.raw'
    make_boot_disk(host, disk, firmware, 'lab.disk=yes')
    args = ['-drive', f'if=virtio,format=raw,file={disk}']
    with QemuGuest(host, machine='q35' if firmware == 'uefi' else 'pc', firmware=firmware, kernel=False,
                   memory=1024, extra_args=args) as guest:
        assert 'lab.disk=yes' in guest.check('cat /proc/cmdline')
        assert guest.exec('test -d /sys/firmware/efi').status == (0 if firmware == 'uefi' else 1)


def test_libvirtd_runs_a_domain(make_host):
    host = make_host(qemu_user='libvirt-qemu')
    host.libvirtd.start()
    host.path('/root/domain.xml').write_text(domain_xml('diskless'))
    host.virsh('define', '/root/domain.xml')
    guest = LibvirtGuest(host, 'diskless')
    guest.start()
    before = guest.boot_id()
    host.libvirtd.kill()
    assert guest.boot_id() == before
    host.libvirtd.start()
    assert host.virsh('domstate', 'diskless').stdout.strip() == 'running'
    host.virsh('shutdown', '--mode', 'acpi', 'diskless')
    host.wait_for(lambda: host.virsh('domstate', 'diskless').stdout.strip() == 'shut off', 'the shutdown', 60)


def test_two_hosts_reach_each_other(make_host, tmp_path):
    a, b = (make_host(name, binds=[(tmp_path, '/shared', False)]) for name in 'ab')
    connect(a, b)
    a.run(['ping', '-c', '1', '-W', '5', 'b'])
    b.run(['ping', '-c', '1', '-W', '5', 'a'])
    a.path('/shared/image').write_text('in common')
    assert b.path('/shared/image').read_text() == 'in common'


def test_a_domain_migrates_between_hosts(make_host):
    a, b = make_host('a'), make_host('b')
    connect(a, b)
    a.libvirtd.start()
    b.libvirtd.start()
    a.path('/root/domain.xml').write_text(domain_xml('traveller', memory=256))
    a.virsh('define', '/root/domain.xml')
    guest = LibvirtGuest(a, 'traveller')
    guest.start()
    before = guest.boot_id()
    a.virsh('migrate', '--live', 'traveller', f'qemu+tcp://{b.address}/system')
    guest.host = b
    assert guest.boot_id() == before


def test_what_belongs_to_the_machine_is_given_back(make_host):
    pages = Path('/proc/sys/vm/nr_hugepages')
    before = pages.read_text()
    host = make_host()
    host.run('truncate -s 8M /var/lib/libvirt/images/disk')
    device = host.loop_device('/var/lib/libvirt/images/disk')
    host.add_hugepages(4)
    assert int(pages.read_text()) == int(before) + 4
    backing = Path('/sys/block', Path(device).name, 'loop/backing_file')
    assert backing.exists()
    host.close()
    assert pages.read_text() == before
    assert not backing.exists()


INTERRUPTED = '''
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)    # what a shell starts in the background ignores it
sys.path.insert(0, sys.argv[1])
from lab.host import Host, convert_sigterm
convert_sigterm()
with Host('interrupted') as host:
    host.popen('setsid sleep 1000 & sleep 1000')
    host.wait_for(lambda: len(host.processes()) >= 2, 'sleep')
    print(host.run_dir, *host.processes(), flush=True)
    time.sleep(1000)
'''


@pytest.mark.parametrize('signo', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_nothing(lab_root, signo):
    assert lab_root
    with subprocess.Popen([sys.executable, '-c', INTERRUPTED, TESTS], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True) as runner:
        try:
            run_dir, *pids = runner.stdout.readline().split()
            assert Path(run_dir).exists() and len(pids) >= 2
            runner.send_signal(signo)
            assert runner.wait(20) != 0
        finally:
            runner.kill()
    deadline = time.monotonic() + 10
    while Path(run_dir).exists() or any(os.path.exists(f'/proc/{pid}') for pid in pids):
        assert time.monotonic() < deadline, 'a trace of the run is left'
        time.sleep(0.05)
    assert run_dir not in Path('/proc/self/mountinfo').read_text()
