"""The purse: luck is allowed once a year, however often a champion is refreshed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clm.core.book import Kind, LedgerKey
from clm.core.domain import Decision, ModelArtifact, Outcome
from clm.core.errors import EvidenceMoved
from clm.core.reign import look
from tests.support.stage import HOUR, RIDGE, Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path, rehearsal=True)
    yield made
    made.close()


def _play(stage: Stage, hours: int) -> None:
    stage.client.now += hours * HOUR
    assert stage.live.tick().decisions == ()


def _refresh(stage: Stage, label: str = "refresh") -> ModelArtifact:
    """A candidate that takes the champion's place by a decision of that label."""
    before, saved = stage.registry.get_active(RIDGE), stage.save(0.0)
    assert before is not None
    decision = Decision(
        model_type=RIDGE, candidate_version=saved.version, champion_version=before.version,
        outcome=Outcome.PROMOTE, label=label, policy="evidence", reason="staged", decided_at=stage.client.now,
    )  # fmt: skip
    return stage.registry.promote(RIDGE, saved.version, decision=decision, at=stage.client.now)


def _key(champion: ModelArtifact, later: timedelta = timedelta(0)) -> LedgerKey:
    assert champion.promoted_at is not None
    return LedgerKey(
        model_type=RIDGE, kind=Kind.CHALLENGE, champion_version=champion.version,
        reign=champion.promoted_at + later, recipe_id="ours",
    )  # fmt: skip


def test_a_first_reign_begins_with_a_full_purse(stage: Stage) -> None:
    champion = stage.reign(0.0)

    beginning = stage.keeper().beginning(_key(champion))

    assert (beginning.log_e, beginning.since) == (0.0, champion.promoted_at)


def test_a_refresh_begins_with_what_was_left(stage: Stage) -> None:
    champion = stage.reign(0.0)
    stage.challenge(-0.1)
    _play(stage, 100)
    left = stage.keeper().evidence(_key(champion)).log_e
    refreshed = _refresh(stage)

    beginning = stage.keeper().beginning(_key(refreshed))

    assert left < -0.1
    assert beginning.log_e == pytest.approx(left)
    assert beginning.since == champion.promoted_at


def test_what_was_won_against_the_predecessor_does_not_count(stage: Stage) -> None:
    champion = stage.reign(0.0)
    stage.challenge(0.1)
    _play(stage, 100)
    won = stage.keeper().evidence(_key(champion)).log_e
    refreshed = _refresh(stage)

    assert won > 0.1
    assert stage.keeper().beginning(_key(refreshed)).log_e == 0


@pytest.mark.parametrize("label", ["better", "manual", "guard"])
def test_any_other_rise_begins_anew(stage: Stage, label: str) -> None:
    stage.reign(0.0)
    stage.challenge(-0.1)
    _play(stage, 100)

    assert stage.keeper().beginning(_key(_refresh(stage, label))).log_e == 0


def test_after_a_year_the_purse_is_full_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, rehearsal=True, hours=24 * 420)
    champion = stage.reign(0.0)
    stage.challenge(-0.1)
    _play(stage, 100)
    stage.client.now += timedelta(days=366)
    refreshed = _refresh(stage)

    beginning = stage.keeper().beginning(_key(refreshed))

    assert stage.keeper().evidence(_key(champion)).log_e < 0
    assert (beginning.log_e, beginning.since) == (0.0, refreshed.promoted_at)
    stage.close()


class _Overtaken:
    """A book in which another process bets first, once."""

    def __init__(self, real: Any) -> None:
        self._real, self._overtaken = real, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def append_evidence(self, key: LedgerKey, rows: Any, after: Any) -> None:
        if not self._overtaken:
            self._overtaken = True
            self._real.append_evidence(key, rows[: len(rows) // 2], after)
            raise EvidenceMoved("the live shadow was first")
        self._real.append_evidence(key, rows, after)


def test_a_ledger_fed_by_two_processes_at_once_bets_on_each_candle_once(stage: Stage) -> None:
    champion = stage.reign(0.0)
    challenger = stage.challenge(0.1)
    whole = _fed(stage, 60)
    reign = look(stage.registry, RIDGE)
    assert reign is not None
    keeper = stage.keeper()
    book = _Overtaken(keeper.registry.book)
    twice = replace(keeper, registry=_WithBook(stage.registry, book))  # type: ignore[arg-type]

    evidence = twice.feed(twice.challenge(reign, challenger))

    assert evidence.bets == whole
    assert [row.open_time for row in book.evidence(_key(champion))] == sorted(
        {row.open_time for row in book.evidence(_key(champion))}
    )


class _WithBook:
    def __init__(self, registry: Any, book: Any) -> None:
        self._registry, self.book = registry, book

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)


def _fed(stage: Stage, hours: int) -> int:
    """Forecasts of so many hours, scored and not yet bet on; how many."""
    stage.client.now += hours * HOUR
    (desk,) = stage.live.desks()
    known = stage.live.looking.look(desk)
    stage.live._forecast(desk, RIDGE, known)
    stage.live._score(desk, RIDGE, known)
    (challenger,) = stage.registry.challengers(RIDGE)
    stored = stage.registry.book.forecasts(RIDGE, challenger.version)
    return sum(f.actual is not None for f in stored)
