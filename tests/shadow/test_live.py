"""The live shadow: forecasts before outcomes, bets once, decisions once, whatever breaks in between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from clm.core.book import Forecast, Kind, Source
from clm.core.domain import Decision, Outcome, VersionStatus
from clm.core.errors import DatabaseUnavailable, EvidenceMoved
from clm.core.pooled_bets import PooledBets
from clm.core.recompute import recompute
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


def _jump(stage: Stage, hours: int) -> list[Decision]:
    for client in stage.clients.values():
        client.now += hours * HOUR
    return list(stage.live.tick().decisions)


class TestForecasts:
    def test_are_stored_before_the_outcome_and_scored_after_it(self, stage: Stage) -> None:
        champion = stage.reign(0.1)
        stage.play(3)
        newest = stage.registry.book.forecasts(RIDGE, champion.version)[-1]

        assert newest.open_time == stage.client.now - HOUR
        assert newest.made_at < newest.open_time + 2 * HOUR
        assert (newest.source, newest.actual) == (Source.LIVE, None)

        stage.play(1)
        scored = stage.registry.book.forecasts(RIDGE, champion.version)[-2]
        assert scored.open_time == newest.open_time
        assert scored.actual is not None
        assert scored.scored_at == stage.client.now

    def test_of_champion_challenger_and_guarded_champion_are_all_kept(self, stage: Stage) -> None:
        first = stage.reign(0.1)
        stage.play(2)
        second = stage.save(0.1)
        stage.registry.promote(RIDGE, second.version, at=stage.client.now)
        third = stage.challenge(0.1)
        stage.play(3)

        counts = [len(stage.registry.book.forecasts(RIDGE, v.version)) for v in (first, second, third)]
        assert counts == [5, 3, 3]

    def test_missed_in_a_downtime_are_made_up_for_once_and_marked_late(self, stage: Stage) -> None:
        champion = stage.reign(0.1)
        stage.play(2)
        for client in stage.clients.values():
            client.now += 7 * HOUR

        tick, again = stage.live.tick(), stage.live.tick()

        assert (tick.forecasts, tick.late) == (7, 6)
        assert (again.forecasts, again.late) == (0, 0)
        sources = [f.source for f in stage.registry.book.forecasts(RIDGE, champion.version)]
        assert sources == [Source.LIVE] * 2 + [Source.LATE] * 6 + [Source.LIVE]

    def test_missed_ones_are_made_up_for_though_a_request_was_answered_before(self, stage: Stage) -> None:
        champion = stage.reign(0.1)
        stage.play(2)
        stage.client.now += 7 * HOUR
        book, newest = stage.registry.book, stage.client.now - HOUR
        answered = Forecast(
            model_type=RIDGE, version=champion.version, open_time=newest, source=Source.LIVE,
            forecast=0.002, variance=3.6e-5, made_at=stage.client.now,
        )  # fmt: skip
        book.record_forecasts([answered])

        tick, again = stage.live.tick(), stage.live.tick()

        assert (tick.forecasts, tick.late) == (6, 6)
        assert (again.forecasts, again.late) == (0, 0)
        stored = book.forecasts(RIDGE, champion.version)
        assert [b.open_time - a.open_time for a, b in pairwise(stored)] == [HOUR] * 8
        assert stored[-1] == answered

    def test_missed_ones_are_made_up_for_though_a_run_replayed_a_day_before(self, stage: Stage) -> None:
        champion = stage.reign(0.1)
        stage.play(2)
        stage.client.now += 60 * HOUR
        book, newest = stage.registry.book, stage.client.now - 2 * HOUR
        replayed = [
            Forecast(
                model_type=RIDGE, version=champion.version, open_time=newest - ago * HOUR,
                source=Source.REPLAY, forecast=0.002, variance=3.6e-5, made_at=stage.client.now, actual=0.001,
                scored_at=stage.client.now,
            )
            for ago in range(24)
        ]  # fmt: skip
        book.record_forecasts(replayed)

        tick, again = stage.live.tick(), stage.live.tick()

        assert (tick.forecasts, tick.late) == (36, 35)
        assert (again.forecasts, again.late) == (0, 0)
        stored = book.forecasts(RIDGE, champion.version)
        assert [b.open_time - a.open_time for a, b in pairwise(stored)] == [HOUR] * 61
        assert [f.source for f in stored].count(Source.REPLAY) == 24

    def test_made_late_are_no_evidence(self, stage: Stage) -> None:
        stage.reign(0.0)
        challenger = stage.challenge(0.3)
        stage.play(4)
        for client in stage.clients.values():
            client.now += 30 * HOUR
        stage.play(4)

        keeper, reign = stage.keeper(), stage.registry.get_active(RIDGE)
        assert reign is not None
        (key,) = stage.registry.book.ledgers(RIDGE, reign.version, reign.promoted_at or START)
        bets = stage.registry.book.evidence(key)
        assert {row.source for row in bets} == {Source.LIVE}
        stored = stage.registry.book.forecasts(RIDGE, challenger.version)
        assert len(bets) == sum(f.source is Source.LIVE and f.actual is not None for f in stored)
        assert keeper.evidence(key).bets == len(bets)

    def test_a_candle_that_was_never_traded_is_no_bet(self, stage: Stage) -> None:
        hole = stage.candles.index[610]
        stage.client._candles = stage.candles.drop(hole)
        stage.reign(0.0)
        challenger = stage.challenge(0.3)
        stage.play(20)

        stored = {f.open_time: f for f in stage.registry.book.forecasts(RIDGE, challenger.version)}
        assert hole.to_pydatetime() not in stored
        assert stored[(hole - HOUR).to_pydatetime()].actual is None

    def test_a_clock_that_jumps_back_does_nothing(self, stage: Stage) -> None:
        stage.reign(0.1)
        stage.challenge(0.1)
        stage.play(5)
        stage.client.now -= 3 * HOUR

        tick = stage.live.tick()

        assert (tick.forecasts, tick.scored, tick.decisions) == (0, 0, ())


class TestEvidence:
    def test_a_better_challenger_is_promoted_once_and_says_why(self, rehearsal: Stage) -> None:
        champion, challenger = rehearsal.reign(0.0), rehearsal.challenge(0.3)

        (decision,) = _jump(rehearsal, 400)

        assert (decision.outcome, decision.label) == (Outcome.PROMOTE, "better")
        assert "E reached" in decision.reason
        active = rehearsal.registry.get_active(RIDGE)
        assert active is not None
        assert (active.version, active.promoted_at) == (challenger.version, decision.decided_at)
        assert active.replaced_version == champion.version

    def test_one_as_good_goes_on_being_watched(self, rehearsal: Stage) -> None:
        rehearsal.reign(0.1)
        challenger = rehearsal.challenge(0.1)

        assert _jump(rehearsal, 600) == []
        assert [c.version for c in rehearsal.registry.challengers(RIDGE)] == [challenger.version]

    def test_a_much_worse_one_is_rejected_by_the_smoke_test(self, rehearsal: Stage) -> None:
        rehearsal.reign(0.0)
        challenger = rehearsal.challenge(-3.0)

        (decision,) = _jump(rehearsal, 60)

        assert (decision.outcome, decision.label) == (Outcome.REJECT, "smoke")
        status = rehearsal.registry.get_version(RIDGE, challenger.version).status
        assert status is VersionStatus.RETIRED

    def test_a_week_at_once_comes_to_the_same_as_candle_by_candle(self, tmp_path: Path) -> None:
        def decided(folder: Path, steps: list[int]) -> list[tuple[Any, ...]]:
            stage = Stage(folder, rehearsal=True, strength=1.0)
            stage.reign(0.0)
            stage.challenge(0.3)
            taken = [d for hours in steps for d in _jump(stage, hours)]
            rows = stage.sql.get_decisions(limit=50)
            stage.close()
            assert taken
            return [(d.label, d.decided_at, d.candidate_version, d.numbers) for d in rows]

        assert decided(tmp_path / "one", [168]) == decided(tmp_path / "many", [1] * 48 + [60, 60])

    def test_two_recipes_at_once_need_twice_the_evidence(self, rehearsal: Stage) -> None:
        rehearsal.reign(0.0)
        rehearsal.challenge(0.3, "one")
        rehearsal.challenge(0.0, "two")

        decisions = _jump(rehearsal, 500)

        (better,) = [d for d in decisions if d.label == "better"]
        assert better.numbers["recipes"] == 2
        assert "40" in better.reason

    def test_several_series_pool_their_bets_candle_by_candle(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path, series=(BTC, ETH), rehearsal=True)
        for series in (BTC, ETH):
            stage.reign(0.0, series=series)
            stage.challenge(0.1, series=series)
        _jump(stage, 50)

        keeper = stage.keeper(BTC)
        champion = stage.registry.for_series(BTC).get_active(RIDGE)
        assert champion is not None
        (key,) = keeper.registry.book.ledgers(RIDGE, champion.version, champion.promoted_at or START)
        rows = keeper.registry.book.evidence(key)
        their_champion = stage.registry.for_series(ETH).get_active(RIDGE)
        assert their_champion is not None
        their_key = replace(key, champion_version=their_champion.version, reign=their_champion.promoted_at)
        their_rows = stage.registry.for_series(ETH).book.evidence(their_key)
        theirs = {row.open_time: (row.gain, row.bound) for row in their_rows}
        assert [row.pool for row in rows] == [
            PooledBets({"BTCUSDT": (row.gain, row.bound), "ETHUSDT": theirs[row.open_time]}) for row in rows
        ]
        stage.close()

    def test_a_revised_candle_is_counted_and_the_score_stands(self, stage: Stage) -> None:
        champion = stage.reign(0.1)
        stage.challenge(0.1)
        stage.play(6)
        before = stage.registry.book.forecasts(RIDGE, champion.version)
        revised = stage.candles.copy()
        revised.loc[pd_stamp(before[2].open_time + HOUR), "close"] *= 1.01
        stage.client._candles = revised

        tick = stage.live.tick()
        after = stage.registry.book.forecasts(RIDGE, champion.version)

        assert tick.revised > 0
        assert [f.actual for f in after] == [f.actual for f in before]
        assert after[2].revised != before[2].actual
        assert stage.registry.book.revisions() == 2
        assert stage.live.tick().revised == 0


class TestParity:
    def test_a_model_that_forecasts_otherwise_offline_is_rejected(self, stage: Stage) -> None:
        stage.reign(0.1)
        stage.challenge(0.1)
        stage.play(30)
        # Not the candles, the features are computed otherwise now.
        stage.features._hint = stage.features._hint + 0.5

        decisions = stage.play(1)

        assert [(d.outcome, d.label) for d in decisions] == [(Outcome.REJECT, "parity")]

    def test_a_champion_that_forecasts_otherwise_offline_raises_an_alert(self, stage: Stage) -> None:
        champion = stage.reign(0.1)
        stage.play(30)
        assert stage.alerts == []
        stage.features._hint = stage.features._hint + 0.5

        stage.play(1)

        assert [(a.kind, a.subject) for a in stage.alerts] == [("parity", champion.version)]

    def test_is_counted_candle_by_candle(self, stage: Stage) -> None:
        stage.reign(0.1)
        stage.play(5)

        tick = stage.live.tick()

        assert (tick.replayed, tick.deviation) == (5, 0.0)

    def test_a_revised_candle_is_no_parity_miss(self, stage: Stage) -> None:
        stage.reign(0.1)
        challenger = stage.challenge(0.1)
        stage.play(30)
        revised = stage.candles.copy()
        revised.iloc[620, revised.columns.get_loc("volume")] *= 2
        stage.client._candles = revised
        # And so is every feature that looks back on it.
        stage.features._hint.iloc[620:] += 0.5

        assert stage.play(1) == []
        assert stage.registry.challengers(RIDGE)[0].version == challenger.version


class TestGuard:
    def test_a_worse_model_promoted_by_hand_is_taken_back_with_an_alert(self, rehearsal: Stage) -> None:
        good = rehearsal.reign(0.2)
        _jump(rehearsal, 24)
        bad = rehearsal.save(-0.3)
        rehearsal.registry.promote(RIDGE, bad.version, at=rehearsal.client.now)

        (decision,) = _jump(rehearsal, 300)

        assert (decision.label, decision.decided_by) == ("guard", "guard")
        active = rehearsal.registry.get_active(RIDGE)
        assert active is not None
        assert active.version == good.version
        assert [a.kind for a in rehearsal.alerts] == ["rollback"]
        assert bad.version in rehearsal.alerts[0].message

    def test_after_a_rollback_nothing_is_promoted_for_a_while(self, rehearsal: Stage) -> None:
        rehearsal.reign(0.0)
        _jump(rehearsal, 24)
        bad = rehearsal.save(-0.5)
        rehearsal.registry.promote(RIDGE, bad.version, at=rehearsal.client.now)
        (back,) = _jump(rehearsal, 100)
        assert back.decided_at is not None
        rehearsal.challenge(0.3)

        decisions = _jump(rehearsal, 500)

        assert [d.label for d in decisions] == ["better"]
        assert decisions[0].decided_at is not None
        assert decisions[0].decided_at >= back.decided_at + timedelta(hours=168)

    def test_a_version_that_came_back_is_not_guarded_by_the_one_it_threw_out(self, rehearsal: Stage) -> None:
        rehearsal.reign(0.2)
        _jump(rehearsal, 24)
        bad = rehearsal.save(-0.3)
        rehearsal.registry.promote(RIDGE, bad.version, at=rehearsal.client.now)
        _jump(rehearsal, 300)

        assert _jump(rehearsal, 300) == []
        kinds = [d.label for d in rehearsal.registry.get_decisions(RIDGE)]
        assert kinds.count("guard") == 1

    def test_its_watch_ends(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path, rehearsal=True, hours=2500)
        stage.reign(0.1)
        _jump(stage, 24)
        stage.registry.promote(RIDGE, stage.save(0.1).version, at=stage.client.now)
        _jump(stage, 400)
        _jump(stage, 400)

        champion = stage.registry.get_active(RIDGE)
        assert champion is not None
        keys = stage.registry.book.ledgers(RIDGE, champion.version, champion.promoted_at or START)
        bets = [stage.registry.book.evidence(key) for key in keys if key.kind is Kind.GUARD]
        assert len(bets) == 1
        assert len(bets[0]) == 719
        stage.close()


class TestNeverStuck:
    def test_a_champion_whose_file_is_gone_gives_way_to_the_last_good_one(self, stage: Stage) -> None:
        good = stage.reign(0.1)
        stage.play(1)
        lost = stage.save(0.1)
        stage.registry.promote(RIDGE, lost.version, at=stage.client.now)
        (stage.folder / "models").joinpath(Path(str(lost.file_path)).name).unlink()

        stage.play(1)

        active = stage.registry.get_active(RIDGE)
        assert active is not None
        assert active.version == good.version
        newest = stage.registry.get_decisions(RIDGE)[0]
        assert newest.label == "fallback"
        assert "missing" in newest.reason
        assert (newest.decided_by, newest.decided_at) == ("lifecycle", stage.client.now)
        assert [(a.kind, a.subject) for a in stage.alerts] == [("champion_unfit", lost.version)]

    def test_a_champion_of_other_features_is_retired_with_the_reason(self, stage: Stage) -> None:
        champion = stage.reign(0.1)
        stage.features.get_feature_names = lambda: ["other"]  # type: ignore[method-assign]
        stage.features.transform = _renamed(stage.features.transform)  # type: ignore[method-assign]

        stage.play(1)

        assert stage.registry.get_active(RIDGE) is None
        said = stage.registry.get_decisions(RIDGE)[0]
        assert "features that are not computed any more" in said.reason
        assert (said.decided_by, said.decided_at) == ("lifecycle", stage.client.now)
        assert [(a.kind, a.subject) for a in stage.alerts] == [("champion_unfit", champion.version)]

    def test_a_challenger_whose_file_is_gone_is_retired(self, stage: Stage) -> None:
        stage.reign(0.1)
        lost = stage.challenge(0.1)
        (stage.folder / "models").joinpath(Path(str(lost.file_path)).name).unlink()

        stage.play(1)

        assert stage.registry.challengers(RIDGE) == []
        assert stage.registry.get_decisions(RIDGE)[0].label == "unloadable"


class _Breaking:
    """A registry that breaks down at one method, as if the process had died there."""

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


@pytest.mark.parametrize("method", ["score", "append_evidence", "promote", "record_forecasts"])
def test_a_crash_at_any_step_leads_to_the_same_decision_once(method: str, tmp_path: Path) -> None:
    def decided(folder: Path, crash_at: int | None) -> list[tuple[Any, ...]]:
        stage = Stage(folder, rehearsal=True, strength=1.0)
        stage.reign(0.0)
        stage.challenge(0.3)
        real = stage.registry
        for hour in range(0, 84, 12):
            for client in stage.clients.values():
                client.now += 12 * HOUR
            if hour == crash_at:
                stage.registry = _Breaking(real, method)  # type: ignore[assignment]
                try:
                    tick = stage.watch().tick()
                    assert tick.errors or method == "promote"
                except DatabaseUnavailable:
                    pass
                stage.registry = real
            stage.watch().tick()
        rows = stage.sql.get_decisions(limit=50)
        stage.close()
        return [(d.label, d.decided_at, d.candidate_version, d.reason, d.numbers) for d in rows]

    whole = decided(tmp_path / "whole", None)
    promotion = next(at for label, at, *_ in whole if label == "better")
    crash = int((promotion - START - 600 * HOUR) / HOUR) // 12 * 12

    assert [label for label, *_ in whole].count("better") == 1
    for at in (crash - 12, crash):
        assert decided(tmp_path / f"at{at}", at) == whole


@pytest.mark.rehearse
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_two_replicas_at_once_bet_and_decide_once(database: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(database_of(database, tmp_path))
        stage = Stage(tmp_path, db_url=url)
        stage.reign(0.0)
        stage.challenge(0.3)
        watches = [stage.watch() for _ in range(2)]
        failures: list[BaseException] = []

        def tick(watch: Any) -> None:
            try:
                watch.tick()
            except Exception as error:  # noqa: BLE001  # whatever it is, the test must see it
                failures.append(error)

        for _ in range(150):
            stage.client.now += HOUR
            both = [threading.Thread(target=tick, args=(watch,)) for watch in watches]
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()

        assert failures == []
        labels = [d.label for d in stage.registry.get_decisions(RIDGE, limit=100)]
        assert labels.count("better") == 1
        better = next(d for d in stage.registry.get_decisions(RIDGE, limit=100) if d.label == "better")
        assert recompute(stage.registry, better).same
        stage.close()


class TestRecomputing:
    def test_every_decision_comes_out_the_same_to_the_last_bit(self, rehearsal: Stage) -> None:
        rehearsal.reign(0.0)
        rehearsal.challenge(0.3)
        _jump(rehearsal, 400)
        bad = rehearsal.save(-0.3)
        rehearsal.registry.promote(RIDGE, bad.version, at=rehearsal.client.now)
        _jump(rehearsal, 300)

        found = {
            d.label: recompute(rehearsal.registry, d)
            for d in rehearsal.registry.get_decisions(RIDGE, limit=50)
            if d.decided_by in ("policy", "guard") and d.inputs
        }

        assert set(found) == {"better", "guard"}
        assert all(again.same for again in found.values())
        assert all(again.bets > 20 for again in found.values())

    def test_a_row_that_was_tampered_with_is_found(self, rehearsal: Stage) -> None:
        import sqlalchemy as sa

        rehearsal.reign(0.0)
        rehearsal.challenge(0.3)
        (better,) = _jump(rehearsal, 400)
        stored = next(d for d in rehearsal.registry.get_decisions(RIDGE) if d.label == better.label)
        with rehearsal.sql.database.engine.begin() as connection:
            connection.execute(sa.text("DROP TRIGGER clm_evidence_no_update"))
            connection.execute(sa.text("UPDATE clm_evidence SET actual = actual + 0.001 WHERE id = 20"))

        again = recompute(rehearsal.registry, stored)

        assert not again.same
        assert "the bet on" in again.differences[0]

    def test_a_humans_decision_is_not_computed(self, rehearsal: Stage) -> None:
        rehearsal.reign(0.0)

        again = recompute(rehearsal.registry, rehearsal.registry.get_decisions(RIDGE)[0])

        assert again.again is None
        assert "decided by user" in again.differences[0]


def test_evidence_is_refused_where_the_ledger_has_gone_on(rehearsal: Stage) -> None:
    rehearsal.reign(0.0)
    rehearsal.challenge(0.1)
    _jump(rehearsal, 30)
    champion = rehearsal.registry.get_active(RIDGE)
    assert champion is not None
    (key,) = rehearsal.registry.book.ledgers(RIDGE, champion.version, champion.promoted_at or START)
    rows = rehearsal.registry.book.evidence(key)

    with pytest.raises(EvidenceMoved):
        rehearsal.registry.book.append_evidence(key, rows[-2:], rows[-3].open_time)
    assert rehearsal.registry.book.evidence(key) == rows


def _renamed(transform: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda df: transform(df).rename(columns={"hint": "other"}).drop(columns="volatility_ewma")


def pd_stamp(moment: Any) -> Any:
    import pandas as pd

    return pd.Timestamp(moment)
