"""An ensemble lives beside its members: mixed at each close, scored with them, once however often asked."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from clm.bootstrap import Application
from clm.core.book import Source
from clm.core.ensemble import Ensemble, Weighting
from clm.core.ensembles import ENSEMBLE, EnsembleKeeper
from clm.core.runs import RunRequest
from clm.registry.mixtures import SQLMixtures
from tests.support.service import running_service

HOUR = timedelta(hours=1)
BOTH = ("xgboost", "lightgbm")


def _keeper(application: Application) -> EnsembleKeeper:
    keeper = application.ensemble_keeper(application.series[0])
    assert keeper is not None
    return keeper


def _forecasts(application: Application, model: str, version: str) -> dict[datetime, float]:
    return {f.open_time: f.forecast for f in application.registry.book.forecasts(model, version)
            if f.source in (Source.LIVE, Source.LATE)}  # fmt: skip


def test_each_candle_is_mixed_by_weights_that_follow_from_what_happened_before(tmp_path: Path) -> None:
    with running_service(tmp_path) as (application, exchange):
        assert application.run(RunRequest()).error is None
        shadow = application.live_shadow()
        for _ in range(6):
            shadow.tick()
            shadow.tick()
            exchange.clock.advance(HOUR)
        members = _keeper(application).members()
        own = {model: _forecasts(application, model, version) for model, version in members.items()}
        scored = {f.open_time: f for f in application.registry.book.forecasts(ENSEMBLE, "online")}

        expected = Ensemble()
        for time in sorted(own["xgboost"]):
            made = {model: own[model][time] for model in BOTH}
            sigma = scored[time].variance ** 0.5
            assert scored[time].forecast == expected.forecast(made, sigma)
            if scored[time].actual is not None:
                expected = expected.after(made, sigma, float(scored[time].actual), time)

        assert len(scored) == 6
        assert [f.actual is None for f in scored.values()] == [False] * 5 + [True]
        assert {f.source for f in scored.values()} == {Source.LIVE}
        for weighting in Weighting:
            assert len(application.registry.book.forecasts(ENSEMBLE, str(weighting))) == 6


def test_hours_at_once_come_to_the_same_as_hour_by_hour(tmp_path: Path) -> None:
    found = []
    for name, steps in (("one by one", [1] * 8), ("at once", [1, 7])):
        folder = tmp_path / name
        folder.mkdir()
        with running_service(folder) as (application, exchange):
            assert application.run(RunRequest()).error is None
            shadow = application.live_shadow(rehearsal=True)
            for step in steps:
                exchange.clock.advance(step * HOUR)
                shadow.tick()
            store = SQLMixtures(application.registry.database, application.series[0])
            found.append([(m.open_time, m.ensemble) for m in store.recent(100)])

    assert found[0] == found[1]
    assert len(found[0]) == 9


def test_standing_shows_weights_regret_and_skill_beside_the_members(tmp_path: Path) -> None:
    with running_service(tmp_path) as (application, exchange):
        keeper = _keeper(application)
        assert keeper.standing()["weights"] == {}
        assert application.run(RunRequest()).error is None
        shadow = application.live_shadow(rehearsal=True)
        exchange.clock.advance(48 * HOUR)
        shadow.tick()

        standing = keeper.standing()

        assert set(standing["members"]) == set(BOTH)
        assert standing["candles"] == 48
        assert all(sum(w.values()) == pytest.approx(1) for w in standing["weights"].values())
        assert standing["regret"] <= standing["regret_bound"]
        assert {s.candles for s in standing["skill"].values()} == {48}
        assert {s.candles for s in standing["skill_of_members"].values()} == {48}


def test_one_model_type_needs_no_ensemble(tmp_path: Path) -> None:
    with running_service(tmp_path, models=("lightgbm",)) as (application, _):
        assert application.ensemble_keeper(application.series[0]) is None
