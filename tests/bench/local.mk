# The benchmark: built by `make check`, run by tests/bench/run.
check_PROGRAMS += tests/bench/bench-client tests/bench/bench-gap tests/bench/bench-lock \
	tests/bench/bench-reference
BENCH_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests $(JSON_CFLAGS)
tests_bench_bench_client_SOURCES = \
	tests/bench/bench-client.c \
	tests/bench/client.c tests/bench/client.h \
	tests/bench/clock.h \
	tests/bench/driver.c tests/bench/driver.h \
	tests/bench/histogram.c tests/bench/histogram.h \
	tests/bench/load.c tests/bench/load.h \
	tests/bench/server.c tests/bench/server.h
tests_bench_bench_client_CPPFLAGS = $(BENCH_CPPFLAGS)
tests_bench_bench_client_LDADD = $(BASE_LIBS)
tests_bench_bench_gap_SOURCES = \
	tests/bench/bench-gap.c \
	tests/bench/client.c tests/bench/client.h \
	tests/bench/clock.h \
	tests/bench/driver.c tests/bench/driver.h
tests_bench_bench_gap_CPPFLAGS = $(BENCH_CPPFLAGS)
tests_bench_bench_gap_LDADD = $(BASE_LIBS)
tests_bench_bench_lock_SOURCES = tests/bench/bench-lock.c
tests_bench_bench_lock_CPPFLAGS = $(BENCH_CPPFLAGS) $(URING_CFLAGS)
tests_bench_bench_lock_LDADD = $(BASE_LIBS) $(URING_LIBS)
tests_bench_bench_reference_SOURCES = \
	tests/bench/bench-reference.c \
	tests/bench/clock.h \
	tests/bench/histogram.c tests/bench/histogram.h
tests_bench_bench_reference_CPPFLAGS = $(BENCH_CPPFLAGS)
tests_bench_bench_reference_LDADD = $(BASE_LIBS)

bench-programs: src/virtnvme-controller src/virtnvme-keeper src/virtnvme-failed \
	tests/bench/bench-client tests/bench/bench-gap tests/bench/bench-reference
.PHONY: bench-programs

EXTRA_DIST += tests/bench/run tests/bench/run-gaps tests/bench/cases.py tests/bench/limits.py tests/bench/plot.py \
	tests/bench/programs.py tests/bench/report.py
