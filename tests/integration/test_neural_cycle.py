"""A network through the whole cycle: nothing outside of `training` knows that it is one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from clm.bootstrap import Application
from clm.core.runs import RunRequest, RunState
from clm.exchange.server import ExchangeServer
from clm.rebuild import rebuild
from tests.support.networks import needs_deep, small
from tests.support.service import running_service, wait_for_end

pytestmark = [needs_deep, pytest.mark.rehearse]

Service = tuple[Application, ExchangeServer]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """LightGBM and N-HiTS trained by a run of their own process; three hours of live shadow since."""
    few = {"num_trees": 5, "min_data_in_leaf": 100}
    params = {"nhits": small("nhits"), "lightgbm": few}
    with running_service(
        tmp_path_factory.mktemp("neural"), models=("lightgbm", "nhits"), training_params=params
    ) as (application, exchange):
        run = application.supervisor.submit(RunRequest(force=True, requested_by="test"))
        assert wait_for_end(application, run.run_id).state is RunState.COMPLETED
        shadow = application.live_shadow()
        for _ in range(3):
            exchange.clock.advance(timedelta(hours=1))
            shadow.tick()
        yield application, exchange


def test_it_is_evaluated_certified_and_promoted(service: Service) -> None:
    registry = service[0].registry
    champion = registry.get_active("nhits")

    assert champion is not None
    assert champion.metrics["rmse"] > 0
    assert champion.certificate["problems"] == []
    assert set(champion.library_versions) >= {"torch", "neuralforecast", "safetensors"}
    assert [d.label for d in registry.get_decisions("nhits")] == ["first"]


def test_time_and_memory_of_its_trainings_are_on_record(service: Service) -> None:
    trials = service[0].registry.book.trials()
    (trial,) = [t for t in trials if t.model_type == "nhits"]

    assert len(trial.details["trainings"]) == 2
    assert all(0 < cost["peak_bytes"] < 1.5e9 and cost["seconds"] > 0 for cost in trial.details["trainings"])


def test_the_live_shadow_forecasts_it_and_a_replay_comes_to_the_same(service: Service) -> None:
    application, exchange = service
    exchange.clock.advance(timedelta(hours=1))

    tick = application.live_shadow().tick()

    assert tick.errors == {}
    assert tick.replayed > 0
    assert tick.deviation == 0


def test_it_answers_and_is_part_of_the_ensemble(service: Service) -> None:
    application, _ = service
    series = application.series[0]

    own = application.forecasts.answer(series, "nhits")
    mixed = application.forecasts.answer(series, "ensemble")

    assert own["forecast"] is not None
    assert own["usable"], own["reasons"]
    assert set(mixed["weights"]) == {"lightgbm", "nhits"}


def test_its_forecast_is_explained_by_what_it_looked_back_on(service: Service) -> None:
    application, _ = service

    found = application.explainer.explain(application.series[0], "nhits")["forecast"]

    parts = {c["feature"]: c["contribution"] for c in found["contributions"]}
    assert {"return_1", "return_1@15", "shock@7", "taker_share"} <= set(parts)
    assert found["base"] + sum(parts.values()) + found["rest"] == pytest.approx(found["log_return"])
    assert {c["family"] for c in found["contributions"] if c["feature"] == "return_1@15"} == {"returns"}


def test_it_is_made_again_byte_for_byte(service: Service) -> None:
    application, _ = service
    champion = application.registry.get_active("nhits")
    assert champion is not None

    told = rebuild(application, application.series[0], "nhits", champion.version, False)

    assert told["verdict"] == "identical", str(told)[:3000]
