"""An experiment once more, from what is stored: does it come to the same, bit for bit?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clm.core.book import EvidenceRow, Source
from clm.core.contest import Contest
from clm.core.evidence import log_threshold
from clm.core.experiments import DIRECTIONS, Arm, Experiment
from clm.core.recompute import settle_again
from clm.core.verdicts import Lost, Score, Why, judged, result_of

_SHOWN = 10
#: In words, and they may be others in another version of CLM; the count of callers is the store's.
_NOT_COMPARED = ("reason", "callers")


@dataclass(frozen=True, slots=True)
class Rechecked:
    """differences: what is not the same; none: the same, to the last bit. bets: candles settled again."""

    differences: tuple[str, ...]
    bets: int

    @property
    def same(self) -> bool:
        return not self.differences


def recheck(contest: Contest) -> Rechecked:
    """Settles the stored bets again, holds them against the forecasts they were placed on, judges again."""
    experiment = contest.experiment
    rows = {arm: _counted(contest, arm) for arm in Arm}
    horizon = len(rows[Arm.B][0].state.ledgers) if rows[Arm.B] else contest.keeper.rule.horizon
    start = Score.start(experiment.series, horizon)
    (a, unlike_a), (b, unlike_b) = (settle_again(experiment.series, rows[arm], start.of(arm)) for arm in Arm)
    score = Score(a or start.a_better, b or start.b_better)
    differences = [
        *unlike_a, *unlike_b, *_unlike_forecasts(contest, rows, horizon), *_too_late(experiment, rows),
        *_unlike_result(experiment, score, rows[Arm.B], horizon), *_unlike_callers(contest),
    ]  # fmt: skip
    return Rechecked(tuple(differences[:_SHOWN]), len(rows[Arm.B]))


def _counted(contest: Contest, arm: Arm) -> list[EvidenceRow]:
    """The bets the result speaks of: whoever was slow to hear of the end may have placed more."""
    experiment = contest.experiment
    if experiment.result is None:
        return contest.book.evidence(experiment.ledger(arm))
    last = experiment.result["last_candle"]
    return contest.book.evidence(experiment.ledger(arm), until=_time(last)) if last else []


def _unlike_forecasts(contest: Contest, rows: Mapping[Arm, list[EvidenceRow]], horizon: int) -> Iterator[str]:
    """Bets that are not those of the stored live forecasts of both arms, within the experiment's time."""
    experiment = contest.experiment
    a, b = (
        {
            f.open_time: f
            for f in contest.book.forecasts(experiment.model_type, experiment.version_of(arm))
            if f.source is Source.LIVE
        }
        for arm in Arm
    )
    if [row.open_time for row in rows[Arm.A]] != [row.open_time for row in rows[Arm.B]]:
        yield "the two ledgers do not bet on the same candles"
    for better, mine in rows.items():
        own, other = (b, a) if better is Arm.B else (a, b)
        for row in mine:
            time = row.open_time
            if time not in a or time not in b or not experiment.counts(time, horizon):
                yield f"the bet on {time:%Y-%m-%d %H:%M} has no live forecasts of both arms in time"
            elif (row.champion_forecast, row.challenger_forecast, row.actual, row.variance) != (
                other[time].forecast, own[time].forecast, b[time].actual, b[time].variance,
            ):  # fmt: skip
                yield f"the bet on {time:%Y-%m-%d %H:%M} is not that of the stored forecasts"


def _too_late(experiment: Experiment, rows: Mapping[Arm, list[EvidenceRow]]) -> Iterator[str]:
    target = log_threshold(experiment.alpha, DIRECTIONS)
    for mine in rows.values():
        for row in mine[:-1]:
            if row.log_e >= target:
                yield f"it should have ended with the candle of {row.open_time:%Y-%m-%d %H:%M}"
                return


def _unlike_result(
    experiment: Experiment, score: Score, bets: list[EvidenceRow], horizon: int
) -> Iterator[str]:
    stored = experiment.result
    if stored is None or experiment.ended_at is None:
        return
    why = Why(stored["why"])
    lost = Lost(Arm(stored["lost_arm"]), stored["cause"]) if why is Why.ARM_LOST else None
    stopped_by = stored["cause"] if why is Why.STOPPED else None
    over = why is Why.NO_DIFFERENCE
    ended = judged(
        experiment, score, horizon, experiment.ended_at, over=over, lost=lost, stopped_by=stopped_by
    )
    if ended is None:
        yield f"it should not have ended as {why}"
        return
    again: dict[str, Any] = result_of(experiment, ended, score, bets)
    for name in again.keys() | stored.keys():
        if name not in _NOT_COMPARED and again.get(name) != stored.get(name):
            yield f"{name} is {again.get(name)!r}, stored is {stored.get(name)!r}"
    if ended.at != experiment.ended_at:
        yield f"it ended at {ended.at.isoformat()}, stored is {experiment.ended_at.isoformat()}"


def _unlike_callers(contest: Contest) -> Iterator[str]:
    stored = contest.experiment.result
    if stored is not None and (now := contest.store.callers(contest.experiment)) != stored["callers"]:
        yield f"callers are {now!r}, stored is {stored['callers']!r}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
