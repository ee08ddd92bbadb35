"""When to retrain, and the sentence that says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from clm.core.domain import ModelArtifact, Series, VersionStatus
from clm.core.errors import InvalidSetting
from clm.core.triggers import TriggerRule

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def _champion(age: timedelta) -> ModelArtifact:
    trained = NOW - age
    return ModelArtifact(
        series=Series("BTCUSDT", "1h"), model_type="xgboost", version="v1", trained_at=trained,
        train_start=trained - timedelta(days=365), train_end=trained - timedelta(days=2),
        training_samples=8000, status=VersionStatus.ACTIVE,
    )  # fmt: skip


def test_a_model_nobody_trained_is_due() -> None:
    assert TriggerRule().reason(None, None, NOW) == "Never trained"


@pytest.mark.parametrize(
    ("age", "sentence"),
    [
        (timedelta(days=6, hours=23), None),
        (timedelta(days=7), "Time-based: Last trained 7 days ago"),
        (timedelta(days=8, hours=5), "Time-based: Last trained 8 days ago"),
    ],
)
def test_age_is_counted_in_whole_days(age: timedelta, sentence: str | None) -> None:
    champion = _champion(age)

    assert TriggerRule().reason(champion, champion, NOW) == sentence


@pytest.mark.parametrize(("age", "words"), [(timedelta(hours=1), "1 hour"), (timedelta(days=1), "1 day")])
def test_one_hour_and_one_day_are_singular(age: timedelta, words: str) -> None:
    champion = _champion(age)

    assert TriggerRule(max_age=age).reason(champion, champion, NOW) == f"Time-based: Last trained {words} ago"


def test_a_type_whose_versions_are_all_retired_is_due() -> None:
    retired = replace(_champion(timedelta(days=1)), status=VersionStatus.RETIRED)

    assert TriggerRule().reason(None, retired, NOW) == "No active version: v1 is RETIRED"


def test_new_candles_count_from_the_end_of_the_training_data() -> None:
    champion = _champion(timedelta(days=1))

    assert TriggerRule(after_candles=72).reason(champion, champion, NOW) == (
        "Volume-based: 72 new candles since the training data ended"
    )
    assert TriggerRule(after_candles=73).reason(champion, champion, NOW) is None


def test_impossible_rules_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="retrain_interval_days"):
        TriggerRule(max_age=timedelta(0))
    with pytest.raises(InvalidSetting, match="retrain_after_candles"):
        TriggerRule(after_candles=-1)


def test_a_candidate_still_in_shadow_is_no_reason_to_train_another() -> None:
    old = _champion(timedelta(days=40))
    candidate = replace(_champion(timedelta(days=2)), version="v2", status=VersionStatus.SHADOW)

    assert TriggerRule().reason(old, candidate, NOW) is None
    assert TriggerRule().reason(old, old, NOW) == "Time-based: Last trained 40 days ago"
