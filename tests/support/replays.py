"""Reports of `clm replay`, without replaying anything."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

from clm.replay.report import write
from clm.replay.scores import Scores
from tests.support import once


def scores(policy: str = "evidence", **more: Any) -> Scores:
    """What one policy came to in two days."""
    given: dict[str, Any] = {
        "policy": policy, "symbol": "BTCUSDT", "interval": "1h", "model_type": "lightgbm", "hours": 48,
        "loss": 0.997, "r2": 0.003, "r2_clipped": 0.004, "directional_accuracy": 0.52,
        "promotions": {"first": 1}, "rollbacks": 0, "looked_back": 1, "harmful": 0, "trained": 2, "failed": 0,
        "seconds": 3.5, "mean_age_days": 4.0,
        "by_year": {"2024": {"hours": 48, "r2": 0.003, "r2_clipped": 0.004, "directional_accuracy": None}},
        "curve": [("2024-05-01", 0.5, 1.0), ("2024-05-02", 0.8, 2.0)],
    }  # fmt: skip
    return Scores(**{**given, **more})


def written(folder: Path, *every: Scores) -> Path:
    """`report.json`, as `clm replay` writes it into a new folder."""
    if not every:
        shutil.copytree(_usual(), folder)
        return folder / "report.json"
    folder.mkdir(parents=True)
    about = {
        "start": "2024-05-01T00:00:00+00:00", "end": "2024-05-03T00:00:00+00:00", "step_days": 7.0,
        "models": ["lightgbm"], "pooled": False, "settings": {"symbols": ["BTCUSDT"]},
    }  # fmt: skip
    return write(every, about, folder)[0]


@cache
def _usual() -> Path:
    """Of this process: a picture takes half a second."""
    return written(once.folder("clm-replay-") / "usual", scores("never"), scores()).parent
