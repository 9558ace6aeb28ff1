# A client of our own against the real program. One entry a file; run by pytest.
PROTOCOL_TESTS = \
	tests/protocol/test_bad_fields.py \
	tests/protocol/test_crash.py \
	tests/protocol/test_faults.py \
	tests/protocol/test_freeze.py \
	tests/protocol/test_guests.py \
	tests/protocol/test_doorbell.py \
	tests/protocol/test_hostile.py \
	tests/protocol/test_io.py \
	tests/protocol/test_keep_alive.py \
	tests/protocol/test_keeper.py \
	tests/protocol/test_keeper_channel.py \
	tests/protocol/test_message_dma.py tests/protocol/test_message_mode.py \
	tests/protocol/test_migration.py tests/protocol/test_migration_nonsense.py \
	tests/protocol/test_pci.py \
	tests/protocol/test_program.py \
	tests/protocol/test_reservations.py \
	tests/protocol/test_reset.py \
	tests/protocol/test_format.py \
	tests/protocol/test_resize.py \
	tests/protocol/test_vfio_user.py
TEST_EXTENSIONS = .py
PY_LOG_COMPILER = $(top_srcdir)/tests/protocol/run
TESTS += $(PROTOCOL_TESTS)
EXTRA_DIST += $(PROTOCOL_TESTS) tests/protocol/conftest.py tests/protocol/run \
	tests/protocol/client/crc32c.py tests/protocol/client/idle.py tests/protocol/client/nvme.py tests/protocol/client/relay.py tests/protocol/client/vfio_user.py
