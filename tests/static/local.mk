# Rules over the source text itself, and that the documents say what the programs do.
STATIC_TESTS = tests/static/check-layers tests/static/check-source tests/static/check-docs tests/static/check-man
TESTS += $(STATIC_TESTS)
EXTRA_DIST += $(STATIC_TESTS)
