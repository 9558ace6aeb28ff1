# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests/demo shows once the packages are there."""
import re
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from lab.error import LabError                                   # noqa: E402
from lab.guest import LibvirtGuest, domain_xml                   # noqa: E402
from lab.host import Host, convert_sigterm                       # noqa: E402
from lab.root import install_product, make_root                  # noqa: E402

METADATA = '''
    <nvme:devices xmlns:nvme="urn:virtnvme:domain:1">
      <nvme:controller index="0" queues="2">
        <nvme:serial>DEMO0001</nvme:serial>
        <nvme:disk type="file">
          <nvme:source file="/var/lib/libvirt/images/demo.raw"/>
          <nvme:target dev="nvme0n1" bus="nvme"/>
          <nvme:capacity unit="MiB">256</nvme:capacity>
        </nvme:disk>
      </nvme:controller>
    </nvme:devices>
  '''
FIO = ('fio --name=demo --filename=/dev/nvme0n1 --rw=randrw --bs=4k --size=64m --io_size=16m --iodepth=16 --ioengine=libaio '
       '--direct=1 --verify=crc32c --verify_fatal=1 --group_reporting')
STARTED = time.monotonic()


def say(text):
    print(f'[{time.monotonic() - STARTED:4.0f} s] {text}', flush=True)


def show(prompt, command, output):
    print(f'{prompt} {command}')
    print(''.join(f'    {line}\n' for line in output.rstrip().splitlines()), flush=True)


def demo(host):
    def virsh(*args):
        show('host#', 'virsh ' + ' '.join(args), host.virsh(*args).stdout)

    daemon = host.popen(['/usr/sbin/virtnvmed'])
    host.wait_for(lambda: host.path('/run/virtnvme/virtnvmed.sock').exists(), 'virtnvmed')
    host.libvirtd.start()
    host.path('/root/demo.xml').write_text(domain_xml('demo', memory=512, metadata=METADATA))
    print(f'The domain has this in its <metadata>, and nothing else of ours:\n{METADATA}')
    virsh('define', '/root/demo.xml')
    # The rewrite follows the definition within milliseconds; virt-nvme define would do both at once.
    host.wait_for(lambda: 'vfio-user-pci' in host.virsh('dumpxml', 'demo').stdout, 'the rewrite')
    say('starting the guest, under software emulation')
    virsh('start', 'demo')
    guest = LibvirtGuest(host, 'demo')
    guest.wait_boot()
    show('host#', 'virt-nvme info demo', host.run(['virt-nvme', 'info', 'demo']).stdout)
    show('guest#', 'nvme list', guest.check('nvme list'))
    report = guest.check(FIO, timeout=300).splitlines()
    show('guest#', FIO, '\n'.join(line for line in report if re.search('err=|READ:|WRITE:', line)))
    virsh('destroy', 'demo')
    daemon.terminate()
    daemon.wait(10)


def main():
    convert_sigterm()
    try:
        say('making the lab: a Debian 13 with QEMU and libvirt in a directory (about two minutes, once)')
        root = make_root()
        say('building virtnvme in it')
        product = install_product(Host, root)
        with Host('demo', root=root, product=product) as host:
            demo(host)
    except LabError as error:
        sys.exit(f'demo: {error}')
    say('done: a verified fio run on a disk that virsh define and virsh start gave the guest')


main()
