"""One version taken apart, and how that is told: by REST, by the command line, in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from clm.core.domain import FloatArray, ModelArtifact, feature_of

#: Feature → family, as far as known.
Families = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """A version at one candle. Arrays are float64 of shape (n_features,), in the order of `names`.

    forecast, base, contributions: log return; base and contributions add up to the forecast made at the close
    of the candle that opened at `open_time`. values: its features. importance: mean |contribution| over
    `rows` candles from `since` on. gains: shares of the training gain; None for models without splits.
    """

    artifact: ModelArtifact
    open_time: datetime
    forecast: float
    base: float
    names: tuple[str, ...]
    values: FloatArray
    contributions: FloatArray
    importance: FloatArray
    gains: FloatArray | None
    rows: int
    since: datetime


def forecast_view(
    anatomy: Anatomy, families: Families, step: timedelta, top: int | None = None
) -> dict[str, Any]:
    """The forecast as base + contributions + rest, the largest first; rest: of the features not listed."""
    order = _descending(np.abs(anatomy.contributions))
    listed, others = order[:top], order[len(order[:top]) :]
    return {
        "open_time": anatomy.open_time, "made_at": anatomy.open_time + step,
        "log_return": anatomy.forecast, "base": anatomy.base,
        "contributions": [
            {
                "feature": anatomy.names[i], "family": families.get(feature_of(anatomy.names[i])),
                "value": float(anatomy.values[i]), "contribution": float(anatomy.contributions[i]),
            }
            for i in listed
        ],
        "rest": float(anatomy.contributions[others].sum()), "rest_features": len(others),
    }  # fmt: skip


def importance_view(anatomy: Anatomy, families: Families, top: int | None = None) -> dict[str, Any]:
    """Features by importance, the most important first; the gain's share beside it."""
    shares, ranks = _shares(anatomy.importance), _ranks(anatomy.importance)
    gains = anatomy.gains
    return {
        "rows": anatomy.rows, "since": anatomy.since, "until": anatomy.open_time,
        "features": [
            {
                "feature": anatomy.names[i], "family": families.get(feature_of(anatomy.names[i])),
                "mean_abs_contribution": float(anatomy.importance[i]), "share": float(shares[i]),
                "rank": int(ranks[i]), "gain": None if gains is None else float(gains[i]),
            }
            for i in _descending(anatomy.importance)[:top]
        ],
    }  # fmt: skip


def drift_view(now: Anatomy, before: Anatomy, families: Families, top: int | None = None) -> dict[str, Any]:
    """What one version listens to against another, on the same candles; what changed most comes first.

    rank_correlation: Spearman's over all features either has, one it lacks counting zero; None where it is
    not defined. moved: half the sum of |changes of share|, 0: nothing moved, 1: everything did.
    """
    names = tuple(dict.fromkeys((*now.names, *before.names)))
    new, old = (_by_name(anatomy, names) for anatomy in (now, before))
    change = new["share"] - old["share"]
    return {
        "version": now.artifact.version, "against": before.artifact.version,
        "rank_correlation": _rank_correlation(new["importance"], old["importance"]),
        "moved": float(np.abs(change).sum() / 2),
        "features": [
            {
                "feature": names[i], "family": families.get(feature_of(names[i])),
                "share_change": float(change[i]),
                **{key: _known(names[i], now, new[key][i]) for key in new},
                **{f"{key}_before": _known(names[i], before, old[key][i]) for key in old},
            }
            for i in _descending(np.abs(change))[:top]
        ],
    }  # fmt: skip


def _by_name(anatomy: Anatomy, names: Sequence[str]) -> dict[str, FloatArray]:
    """Importance, share and rank of every name; zeros, and the last rank, for those it does not have."""
    own = dict(zip(anatomy.names, anatomy.importance, strict=True))
    importance = np.array([own.get(name, 0.0) for name in names], dtype=np.float64)
    return {"importance": importance, "share": _shares(importance), "rank": _ranks(importance)}


def _known(name: str, anatomy: Anatomy, value: float) -> float | None:
    return float(value) if name in anatomy.names else None


def _rank_correlation(one: FloatArray, two: FloatArray) -> float | None:
    a, b = (pd.Series(values).rank().to_numpy() for values in (one, two))
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _descending(size: FloatArray) -> list[int]:
    """Places from the largest to the smallest; of equals the earlier first."""
    return [int(i) for i in np.argsort(-size, kind="stable")]


def _ranks(importance: FloatArray) -> FloatArray:
    """1 for the most important; equals share the better rank."""
    return 1.0 + np.searchsorted(np.sort(-importance), -importance).astype(np.float64)


def _shares(importance: FloatArray) -> FloatArray:
    total = float(importance.sum())
    return np.divide(importance, total, dtype=np.float64) if total > 0 else np.zeros_like(importance)
