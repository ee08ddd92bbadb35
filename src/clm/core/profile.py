"""What a model was trained on, in small: enough to say of a candle that it is like none of them.

Per feature the range that all but one in a thousand training candles kept to; the score of a candle is the
share of features outside their range. Features move together, so what share is unusual is read off the
training candles themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from clm.core.domain import feature_columns

#: Of training candles outside a feature's range, on either side; and above the limit of the score.
_RARE = 0.001


@dataclass(frozen=True, slots=True)
class Profile:
    """names: features; lower, upper: their ranges, float32 of shape (n_features,). limit: of the score."""

    names: tuple[str, ...]
    lower: np.ndarray[tuple[int], np.dtype[np.float32]]
    upper: np.ndarray[tuple[int], np.dtype[np.float32]]
    limit: float

    @classmethod
    def of(cls, trained: pd.DataFrame) -> Profile:
        """Of the feature rows a model was trained on."""
        names = tuple(feature_columns(trained.columns))
        values = trained[list(names)].to_numpy(dtype=np.float32)
        # Sorted once for both: several times as quick as a selection for each.
        ordered = np.sort(values, axis=0)
        lower, upper = _quantile(ordered, _RARE), _quantile(ordered, 1 - _RARE)
        outside = ((values < lower) | (values > upper)).mean(axis=1)
        return cls(names, lower, upper, float(np.quantile(outside, 1 - _RARE)))

    def score(self, row: Sequence[float] | np.ndarray[Any, Any]) -> float:
        """Share of features outside their range, 0 to 1; `row` in the order of `names`."""
        values = np.asarray(row, dtype=np.float32)
        return float(((values < self.lower) | (values > self.upper)).mean())

    def unlike(self, score: float) -> bool:
        """Whether a candle of that score is like hardly any the model was trained on."""
        return score > self.limit

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` turns into an equal profile."""
        return {
            "names": list(self.names), "lower": self.lower.tolist(), "upper": self.upper.tolist(),
            "limit": self.limit,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        """The inverse of `to_json`."""
        lower, upper = (np.array(data[name], dtype=np.float32) for name in ("lower", "upper"))
        # Every profile has the same few names.
        names = tuple(map(sys.intern, data["names"]))
        return cls(names, lower, upper, float(data["limit"]))


def _quantile(ordered: np.ndarray[Any, np.dtype[np.float32]], share: float) -> Any:
    """Of each sorted column, between its neighbours linearly, as `numpy.quantile` has it by default."""
    below, fraction = divmod(share * (len(ordered) - 1), 1)
    low, high = ordered[int(below)].astype(np.float64), ordered[min(int(below) + 1, len(ordered) - 1)]
    return (low + fraction * (high - low)).astype(np.float32)
