"""An answer as it leaves the house: the forecast, who made it, and whether it may be used."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from clm.core.domain import utc
from clm.core.ensembles import ENSEMBLE
from clm.core.wire import iso
from clm.serving.snapshot import Limits, Served, Snapshot, price, reasons

_DAY = timedelta(days=1)


def unchanging(snapshot: Snapshot, model: str, served: Served | None) -> dict[str, Any]:
    """What of an answer stays the same as long as the snapshot does."""
    made_at = snapshot.made_at
    forecast = served.forecast if served is not None else None
    interval = served.interval if served is not None else None
    return {
        "symbol": snapshot.series.symbol,
        "interval": snapshot.series.interval,
        "model": model,
        "version": served.version if served else None,
        "artifact_sha256": served.sha256 if served else None,
        "candle_open_time": _time(snapshot.open_time),
        "candle_close_time": _time(made_at),
        "target_close_time": _time(made_at + snapshot.series.step if made_at else None),
        "forecast": forecast,
        "direction": _direction(forecast),
        "close": snapshot.close,
        "implied_price": price(snapshot.close, forecast),
        "interval_lower": interval.lower if interval else None,
        "interval_upper": interval.upper if interval else None,
        "interval_level": interval.level if interval else None,
        "price_lower": price(snapshot.close, interval.lower if interval else None),
        "price_upper": price(snapshot.close, interval.upper if interval else None),
        "interval_coverage": served.coverage if served else None,
        "interval_coverage_candles": served.coverage_candles if served else 0,
        "volatility": snapshot.variance**0.5 if snapshot.variance is not None else None,
        "champion_state": served.state if served else "none",
        "problem": served.told if served else None,
        "champion_since": _time(served.champion_since) if served else None,
        "out_of_distribution": served.score if served else None,
        "out_of_distribution_limit": served.limit if served else None,
        "weights": dict(served.weights) if served and served.weights else None,
    }


def answer(
    base: Mapping[str, Any],
    snapshot: Snapshot,
    served: Served | None,
    now: datetime | None,
    limits: Limits,
    experiment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """JSON-ready. base: what does not change. now: the exchange's, None where it was never heard.

    experiment: id and arm, if any.
    """
    why = reasons(served, snapshot, now, limits)
    made_at = snapshot.made_at
    return {
        **base,
        "model_age_days": round((now - served.trained_at) / _DAY, 4) if served and now else None,
        "data_age_seconds": round((now - made_at).total_seconds(), 1) if made_at and now else None,
        "usable": not why,
        "reasons": why,
        "experiment": experiment,
        "answered_at": _time(now),
    }


def default_model(snapshot: Snapshot, models: tuple[str, ...]) -> str:
    """Who answers when nobody is named: the ensemble where there is one, else the first that reigns."""
    if ENSEMBLE in snapshot.by_model:
        return ENSEMBLE
    return next((model for model in models if model in snapshot.by_model), models[0])


def _direction(forecast: float | None) -> str | None:
    if forecast is None:
        return None
    return "up" if forecast > 0 else "down" if forecast < 0 else "flat"


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else iso(utc(moment).replace(microsecond=0))
