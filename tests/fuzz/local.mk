# A fuzz target is a program with LLVMFuzzerTestOneInput(), its corpus in tests/fuzz/corpus. Configured with
# --enable-fuzzing (and clang) it is libFuzzer's; otherwise it replays its corpus as a test of `make check`.
#   tests/fuzz/fuzz-vfio-user-message DIR...
FUZZ_TARGETS = tests/fuzz/fuzz-nvme-sqe tests/fuzz/fuzz-vfio-user-message
if FUZZING
LDFLAGS_FUZZ = $(AM_LDFLAGS) -fsanitize=fuzzer
FUZZ_MAIN =
noinst_PROGRAMS += $(FUZZ_TARGETS)
else
LDFLAGS_FUZZ = $(AM_LDFLAGS)
FUZZ_MAIN = tests/fuzz/replay.c
check_PROGRAMS += $(FUZZ_TARGETS)
TESTS += $(FUZZ_TARGETS)
endif

tests_fuzz_fuzz_nvme_sqe_SOURCES = tests/fuzz/fuzz-nvme-sqe.c $(FUZZ_MAIN)
tests_fuzz_fuzz_nvme_sqe_CPPFLAGS = $(UNIT_CPPFLAGS) -DFUZZ_CORPUS='"tests/fuzz/corpus/sqe"'
tests_fuzz_fuzz_nvme_sqe_LDFLAGS = $(LDFLAGS_FUZZ)
tests_fuzz_fuzz_nvme_sqe_LDADD = $(MACHINE_LIBS)

tests_fuzz_fuzz_vfio_user_message_SOURCES = tests/fuzz/fuzz-vfio-user-message.c $(FUZZ_MAIN)
tests_fuzz_fuzz_vfio_user_message_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"tests/fuzz/corpus/message"'
tests_fuzz_fuzz_vfio_user_message_LDFLAGS = $(LDFLAGS_FUZZ)
tests_fuzz_fuzz_vfio_user_message_LDADD = $(VFIO_USER_LIBS) $(BASE_LIBS)

EXTRA_DIST += tests/fuzz/replay.c \
	tests/fuzz/make-message-corpus tests/fuzz/corpus/message \
	tests/fuzz/make-sqe-corpus tests/fuzz/corpus/sqe
