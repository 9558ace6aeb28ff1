# SPDX-License-Identifier: LGPL-2.1-or-later
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lab.fixtures import *      # noqa: E402,F401,F403 pylint: disable=wrong-import-position,unused-wildcard-import,wildcard-import
