check_PROGRAMS += tests/golden/golden-rewrite
tests_golden_golden_rewrite_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_CFLAGS) $(LIBXML_CFLAGS)
tests_golden_golden_rewrite_LDADD = $(DOMAIN_XML_LIBS) $(BASE_LIBS)
GOLDEN_TESTS = tests/golden/rewrite.sh tests/golden/incoming.sh tests/golden/examples.sh
TESTS += $(GOLDEN_TESTS)
EXTRA_DIST += $(GOLDEN_TESTS) tests/golden/rewrite tests/golden/incoming
