EXTRA_DIST += \
	tests/lab/README.md tests/lab/host-packages tests/lab/make-kernel tests/lab/make-root tests/lab/make-userland tests/lab/root-hook tests/lab/run-in-root \
	tests/lab/guest/agent.c tests/lab/guest/build tests/lab/guest/inittab tests/lab/guest/startup \
	tests/lab/__init__.py tests/lab/agent.py tests/lab/boot_disk.py tests/lab/conftest.py tests/lab/error.py \
	tests/lab/faults.py tests/lab/fio.py tests/lab/fixtures.py tests/lab/guest.py tests/lab/holder.py tests/lab/host.py tests/lab/init.py \
	tests/lab/libvirtd.py tests/lab/qmp.py tests/lab/root.py tests/lab/test_lab.py tests/lab/tick.c tests/lab/tick.py
