"""What every store of experiments promises, in SQL or in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clm.core.errors import ExperimentNotFound, ExperimentOpen
from clm.core.experiments import State
from clm.core.stores import ExperimentStore
from clm.registry.experiments import SQLExperiments
from clm.registry.sql import SQLModelRegistry
from tests.support.bets import HOUR
from tests.support.databases import database_of
from tests.support.experiments import DictExperiments, experiment
from tests.support.versions import BTC, ETH, T0

ENDED = T0 + 5 * HOUR


@pytest.fixture(params=["sqlite", "postgresql", "third party"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ExperimentStore]:
    with ExitStack() as stack:
        if request.param == "third party":
            yield DictExperiments()
            return
        url = stack.enter_context(database_of(request.param, tmp_path))
        registry = stack.enter_context(SQLModelRegistry(url, tmp_path / "models", series=BTC))
        yield SQLExperiments(registry.database)


def test_it_is_one(store: ExperimentStore) -> None:
    assert isinstance(store, ExperimentStore)


def test_at_first_there_is_nothing(store: ExperimentStore) -> None:
    assert store.open() == store.recent() == []
    with pytest.raises(ExperimentNotFound, match="'x1'"):
        store.get("x1")
    with pytest.raises(ExperimentNotFound):
        store.end("x1", ENDED, {})


def test_an_experiment_comes_back_to_the_last_bit(store: ExperimentStore) -> None:
    made = experiment(split=1 / 3, alpha=0.1 + 0.2, starts_at=T0 + timedelta(microseconds=123456))

    assert store.create(made) == made
    assert store.get("x1") == made
    assert store.open(BTC) == store.open() == [made]
    assert store.open(ETH) == []


def test_one_is_open_per_series_and_model_type(store: ExperimentStore) -> None:
    store.create(experiment())

    with pytest.raises(ExperimentOpen, match="sklearn_ridge BTCUSDT 1h is open already: x1") as refused:
        store.create(experiment("x2"))
    store.create(experiment("x3", series=ETH))
    store.create(experiment("x4", model_type="lightgbm"))

    assert refused.value.experiment_id == "x1"
    assert [e.experiment_id for e in store.open()] == ["x1", "x3", "x4"]
    assert [e.experiment_id for e in store.recent(2)] == ["x4", "x3"]
    assert [e.experiment_id for e in store.recent(series=BTC)] == ["x4", "x1"]
    assert [e.experiment_id for e in store.recent(model_type="lightgbm")] == ["x4"]


def test_an_end_stands(store: ExperimentStore) -> None:
    made = store.create(experiment())
    for caller, version in (("a", "v1"), ("b", "v2"), ("c", "v2")):
        store.assign(made, caller, version, T0)

    assert store.end("x1", ENDED, {"why": "stopped", "log_e_b_better": 1 / 3})
    assert not store.end("x1", ENDED + HOUR, {"why": "b_better"})

    found = store.get("x1")
    assert (found.state, found.ended_at) == (State.ENDED, ENDED)
    assert found.result == {"why": "stopped", "log_e_b_better": 1 / 3, "callers": {"A": 1, "B": 2}}
    assert store.open() == []
    assert store.create(experiment("x2")).experiment_id == "x2"


def test_an_assignment_stands(store: ExperimentStore) -> None:
    made = store.create(experiment())

    first = store.assign(made, "bot", "v1", T0)
    again = store.assign(made, "bot", "v2", T0 + HOUR)
    other = store.assign(made, "BOT ", "v2", T0)

    assert (first, again, other) == ("v1", "v1", "v2")
    assert store.callers(made) == {"A": 1, "B": 1}


def test_to_an_experiment_that_has_ended_nobody_is_assigned(store: ExperimentStore) -> None:
    made = store.create(experiment())
    store.assign(made, "bot", "v1", T0)
    store.end("x1", ENDED, {})

    assert store.assign(made, "bot", "v1", ENDED) is None
    assert store.assign(made, "late", "v1", ENDED) is None
    assert store.callers(made) == {"A": 1, "B": 0}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_many_at_once_agree(database: str, tmp_path: Path) -> None:
    """Eight threads create, assign the same callers and end it: one of each, and every caller counted."""
    with ExitStack() as stack:
        url = stack.enter_context(database_of(database, tmp_path))
        registry = stack.enter_context(SQLModelRegistry(url, tmp_path / "models", series=BTC))
        registry.database.open()
        store = SQLExperiments(registry.database)
        seen: list[tuple[str, Any]] = []

        def work(number: int) -> None:
            made = None
            while made is None:
                try:
                    made = store.create(experiment(f"x{number}"))
                    seen.append(("made", made.experiment_id))
                except ExperimentOpen as error:
                    # The one that was open may have ended in between: it has no name, then.
                    with suppress(ExperimentNotFound):
                        made = store.get(error.experiment_id)
            for caller in range(12):
                version = store.assign(made, f"bot {caller}", f"v{1 + (caller + number) % 2}", T0)
                seen.append((f"bot {caller}", version))
            seen.append(("ended", store.end(made.experiment_id, ENDED, {"by": number})))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    made = [what for name, what in seen if name == "made"]
    assert len(made) >= 1
    assert [what for name, what in seen if name == "ended"].count(True) == len(made)
    if len(made) == 1:
        versions = [{v for name, v in seen if name == f"bot {c}" and v is not None} for c in range(12)]
        assert all(len(found) == 1 for found in versions)
