"""What the dashboard's pictures show, for whoever draws their own; `clm_routes.router` takes them in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import groupby
from math import sqrt
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from clm.api import picture_schemas
from clm.api.application import application
from clm.api.parameters import Interval, ModelTypeName, Moment, Symbol
from clm.api.route import BAD_EXCHANGE, ProblemRoute
from clm.bootstrap import Application
from clm.core import plugins
from clm.core.book import Kind, LedgerKey
from clm.core.errors import TransientError
from clm.core.reign import Reign, look
from clm.core.standings import e_of, log_needed
from clm.core.wire import iso, jsonable
from clm.registry.pictures import forecast_points, ledger_points, live_skill
from clm.registry.totals import pulse as stored_pulse

router = APIRouter(route_class=ProblemRoute)
App = Annotated[Application, Depends(application)]
#: What one answer holds at most, whatever is stored.
_MOST, _LEDGERS = 1000, 8
#: Two-sided 95 % of a normal.
_Z = 1.96


@router.get("/shadow/{model_type}/evidence", response_model=picture_schemas.EvidenceView)
def evidence(
    model_type: ModelTypeName,
    app: App,
    points: Annotated[
        int, Query(ge=2, le=_MOST, description="at most so many in all; ledgers with more are thinned")
    ] = 600,
    symbol: Symbol = None,
    interval: Interval = None,
) -> dict[str, Any]:
    """E and the sum of gains over time: every challenger's of the present reign, and the guard's.

    Where a ledger has more bets than fit, every nth is told, the newest among them; sums count all.
    """
    plugins.require_known_model_type(model_type)
    series = app.find_series(symbol, interval)
    manager = app.manager(series)
    keeper, policy, book = manager.keeper, manager.policy, manager.keeper.registry.book
    view: dict[str, Any] = {**jsonable(series), "model_type": model_type, "policy": policy.name,
                            "champion": None, "since": None, "ledgers": []}  # fmt: skip
    reign = look(keeper.registry, model_type, policy.guard_hours)
    if reign is None:
        return view
    every = [
        key
        for key in book.ledgers(model_type, reign.champion.version, reign.since)
        if key.kind in (Kind.CHALLENGE, Kind.GUARD)
    ][-_LEDGERS:]
    recipes, each = len(keeper.recipes(reign)), max(2, points // max(1, len(every)))
    found = [
        _ledger(app, key, each, e_of(log_needed(policy, key.kind, recipes)), keeper.rule.horizon, series)
        for key in every[: points // 2]
    ]
    return {**view, "champion": reign.champion.version, "since": jsonable(reign.since),
            "ledgers": [ledger for ledger in found if ledger["points"]]}  # fmt: skip


def _ledger(
    app: Application, key: LedgerKey, most: int, needed: float, horizon: int, series: Any
) -> dict[str, Any]:
    rows = ledger_points(app.registry.database, series, key, most)
    candles = rows[-1]["of"] if rows else 0
    return {
        "kind": str(key.kind), "recipe_id": key.recipe_id, "version": rows[-1]["version"] if rows else "",
        "does": "promotes" if key.kind is Kind.CHALLENGE else "rolls back", "e_needed": needed,
        "candles": candles, "nth": max(1, -(-candles // most)), "pooled": any(row["pooled"] for row in rows),
        "points": [
            {
                "open_time": iso(row["open_time"]), "version": row["version"], "candles": row["number"],
                "e": e_of(row["log_e"]), "gain": row["total"],
                # Outcomes of longer forecasts overlap: so much less do they tell.
                "band": _Z * sqrt(row["squares"] * horizon),
            }
            for row in rows
        ],
    }  # fmt: skip


@router.get("/shadow/{model_type}/forecasts", response_model=picture_schemas.PastForecastsView)
def forecasts(
    model_type: ModelTypeName,
    app: App,
    limit: Annotated[int, Query(ge=1, le=_MOST, description="candles")] = 168,
    before: Annotated[
        Moment | None,
        Query(description="only candles opened earlier: `older` of the answer before"),
    ] = None,
    symbol: Symbol = None,
    interval: Interval = None,
) -> dict[str, Any]:
    """What champion, challengers and the guarded version forecast, beside what came; newest candle first."""
    plugins.require_known_model_type(model_type)
    series = app.find_series(symbol, interval)
    manager = app.manager(series)
    view: dict[str, Any] = {**jsonable(series), "model_type": model_type, "versions": [], "candles": [],
                            "older": None}  # fmt: skip
    reign = look(manager.keeper.registry, model_type, manager.policy.guard_hours)
    if reign is None:
        return view
    roles = _roles(manager.keeper.registry.challengers(model_type), reign)
    own = reign.champion.train_end + manager.keeper.rule.purge - series.step
    always = datetime(1970, 1, 1, tzinfo=UTC)
    since = {version: own if role == "champion" else always for version, role in roles.items()}
    most = max(1, min(limit, _MOST // len(roles)))
    rows = forecast_points(app.registry.database, series, model_type, since, before, most)
    candles = []
    for time, of in groupby(rows, lambda row: row["open_time"]):
        made = {row["version"]: row for row in of}
        actual = next((row["actual"] for row in made.values() if row["actual"] is not None), None)
        told = [made[version]["forecast"] if version in made else None for version in roles]
        candles.append({"open_time": iso(time), "actual": actual, "forecasts": told})
    return {
        **view, "versions": [{"version": v, "role": role} for v, role in roles.items()], "candles": candles,
        "older": candles[-1]["open_time"] if len(candles) == most else None,
    }  # fmt: skip


def _roles(challengers: Any, reign: Reign) -> dict[str, str]:
    """Version → what it is; the newest challengers where there are many."""
    roles = {reign.champion.version: "champion"}
    roles |= {artifact.version: "challenger" for artifact in challengers[-_LEDGERS:]}
    if reign.guarded is not None:
        roles.setdefault(reign.guarded.version, "guarded")
    return roles


@router.get("/skill", response_model=picture_schemas.SkillPage, responses={502: BAD_EXCHANGE})
def skill(
    app: App,
    offset: Annotated[int, Query(ge=0, le=1_000_000, description="series to pass over")] = 0,
    limit: Annotated[int, Query(ge=1, le=100, description="series")] = 12,
    days: Annotated[int, Query(ge=1, le=90, description="before the exchange's present day")] = 30,
) -> dict[str, Any]:
    """How the champions' live forecasts have done, beside their own evaluation; a page of series at a time.

    Each point is over all live candles from the first of the days up to its end, the last one over all.
    """
    every = app.series
    chosen = every[offset : offset + limit]
    today = (app.now() + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    ends = [today - timedelta(days=days - n) for n in range(days + 1)]
    rows = live_skill(app.registry.database, chosen, ends)
    champions = []
    for place, of in groupby(rows, lambda r: (r["symbol"], r["interval"], r["model_type"], r["version"])):
        champions.append(_skill(place, list(of), ends))
    more = offset + len(chosen) < len(every)
    return {"champions": champions, "series": len(every), "next_offset": offset + limit if more else None}


def _skill(place: tuple[str, ...], rows: list[Any], ends: list[datetime]) -> dict[str, Any]:
    candles, moved, right, errors, squares = 0, 0, 0, 0.0, 0.0
    points = []
    for row in rows:
        if row["slot"] is None:
            continue
        candles, moved, right = candles + row["candles"], moved + row["moved"], right + row["right"]
        errors, squares = errors + row["errors"], squares + row["squares"]
        points.append({
            "until": iso(ends[row["slot"] + 1]), "candles": candles,
            "r2": 1 - errors / squares if squares > 0 else None,
            "directional_accuracy": right / moved if moved else None,
        })  # fmt: skip
    names = ("r2", "directional_accuracy")
    last = points[-1] if points else dict.fromkeys(names)
    held = rows[0]["metrics"] or {}
    return {
        **dict(zip(("symbol", "interval", "model_type", "version"), place, strict=True)), "candles": candles,
        **{name: last[name] for name in names}, "evaluated": {name: held.get(name) for name in names},
        "points": points,
    }  # fmt: skip


@router.get("/pulse", response_model=picture_schemas.PulseView)
def pulse(app: App) -> dict[str, Any]:
    """Whether anything is new: changes with what is stored of versions, forecasts, decisions and runs."""
    return {"pulse": stored_pulse(app.registry.database)}


@router.get("/clock", response_model=picture_schemas.ClockView)
def clock(app: App) -> dict[str, Any]:
    """What time it is: at the exchange, by which candles and models are told, and here."""
    try:
        there = iso(app.exchange_time())
    except TransientError:
        there = None
    return {"exchange": there, "service": iso(datetime.now(UTC))}
