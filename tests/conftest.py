"""Test sessions have one third-party model family installed, by nothing but an entry point on the path."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadGroupScheduling

# Two threads are slower than one on small fits, and workers started by tests inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

PLUGINS = str(Path(__file__).parent / "support" / "plugins")
if PLUGINS not in sys.path:
    sys.path.append(PLUGINS)
# Child processes (workers, `clm …`) find it the same way.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), PLUGINS)))
for name in [name for name in os.environ if name.startswith("CLM_") and not name.startswith("CLM_TEST_")]:
    del os.environ[name]

#: Files whose tests share one costly service; xdist has them done by one worker.
_TOGETHER = ("tests/fuzz/test_api.py",)


class _Scheduling(LoadGroupScheduling):  # type: ignore[misc]  # xdist ships no type information
    """By file where that is meant: under pytest 9.2 xdist 3.8 does not see the mark `xdist_group` (#1386)."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in _TOGETHER else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadGroupScheduling | None:
    return _Scheduling(config, log) if config.getvalue("dist") == "loadgroup" else None
