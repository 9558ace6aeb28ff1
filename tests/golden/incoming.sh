#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
exec "${top_builddir:?}/tests/golden/golden-rewrite" incoming "${top_srcdir:?}/tests/golden/incoming"
