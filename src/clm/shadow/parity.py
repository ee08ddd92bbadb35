"""Does a model forecast offline what it forecast live? If not, what was judged is not what serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from clm.core import scoring
from clm.core.book import Forecast, Source
from clm.core.evidence_policy import PARITY_TOLERANCE
from clm.core.protocols import TrainedModel

#: Sources of what is compared.
MADE_LIVE = (Source.LIVE, Source.LATE)
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Parity:
    """checked: live forecasts compared; revised: left out because their candles have changed since.

    deviation: largest relative difference, None where none was compared.
    """

    checked: int
    revised: int
    deviation: float | None

    @property
    def missed(self) -> bool:
        """Whether something else than rounding makes the difference."""
        return self.deviation is not None and self.deviation > PARITY_TOLERANCE


def compare(
    stored: Sequence[Forecast],
    model: TrainedModel,
    features: pd.DataFrame,
    candles: pd.DataFrame,
    inputs_at: Callable[[int], str],
) -> Parity:
    """Stored live (and late) forecasts against `model` on `features`, where the candles are the same."""
    live = [f for f in stored if f.source in MADE_LIVE]
    rows = features.index.get_indexer(pd.DatetimeIndex([f.open_time for f in live]))
    at = candles.index.get_indexer(pd.DatetimeIndex([f.open_time for f in live]))
    found = [(f, int(row), int(a)) for f, row, a in zip(live, rows, at, strict=True) if row >= 0 and a >= 0]
    same = [(f, row) for f, row, a in found if inputs_at(a) == f.candles_sha256]
    if not same:
        return Parity(0, len(found), None)
    again = scoring.forecasts(model, features.iloc[[row for _, row in same]], "replayed model")
    deviation = max(
        abs(f.forecast - value) / max(abs(f.forecast), abs(value), _LEAST)
        for (f, _), value in zip(same, again.tolist(), strict=True)
    )
    return Parity(len(same), len(found) - len(same), deviation)


def told(version: str, parity: Parity) -> str:
    """A miss in a sentence."""
    return (
        f"what {version} forecast live and what it forecasts offline on the same candles differ by "
        f"{parity.deviation:.1e} relative: features or artifact are not what they were"
    )
