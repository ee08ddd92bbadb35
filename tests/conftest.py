"""Test sessions have one third-party model family installed, by nothing but an entry point on the path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support import quick

pytest_plugins = ["tests.support.costs"]

# Two threads are slower than one on small fits, and workers started by tests inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

PLUGINS = str(Path(__file__).parent / "support" / "plugins")
if PLUGINS not in sys.path:
    sys.path.append(PLUGINS)
# Child processes (workers, `clm …`) find it the same way.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), PLUGINS)))
for name in [name for name in os.environ if name.startswith("CLM_") and not name.startswith("CLM_TEST_")]:
    del os.environ[name]

# Before anything of CLM is imported: what it begins children with is this.
quick.install()


def pytest_unconfigure() -> None:
    quick.remove()
