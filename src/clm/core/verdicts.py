"""When an experiment ends, how, and in which words. Pure: of both ledgers and the time, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil, exp, fsum
from typing import Any

from clm.core.book import EvidenceRow
from clm.core.domain import Series
from clm.core.evidence import Bet, Evidence, log_threshold
from clm.core.experiments import DIRECTIONS, Arm, Experiment
from clm.core.wire import iso

#: exp() of more is no float.
_LARGEST = 690.0


class Why(StrEnum):
    """What ended an experiment."""

    A_BETTER = "a_better"
    B_BETTER = "b_better"
    NO_DIFFERENCE = "no_difference"
    STOPPED = "stopped"
    ARM_LOST = "arm_lost"


@dataclass(frozen=True, slots=True)
class Score:
    """Both ledgers of an experiment, after the same candles."""

    a_better: Evidence
    b_better: Evidence

    @classmethod
    def start(cls, series: Series, horizon: int) -> Score:
        """Nothing known yet. Arms are versions of one series: nothing is pooled."""
        nothing = Evidence.start(series.step, horizon)
        return cls(nothing, nothing)

    def after(self, bet: Bet) -> Score:
        """With one candle more; bet: that B is better."""
        return Score(self.a_better.after((bet.reversed(),)), self.b_better.after((bet,)))

    def of(self, better: Arm) -> Evidence:
        """The evidence that this arm is better than the other."""
        return self.a_better if better is Arm.A else self.b_better

    def proven(self, alpha: float) -> Arm | None:
        """The arm that is better; None: not shown.

        Never both: what one ledger wins the other loses, and the first to get there ends the experiment.
        """
        target = log_threshold(alpha, DIRECTIONS)
        return next((arm for arm in (Arm.B, Arm.A) if self.of(arm).peak >= target), None)


@dataclass(frozen=True, slots=True)
class Ended:
    """winner: None where no difference was shown. at: the exchange's time, by the ledgers where they say so.

    cause: who stopped it, or why `lost`, an arm, cannot forecast.
    """

    why: Why
    at: datetime
    reason: str
    winner: Arm | None = None
    cause: str | None = None
    lost: Arm | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """An arm that cannot forecast any more, and why."""

    arm: Arm
    cause: str


def judged(
    experiment: Experiment,
    score: Score,
    horizon: int,
    now: datetime,
    *,
    over: bool = False,
    lost: Lost | None = None,
    stopped_by: str | None = None,
) -> Ended | None:
    """How the experiment ends; None: it goes on. over: its time is up and every candle of it was bet on."""
    winner, seen = score.proven(experiment.alpha), score.b_better.last
    if winner is not None and seen is not None:
        at = seen + (1 + horizon) * experiment.series.step
        why = Why.B_BETTER if winner is Arm.B else Why.A_BETTER
        return Ended(why, at, _better(experiment, score, winner), winner)
    if lost is not None:
        said = f"{_named(experiment, lost.arm)} cannot forecast any more: {lost.cause}"
        reason = f"{said}; {_undecided(experiment, score)}"
        return Ended(Why.ARM_LOST, now, reason, cause=lost.cause, lost=lost.arm)
    if stopped_by is not None:
        reason = f"stopped by {stopped_by}; {_undecided(experiment, score)}"
        return Ended(Why.STOPPED, now, reason, cause=stopped_by)
    if over:
        return Ended(Why.NO_DIFFERENCE, experiment.ends_at, _undecided(experiment, score))
    return None


def up(experiment: Experiment, now: datetime, known_until: datetime | None = None) -> bool:
    """Whether an experiment's time is up and what belongs to it is known.

    known_until: when the newest candle at hand closed. The last one may be late: a candle more is waited for.
    """
    step = experiment.series.step
    late = now >= experiment.ends_at + step
    return late or (
        now >= experiment.ends_at and known_until is not None and known_until + step > experiment.ends_at
    )


def figures(experiment: Experiment, score: Score, rows: Sequence[EvidenceRow]) -> dict[str, Any]:
    """What an experiment has come to so far. rows: the bets that B is better, none left out.

    mean_gain: of B over A per candle, squared errors in units of σ̂², winsorised. mse_gain: relative, 0.02 =
    B's normalised squared error is 2 % smaller.
    """
    b = score.b_better
    return {
        "e_a_better": _e(score.a_better.log_e), "e_b_better": _e(b.log_e),
        "log_e_a_better": score.a_better.log_e, "log_e_b_better": b.log_e,
        "e_needed": DIRECTIONS / experiment.alpha, "candles": b.bets,
        "mean_gain": sum(ledger.total for ledger in b.ledgers) / b.bets if b.bets else None,
        "mse_gain": _mse_gain(rows),
        "first_candle": iso(rows[0].open_time) if rows else None,
        "last_candle": iso(rows[-1].open_time) if rows else None,
    }  # fmt: skip


def result_of(
    experiment: Experiment, ended: Ended, score: Score, rows: Sequence[EvidenceRow]
) -> dict[str, Any]:
    """What is stored of an end, besides how many callers each arm had."""
    winner, lost = ended.winner, ended.lost
    return {
        "why": str(ended.why), "winner": str(winner) if winner else None,
        "version": experiment.version_of(winner) if winner else None, "reason": ended.reason,
        "cause": ended.cause, "lost_arm": str(lost) if lost else None, **figures(experiment, score, rows),
    }  # fmt: skip


def outlook(experiment: Experiment, score: Score, now: datetime) -> str:
    """An open experiment in a sentence."""
    if now < experiment.starts_at:
        return f"begins at {experiment.starts_at:%Y-%m-%d %H:%M} UTC"
    said = f"no difference shown yet: {_standing(experiment, score)}"
    ahead = Arm.B if score.b_better.log_e >= score.a_better.log_e else Arm.A
    more = candles_to_go(experiment, score)
    if more is None:
        return said
    hours = ceil(more * experiment.series.step / timedelta(hours=1))
    return f"{said}; at the present pace {ahead} would be ahead enough in about {hours:,} hours"


def candles_to_go(experiment: Experiment, score: Score) -> int | None:
    """Candles that the arm that is ahead still needs; None: no end is in sight."""
    target = log_threshold(experiment.alpha, DIRECTIONS)
    ahead = max((score.b_better, score.a_better), key=lambda evidence: evidence.log_e)
    return ahead.candles_to_go(target)


def _better(experiment: Experiment, score: Score, winner: Arm) -> str:
    evidence = score.of(winner)
    return (
        f"{_named(experiment, winner)} is better than {_named(experiment, winner.other)}: E reached "
        f"{_e(evidence.peak):.3g} of {_needed(experiment)} after {evidence.bets} candles; were it no better, "
        f"the chance of ever getting there would be at most {100 * experiment.alpha / DIRECTIONS:.3g} %"
    )


def _undecided(experiment: Experiment, score: Score) -> str:
    return f"no difference could be shown: {_standing(experiment, score)}"


def _standing(experiment: Experiment, score: Score) -> str:
    return (
        f"E = {_e(score.b_better.log_e):.3g} that B is better and {_e(score.a_better.log_e):.3g} that A is, "
        f"of {_needed(experiment)}, after {score.b_better.bets} candles"
    )


def _named(experiment: Experiment, arm: Arm) -> str:
    return f"{arm} ({experiment.version_of(arm)})"


def _needed(experiment: Experiment) -> str:
    return f"{DIRECTIONS / experiment.alpha:.3g}"


def _mse_gain(rows: Sequence[EvidenceRow]) -> float | None:
    if not rows:
        return None
    a = fsum((row.actual - row.champion_forecast) ** 2 / row.variance for row in rows)
    b = fsum((row.actual - row.challenger_forecast) ** 2 / row.variance for row in rows)
    return 1 - b / a if a > 0 else None


def _e(log_e: float) -> float:
    return exp(min(log_e, _LARGEST))
