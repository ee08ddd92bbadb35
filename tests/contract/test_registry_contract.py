"""What every registry promises, in SQL or in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from clm.core.domain import Decision, Outcome, VersionStatus
from clm.core.errors import ChampionChanged, VersionNotFound
from clm.core.protocols import ModelRegistry
from clm.registry.sql import SQLModelRegistry
from tests.support.databases import database_of
from tests.support.frames import feature_frame
from tests.support.parts import DictRegistry
from tests.support.versions import BTC, ETH, T0, candidate

RIDGE = "sklearn_ridge"


@pytest.fixture(params=["sqlite", "postgresql", "object store", "third party"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ModelRegistry]:
    with ExitStack() as stack:
        if request.param == "third party":
            yield DictRegistry(BTC)
            return
        url = stack.enter_context(database_of(request.param, tmp_path))
        models = f"memory://models{tmp_path}" if request.param == "object store" else tmp_path / "models"
        yield stack.enter_context(SQLModelRegistry(url, models, series=BTC))


def test_it_is_one(registry: ModelRegistry) -> None:
    assert isinstance(registry, ModelRegistry)


def test_at_first_there_is_nothing(registry: ModelRegistry) -> None:
    assert registry.get_active(RIDGE) is None
    assert registry.get_model_history(RIDGE) == []
    assert list(registry.get_decisions()) == []


def test_a_saved_model_is_a_candidate_and_comes_back(registry: ModelRegistry) -> None:
    stored, frame = registry.save_model(candidate()), feature_frame(20, 4)

    assert stored.status is VersionStatus.CANDIDATE
    assert registry.get_active(RIDGE) is None
    model = candidate().model
    assert model is not None
    assert np.array_equal(registry.load_model(stored).predict(frame), model.predict(frame))


def test_a_taken_version_name_gets_a_suffix(registry: ModelRegistry) -> None:
    assert [registry.save_model(candidate()).version for _ in range(2)] == [
        "v20240501_000000", "v20240501_000000_2",
    ]  # fmt: skip


def test_there_is_one_champion_and_its_predecessor_is_retired(registry: ModelRegistry) -> None:
    one, two = (registry.save_model(candidate(day)).version for day in (0, 1))
    registry.promote(RIDGE, one, at=T0)
    champion = registry.promote(RIDGE, two, expected_active=one, check_expected=True, at=T0)

    assert registry.get_active(RIDGE) == champion
    assert champion.promoted_at == T0
    assert [v.status for v in registry.get_model_history(RIDGE)] == ["ACTIVE", "RETIRED"]


def test_an_unexpected_champion_changes_nothing(registry: ModelRegistry) -> None:
    one, two = (registry.save_model(candidate(day)).version for day in (0, 1))
    registry.promote(RIDGE, one)

    with pytest.raises(ChampionChanged):
        registry.promote(RIDGE, two, expected_active=None, check_expected=True)

    champion = registry.get_active(RIDGE)
    assert champion is not None
    assert champion.version == one
    assert len(registry.get_decisions()) == 1


def test_rollback_brings_back_whom_the_champion_replaced_until_there_is_nobody(
    registry: ModelRegistry,
) -> None:
    names = [registry.save_model(candidate(day)).version for day in (2, 0, 1)]
    for name in names:
        registry.promote(RIDGE, name)

    assert [registry.rollback(RIDGE).version for _ in range(2)] == [names[1], names[0]]
    with pytest.raises(VersionNotFound):
        registry.rollback(RIDGE)


def test_a_retired_champion_leaves_the_seat_empty_and_retiring_twice_changes_nothing(
    registry: ModelRegistry,
) -> None:
    name = registry.save_model(candidate()).version
    registry.promote(RIDGE, name)

    assert registry.retire(RIDGE, name, reason="why") == registry.retire(RIDGE, name)

    assert registry.get_active(RIDGE) is None
    assert [d.reason for d in registry.get_decisions()].count("why") == 1


def test_decisions_are_kept_newest_first(registry: ModelRegistry) -> None:
    said = [
        Decision(
            model_type=RIDGE, candidate_version=f"v{n}", champion_version=None, outcome=Outcome.CONTINUE,
            label="too_early", policy="threshold", reason="", numbers={"n": n},
            decided_at=T0 + timedelta(hours=n),
        )
        for n in range(3)
    ]  # fmt: skip
    for decision in said:
        registry.record_decision(decision)

    assert list(registry.get_decisions(RIDGE, limit=2)) == said[:0:-1]
    assert list(registry.get_decisions("xgboost")) == []


def test_series_are_apart(registry: ModelRegistry) -> None:
    eth = registry.for_series(ETH)
    registry.promote(RIDGE, registry.save_model(candidate()).version)

    assert eth.get_active(RIDGE) is None
    assert list(eth.get_decisions()) == []
    eth.save_model(candidate(series=ETH))
    assert len(registry.get_model_history(RIDGE)) == 1


def test_an_unknown_version_is_an_error(registry: ModelRegistry) -> None:
    for change in (registry.promote, registry.retire):
        with pytest.raises(VersionNotFound):
            change(RIDGE, "v0")
