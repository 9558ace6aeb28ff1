# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab root, and the product built and installed for it."""
import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from .error import LabError

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
LAB = Path(os.environ.get('VIRTNVME_LAB_DIR', '/var/cache/virtnvme-lab'))
CONFIGURE = ['--prefix=/usr', '--sysconfdir=/etc', '--localstatedir=/var', '--enable-werror', '--quiet']


def make_root():
    """Returns the path of the lab root, which is made if need be (progress goes to stderr)."""
    if os.geteuid() != 0:
        raise LabError('the lab needs root')
    done = subprocess.run([HERE / 'make-root'], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise LabError('the lab root could not be made, see above')
    return Path(done.stdout.strip())


def source_files(source):
    """What the build may see: what git tracks or would track, or all of an unpacked tarball."""
    if (source / '.git').exists():
        listed = subprocess.run(['git', '-c', 'safe.directory=*', '-C', source, 'ls-files', '-z', '-co', '--exclude-standard'],
                                stdout=subprocess.PIPE, text=True, check=True).stdout.split('\0')
        return {name for name in listed if name and (source / name).is_file()}
    return {str(path.relative_to(source)) for path in source.rglob('*') if path.is_file()}


def mirror_source(source, copy):
    """Bring COPY up to date without touching files that did not change, for make's sake."""
    names = source_files(source)
    for name in names:
        a, b = source / name, copy / name
        if b.exists() and b.read_bytes() == a.read_bytes():
            continue
        b.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(a, b)
        b.chmod(a.stat().st_mode)
    listing = copy.parent / 'source-files'
    if listing.exists():
        for name in set(listing.read_text().split('\0')) - names:
            (copy / name).unlink(missing_ok=True)
    listing.write_text('\0'.join(names))


BUILD = '''set -e
cd /build/source
if [ ! -x configure ] || [ configure.ac -nt configure ]; then ./autogen.sh; fi
mkdir -p /build/objects
cd /build/objects
if [ ! -e config.status ] || [ /build/source/configure -nt config.status ]; then
	/build/source/configure "$@"
fi
make -j2
rm -rf /build/tree.new
mkdir /build/tree.new
make -s install DESTDIR=/build/tree.new
'''


def install_product(host_class, root, source=SOURCE):
    """Build the checkout SOURCE in the lab root; returns the tree for a Host's `product`.

    Everything is kept under $VIRTNVME_LAB_DIR/product/<key of the checkout's path and of the root's release>, so
    the next run compiles only what changed. The checkout itself is only read.
    """
    source = Path(source).resolve()
    release = os.environ.get('VIRTNVME_LAB_RELEASE', '')
    place = LAB / 'product' / hashlib.sha256((str(source) + release).encode()).hexdigest()[:16]
    copy, tree, log = place / 'source', place / 'tree', place / 'build.log'
    copy.mkdir(parents=True, exist_ok=True)
    with open(place / 'lock', 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mirror_source(source, copy)
        with host_class('build', root=root, binds=[(place, '/build', False)]) as host, open(log, 'w', encoding='utf-8') as out:
            built = host.popen(['sh', '-c', BUILD, 'sh', *CONFIGURE], stdout=out, stderr=subprocess.STDOUT)
            if built.wait() != 0:
                tail = '\n'.join(log.read_text(errors='replace').splitlines()[-25:])
                raise LabError(f'the product does not build in the lab root (whole log: {log}):\n{tail}')
        replace_tree(tree, place / 'tree.new')
    return tree


def replace_tree(tree, new):
    """A tree that is a layer of a living host must not change: wait until there is none."""
    if tree.exists():
        fd = os.open(tree, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            shutil.rmtree(tree)
        finally:
            os.close(fd)
    new.rename(tree)
