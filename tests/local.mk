# `make check`: unprivileged, no network, no guest. The tests with guests are run by tests/run.
# Unit tests: tests/unit/<folder>/, one program a file of the folder, listed in the folder's fragment.
include tests/unit/base/local.mk
include tests/unit/vfio-user/local.mk
include tests/unit/nvme/local.mk
include tests/unit/block/local.mk
include tests/unit/control/local.mk
include tests/unit/domain-xml/local.mk
include tests/unit/qmp/local.mk
include tests/unit/controller/local.mk
include tests/unit/keeper/local.mk
include tests/unit/daemon/local.mk
include tests/golden/local.mk
include tests/protocol/local.mk
include tests/bench/local.mk
include tests/fuzz/local.mk
include tests/static/local.mk
include tests/lab/local.mk

# Not built, but part of the release: a tarball can test itself.
EXTRA_DIST += tests/unit/test.h po/update-files tests/run tests/run-breaks tests/install-packages tests/demo tests/demo.py \
	tests/guest tests/libvirt tests/breaks

# Whole folders come with what Python left in them.
dist-hook:
	find $(distdir)/tests -name __pycache__ -exec rm -r {} +
