"""A champion of the catalogue of yesterday goes on: served, watched, judged, explained, made once more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pytest

from clm.bootstrap import Application
from clm.core.book import Source
from clm.core.domain import ModelArtifact, VersionStatus
from clm.core.errors import ExchangeUnavailable
from clm.core.protocols import DataClient
from clm.core.runs import RunRequest
from clm.exchange.server import ExchangeServer
from clm.features.catalogue import ADVANCED, BASIC, FORMER
from clm.features.engineer import QuantumFeatureEngineer
from clm.rebuild import rebuild
from tests.support.exchange import NOW, serving, simulated
from tests.support.service import settings_for
from tests.support.waiting import eventually

MODELS = ("lightgbm", "xgboost")
FORCED = RunRequest(symbols=("BTCUSDT",), force=True)
HOUR = timedelta(hours=1)
#: What is usual of features is known from 2,400 candles on.
LONG: dict[str, Any] = {"training_lookback_days": 120}
CATALOGUES = {"advanced": ADVANCED, "basic": BASIC}


def before(features: str) -> list[str]:
    """The names of the catalogue as it was: former features, then all that have stayed."""
    former = [feature for feature in FORMER if features == "advanced" or feature.basic]
    new = ("price_to_sma_", "sma_to_sma_", "trend_slope_", "macd_log_", "commodity_channel_")
    stayed = [f.name for f in CATALOGUES[features] if not f.name.startswith(new)]
    return [*(feature.name for feature in former), *stayed]


class Counting(QuantumFeatureEngineer):
    """Remembers how often it computed former features."""

    asked = 0

    def of_former(self, names: Sequence[str]) -> Self:
        self.asked += 1
        return super().of_former(names)


class Away:
    """The client of an exchange that does not answer."""

    def __init__(self, client: DataClient) -> None:
        self.series, self.load_recent_data = client.series, client.load_recent_data
        self.load_validation_data, self.server_time = client.load_validation_data, client.server_time

    def load_training_data(self, start: datetime, end: datetime) -> pd.DataFrame:
        raise ExchangeUnavailable("it is away")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the CLM of yesterday has trained champions and challengers of either catalogue."""
    folder = tmp_path_factory.mktemp("yesterday")
    for features in CATALOGUES:
        with serving(simulated(), NOW - HOUR) as exchange:
            settings = settings_for(exchange, folder / features, features=features, models=MODELS, **LONG)
            with Application(settings, interactive=True) as old:
                old.__dict__["feature_engineer"] = QuantumFeatureEngineer.of(before(features))
                assert old.run(FORCED).error is None
                exchange.clock.advance(HOUR)
                assert old.run(FORCED).error is None
                assert old.registry.challengers("lightgbm")
    return folder


@pytest.fixture
def exchange() -> Iterator[ExchangeServer]:
    with serving(simulated()) as server:
        yield server


@pytest.fixture(params=list(CATALOGUES))
def features(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clm(made: Path, tmp_path: Path, exchange: ExchangeServer, features: str) -> Iterator[Application]:
    """The CLM of today, as it is configured by default or as small as can be, over a copy of it."""
    with _today(made, tmp_path, exchange, features) as application:
        yield application


@contextmanager
def _today(
    made: Path, folder: Path, exchange: ExchangeServer, features: str, **more: Any
) -> Iterator[Application]:
    shutil.copytree(made / features, folder / "clm", dirs_exist_ok=True)
    settings = settings_for(exchange, folder / "clm", features=features, models=MODELS, **LONG, **more)
    with Application(settings, interactive=True) as application:
        yield application


def champion(clm: Application, model: str = "lightgbm") -> ModelArtifact:
    found = clm.registry.get_active(model)
    assert found is not None
    return found


def overtaken(clm: Application, exchange: ExchangeServer) -> ModelArtifact:
    """The champion of former features, once a run has put another in its place or beside it."""
    was = champion(clm)
    exchange.clock.advance(HOUR)
    assert clm.run(FORCED).error is None
    return was


def names_of(clm: Application, artifact: ModelArtifact) -> set[str]:
    return set(clm.registry.load_model(artifact).feature_names)


def answered(clm: Application, model: str = "lightgbm", **wanted: Any) -> dict[str, Any]:
    """The first answer that is a forecast, and as wanted."""

    def answer() -> dict[str, Any] | None:
        found = clm.forecasts.answer(clm.series[0], model)
        fits = found["forecast"] is not None and all(found[key] == value for key, value in wanted.items())
        return found if fits else None

    return eventually(answer, lambda: f"a forecast instead of {clm.forecasts.answer(clm.series[0], model)}")


def newest(clm: Application) -> list[dict[str, Any]]:
    """The exchange's last candles, as somebody would bring them along."""
    series = clm.series[0]
    now = clm.data_client(series).server_time()
    frame = clm.data_client(series).load_training_data(now - 400 * HOUR, now)
    rows: list[Any] = frame.reset_index().astype({"open_time": str}).to_dict("records")
    return rows


def alerts_of(clm: Application) -> set[str]:
    return {stored.alert.kind for stored in clm.alerts.recent()}


def test_it_reads_what_is_computed_for_nobody_else(clm: Application, features: str) -> None:
    former = {feature.name for feature in FORMER if features == "advanced" or feature.basic}

    assert names_of(clm, champion(clm)) == set(before(features)) > former
    assert not former & set(clm.feature_engineer.get_feature_names())


@pytest.mark.parametrize("model", MODELS)
def test_it_answers_either_way_and_with_its_ensemble(
    clm: Application, exchange: ExchangeServer, model: str
) -> None:
    answer = answered(clm, model)

    assert answer["version"] == champion(clm, model).version
    assert 0 <= answer["out_of_distribution"] <= 1
    candles = newest(clm)
    brought = clm.forecasts.from_candles(clm.series[0], model, candles)
    assert brought["forecast"] == pytest.approx(answer["forecast"], rel=1e-5)
    assert brought["out_of_distribution"] == pytest.approx(answer["out_of_distribution"], abs=0.02)


def test_it_is_watched_scored_and_found_to_forecast_offline_what_it_does_live(
    clm: Application, exchange: ExchangeServer
) -> None:
    live, reigning = clm.live_shadow(), champion(clm)
    (challenger,) = clm.registry.challengers("lightgbm")
    for _ in range(3):
        tick = live.tick()
        assert tick.errors == {}
        exchange.clock.advance(HOUR)

    assert tick.replayed > 0
    assert tick.deviation is not None
    assert tick.deviation < 1e-5
    for version in (reigning.version, challenger.version):
        stored = clm.registry.book.forecasts("lightgbm", version)
        assert sum(forecast.source is Source.LIVE for forecast in stored) == 3
    assert champion(clm).version == reigning.version
    assert not {"champion_unfit", "parity"} & alerts_of(clm)


def test_nothing_is_found_wrong_with_it_and_it_is_made_once_more(clm: Application) -> None:
    reigning = champion(clm)

    assert [f for f in clm.registry.verify() if f.severity == "error"] == []
    assert clm.mend() == []
    for model in MODELS:
        version = champion(clm, model).version
        assert rebuild(clm, clm.series[0], model, version, False)["verdict"] == "identical"
    assert champion(clm).version == reigning.version


def test_it_is_explained_by_its_own_features_and_drift_is_looked_for(clm: Application, features: str) -> None:
    told = clm.explainer.explain(clm.series[0], "lightgbm")

    listed = {each["feature"]: each["family"] for each in told["importance"]["features"]}
    assert set(listed) == set(before(features))
    assert listed["slope_24"] == "trend"
    (trained_last, *_) = clm.registry.get_model_history("lightgbm")
    assert clm.drift.look(clm.series[0], "lightgbm", days=5, top=3)["version"] == trained_last.version
    assert set(clm.manager(clm.series[0]).check_if_retrain_needed()) >= set(MODELS)


def test_it_is_judged_beside_a_model_of_new_features_which_may_replace_it_and_be_taken_back(
    made: Path, tmp_path: Path, exchange: ExchangeServer, features: str
) -> None:
    with _today(made, tmp_path, exchange, features, promotion_policy="newest") as clm:
        was = champion(clm)
        exchange.clock.advance(HOUR)

        report = clm.manager(clm.series[0]).run_full_cycle(force=True)

        assert report.failures == {}
        now = champion(clm)
        assert (now.replaced_version, now.certificate["problems"]) == (was.version, [])  # type: ignore[index]
        assert names_of(clm, now) == {feature.name for feature in CATALOGUES[features]}
        for beside in report.shadow_tests:
            assert (beside.active_rmse is not None, beside.n_samples) == (True, 24)
        answered(clm, version=now.version)

        clm.registry.rollback("lightgbm", reason="the old one was dear to us")

        assert answered(clm, version=was.version)["usable"] is not None
        assert clm.live_shadow().tick().errors == {}
        assert champion(clm).version == was.version
        assert "champion_unfit" not in alerts_of(clm)


def test_a_return_to_it_is_seen_while_the_exchange_is_away_and_it_speaks_as_soon_as_that_is_back(
    made: Path, tmp_path: Path, exchange: ExchangeServer
) -> None:
    with _today(made, tmp_path, exchange, "basic", promotion_policy="newest") as clm:
        was = overtaken(clm, exchange)
        desk, now = clm._serving_desks()[clm.series[0]], clm.now()
        assert desk.look(now).by_model["lightgbm"].version == champion(clm).version
        read = desk._data

        clm.registry.rollback("lightgbm", reason="the old one was dear to us")
        desk._data = Away(read)
        with pytest.raises(ExchangeUnavailable):
            desk.look(now, fresh_candles=False)

        silent = desk.snapshot.by_model["lightgbm"]
        assert (silent.version, silent.forecast, silent.problem) == (was.version, None, "stale_data")
        desk._data = read
        spoken = desk.look(now, fresh_candles=False).by_model["lightgbm"]
        assert (spoken.version, spoken.problem) == (was.version, None)
        assert spoken.forecast is not None


def test_as_a_challenger_it_goes_on_against_a_champion_of_new_features_and_in_an_experiment(
    made: Path, tmp_path: Path, exchange: ExchangeServer
) -> None:
    with _today(made, tmp_path, exchange, "basic", promotion_policy="newest") as clm:
        was = overtaken(clm, exchange)
        now = champion(clm)
        clm.experiments.start(clm.series[0], "lightgbm", (now.version, was.version), days=3, by="desk")

        live = clm.live_shadow()
        for _ in range(3):
            exchange.clock.advance(HOUR)
            assert live.tick().errors == {}

        (each,) = clm.experiments.store.open(clm.series[0])
        assert each.result is None or "lost" not in each.result
        begun = [
            f for f in clm.registry.book.forecasts("lightgbm", was.version) if f.made_at > now.trained_at
        ]
        assert len(begun) >= 2
        snapshot = eventually(
            lambda: clm.forecasts.follower.snapshot(clm.series[0]).by_version.get(("lightgbm", was.version)),
            "the arm's answer",
        )
        assert snapshot.forecast is not None
        assert clm.registry.get_version("lightgbm", was.version).status is VersionStatus.RETIRED


def test_what_nobody_reads_any_more_is_not_computed(
    made: Path, tmp_path: Path, exchange: ExchangeServer
) -> None:
    """Once for all who read it, champions and challengers, in a tick as in a cycle; and never afterwards."""
    with _today(made, tmp_path, exchange, "basic", promotion_policy="newest") as clm:
        counting = Counting(use_advanced=False)
        clm.__dict__["feature_engineer"] = counting
        clm.live_shadow().tick()
        assert counting.asked == 1

        exchange.clock.advance(HOUR)
        # Both champions, judged beside what takes over from them.
        assert clm.run(FORCED).error is None
        assert counting.asked == 2

        clm.live_shadow().tick()
        exchange.clock.advance(HOUR)
        assert clm.run(FORCED).error is None
        assert answered(clm, version=champion(clm).version)["usable"] is not None
        clm.forecasts.from_candles(clm.series[0], "lightgbm", newest(clm))
        assert counting.asked == 2
