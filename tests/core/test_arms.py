"""Who is answered by which arm: sticky for every caller, on every replica, whatever breaks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from clm.core import arms as module
from clm.core.arms import Arms
from clm.core.domain import ModelArtifact, Series
from clm.core.errors import BadInput, DatabaseUnavailable, ExchangeUnavailable
from clm.core.experiments import Arm, Assigned, Experiment, arm_drawn
from tests.support.bets import RIDGE
from tests.support.experiments import DictExperiments, experiment
from tests.support.stage import HOUR, Stage
from tests.support.versions import BTC, ETH, T0


class Counting(DictExperiments):
    """Counts what it is asked, and may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.away = False

    def open(self, series: Series | None = None) -> list[Experiment]:
        self._note("open")
        return super().open(series)

    def assign(self, found: Experiment, caller: str, version: str, at: datetime) -> str | None:
        self._note("assign")
        return super().assign(found, caller, version, at)

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if self.away:
            raise DatabaseUnavailable("away")


class World:
    """A store, an exchange and a clock in hand."""

    def __init__(self) -> None:
        self.store, self.seconds, self.exchange_away, self.times_asked = Counting(), 0.0, False, 0
        self.moment = T0 + HOUR
        self.store.create(experiment())
        self.store.asked.clear()
        self.arms = self.replica()

    def replica(self) -> Arms:
        return Arms(self.store, self._now, lambda: self.seconds)

    def _now(self, series: Series) -> datetime:
        self.times_asked += 1
        if self.exchange_away:
            raise ExchangeUnavailable("away")
        return self.moment + timedelta(seconds=self.seconds)

    def of(self, caller: str | None, **more: Any) -> Assigned | None:
        return self.arms.of(BTC, RIDGE, caller, **more)


@pytest.fixture
def world() -> World:
    return World()


class TestWho:
    def test_is_given_the_arm_of_their_lot_and_keeps_it_on_every_replica(self, world: World) -> None:
        callers = [f"bot {k}" for k in range(200)]
        drawn = {c: arm_drawn(experiment(), c) for c in callers}

        for arms in (world.arms, world.replica(), world.replica()):
            found = {c: arms.of(BTC, RIDGE, c) for c in callers}
            assert {c: a.arm for c, a in found.items() if a} == drawn

    def test_was_assigned_keeps_their_arm_when_somebody_changes_the_split(self, world: World) -> None:
        before = {c: world.of(c) for c in map(str, range(50))}
        world.store._rows["x1"] = experiment(split=1.0)

        after = {c: world.replica().of(BTC, RIDGE, c) for c in before}
        new = {world.replica().of(BTC, RIDGE, f"new {c}") for c in range(20)}

        assert after == before
        assert {a.arm for a in before.values() if a} == {Arm.A, Arm.B}
        assert {a.arm for a in new if a} == {Arm.B}

    def test_does_not_say_who_they_are_is_answered_by_the_champion(self, world: World) -> None:
        assert world.of(None) is None
        assert world.store.asked == []

    def test_has_a_name_that_cannot_be_kept_is_told(self, world: World) -> None:
        with pytest.raises(BadInput, match="printable"):
            world.of("")

    def test_asks_for_another_series_or_model_is_answered_by_the_champion(self, world: World) -> None:
        assert world.arms.of(ETH, RIDGE, "bot") is None
        assert world.arms.of(BTC, "xgboost", "bot") is None
        assert world.times_asked == 0


class TestWhen:
    @pytest.mark.parametrize(
        ("moment", "runs"),
        [(T0 - HOUR / 60, False), (T0, True), (T0 + timedelta(30) - HOUR, True), (T0 + timedelta(30), False)],
    )
    def test_is_by_the_exchanges_time(self, world: World, moment: datetime, runs: bool) -> None:
        world.moment = moment

        assert (world.of("bot") is not None) is runs
        assert (world.of("bot", now=moment) is not None) is runs

    def test_is_by_the_time_the_exchange_told_last_while_it_is_away(self, world: World) -> None:
        world.moment = T0 + timedelta(30) - timedelta(seconds=30)
        before = world.of("bot")
        world.exchange_away, found = True, []
        for world.seconds in (11, 22, 33):
            found.append(world.of("bot"))

        assert found == [before, before, None]

    def test_the_exchange_is_asked_every_ten_seconds_at_most(self, world: World) -> None:
        for step in range(100):
            world.seconds = step / 4
            world.of(f"bot {step % 3}")

        assert world.times_asked == 3

    def test_it_has_been_stopped_nobody_is_given_to_it_within_a_second(self, world: World) -> None:
        world.of("bot")
        world.store.end("x1", T0 + HOUR, {})

        at_once, new = world.of("bot"), world.of("another")
        world.seconds += 1.1
        later = world.of("bot")

        assert at_once is not None
        assert new is later is None


class TestHowQuickly:
    def test_a_known_caller_costs_no_query_within_a_second(self, world: World) -> None:
        for _ in range(100):
            world.of("bot")

        assert world.store.asked == ["open", "assign"]

    def test_what_is_open_is_looked_at_once_a_second(self, world: World) -> None:
        for step in range(50):
            world.seconds = step / 10
            world.of("bot")

        assert world.store.asked.count("open") == 5

    def test_callers_remembered_are_bounded(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_REMEMBERED", 10)
        for k in range(25):
            world.of(f"bot {k}")
        world.of("bot 24")
        world.of("bot 0")

        assert len(world.arms._remembered) == 10
        assert world.store.asked.count("assign") == 26


class TestTrouble:
    def test_a_database_that_is_away_changes_nobodys_arm(self, world: World) -> None:
        known = world.of("bot")
        world.store.away = True
        world.seconds += 5

        assert world.of("bot") == known
        stranger = world.of("another")
        world.store.away = False
        assert world.of("another") == stranger
        assert world.store.callers(experiment()) == {
            arm: sum(a is not None and a.arm == arm for a in (known, stranger)) for arm in ("A", "B")
        }

    def test_a_database_that_was_never_there_is_an_error(self, world: World) -> None:
        world.store.away = True

        with pytest.raises(DatabaseUnavailable):
            world.of("bot")

    def test_many_threads_at_once_agree_and_ask_little(self, world: World) -> None:
        found: list[tuple[str, Assigned | None]] = []

        def ask() -> None:
            found.extend((c, world.of(c)) for c in map(str, range(40)))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(set(found)) == 40
        assert world.store.asked.count("open") == 1
        assert world.times_asked == 1


class TestOnADatabase:
    @pytest.fixture
    def stage(self, tmp_path: Any) -> Iterator[Stage]:
        made = Stage(tmp_path)
        yield made
        made.close()

    def _begun(self, stage: Stage) -> tuple[ModelArtifact, ModelArtifact]:
        a, b = stage.reign(0.1), stage.save(0.1)
        stage.experiments.start(BTC, RIDGE, (a.version, b.version), days=30, by="desk")
        return a, b

    def test_a_restart_and_an_edited_table_change_nobodys_arm(self, stage: Stage) -> None:
        self._begun(stage)
        before = {c: stage.experiments.arm_of(BTC, RIDGE, c) for c in map(str, range(40))}
        with stage.sql.database.engine.begin() as connection:
            connection.execute(sa.text("UPDATE clm_experiments SET split = 0"))

        after = {c: stage.replica().arm_of(BTC, RIDGE, c) for c in before}

        assert after == before
        assert {a.arm for a in before.values() if a} == {Arm.A, Arm.B}

    def test_whoever_forecasts_is_told_both_versions(self, stage: Stage) -> None:
        assert stage.experiments.open_versions(BTC) == []
        a, b = self._begun(stage)

        assert stage.experiments.open_versions(BTC) == [(RIDGE, a.version), (RIDGE, b.version)]
        assert stage.experiments.open_versions(ETH) == []
