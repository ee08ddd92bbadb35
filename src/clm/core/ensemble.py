"""Several champions as one forecast: equal weights, inverse loss, and weights that learn without regret.

`online` weighs members by exponential weights on the winsorised, variance-normalised squared loss. With
surprises within ±3 σ̂ and forecasts within ±½ σ̂ that loss is η-exp-concave for η = 1/(2·3.5²), so that the
mixture never loses more to the best member than ln K/η, on whatever data and over whatever time
(Cesa-Bianchi & Lugosi 2006, Theorem 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from math import exp, log
from typing import Any

from clm.core.evidence import CLIP

#: A forecast counts up to so many σ̂.
_MOST = 0.5
ETA = 1 / (2 * (CLIP + _MOST) ** 2)


class Weighting(StrEnum):
    """EQUAL: all alike. INVERSE_LOSS: by the inverse of the mean loss. ONLINE: exponential weights."""

    EQUAL = "equal"
    INVERSE_LOSS = "inverse_loss"
    ONLINE = "online"


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What each member has lost so far, in units of σ̂²; immutable, every candle makes a new one.

    losses: member → Σ loss; a member that did not forecast a candle is charged what the mixture lost, so that
    sleeping neither pays nor costs. loss: of the `online` mixture. last: the newest candle settled.
    """

    losses: Mapping[str, float] = field(default_factory=dict)
    loss: float = 0.0
    candles: int = 0
    last: datetime | None = None

    def weights(self, members: list[str], weighting: Weighting = Weighting.ONLINE) -> dict[str, float]:
        """Of those members, adding up to one; empty for none. A new member starts as the mixture stands."""
        if not members:
            return {}
        lost = {member: self.losses.get(member, self.loss) for member in members}
        if weighting is Weighting.EQUAL or (weighting is Weighting.INVERSE_LOSS and not self.candles):
            raw = dict.fromkeys(members, 1.0)
        elif weighting is Weighting.INVERSE_LOSS:
            raw = {member: self.candles / max(total, 1e-12) for member, total in lost.items()}
        else:
            least = min(lost.values())
            raw = {member: exp(-ETA * (total - least)) for member, total in lost.items()}
        whole = sum(raw.values())
        return {member: weight / whole for member, weight in raw.items()}

    def forecast(
        self, forecasts: Mapping[str, float], sigma: float, weighting: Weighting = Weighting.ONLINE
    ) -> float:
        """The mixture's log return. forecasts: by member; sigma: σ̂. Each counts up to ±½ σ̂."""
        return mixed(self.weights(sorted(forecasts), weighting), forecasts, sigma)

    def after(self, forecasts: Mapping[str, float], sigma: float, actual: float, time: datetime) -> Ensemble:
        """Once the candle's outcome is known. A candle at or before the last one changes nothing."""
        if not forecasts or (self.last is not None and time <= self.last):
            return self
        lost = _loss(self.forecast(forecasts, sigma), sigma, actual)
        known = {*self.losses, *forecasts}
        losses = {
            name: self.losses.get(name, self.loss)
            + (_loss(forecasts[name], sigma, actual) if name in forecasts else lost)
            for name in sorted(known)
        }
        return replace(self, losses=losses, loss=self.loss + lost, candles=self.candles + 1, last=time)

    @property
    def regret(self) -> float:
        """What the mixture has lost more than the best member, in units of σ̂²; negative: less."""
        return self.loss - min(self.losses.values(), default=self.loss)

    @property
    def bound(self) -> float:
        """What the regret can never exceed."""
        return log(max(1, len(self.losses))) / ETA

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` turns into an equal ensemble."""
        return {
            "losses": dict(self.losses), "loss": self.loss, "candles": self.candles,
            "last": self.last.isoformat() if self.last else None,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ensemble:
        """The inverse of `to_json`."""
        last = datetime.fromisoformat(data["last"]) if data["last"] else None
        return cls(dict(data["losses"]), data["loss"], data["candles"], last)


def mixed(weights: Mapping[str, float], forecasts: Mapping[str, float], sigma: float) -> float:
    """Weighted sum of log returns, each within ±½ σ̂."""
    return sum(weight * _clipped(forecasts[name], _MOST * sigma) for name, weight in weights.items())


def _loss(forecast: float, sigma: float, actual: float) -> float:
    """Squared error in units of σ̂², outcome within ±3 σ̂ and forecast within ±½ σ̂."""
    return (_clipped(actual, CLIP * sigma) - _clipped(forecast, _MOST * sigma)) ** 2 / sigma**2


def _clipped(value: float, most: float) -> float:
    return min(most, max(-most, value))
