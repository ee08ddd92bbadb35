"""A run as it goes, as server-sent events; `clm_routes.router` takes the route in.

A run lives in the database, so every service on it can tell. An event tells the whole run: who comes back
with the id of the last one they had hears nothing twice and misses nothing that still holds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from clm.api import schemas
from clm.api.application import application
from clm.api.lookout import Lookout
from clm.api.parameters import RunId
from clm.api.route import ProblemRoute, documented_problem
from clm.bootstrap import Application
from clm.core.errors import DatabaseUnavailable
from clm.core.runs import Run
from clm.core.wire import run_view
from clm.jobs.supervisor import to_be_resumed

#: Seconds between looks at a run, however many listen; between signs of life while nothing changes.
_LOOK, _BEAT = 0.5, 15.0
#: Milliseconds after which who lost the connection comes back.
_COME_BACK = 2000
_STREAM = {
    "description": "`run` events and, as the last one, `end`: each the run as `GET /runs/{run_id}` shows it",
    "content": {"text/event-stream": {}},
}

router = APIRouter(route_class=ProblemRoute)
App = Annotated[Application, Depends(application)]
Last = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=100, description="of the last event that was heard")
]


@router.get(
    "/runs/{run_id}/models",
    response_model=schemas.TurnsView,
    responses={404: documented_problem("no such run", schemas.NOT_FOUND)},
)
def models_of_run(run_id: RunId, app: App) -> dict[str, Any]:
    """A retraining run model by model, and the newest lines of what it said."""
    return {"run_id": run_id, **app.turns(run_id)}


@router.get(
    "/runs/{run_id}/events",
    response_class=Response,
    responses={
        200: _STREAM,
        204: {"description": "the run is over, and that was the last event heard"},
        404: documented_problem("no such run", schemas.NOT_FOUND),
    },
)
async def events(run_id: RunId, app: App, request: Request, last: Last = None) -> Response:
    """A run as it goes: server-sent events until it is over.

    Each tells the whole run; a comment comes every 15 seconds while nothing changes. Whoever comes back with
    `Last-Event-ID` hears only what is new, from this service or another one on the same database.
    """
    lookout: Lookout[Run] | None = getattr(request.app.state, "clm_runs_seen", None)
    if lookout is None:
        lookout = request.app.state.clm_runs_seen = Lookout(_LOOK)

    async def look() -> Run:
        return await lookout.see((app, run_id), lambda: run_in_threadpool(app.runs.get, run_id))

    # Who comes back may know more than was seen here a moment ago: another service told it.
    first = await (look() if last is None else run_in_threadpool(app.runs.get, run_id))
    if _over(first) and _event_id(run_view(first)) == last:
        return Response(status_code=204)

    async def stream() -> AsyncIterator[bytes]:
        said, beat, run = last, time.monotonic(), first
        while True:
            view = run_view(run)
            number, over = _event_id(view), _over(run)
            if number != said or over:
                yield format_sse_event(
                    data_str=json.dumps(view), event="end" if over else "run", id=number, retry=_COME_BACK
                )
                said, beat = number, time.monotonic()
            elif time.monotonic() - beat >= _BEAT:
                yield KEEPALIVE_COMMENT
                beat = time.monotonic()
            if over:
                return
            await asyncio.sleep(_LOOK)
            try:
                run = await look()
            except DatabaseUnavailable:
                # The stream breaks off; its listener comes back and is told where it stands.
                return

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _over(run: Run) -> bool:
    """Nothing more comes; a run that the next service takes up again goes on."""
    return run.state.over and not to_be_resumed(run)


def _event_id(view: dict[str, Any]) -> str:
    """The same in every service: what the run shows, but for its worker's signs of life."""
    told = {name: value for name, value in view.items() if name != "heartbeat_at"}
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:20]
