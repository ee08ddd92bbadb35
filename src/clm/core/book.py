"""What the evidence book holds: forecasts with what became of them, bets, attempts. Frozen records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from clm.core.evidence import Bet, Evidence
from clm.core.pooled_bets import PooledBets


class Source(StrEnum):
    """How a forecast came about; all but LATE may be bet on.

    HOLDOUT: evaluated after the fact, by a model that ended training before. REPLAY: the same in the shadow
    window. LIVE: stored before the outcome was known. LATE: made up for after a downtime, for parity only.
    """

    HOLDOUT = "holdout"
    REPLAY = "replay"
    LIVE = "live"
    LATE = "late"


class Kind(StrEnum):
    """CHALLENGE: may a challenger take over? GUARD: should the replaced champion come back?

    EXPERIMENT: is one arm better than the other? Nothing is promoted by it.
    """

    CHALLENGE = "challenge"
    GUARD = "guard"
    EXPERIMENT = "experiment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One version's forecast at the close of the candle that opened at `open_time`.

    forecast, actual: log return of the candle(s) after it; actual None until they closed. variance: σ̂²
    known at forecast time. made_at: the exchange's moment it was stored. revised: what the exchange said
    later, where it revised a candle after the score; the score stands. candles_sha256: of the candles a live
    forecast was made from, so that a replay knows whether they are still the same.
    """

    model_type: str
    version: str
    open_time: datetime
    source: Source
    forecast: float
    variance: float
    made_at: datetime
    actual: float | None = None
    scored_at: datetime | None = None
    revised: float | None = None
    candles_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Revision:
    """A forecast was scored by `before`, and the exchange says `after` now: log returns.

    open_time: of the closed candle it was forecast from; the return is that of the next one.
    """

    open_time: datetime
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerKey:
    """One ledger: a champion's reign (since when) against a recipe; of a guard, against one version.

    Of an experiment: the arm that would have to be worse, since when, and the experiment with its direction.
    """

    model_type: str
    kind: Kind
    champion_version: str
    reign: datetime
    recipe_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRow:
    """One bet and the ledger after it; enough to settle it again.

    pool: this bet and those of the series pooled with it; None where it was bet alone.
    """

    key: LedgerKey
    challenger_version: str
    open_time: datetime
    source: Source
    actual: float
    champion_forecast: float
    challenger_forecast: float
    variance: float
    gain: float
    bound: float
    pool: PooledBets | None = None
    log_e: float
    state: Evidence

    @property
    def bet(self) -> Bet:
        """This series' own bet."""
        return Bet(self.open_time, self.gain, self.bound)


@dataclass(frozen=True, slots=True)
class Appended:
    """Bets a ledger goes on by; after: the candle of its newest bet before them, None: they are the first."""

    key: LedgerKey
    rows: Sequence[EvidenceRow]
    after: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One attempt at a better model, whatever became of it. seconds: what it cost.

    outcome: promoted, shadow, rejected, failed, superseded; of a recipe tried by a search: searched, pruned,
    interrupted, failed. version: None where none came out.
    """

    model_type: str
    version: str | None
    recipe_id: str | None
    began_at: datetime
    outcome: str
    reason: str
    seconds: float
    trigger: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
