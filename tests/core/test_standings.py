"""What people are told of attempts: what came of them then, and what has become of them since."""

from __future__ import annotations

from pathlib import Path

from clm.core.book import Trial
from clm.core.standings import trial_views
from clm.core.verdict import supersede
from tests.support.stage import HOUR, RIDGE, Stage


def _trial(stage: Stage, version: str | None, outcome: str) -> None:
    trial = Trial(
        model_type=RIDGE, version=version, recipe_id="ours", began_at=stage.client.now, outcome=outcome,
        reason="staged", seconds=1.5,
    )  # fmt: skip
    stage.registry.book.record_trial(trial)


def test_an_attempt_that_was_superseded_later_says_so_and_a_failed_one_has_no_version(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.reign(0.1)
    older = stage.challenge(0.1)
    _trial(stage, older.version, "shadow")
    stage.client.now += HOUR
    newer = stage.challenge(0.1)
    _trial(stage, newer.version, "shadow")
    _trial(stage, None, "failed")
    supersede(stage.registry, newer, stage.client.now)

    views = trial_views(stage.registry, RIDGE, 20)

    told = [(v["version"], v["outcome"], v["status"], v["fate"]) for v in views]
    assert told == [
        (None, "failed", None, None),
        (newer.version, "shadow", "SHADOW", "evidence"),
        (older.version, "shadow", "RETIRED", "superseded"),
    ]
    assert views[0]["seconds"] == 1.5
