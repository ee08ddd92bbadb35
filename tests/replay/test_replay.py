"""The replay: the whole loop as of then, the same however often interrupted, blind to what came later."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from clm.core.domain import Series
from clm.core.errors import BadInput
from clm.core.recompute import recompute
from clm.registry.sql import SQLModelRegistry
from clm.replay.client import AsOfClient
from clm.replay.report import table_row
from clm.replay.walk import Task, steps_done, walk
from clm.settings import Settings
from tests.support.candles import random_walk
from tests.support.quick import REAL
from tests.support.versions import BTC, ETH
from tests.support.waiting import LIMIT, eventually

HOUR = timedelta(hours=1)
START = datetime(2024, 5, 1, tzinfo=UTC)
FEW = {"num_trees": 5, "min_data_in_leaf": 100}


def _candles(folder: Path, series: Series = BTC, seed: int = 1, rows: int = 24 * 190) -> Path:
    frame = random_walk(rows, seed=seed).reset_index()
    frame["open_time"] = frame["open_time"].dt.as_unit("ms").astype("int64")
    file = folder / f"{series.symbol}-{series.interval}.parquet"
    frame.to_parquet(file)
    return file


def _task(
    folder: Path, policy: str = "evidence", *, weeks: int = 6, series: tuple[Series, ...] = (BTC,),
    models: tuple[str, ...] = ("lightgbm",),
) -> Task:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    files = tuple(_candles(folder, one, seed) for seed, one in enumerate(series))
    own = folder / policy
    settings = Settings.load(
        symbols=tuple(s.symbol for s in series), models=models, features="basic",
        training_lookback_days=90, training_params={"lightgbm": FEW, "xgboost": FEW}, log_level="error",
        promotion_policy="newest" if policy == "never" else policy, refresh_after_days=14,
        db_url=f"sqlite:///{own}/clm.db", model_dir=own / "models", data_dir=own / "data",
    )  # fmt: skip
    return Task(
        policy, series, START, START + timedelta(weeks=weeks), timedelta(days=7),
        settings.model_dump_json(), files, own,
    )  # fmt: skip


def _decisions(task: Task) -> list[tuple[Any, ...]]:
    with _registry(task) as registry:
        return [
            (d.label, d.decided_at, d.candidate_version, d.reason, d.numbers)
            for d in registry.get_decisions("lightgbm", limit=500)
        ]


def _artifacts(task: Task) -> list[tuple[str, str | None]]:
    with _registry(task) as registry:
        return [(v.version, v.artifact_sha256) for v in registry.get_model_history("lightgbm", limit=500)]


def _registry(task: Task) -> SQLModelRegistry:
    return SQLModelRegistry(f"sqlite:///{task.folder}/clm.db", task.folder / "models", series=task.series[0])


def test_nobody_knows_a_candle_before_it_closed() -> None:
    frame = random_walk(200)
    client = AsOfClient(BTC, frame, frame.index[100].to_pydatetime() + HOUR / 2)

    seen = client.load_training_data(frame.index[0].to_pydatetime(), datetime(2030, 1, 1, tzinfo=UTC))

    assert seen.index[-1] == frame.index[99]


@pytest.mark.rehearse
@pytest.mark.parametrize("policy", ["never", "newest", "threshold", "evidence"])
def test_every_hour_is_scored_by_who_reigned_then(policy: str, tmp_path: Path) -> None:
    task = _task(tmp_path, policy)

    (scores,) = walk(task)

    # The last hour's outcome closes after the end; the first forecast is made at the start itself.
    assert scores.hours == 6 * 7 * 24
    assert scores.loss == pytest.approx(1 - scores.r2)
    assert scores.trained == (1 if policy == "never" else 6)
    assert scores.promotions["first"] == 1
    assert sum(scores.promotions.values()) == (6 if policy == "newest" else sum(scores.promotions.values()))
    if policy == "never":
        assert scores.promotions == {"first": 1}
    assert set(scores.by_year) == {"2024"}
    assert len(scores.curve) == 6 * 7


@pytest.mark.rehearse
def test_what_comes_later_changes_nothing_before(tmp_path: Path) -> None:
    one, other = _task(tmp_path / "one"), _task(tmp_path / "other")
    changed = pd.read_parquet(other.candles[0])
    later = changed["open_time"] >= int((START + timedelta(weeks=4)).timestamp() * 1000)
    noise = np.exp(np.cumsum(np.random.default_rng(9).normal(0, 0.02, int(later.sum()))))
    for name in ("open", "high", "low", "close"):
        changed.loc[later, name] *= noise
    changed["high"] = changed[["open", "high", "low", "close"]].max(axis=1)
    changed["low"] = changed[["open", "high", "low", "close"]].min(axis=1)
    changed.to_parquet(other.candles[0])

    walk(one)
    walk(other)

    until = START + timedelta(weeks=4)
    before = [[d for d in _decisions(task) if d[1] <= until] for task in (one, other)]
    assert len(before[0]) >= 5
    assert before[0] == before[1]


_WALK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_replay import _task
from clm.replay.walk import walk
walk(_task(Path(sys.argv[1])))
"""


def _has_done(task: Task, steps: int) -> bool:
    return steps_done(task) >= steps


@pytest.mark.rehearse
def test_killed_and_begun_again_it_comes_to_the_same(tmp_path: Path) -> None:
    whole = _task(tmp_path / "whole")
    walk(whole)

    folder = tmp_path / "killed"
    killed = _task(folder)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    for _ in range(2):
        wanted = min(steps_done(killed) + 2, killed.steps)
        child = subprocess.Popen(
            [sys.executable, "-c", _WALK, str(folder), str(Path(__file__).parent)],
            env={**os.environ, "PYTHONPATH": paths},
        )
        eventually(partial(_has_done, killed, wanted), "two more steps")
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert 0 < steps_done(killed) <= killed.steps

    walk(killed)

    assert _decisions(killed) == _decisions(whole)


@pytest.mark.rehearse
@pytest.mark.parametrize("series", [(BTC,), (BTC, ETH)], ids=["one series", "two"])
def test_trainings_begun_beside_the_tick_come_to_the_same(series: tuple[Series, ...], tmp_path: Path) -> None:
    one = _task(tmp_path / "one", weeks=4, series=series)
    two = replace(_task(tmp_path / "two", weeks=4, series=series), threads=2)

    scores = [walk(task) for task in (one, two)]

    assert _decisions(one) == _decisions(two)
    assert _artifacts(one) == _artifacts(two)
    # What it cost is another thing.
    assert [[replace(s, seconds=0.0) for s in each] for each in scores[:1]] == [
        [replace(s, seconds=0.0) for s in each] for each in scores[1:]
    ]


@pytest.mark.rehearse
def test_ends_with_whoever_began_it_and_keeps_what_it_has_done(tmp_path: Path) -> None:
    _candles(tmp_path, BTC)
    command = [
        REAL, "-m", "clm", "replay", "--candles", str(tmp_path), "--symbols", "BTCUSDT",
        "--models", "lightgbm", "--policies", "evidence", "--step-days", "1", "--start", "2024-05-01",
        "--end", "2024-06-25", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    environment = {**os.environ, "CLM_TRAINING_LOOKBACK_DAYS": "90", "CLM_FEATURES": "basic"}
    begun = subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    state = tmp_path / "out" / "evidence-BTCUSDT" / "state.json"
    eventually(state.is_file, "a first step")
    workers = psutil.Process(begun.pid).children(recursive=True)
    begun.kill()
    begun.wait()

    assert workers
    eventually(
        lambda: not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers),
        "the end of its workers",
    )
    done = json.loads(state.read_text())["done"]
    assert 1 <= done < 55


def test_a_folder_of_a_replay_with_other_options_is_refused(tmp_path: Path) -> None:
    task = _task(tmp_path, "never", weeks=1)
    walk(task)
    other = replace(task, step=timedelta(days=3))

    assert steps_done(task) == 1
    with pytest.raises(BadInput, match="no replay with other options, nor one of another CLM"):
        walk(other)
    assert steps_done(task) == 1


@pytest.mark.rehearse
def test_of_several_model_types_the_ensemble_is_scored_too_over_the_same_hours(tmp_path: Path) -> None:
    task = _task(tmp_path, weeks=3, models=("xgboost", "lightgbm"))

    scores = {one.model_type: one for one in walk(task)}

    assert list(scores) == ["xgboost", "lightgbm", "ensemble"]
    assert {one.hours for one in scores.values()} == {3 * 7 * 24}
    # A mixture by convex weights errs no more than its worst member.
    assert scores["ensemble"].loss <= max(one.loss for one in scores.values())
    assert scores["ensemble"].loss != scores["lightgbm"].loss
    assert table_row(scores["ensemble"])[2] == "ensemble"


@pytest.mark.rehearse
def test_every_decision_of_months_recomputes_bit_for_bit(tmp_path: Path) -> None:
    task = _task(tmp_path, weeks=9, series=(BTC, ETH))
    walk(task)

    with _registry(task) as registry:
        for series in (BTC, ETH):
            mine = registry.for_series(series)
            decided = [d for d in mine.get_decisions(limit=1000) if d.decided_by in ("policy", "guard")]
            again = [recompute(mine, decision) for decision in decided]
            assert len(decided) >= 9
            assert [a.differences for a in again if not a.same] == []
            assert {"first", "evidence"} <= {d.label for d in decided}


@pytest.mark.rehearse
def test_the_command_reports_in_a_table_json_and_a_page(tmp_path: Path) -> None:
    for seed, series in enumerate((BTC, ETH)):
        _candles(tmp_path, series, seed)
    arguments = [
        "replay", "--candles", str(tmp_path), "--symbols", "BTCUSDT", "--start", "2024-05-01", "--end",
        "2024-05-22", "--policies", "never,evidence", "--out", str(tmp_path / "out"), "--json",
    ]  # fmt: skip
    environment = {
        **os.environ, "CLM_TRAINING_LOOKBACK_DAYS": "90", "CLM_FEATURES": "basic",
        "CLM_TRAINING_PARAMS": json.dumps({"lightgbm": FEW}),
    }  # fmt: skip
    command = [sys.executable, "-c", "from clm.cli import main; main()", *arguments]

    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=LIMIT
    )

    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [s["policy"] for s in shown["scores"]] == ["never", "evidence"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 1
    assert json.loads((tmp_path / "out" / "report.json").read_text())["scores"][0]["hours"] == 504


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--policies", "luck"], "never, newest, threshold, evidence"),
        (["--end", "2024-04-01"], "after --start"),
        (["--candles", "/nowhere"], "BTCUSDT-1h.parquet"),
    ],
)
def test_what_cannot_be_replayed_is_refused(more: list[str], said: str, tmp_path: Path) -> None:
    given = {"--start": "2024-05-01", "--end": "2024-05-22", "--out": str(tmp_path / "out")}
    given.update(zip(more[::2], more[1::2], strict=True))
    arguments = [part for pair in given.items() for part in pair]
    command = [sys.executable, "-c", "from clm.cli import main; main()", "replay", *arguments]

    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=LIMIT)

    assert done.returncode == 2
    assert said in done.stderr
