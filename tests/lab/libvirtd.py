# SPDX-License-Identifier: LGPL-2.1-or-later
"""The libvirtd of a pseudo host: its configuration and its life."""
import signal
import socket
import uuid

from .error import LabError

SOCKET = '/run/libvirt/libvirt-sock'
DAEMON_CONF = '''unix_sock_group = "root"
unix_sock_rw_perms = "0777"
auth_unix_rw = "none"
auth_unix_ro = "none"
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
host_uuid = "{uuid}"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
'''
QEMU_CONF = '''user = "{user}"
group = "{user}"
dynamic_ownership = {dynamic_ownership}
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
max_core = 0
save_image_format = "zstd"
'''


class Libvirtd:
    """host.libvirtd.start(), restart(), stop(), kill()."""

    def __init__(self, host, qemu_user):
        self.host = host
        self.process = None
        conf = host.path('/etc/libvirt')
        (conf / 'libvirtd.conf').write_text(DAEMON_CONF.format(uuid=uuid.uuid4()))
        (conf / 'qemu.conf').write_text(QEMU_CONF.format(
            user=qemu_user, dynamic_ownership=0 if qemu_user == 'root' else 1))

    def start(self):
        self.process = self.host.popen(['libvirtd', '--listen', '--pid-file', '/run/libvirtd.pid'])
        self.host.wait_for(self._answers, 'libvirtd coming up')

    def _answers(self):
        if self.process.poll() is not None:
            raise LabError(f'libvirtd ended with {self.process.returncode}')
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.host.path(SOCKET))) == 0

    def stop(self, signo=signal.SIGTERM):
        if self.process:
            self.process.send_signal(signo)
            self.process.wait(60)
            self.process = None

    def kill(self):
        self.stop(signal.SIGKILL)

    def restart(self):
        self.stop()
        self.start()
