"""Killed at any moment, filled to the brim: one champion at most, and it loads."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clm.core.domain import VersionStatus
from clm.core.errors import StorageFailed
from clm.registry.sql import SQLModelRegistry
from tests.support.versions import BTC, candidate

RIDGE = "sklearn_ridge"
_SAVE_AND_PROMOTE_FOR_EVER = """
import sys; sys.path.insert(0, sys.argv[3])
from clm.registry.sql import SQLModelRegistry
from tests.support.versions import BTC, candidate
registry = SQLModelRegistry(sys.argv[1], sys.argv[2], series=BTC)
day = 0
while True:
    version = registry.save_model(candidate(day % 20)).version
    registry.promote("sklearn_ridge", version)
    if day % 5 == 4:
        registry.rollback("sklearn_ridge")
    if day == 0:
        print("going", flush=True)
    day += 1
"""


def test_a_process_killed_while_saving_and_promoting_leaves_a_sound_registry(
    db_url: str, tmp_path: Path
) -> None:
    dice = random.Random(0)
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", _SAVE_AND_PROMOTE_FOR_EVER, db_url, str(tmp_path / "models"),
             str(Path(__file__).parents[2])],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == b"going\n"
        time.sleep(dice.uniform(0.0, 0.4))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()

        with SQLModelRegistry(db_url, tmp_path / "models", series=BTC) as registry:
            champion = registry.get_active(RIDGE)
            assert champion is not None
            registry.load_model(champion)
            history = registry.get_model_history(RIDGE, limit=10_000)
            assert [v.status for v in history].count(VersionStatus.ACTIVE) == 1
            assert [f for f in registry.verify() if f.severity == "error"] == []


def _cap_files(size: int) -> None:
    """No file may grow beyond `size` bytes: what a full disk does to a write, without needing one."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_is_said_and_nothing_is_half_written(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/clm.db"
    with SQLModelRegistry(url, tmp_path / "models", series=BTC) as registry:
        champion = registry.promote(RIDGE, registry.save_model(candidate()).version)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        _cap_files(64)
        try:
            with pytest.raises(StorageFailed, match="File too large"):
                registry.save_model(candidate(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

        assert [v.version for v in registry.get_model_history(RIDGE)] == [champion.version]
        assert len(list((tmp_path / "models").glob("*_v*"))) == 1
        assert registry.verify() == []


def test_what_a_dead_process_was_writing_is_swept_away_later(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    old, fresh = models / ".clm-writing-old", models / ".clm-writing-fresh"
    for leftover in (old, fresh):
        leftover.write_bytes(b"half a model")
    hour_ago = time.time() - 3601
    os.utime(old, (hour_ago, hour_ago))

    with SQLModelRegistry(f"sqlite:///{tmp_path}/clm.db", models, series=BTC) as registry:
        registry.save_model(candidate())

    assert not old.exists()
    assert fresh.exists()
