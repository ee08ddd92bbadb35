"""Rows of an evidence book: forecasts, and the bets of one ledger."""

from __future__ import annotations

from datetime import timedelta

from clm.core.book import EvidenceRow, Forecast, Kind, LedgerKey, Source
from clm.core.evidence import Bet, Evidence
from clm.core.pooled_bets import PooledBets
from tests.support.versions import T0

HOUR = timedelta(hours=1)
RIDGE = "sklearn_ridge"
KEY = LedgerKey(model_type=RIDGE, kind=Kind.CHALLENGE, champion_version="v1", reign=T0, recipe_id="ours")


def forecast(hour: int, value: float = 0.001, version: str = "v1") -> Forecast:
    return Forecast(
        model_type=RIDGE, version=version, open_time=T0 + hour * HOUR, source=Source.LIVE, forecast=value,
        variance=3.6e-5, made_at=T0 + (hour + 1) * HOUR, candles_sha256="a" * 64,
    )  # fmt: skip


def rows(hours: int, key: LedgerKey = KEY) -> list[EvidenceRow]:
    state, made = Evidence.start(HOUR), []
    for k in range(hours):
        bet = Bet(T0 + k * HOUR, 0.1 / (k + 1), 0.3)
        state = state.after([bet])
        made.append(
            EvidenceRow(
                key=key, challenger_version="v2", open_time=bet.time, source=Source.LIVE, actual=1 / 3,
                champion_forecast=0.1, challenger_forecast=0.2, variance=0.1, gain=bet.gain, bound=bet.bound,
                pool=PooledBets({"BTCUSDT": (bet.gain, bet.bound), "ETHUSDT": (0.1, 0.3)}),
                log_e=state.log_e, state=state,
            )
        )  # fmt: skip
    return made
