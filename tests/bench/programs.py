# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs that are run: controller, client, reference, fio."""
import concurrent.futures
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

import cases


def processor_of_disk(folder, available):
    """Who takes the interrupts of the disk below: the controller's work, as they are of fio's, and not the client's."""
    device = os.stat(folder).st_dev
    path = os.path.realpath('/sys/dev/block/%d:%d' % (os.major(device), os.minor(device)))
    while path != '/' and not os.path.isdir(os.path.join(path, 'msi_irqs')):
        path = os.path.dirname(path)
    counts = dict.fromkeys(available, 0)
    with open('/proc/interrupts', encoding='ascii') as f:
        processors = [int(word[3:]) for word in f.readline().split()]
        irqs = os.listdir(os.path.join(path, 'msi_irqs')) if path != '/' else []
        for line in f:
            number, _, rest = line.partition(':')
            if number.strip() in irqs:
                for cpu, count in zip(processors, rest.split()):
                    counts[cpu] = counts.get(cpu, 0) + int(count)
    return max(available, key=lambda cpu: counts[cpu])


class Programs:
    def __init__(self, args):
        self.args = args
        self.controller = os.path.join(args.build, 'src', 'virtnvme-controller')
        self.bench_client = os.path.join(args.build, 'tests', 'bench', 'bench-client')
        self.bench_reference = os.path.join(args.build, 'tests', 'bench', 'bench-reference')
        self.priority = ['chrt', '-f', '5'] if args.real_time else []

    @contextlib.contextmanager
    def image(self):
        """A raw image, taken away in the end."""
        fd, path = tempfile.mkstemp(prefix='virtnvme-bench-', suffix='.raw', dir=self.args.folder)
        try:
            os.close(fd)
            subprocess.run(['truncate', '-s', self.args.size, path], check=True)
            yield path
        finally:
            os.unlink(path)

    @contextlib.contextmanager
    def server(self, image, controller=None):
        with tempfile.TemporaryDirectory(prefix='virtnvme-bench-') as folder:
            server = Server(self, folder, ['null:1G', 'memory:256M', 'file:' + image], cpu=self.args.server_cpu,
                            controller=controller, priority=self.priority)
            try:
                yield server
            finally:
                server.stop()

    def reference(self):
        return json.loads(subprocess.run(
            self.priority + [self.bench_reference, '--cpu', str(self.args.client_cpu), '--peer-cpu', str(self.args.server_cpu),
             '--milliseconds', '100'], check=True, stdout=subprocess.PIPE).stdout)

    def has_fio(self):
        if not shutil.which('fio'):
            print('fio is not installed: no comparison with it')
            return False
        return True

    def fio(self, image, depth):
        """What the machine's disk gives one process that does nothing else, on the controller's processor."""
        out = subprocess.run(
            self.priority +
            ['taskset', '-c', str(self.args.server_cpu), 'fio', '--name=bench', '--filename=' + image, '--rw=randread', '--bs=4k',
             '--ioengine=io_uring', '--direct=1', '--iodepth=%d' % depth, '--thread', '--norandommap', '--time_based',
             '--ramp_time=100ms', '--runtime=%dms' % self.args.milliseconds, '--randrepeat=0', '--output-format=json'],
            check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        job = json.loads(out[out.index(b'{'):])['jobs'][0]
        iops, latency = job['read']['iops'], job['read']['clat_ns']['percentile']
        busy = (job['usr_cpu'] + job['sys_cpu']) / 100
        return {'iops': iops, 'latency_ns': {'p50': latency['50.000000'], 'p99': latency['99.000000'],
                                             'p99.9': latency['99.900000']},
                'server': {'cpu_ns_per_command': busy * 1e9 / iops}}

    def quiet(self, counts):
        """Controllers that do nothing: how soon they listen, their memory, their wake-ups."""
        found = {}
        for count in counts:
            with tempfile.TemporaryDirectory(prefix='virtnvme-bench-') as folder, contextlib.ExitStack() as stack:
                servers = []
                for i in range(count):
                    server = Server(self, folder, ['null:1G'], name='%d.sock' % i)
                    stack.callback(server.stop)
                    servers.append(server)
                case = cases.Case('null', depth=32, queues=4, doorbells='auto', interrupts=True)
                idle = servers[0].client(case, idle=1000)['idle']
                # The last one to be started has had its second as well.
                time.sleep(1)
                before = [server.costs() for server in servers]
                time.sleep(1)
                after = [server.costs() for server in servers]
                starts = sorted(server.start_ms for server in servers)
                anon = sorted(server.memory('RssAnon') for server in servers)
                found[count] = {
                    'start_ms': starts[len(starts) // 2], 'start_best_ms': starts[0],
                    'after_load': idle,
                    'wake_ups_per_second': sum(b[1] - a[1] for a, b in zip(before, after)),
                    'cpu_percent': sum(b[0] - a[0] for a, b in zip(before, after)) / 1e7,
                    'rss_anon_kib': anon[-1], 'rss_file_kib': servers[0].memory('RssFile'),
                    'private_kib': servers[0].private(),
                }
        return found

    def busy(self, counts):
        """Controllers that all work at the same time, on one processor, each for a client of its own that sleeps until an
        interrupt, all on the other: what they cost, and how soon one more listens."""
        found = {}
        for count in counts:
            with tempfile.TemporaryDirectory(prefix='virtnvme-bench-') as folder, contextlib.ExitStack() as stack, \
                    concurrent.futures.ThreadPoolExecutor(count) as pool:
                def start(name):
                    server = Server(self, folder, ['null:1M', 'memory:1M'], name=name, cpu=self.args.server_cpu)
                    stack.callback(server.stop)
                    return server

                servers = [start('%d.sock' % i) for i in range(count)]
                # All of them are there before the first is measured, and the last is before the first ends.
                runs = [pool.submit(server.client, cases.BUSY, warm_up=30 * count, milliseconds=2000 + 30 * count)
                        for server in servers]
                time.sleep(0.06 * count)
                late = start('late.sock')
                runs = [run.result() for run in runs]
                found[count] = {
                    'start_ms': late.start_ms, 'private_kib': servers[0].private(),
                    'iops': sum(run['iops'] for run in runs),
                    'cpu_ns': statistics.median(run['server']['cpu_ns_per_command'] for run in runs),
                    'switches': statistics.median(run['server']['voluntary_switches_per_million'] for run in runs),
                    'p50_ns': statistics.median(run['latency_ns']['p50'] for run in runs),
                    'p99_ns': statistics.median(run['latency_ns']['p99'] for run in runs),
                    # The slowest and the fastest of them.
                    'least_iops': min(run['iops'] for run in runs), 'most_iops': max(run['iops'] for run in runs),
                }
        return found


class Server:
    """One controller."""

    def __init__(self, programs, folder, namespaces, name='bench.sock', cpu=None, controller=None, priority=()):
        self.programs = programs
        self.priority = list(priority)
        self.socket = os.path.join(folder, name)
        command = self.priority + ['taskset', '-c', str(cpu)] if cpu is not None else []
        command += [controller or programs.controller, '--socket', self.socket, '--log-level', '4']
        for namespace in namespaces:
            command += ['--namespace', namespace]
        started = time.monotonic()
        self.process = subprocess.Popen(command, close_fds=False)
        # It serves one client at a time, and one that asks too early waits in the backlog.
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > started + 30:
                raise RuntimeError('%s does not listen' % ' '.join(command))
            time.sleep(0.0002)
        self.start_ms = (time.monotonic() - started) * 1000
        self._wait_until_free()

    def _listens(self):
        if not os.path.exists(self.socket):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            try:
                s.connect(self.socket)
            except OSError:
                return False
        return True

    def _wait_until_free(self):
        """Until it has seen that the one who only asked whether it listens has gone."""
        self._run(['--milliseconds', '1', '--warm-up', '0', '--doorbells', 'auto'])

    def stop(self):
        self.process.terminate()
        self.process.wait(30)

    def _run(self, arguments):
        """Tried again while the controller is still busy with the last client's end."""
        command = self.priority + [self.programs.bench_client, '--socket', self.socket] + arguments
        deadline = time.monotonic() + 10
        while True:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if done.returncode == 0:
                return json.loads(done.stdout)
            if time.monotonic() > deadline or 'Device or resource busy' not in done.stderr:
                raise RuntimeError('%s: %s' % (' '.join(command), done.stderr))
            time.sleep(0.01)

    def has_shadow_doorbells(self):
        return self._run(['--milliseconds', '1', '--warm-up', '0', '--doorbells', 'auto'])['shadow_doorbells']

    def fill(self):
        for backend in ('memory', 'file'):
            self._run(['--milliseconds', '1', '--fill', '--pattern', 'write', '--block-size', '131072', '--depth', '8',
                       '--doorbells', 'auto', '--nsid', str(cases.NSIDS[backend])])

    def client(self, case, count=False, idle=0, warm_up=100, milliseconds=0):
        args = self.programs.args
        arguments = case.arguments() + ['--server', str(self.process.pid), '--cpu', str(args.client_cpu),
                                        '--warm-up', str(warm_up), '--milliseconds', str(milliseconds or args.milliseconds)]
        if count:
            arguments.append('--count-system-calls')
        if idle:
            arguments += ['--idle', str(idle)]
        return self._run(arguments)

    def costs(self):
        """(nanoseconds of processor, wake-ups) so far"""
        cpu = wake_ups = 0
        folder = '/proc/%d/task' % self.process.pid
        for tid in os.listdir(folder):
            with open('%s/%s/schedstat' % (folder, tid), encoding='ascii') as f:
                cpu += int(f.read().split()[0])
            with open('%s/%s/status' % (folder, tid), encoding='ascii') as f:
                wake_ups += next(int(line.split()[1]) for line in f if line.startswith('voluntary_ctxt_switches'))
        return cpu, wake_ups

    def memory(self, key):
        """KiB"""
        with open('/proc/%d/status' % self.process.pid, encoding='ascii') as f:
            return next(int(line.split()[1]) for line in f if line.startswith(key + ':'))

    def private(self):
        """KiB that only this process has; None where we may not know."""
        try:
            with open('/proc/%d/smaps_rollup' % self.process.pid, encoding='ascii') as f:
                return sum(int(line.split()[1]) for line in f if line.startswith('Private_'))
        except OSError:
            return None
