"""Asking for a forecast changes nothing: what one process lacks or cannot know is taken from no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.domain import ModelArtifact, Progress, VersionStatus
from clm.core.recompute import recompute
from clm.core.runs import RunRequest
from clm.exchange.server import ExchangeServer
from tests.support.exchange import serving, simulated
from tests.support.service import settings_for
from tests.support.waiting import eventually

MODEL = "lightgbm"
FORCED = RunRequest(force=True)


@pytest.fixture
def exchange() -> Iterator[ExchangeServer]:
    with serving(simulated()) as server:
        yield server


def application(exchange: ExchangeServer, folder: Path, **more: Any) -> Application:
    """A process of its own on the same registry."""
    return Application(settings_for(exchange, folder, models=(MODEL,), **more), interactive=True)


def asked(application: Application, true: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
    """The first answer of which that is true."""

    def answer() -> dict[str, Any] | None:
        found = application.forecasts.answer(application.series[0])
        return found if true(found) else None

    return eventually(answer, "another answer")


def trained(exchange: ExchangeServer, folder: Path) -> ModelArtifact:
    """A champion of all features, made by a process that has ended."""
    with application(exchange, folder, features="advanced") as able:
        assert able.run(FORCED).error is None
        champion = able.registry.get_active(MODEL)
        assert champion is not None
        return champion


def because(reason: str) -> Callable[[dict[str, Any]], bool]:
    return lambda answer: reason in answer["reasons"]


def test_features_that_a_setting_leaves_out_are_named_and_the_champion_stays(
    exchange: ExchangeServer, tmp_path: Path
) -> None:
    champion = trained(exchange, tmp_path)
    with application(exchange, tmp_path, features="basic") as lacking:
        decided = lacking.registry.get_decisions(MODEL)
        answer = asked(lacking, because("unreadable_here"))

        assert (answer["version"], answer["forecast"], answer["usable"]) == (champion.version, None, False)
        assert answer["champion_state"] == "unreadable"
        assert answer["problem"].startswith("this process does not compute ")
        assert answer["problem"].endswith("CLM_FEATURES=basic")
        lacking.live_shadow().tick()
        assert lacking.mend() == [f"{answer['problem']}; nothing was changed"]
        assert lacking.registry.get_active(MODEL) == champion
        assert lacking.registry.get_decisions(MODEL) == decided
        # Nothing is wrong with it, but not all is well here either.
        (finding,) = lacking.verify()
        assert (finding.severity, finding.version) == ("note", champion.version)
        assert finding.problem == f"unreadable_here: {answer['problem']}"


def test_a_cycle_that_cannot_read_the_champion_replaces_it_and_it_can_be_brought_back(
    exchange: ExchangeServer, tmp_path: Path
) -> None:
    champion = trained(exchange, tmp_path)
    with application(exchange, tmp_path, features="basic") as lacking:
        assert lacking.run(FORCED).error is None

        newest = lacking.registry.get_decisions(MODEL)[0]
        assert (newest.label, newest.champion_version) == ("first", champion.version)
        assert "first model that can be read here" in newest.reason
        assert "CLM_FEATURES=basic" in newest.reason
        assert recompute(lacking.registry, newest).same
    with application(exchange, tmp_path, features="advanced") as able:
        back = able.registry.rollback(MODEL, reason="it was a setting")

        assert back.version == champion.version
        assert asked(able, lambda answer: answer["usable"])["version"] == champion.version


def test_nor_does_it_replace_one_that_came_while_it_trained(exchange: ExchangeServer, tmp_path: Path) -> None:
    more = {"promotion_policy": "newest"}
    with application(exchange, tmp_path, features="advanced", **more) as able:
        for _ in range(2):
            assert able.run(FORCED).error is None
        _, other = able.registry.get_model_history(MODEL)

        def meanwhile(progress: Progress) -> None:
            if progress.step == "refit":
                able.registry.promote(MODEL, other.version)

        with application(exchange, tmp_path, features="basic", **more) as lacking:
            outcome = lacking.run(FORCED, meanwhile)

        active = able.registry.get_active(MODEL)
        assert active is not None
        assert active.version == other.version
        assert "was not promoted" in str(outcome.error)


def test_a_champion_whose_file_is_gone_is_told_of_and_the_live_shadow_decides(
    exchange: ExchangeServer, tmp_path: Path
) -> None:
    with application(exchange, tmp_path, promotion_policy="newest") as one:
        for _ in range(2):
            assert one.run(FORCED).error is None
        lost, good = one.registry.get_model_history(MODEL)
        one.registry.upkeep._files._files.delete(str(lost.file_path))
        decided = one.registry.get_decisions(MODEL)

        answer = asked(one, because("champion_unfit"))

        assert (answer["version"], answer["forecast"]) == (lost.version, None)
        assert "is missing" in answer["problem"]
        assert one.registry.get_decisions(MODEL) == decided
        assert one.registry.get_version(MODEL, lost.version).status is VersionStatus.ACTIVE
        one.live_shadow().tick()
        assert asked(one, lambda answer: answer["version"] == good.version)["forecast"] is not None


def test_a_service_asks_its_live_shadow_to_decide_at_once(exchange: ExchangeServer, tmp_path: Path) -> None:
    more = {"promotion_policy": "newest", "live_shadow": True}
    with application(exchange, tmp_path, **more) as one:
        for _ in range(2):
            assert one.run(FORCED).error is None
        lost, good = one.registry.get_model_history(MODEL)
        one.registry.upkeep._files._files.delete(str(lost.file_path))
        with TestClient(create_app(one)) as client:
            # The schedule asks for a tick at its first look; a damaged champion asks for one of its own.
            eventually(
                lambda: client.get("/api/clm/predict").json()["version"] == good.version,
                "the last good version",
            )


def test_an_exchange_that_is_away_at_the_start_hides_no_champion(tmp_path: Path) -> None:
    with serving(simulated()) as exchange, application(exchange, tmp_path) as before:
        assert before.run(FORCED).error is None
        champion = before.registry.get_active(MODEL)
        assert champion is not None
        settings = before.settings
    with Application(settings, interactive=True) as after:
        answer = asked(after)

        assert (answer["version"], answer["forecast"]) == (champion.version, None)
        assert answer["reasons"] == ["stale_data"]
