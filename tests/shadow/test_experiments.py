"""Experiments in the live shadow: both arms forecast, evidence both ways, one end, nobody is disturbed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from clm.core.book import Kind, Source
from clm.core.contest import Contest
from clm.core.domain import ModelArtifact, VersionStatus
from clm.core.errors import DatabaseUnavailable, ExperimentOver
from clm.core.experiments import Arm, Experiment, State
from clm.core.recheck import recheck
from tests.support.databases import database_of
from tests.support.stage import HOUR, RIDGE, START, Stage
from tests.support.versions import BTC, ETH


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Stage]:
    """The clock is played back: a whole week in one tick."""
    made = Stage(tmp_path, rehearsal=True)
    yield made
    made.close()


def _jump(stage: Stage, hours: int) -> tuple[str, ...]:
    """Experiments that ended."""
    for client in stage.clients.values():
        client.now += hours * HOUR
    return stage.live.tick().ended


def _begin(stage: Stage, a: ModelArtifact, b: ModelArtifact, **more: Any) -> Experiment:
    given: dict[str, Any] = {"days": 60, "by": "desk", **more}
    return stage.experiments.start(a.series, RIDGE, (a.version, b.version), **given)


def _now(stage: Stage, experiment: Experiment) -> Experiment:
    return stage.store.get(experiment.experiment_id)


def _result(stage: Stage, experiment: Experiment) -> dict[str, Any]:
    found = _now(stage, experiment).result
    assert found is not None
    return dict(found)


def _opens(stage: Stage, version: ModelArtifact) -> list[Any]:
    return [f.open_time for f in stage.registry.book.forecasts(RIDGE, version.version)]


class TestForecasts:
    def test_are_made_by_both_arms_from_the_start_on_and_by_nobody_twice(self, stage: Stage) -> None:
        champion, other = stage.reign(0.1), stage.save(0.1, age=3)
        stage.play(4)
        assert _opens(stage, other) == []
        _begin(stage, champion, other)

        stage.play(5)

        assert _opens(stage, other) == _opens(stage, champion)[-6:]
        assert stage.live.tick().forecasts == 0

    def test_end_with_the_experiment(self, stage: Stage) -> None:
        champion, other = stage.reign(0.1), stage.save(0.1)
        experiment = _begin(stage, champion, other, days=None, end=stage.client.now + 6 * HOUR)

        stage.play(12)

        assert _now(stage, experiment).state is State.ENDED
        assert len(_opens(stage, champion)) == 12
        assert _opens(stage, other)[-1] + 2 * HOUR <= experiment.ends_at

    def test_of_a_planned_experiment_begin_with_its_start(self, stage: Stage) -> None:
        champion, other = stage.reign(0.1), stage.save(0.1)
        experiment = _begin(stage, champion, other, start=stage.client.now + 5 * HOUR)

        stage.play(9)

        assert _opens(stage, other)[0] == experiment.starts_at - HOUR
        row = stage.registry.book.evidence(experiment.ledger(Arm.B))[0]
        assert row.open_time == experiment.starts_at - HOUR

    def test_of_an_arm_that_is_guarded_go_on_when_the_guard_ends(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path, rehearsal=True, hours=2500)
        first = stage.reign(0.1)
        _jump(stage, 24)
        second = stage.save(0.1)
        stage.registry.promote(RIDGE, second.version, at=stage.client.now)
        experiment = _begin(stage, first, second, alpha=0.001)
        _jump(stage, 400)
        _jump(stage, 400)

        assert len(stage.registry.book.evidence(experiment.ledger(Arm.B))) == 799
        (guard,) = (
            key
            for key in stage.registry.book.ledgers(RIDGE, second.version, second_reign(stage))
            if key.kind is Kind.GUARD
        )
        assert len(stage.registry.book.evidence(guard)) == 719
        stage.close()

    def test_go_on_without_a_champion(self, stage: Stage) -> None:
        champion, other = stage.reign(0.1), stage.save(0.2)
        experiment = _begin(stage, champion, other)
        stage.play(3)
        stage.registry.retire(RIDGE, champion.version)

        stage.play(5)

        assert stage.registry.get_active(RIDGE) is None
        assert len(stage.registry.book.evidence(experiment.ledger(Arm.A))) == 7


class TestTheEnd:
    @pytest.mark.parametrize(("a", "b", "better"), [(0.0, 0.3, Arm.B), (0.3, 0.0, Arm.A)])
    def test_comes_when_either_arm_is_shown_to_be_better(
        self, rehearsal: Stage, a: float, b: float, better: Arm
    ) -> None:
        champion, other = rehearsal.reign(a), rehearsal.save(b, "another")
        experiment = _begin(rehearsal, champion, other)

        ended = _jump(rehearsal, 500)

        assert ended == (experiment.experiment_id,)
        result, known = _result(rehearsal, experiment), _now(rehearsal, experiment)
        winner = known.version_of(better)
        assert (result["why"], result["winner"]) == (f"{better.lower()}_better", better)
        assert result["version"] == winner
        assert f"{better} ({winner}) is better than" in result["reason"]
        assert "of 40 after" in result["reason"]
        assert (result["mean_gain"] > 0) == (result["mse_gain"] > 0) == (better is Arm.B)
        rows = rehearsal.registry.book.evidence(experiment.ledger(better))
        assert [row.log_e >= 3.6888 for row in rows] == [False] * (len(rows) - 1) + [True]
        assert known.ended_at == rows[-1].open_time + 2 * HOUR
        active = rehearsal.registry.get_active(RIDGE)
        assert active is not None
        assert active.version == champion.version
        assert [(a.kind, a.subject) for a in rehearsal.alerts] == [("experiment", experiment.experiment_id)]

    def test_comes_with_the_time_when_nothing_could_be_shown(self, rehearsal: Stage) -> None:
        experiment = _begin(rehearsal, rehearsal.reign(0.1), rehearsal.save(0.1), days=5)

        _jump(rehearsal, 200)

        result = _result(rehearsal, experiment)
        assert (result["why"], result["winner"], result["candles"]) == ("no_difference", None, 119)
        assert "no difference could be shown: E = 1 that B is better and 1 that A is" in result["reason"]
        assert _now(rehearsal, experiment).ended_at == experiment.ends_at

    def test_waits_for_the_last_candle_where_the_exchange_is_late_with_it(self, stage: Stage) -> None:
        champion, other = stage.reign(0.1), stage.save(0.1)
        experiment = _begin(stage, champion, other, days=None, end=stage.client.now + 6 * HOUR)
        stage.play(5)
        whole = stage.candles
        stage.client._candles = whole[whole.index < pd_stamp(experiment.ends_at - HOUR)]
        stage.play(1)
        before = _now(stage, experiment).state
        stage.client._candles = whole

        tick = stage.live.tick()

        assert (before, tick.ended) == (State.OPEN, (experiment.experiment_id,))
        assert _result(stage, experiment)["last_candle"] == "2024-01-26T04:00:00Z"

    def test_does_not_wait_for_ever(self, stage: Stage) -> None:
        champion, other = stage.reign(0.1), stage.save(0.1)
        experiment = _begin(stage, champion, other, days=None, end=stage.client.now + 6 * HOUR)
        stage.play(5)
        stage.client._candles = stage.candles[stage.candles.index < pd_stamp(experiment.ends_at - HOUR)]

        stage.play(2)

        assert _result(stage, experiment)["last_candle"] == "2024-01-26T03:00:00Z"

    def test_by_hand_says_who_and_how_it_stood(self, rehearsal: Stage) -> None:
        experiment = _begin(rehearsal, rehearsal.reign(0.1), rehearsal.save(0.1))
        _jump(rehearsal, 30)

        ended = rehearsal.experiments.stop(experiment.experiment_id, "desk", rehearsal.client.now)

        assert (ended.state, ended.ended_at) == (State.ENDED, rehearsal.client.now)
        result = _result(rehearsal, experiment)
        assert (result["why"], result["cause"], result["candles"]) == ("stopped", "desk", 29)
        assert "stopped by desk; no difference could be shown" in result["reason"]
        with pytest.raises(ExperimentOver, match="stopped by desk"):
            rehearsal.experiments.stop(experiment.experiment_id, "desk", rehearsal.client.now)
        assert _jump(rehearsal, 30) == ()

    def test_by_hand_is_the_better_arms_where_that_was_known_already(self, rehearsal: Stage) -> None:
        experiment = _begin(rehearsal, rehearsal.reign(0.0), rehearsal.save(0.3))
        _forecast_and_score(rehearsal, 500)

        rehearsal.experiments.stop(experiment.experiment_id, "desk", rehearsal.client.now)

        assert _result(rehearsal, experiment)["why"] == "b_better"

    @pytest.mark.parametrize("arm", list(Arm))
    def test_comes_when_an_arms_file_goes_missing(self, stage: Stage, arm: Arm) -> None:
        stage.reign(0.1)
        versions = {Arm.A: stage.save(0.1), Arm.B: stage.save(0.1)}
        experiment = _begin(stage, versions[Arm.A], versions[Arm.B])
        stage.play(5)
        _file(stage, versions[arm]).unlink()

        stage.play(1)

        result = _result(stage, experiment)
        assert (result["why"], result["lost_arm"], result["candles"]) == ("arm_lost", arm, 5)
        assert f"{arm} ({versions[arm].version}) cannot forecast any more: the file of" in result["reason"]
        assert stage.registry.get_version(RIDGE, versions[arm].version).quarantined_at is not None
        assert stage.registry.get_active(RIDGE) is not None
        assert recheck(_contest(stage, experiment)).same

    def test_comes_when_an_arm_breaks_down_and_the_champion_goes_on(self, stage: Stage) -> None:
        champion, other = stage.reign(0.1), stage.save(0.1)
        experiment = _begin(stage, champion, other)
        stage.play(3)
        stage.registry = _Broken(stage.registry, other.version)  # type: ignore[assignment]
        stage.live = stage.watch()

        stage.play(2)

        assert _result(stage, experiment)["lost_arm"] == "B"
        assert "broke down: ZeroDivisionError" in _result(stage, experiment)["reason"]
        assert len(_opens(stage, champion)) == 5

    def test_is_no_business_of_a_model_folder_that_is_away(self, stage: Stage) -> None:
        experiment = _begin(stage, stage.reign(0.1), stage.save(0.1))
        stage.play(3)
        (stage.folder / "models").rename(stage.folder / "unmounted")
        (stage.folder / "models").mkdir()
        stage.play(2)
        (stage.folder / "models").rmdir()
        (stage.folder / "unmounted").rename(stage.folder / "models")

        stage.play(3)

        assert _now(stage, experiment).state is State.OPEN
        assert len(stage.registry.book.evidence(experiment.ledger(Arm.A))) == 5
        assert stage.alerts == []


class TestEvidence:
    def test_of_the_two_directions_mirrors_itself_to_the_last_bit(self, rehearsal: Stage) -> None:
        experiment = _begin(rehearsal, rehearsal.reign(0.1), rehearsal.save(-0.1))
        _jump(rehearsal, 80)

        a, b = (rehearsal.registry.book.evidence(experiment.ledger(arm)) for arm in Arm)

        assert [-row.gain for row in a] == [row.gain for row in b]
        assert [row.bound for row in a] == [row.bound for row in b]
        assert {row.key.kind for row in a} == {Kind.EXPERIMENT}
        assert b[0].key.champion_version == experiment.version_a == a[0].challenger_version

    def test_made_late_is_none(self, stage: Stage) -> None:
        champion, other = stage.reign(0.0), stage.save(0.3)
        experiment = _begin(stage, champion, other)
        stage.play(4)
        stage.client.now += 30 * HOUR
        stage.play(4)

        rows = stage.registry.book.evidence(experiment.ledger(Arm.B))
        late = [
            f for f in stage.registry.book.forecasts(RIDGE, other.version) if f.source is Source.LATE
        ]  # fmt: skip

        assert len(late) == 30
        assert not {row.open_time for row in rows} & {f.open_time for f in late}
        assert len(rows) == 7

    def test_from_before_the_start_does_not_count(self, rehearsal: Stage) -> None:
        """Champion and challenger have a history that everybody knows."""
        champion, challenger = rehearsal.reign(0.0), rehearsal.challenge(0.3)
        _jump(rehearsal, 40)
        experiment = _begin(rehearsal, champion, challenger)

        _jump(rehearsal, 10)

        rows = rehearsal.registry.book.evidence(experiment.ledger(Arm.B))
        assert [row.open_time for row in rows] == [experiment.starts_at + (k - 1) * HOUR for k in range(10)]

    def test_is_not_pooled_with_other_series(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path, series=(BTC, ETH), rehearsal=True)
        arms = {s: (stage.reign(0.1, series=s), stage.save(0.1, series=s)) for s in (BTC, ETH)}
        found = [_begin(stage, *arms[s], split=0.25) for s in (BTC, ETH)]
        _jump(stage, 20)

        for experiment in found:
            rows = stage.registry.for_series(experiment.series).book.evidence(experiment.ledger(Arm.B))
            assert [row.pool for row in rows] == [None] * 19
        assert stage.experiments.open_versions(ETH) == sorted((RIDGE, a.version) for a in arms[ETH])
        stage.close()

    def test_of_a_candle_that_was_never_traded_is_none(self, stage: Stage) -> None:
        hole = stage.candles.index[610]
        stage.client._candles = stage.candles.drop(hole)
        experiment = _begin(stage, stage.reign(0.1), stage.save(0.1))

        stage.play(20)

        opens = {row.open_time for row in stage.registry.book.evidence(experiment.ledger(Arm.B))}
        assert hole.to_pydatetime() not in opens
        assert (hole - HOUR).to_pydatetime() not in opens
        assert len(opens) == 19 - 2


class TestBeside:
    """Shadow, guard and experiments at once: each comes to what it would have come to alone."""

    def _all(self, folder: Path, *, experiment: bool) -> tuple[list[Any], list[Any], float | None]:
        stage = Stage(folder, rehearsal=True)
        old = stage.reign(0.1)
        challenger = stage.challenge(0.25, "another")
        bystander = stage.save(0.2, "third", age=1)
        if experiment:
            _begin(stage, old, bystander, alpha=0.01)
        decisions = _decisions(stage, 9)
        bad = stage.save(-0.4)
        stage.registry.promote(RIDGE, bad.version, at=stage.client.now)
        decisions += _decisions(stage, 9)
        tick = stage.live.tick()
        book = stage.registry.book
        keys = [
            key
            for version in (old, challenger, bad)
            for reign in _reigns(stage, version)
            for key in book.ledgers(RIDGE, version.version, reign)
            if key.kind is not Kind.EXPERIMENT
        ]
        ledgers = [(key, book.evidence(key)) for key in keys]
        said = [(d.label, d.decided_at, d.candidate_version, d.numbers, d.reason) for d in decisions]
        stage.close()
        return said, ledgers, tick.deviation

    def test_decisions_ledgers_and_parity_are_the_same_with_an_experiment(self, tmp_path: Path) -> None:
        alone, beside = (
            self._all(tmp_path / name, experiment=name == "beside") for name in ("alone", "beside")
        )

        assert {d[0] for d in alone[0]} >= {"guard"}
        assert {key.kind for key, rows in alone[1] if rows} == {Kind.CHALLENGE, Kind.GUARD}
        assert beside == alone

    def test_an_arm_that_is_promoted_and_rolled_back_meanwhile_stays_an_arm(self, rehearsal: Stage) -> None:
        champion, other = rehearsal.reign(0.1), rehearsal.save(0.1, "another")
        experiment = _begin(rehearsal, champion, other)
        _jump(rehearsal, 20)
        rehearsal.registry.promote(RIDGE, other.version, at=rehearsal.client.now)
        _jump(rehearsal, 20)
        rehearsal.registry.rollback(RIDGE, at=rehearsal.client.now)
        _jump(rehearsal, 20)
        third = rehearsal.save(0.1, "third")
        rehearsal.registry.promote(RIDGE, third.version, at=rehearsal.client.now)
        _jump(rehearsal, 20)

        rows = rehearsal.registry.book.evidence(experiment.ledger(Arm.B))

        assert [row.open_time for row in rows] == [experiment.starts_at + k * HOUR for k in range(79)]
        assert recheck(_contest(rehearsal, experiment)).same

    def test_a_challenger_that_is_superseded_stays_an_arm(self, rehearsal: Stage) -> None:
        champion, challenger = rehearsal.reign(0.1), rehearsal.challenge(0.1)
        experiment = _begin(rehearsal, champion, challenger)
        _jump(rehearsal, 10)
        rehearsal.registry.retire(RIDGE, challenger.version)

        _jump(rehearsal, 10)

        assert rehearsal.registry.get_version(RIDGE, challenger.version).status is VersionStatus.RETIRED
        assert len(rehearsal.registry.book.evidence(experiment.ledger(Arm.A))) == 19

    def test_an_arm_that_forecasts_otherwise_offline_raises_an_alert(self, stage: Stage) -> None:
        stage.reign(0.0)
        a, b = stage.save(0.1), stage.save(0.2)
        _begin(stage, a, b)
        stage.play(5)
        stage.features._hint = stage.features._hint + 0.5

        stage.play(1)

        assert {(x.kind, x.subject) for x in stage.alerts} == {("parity", a.version), ("parity", b.version)}


class _Broken:
    """A registry one of whose versions loads and then breaks down."""

    def __init__(self, real: Any, version: str) -> None:
        self._real, self._version = real, version

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def for_series(self, series: Any) -> Any:
        return _Broken(self._real.for_series(series), self._version)

    def load_model(self, artifact: ModelArtifact) -> Any:
        model = self._real.load_model(artifact)
        return _Bomb(model) if artifact.version == self._version else model


class _Bomb:
    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, df: Any) -> Any:
        raise ZeroDivisionError("split")


class _Breaking:
    """A store or registry that breaks down at one method, as if the process had died there."""

    def __init__(self, real: Any, method: str) -> None:
        self._real, self._method = real, method

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name == self._method:
            return self._break
        return _Breaking(found, self._method) if name == "book" else found

    def for_series(self, series: Any) -> Any:
        return _Breaking(self._real.for_series(series), self._method)

    @staticmethod
    def _break(*args: Any, **named: Any) -> Any:
        raise DatabaseUnavailable("died here")


@pytest.mark.parametrize("method", ["record_forecasts", "score", "append_together", "end"])
def test_a_crash_at_any_step_leads_to_the_same_end_once(method: str, tmp_path: Path) -> None:
    def ended(folder: Path, crash_at: int | None) -> dict[str, Any]:
        stage = Stage(folder, rehearsal=True)
        experiment = _begin(stage, stage.reign(-0.3), stage.save(0.3), alpha=0.2)
        registry, store = stage.registry, stage.store
        for hour in range(0, 144, 24):
            stage.client.now += 24 * HOUR
            if hour == crash_at:
                stage.registry = _Breaking(registry, method)  # type: ignore[assignment]
                stage.store = _Breaking(store, method)  # type: ignore[assignment]
                with suppress(DatabaseUnavailable):
                    assert stage.watch().tick().errors
                stage.registry, stage.store = registry, store
            stage.watch().tick()
        found = _now(stage, experiment)
        assert recheck(_contest(stage, experiment)).same
        stage.close()
        return {**(found.result or {}), "ended_at": found.ended_at}

    whole = ended(tmp_path / "whole", None)
    crash = int((whole["ended_at"] - START - 600 * HOUR) / HOUR - 1) // 24 * 24

    assert whole["why"] == "b_better"
    for at in (crash,) if method == "end" else (crash - 24, crash):
        assert ended(tmp_path / f"at{at}", at) == whole


@pytest.mark.rehearse
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_two_replicas_at_once_bet_and_end_once(database: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(database_of(database, tmp_path))
        stage = Stage(tmp_path, db_url=url)
        experiment = _begin(stage, stage.reign(-0.3), stage.save(0.3), alpha=0.2)
        watches, replicas = [stage.watch() for _ in range(2)], [stage.replica() for _ in range(2)]
        failures: list[BaseException] = []
        ends: list[str] = []
        arms: dict[str, set[Any]] = {f"bot {k}": set() for k in range(300)}

        def work(watch: Any, replica: Any, callers: list[str]) -> None:
            try:
                for caller in callers:
                    arms[caller].add(replica.arm_of(BTC, RIDGE, caller))
                ends.extend(watch.tick().ended)
            except Exception as error:  # noqa: BLE001  # whatever it is, the test must see it
                failures.append(error)

        for hour in range(100):
            stage.client.now += HOUR
            stage.seconds += 3600
            callers = list(arms)[3 * hour : 3 * hour + 3]
            both = [
                threading.Thread(target=work, args=(watch, replica, callers))
                for watch, replica in zip(watches, replicas, strict=True)
            ]
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()

        assert failures == []
        assert ends == [experiment.experiment_id]
        result = _result(stage, experiment)
        assert result["why"] == "b_better"
        seen = [found - {None} for found in arms.values() if found != {None}]
        assert all(len(found) == 1 for found in seen if found)
        assert sum(result["callers"].values()) == len([found for found in seen if found])
        assert recheck(_contest(stage, experiment)).same
        stage.close()


class TestRecomputing:
    def test_an_open_and_an_ended_experiment_come_out_the_same(self, rehearsal: Stage) -> None:
        experiment = _begin(rehearsal, rehearsal.reign(0.0), rehearsal.save(0.3))
        for caller in map(str, range(20)):
            rehearsal.experiments.arm_of(BTC, RIDGE, caller)
        _jump(rehearsal, 50)
        early = recheck(_contest(rehearsal, experiment))
        _jump(rehearsal, 450)
        late = recheck(_contest(rehearsal, experiment))

        assert (early.same, early.bets) == (True, 49)
        assert (late.same, late.bets) == (True, _result(rehearsal, experiment)["candles"])

    @pytest.mark.parametrize(
        ("statement", "said"),
        [
            ("UPDATE clm_evidence SET actual = actual + 0.001 WHERE id = 20", "the bet on"),
            ("UPDATE clm_evidence SET gain = gain * 1.001 WHERE id = 20", "the bet on"),
            ("DELETE FROM clm_evidence WHERE id = 20", "the same candles"),
            ("UPDATE clm_forecasts SET forecast = 0.5 WHERE id = 10", "that of the stored forecasts"),
            ("UPDATE clm_forecasts SET source = 'late' WHERE id = 10", "no live forecasts of both arms"),
            ("UPDATE clm_experiments SET alpha = 0.5", "it should have ended with"),
            ("UPDATE clm_experiments SET alpha = 0.01", "it should not have ended as b_better"),
            ("UPDATE clm_experiments SET ends_at = '2024-01-28 00:00:00.000000'", "of both arms in time"),
            ("UPDATE clm_assignments SET version = 'v' WHERE id = 1", "callers are"),
        ],
    )
    def test_what_was_tampered_with_is_found(self, rehearsal: Stage, statement: str, said: str) -> None:
        experiment = _begin(rehearsal, rehearsal.reign(0.0), rehearsal.save(0.3), split=1.0)
        rehearsal.experiments.arm_of(BTC, RIDGE, "a bot")
        _jump(rehearsal, 500)
        with rehearsal.sql.database.engine.begin() as connection:
            for name in ("evidence_no_update", "evidence_no_delete", "forecasts_stand", "scores_stand"):
                connection.execute(sa.text(f"DROP TRIGGER clm_{name}"))
            connection.execute(sa.text(statement))

        again = recheck(_contest(rehearsal, experiment))

        assert not again.same
        assert said in "\n".join(again.differences)


def _decisions(stage: Stage, days: int) -> list[Any]:
    """Of so many days, looked at once a day."""
    taken: list[Any] = []
    for _ in range(days):
        stage.client.now += 24 * HOUR
        taken += stage.live.tick().decisions
    return taken


def _contest(stage: Stage, experiment: Experiment) -> Contest:
    return Contest(_now(stage, experiment), stage.keeper(experiment.series), stage.store)


def _forecast_and_score(stage: Stage, hours: int) -> None:
    """Everything of a tick but the bets."""
    stage.client.now += hours * HOUR
    (desk,) = stage.live.desks()
    known = stage.live.looking.look(desk)
    stage.live._forecast(desk, RIDGE, known)
    stage.live._score(desk, RIDGE, known)


def _file(stage: Stage, artifact: ModelArtifact) -> Path:
    return stage.folder / "models" / Path(str(artifact.file_path)).name


def _reigns(stage: Stage, version: ModelArtifact) -> list[Any]:
    decisions = stage.registry.get_decisions(RIDGE, limit=100)
    return [d.decided_at for d in decisions if d.candidate_version == version.version]


def second_reign(stage: Stage) -> Any:
    champion = stage.registry.get_active(RIDGE)
    assert champion is not None
    return champion.promoted_at


def pd_stamp(moment: Any) -> Any:
    import pandas as pd

    return pd.Timestamp(moment)
