"""What a version was made from, beyond its row: enough to make it again, and to name what is other since.

Stored with every version. The candles themselves are in the candle store, or with the exchange; here they
are pinned by fingerprints (`clm.core.pins`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from clm.core import scoring, surroundings
from clm.core.domain import TARGET, Series, utc
from clm.core.pins import Pins, short_digest
from clm.core.protocols import TrainedModel
from clm.core.timeline import TimelineRule
from clm.core.wire import iso, jsonable

#: Forecasts kept of the last training rows, to compare with where the file is gone.
_TAIL = 48
_WINDOWS = ("lookback", "holdout", "shadow", "purge")


@dataclass(frozen=True, slots=True)
class Pooled:
    """What a model over several series was made of besides its own.

    members: fingerprint of the candles of each series, its own among them, in the order of training. every:
    which of their rows were taken, the first and each so many after it. rows: how many that made.
    """

    members: Mapping[Series, str]
    every: int
    rows: int

    def to_json(self) -> dict[str, Any]:
        """As kept with the version's origin."""
        members = [[s.symbol, s.interval, candles] for s, candles in self.members.items()]
        return {"series": members, "every": self.every, "rows": self.rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Pooled:
        """The inverse of `to_json`."""
        members = {Series(symbol, interval): candles for symbol, interval, candles in data["series"]}
        return cls(members, data["every"], data["rows"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """candles_from, now: the candles a cycle had, from the first one's open to the exchange's moment.

    pins: of those up to the end of training. rule: lengths of the windows. names: features, in order;
    columns: a short fingerprint of each one's training values, and of the target's. params, seed: as trained
    with. tail: forecasts of the last training rows. libraries, code: see `clm.core.surroundings`. pooled: of
    a model over several series.
    """

    candles_from: datetime
    now: datetime
    pins: Pins
    rule: TimelineRule
    names: tuple[str, ...]
    columns: tuple[str, ...]
    params: Mapping[str, Any]
    seed: int
    tail: tuple[float, ...]
    libraries: Mapping[str, str]
    code: Mapping[str, str]
    pooled: Pooled | None = None

    @classmethod
    def of(
        cls,
        *,
        now: datetime,
        rule: TimelineRule,
        used: pd.DataFrame,
        step: timedelta,
        rows: pd.DataFrame,
        model: TrainedModel,
        pooled: Pooled | None = None,
    ) -> Origin:
        """Of a model just trained on `rows` of features, made of the candles `used`."""
        params = dict(model.params)
        seed = int(params.pop("seed", 0))
        tail = scoring.forecasts(model, rows.iloc[-_TAIL:], "candidate")
        return cls(
            candles_from=utc(pd.DatetimeIndex(used.index)[0]), now=now, pins=Pins.of(used, step), rule=rule,
            names=model.feature_names, columns=column_digests(rows, model.feature_names),
            params=jsonable(params), seed=seed, tail=tuple(map(float, tail)),
            libraries=surroundings.libraries(), code=surroundings.code(), pooled=pooled,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """As stored with the version."""
        windows = {name: getattr(self.rule, name).total_seconds() for name in _WINDOWS}
        return {
            "format": 1, "candles_from": iso(self.candles_from), "now": iso(self.now),
            "pins": self.pins.to_json(), "windows": {**windows, "horizon": self.rule.horizon},
            "features": list(self.names), "columns": "".join(self.columns), "params": dict(self.params),
            "seed": self.seed, "tail": list(self.tail), "libraries": dict(self.libraries),
            "code": dict(self.code),
            **({} if self.pooled is None else {"pooled": self.pooled.to_json()}),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Origin:
        """The inverse of `to_json`."""
        windows = data["windows"]
        lengths = {name: timedelta(seconds=windows[name]) for name in _WINDOWS}
        width = len(short_digest(b""))
        return cls(
            candles_from=datetime.fromisoformat(data["candles_from"]),
            now=datetime.fromisoformat(data["now"]),
            pins=Pins.from_json(data["pins"]),
            rule=TimelineRule(**lengths, horizon=windows["horizon"]),
            names=tuple(data["features"]),
            columns=tuple(data["columns"][k : k + width] for k in range(0, len(data["columns"]), width)),
            params=data["params"],
            seed=data["seed"],
            tail=tuple(data["tail"]),
            libraries=data["libraries"],
            code=data["code"],
            pooled=Pooled.from_json(data["pooled"]) if "pooled" in data else None,
        )


def pooled_rows(frames: Sequence[pd.DataFrame], every: int) -> pd.DataFrame:
    """The rows of several series, one series after the other."""
    return pd.concat([frame.iloc[::every] for frame in frames])


def used_candles(candles: pd.DataFrame, until: datetime, step: timedelta) -> pd.DataFrame:
    """The candles that had closed by `until`: those a training up to then is made of."""
    closes = pd.DatetimeIndex(candles.index) + step
    used: pd.DataFrame = candles.loc[closes <= pd.Timestamp(until)]
    return used


def column_digests(rows: pd.DataFrame, names: tuple[str, ...]) -> tuple[str, ...]:
    """A short fingerprint of each feature's values, and of the target's."""
    columns = (*rows[list(names)].to_numpy().T, rows[TARGET].to_numpy())
    return tuple(short_digest(np.ascontiguousarray(column).data) for column in columns)
