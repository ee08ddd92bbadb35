"""What a search came to, and whether its best is worth entering: pure arithmetic on the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import fmean, stdev

from clm.core.domain import Series
from clm.core.space import Value
from clm.core.timeline import Window

NOTE = (
    "the best of several recipes looks better than it is, for it was chosen by these very scores; "
    "whether it is better is decided by the evidence only"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One recipe of a search; number 0 is the present one.

    params: its values of what is searched. outcome: searched (on all folds), pruned, failed,
    interrupted. scores: R² by
    volatility on each fold it got, against forecasting zero. recipe_id: the one a version of it would have.
    """

    number: int
    params: Mapping[str, Value]
    outcome: str
    reason: str
    seconds: float
    scores: tuple[float, ...] = ()
    score: float | None = None
    recipe_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The best recipe beside the present one.

    gain: mean over the folds of the difference of R², standard_error: of that mean. needed: so many standard
    errors the best of so many must be ahead. proposed: what is worth entering; None: nothing is.
    """

    best: int | None = None
    gain: float | None = None
    standard_error: float | None = None
    needed: float | None = None
    proposed: Mapping[str, Value] | None = None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """fit: the only candles looked at. ended: why no further recipe was tried.

    counted: recipes that searches of this series and model type have tried on windows overlapping this one.
    """

    series: Series
    model_type: str
    seed: int
    fit: Window
    folds: int
    tried: tuple[Tried, ...]
    counted: int
    ended: str
    verdict: Verdict
    note: str = NOTE


def listed(params: Mapping[str, Value]) -> str:
    """Hyper-parameters in a line."""
    return ", ".join(f"{name} {value:g}" for name, value in params.items())


def difference(scores: Sequence[float], present: Sequence[float]) -> tuple[float, float]:
    """(mean, its standard error) of one recipe's scores minus another's on the same folds, at least two."""
    gains = [ours - theirs for ours, theirs in zip(scores, present[: len(scores)], strict=True)]
    return fmean(gains), stdev(gains) / sqrt(len(gains))


def judge(tried: Sequence[Tried], counted: int) -> Verdict:
    """counted: recipes the luck of the best is reckoned over.

    Of n recipes that are all as good as the present one the best is ahead by about √(2 ln n) standard errors:
    so much and at least one is asked for.
    """
    complete = [t for t in tried if t.outcome == "searched"]
    if not complete or complete[0].number != 0:
        return Verdict(reason="it ended before the present recipe was scored: nothing is proposed")
    present, others = complete[0], complete[1:]
    if not others:
        return Verdict(reason="no other recipe was scored on all folds: nothing is proposed")
    best = max(others, key=lambda t: fmean(t.scores))
    gain, error = difference(best.scores, present.scores)
    needed = max(1.0, sqrt(2 * log(max(counted, 1))))
    said = (
        f"trial {best.number} is ahead of the present recipe by {100 * gain:+.3f} points of R² "
        f"(standard error {100 * error:.3f} over {len(best.scores)} folds); the best of {counted} must be by "
        f"{needed:.1f} standard errors"
    )
    if gain <= 0:
        said = f"none of {counted} recipes is ahead of the present one; the closest is trial {best.number}"
    ahead = gain > 0 and gain > needed * error
    return Verdict(
        best=best.number, gain=gain, standard_error=error, needed=needed,
        proposed=best.params if ahead else None, reason=said if ahead else f"{said}: nothing is proposed",
    )  # fmt: skip
