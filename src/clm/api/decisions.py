"""Decisions, and the reigns they began; `clm_routes.router` takes the routes in."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from clm.api import schemas, version_schemas
from clm.api.application import application
from clm.api.parameters import Interval, Limit, ModelFilter, ModelTypeName, Moment, Symbol
from clm.api.route import ProblemRoute, documented_problem
from clm.bootstrap import Application
from clm.core import plugins
from clm.core.domain import Outcome
from clm.core.reigns import reigns
from clm.core.standings import decision_view
from clm.core.wire import jsonable
from clm.registry import decisions as stored

router = APIRouter(route_class=ProblemRoute)
App = Annotated[Application, Depends(application)]
DecisionId = Annotated[int, Path(description="as `GET /decisions` lists it", examples=[12])]


@router.get("/decisions", response_model=list[version_schemas.DecisionView])
def decisions(
    app: App,
    model: ModelFilter = None,
    limit: Limit = 20,
    symbol: Symbol = None,
    interval: Interval = None,
    every: Annotated[bool, Query(description="of all series there ever were, where none is named")] = False,
    outcome: Annotated[Outcome | None, Query(description="what was decided; default: all")] = None,
    text: Annotated[
        str | None, Query(min_length=1, max_length=100, description="part of the reason, in any case")
    ] = None,
    since: Annotated[Moment | None, Query(description="decided then or later")] = None,
    until: Annotated[Moment | None, Query(description="decided before")] = None,
) -> list[dict[str, Any]]:
    """What was decided about candidates, by whom and why, newest first."""
    if model is not None:
        plugins.require_known_model_type(model)
    anywhere = every and symbol is None and interval is None
    wanted = stored.Wanted(
        series=None if anywhere else app.find_series(symbol, interval), model_type=model, outcome=outcome,
        text=text, since=since, until=until,
    )  # fmt: skip
    found = stored.find(app.registry.database, wanted, limit)
    return [{**jsonable(series), **decision_view(decision)} for series, decision in found]


@router.get(
    "/decisions/{decision_id}",
    response_model=version_schemas.ExplainedDecisionView,
    responses={404: documented_problem("no such decision", schemas.NOT_FOUND)},
)
def explain_decision(decision_id: DecisionId, app: App) -> dict[str, Any]:
    """One decision, decided again from the stored rows: `same` says whether it comes to the same."""
    series, decision, again = app.explain(decision_id)
    return {
        **jsonable(series), **decision_view(decision), "inputs": jsonable(decision.inputs),
        "recomputed": again.again is not None, "same": again.same, "differences": list(again.differences),
        "bets": again.bets,
    }  # fmt: skip


@router.get("/reigns/{model_type}", response_model=list[version_schemas.ReignView])
def past_reigns(
    model_type: ModelTypeName, app: App, limit: Limit = 100, symbol: Symbol = None, interval: Interval = None
) -> list[dict[str, Any]]:
    """Who was champion when, and why, newest first; times are the exchange's."""
    plugins.require_known_model_type(model_type)
    series = app.find_series(symbol, interval)
    found = stored.of_reigns(app.registry.database, series, model_type, limit)
    return [jsonable(reign) for reign in reigns([decision for _, decision in found])]
