"""The service's operations as methods, in the order of its OpenAPI document."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx

from clm.client.candles import Candles, records
from clm.client.experiments import Experiments
from clm.client.following import follow
from clm.client.link import Link
from clm.client.records import Decision, ExplainedDecision, Forecast, Run, Version, mapping, mappings, read
from clm.client.watchlist import Watchlist

#: A JSON object, as the service's OpenAPI document describes it.
Json = dict[str, Any]
_NOT_READY = frozenset({503})


class Client:
    """A CLM service. `symbol` and `interval` are the first configured ones wherever they are left out.

    url: such as http://127.0.0.1:8000. api_key: as `clm keys add` printed it; None: none, which the service
    allows on its own machine. timeout: seconds for an answer. retries: how often a GET is sent again when the
    connection breaks (after 0.25 s, then twice as long each time) or the answer is a 503 with Retry-After of
    at most 30 s (after that time); nothing else is ever sent twice. transport: in place of httpx's own.
    sleep, clock: seconds, for tests.

    Every method raises `ClientError`, or a subclass that says what is wrong. One client may be shared by
    threads. Raises ValueError where url or key cannot be one.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 2,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = Link(
            url, api_key, timeout=timeout, retries=retries, transport=transport, sleep=sleep
        )  # fmt: skip
        self._sleep, self._clock = sleep, clock
        #: A/B experiments: `start`, `recent`, `get`, `stop`.
        self.experiments = Experiments(self._link)
        #: The watchlist: `list`, `add`, `remove`.
        self.series = Watchlist(self._link)

    def __repr__(self) -> str:
        return f"Client({self._link.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all connections; the client is of no use afterwards."""
        self._link.close()

    # -- forecasts

    def predict(
        self,
        model: str | None = None,
        *,
        symbol: str | None = None,
        interval: str | None = None,
        caller: str | None = None,
    ) -> Forecast:
        """The forecast of the candle after the newest closed one.

        model: a model type or `ensemble`; None: the ensemble where there is one. caller: who asks, for a
        running experiment. Raises WrongInput.
        """
        query = {"symbol": symbol, "interval": interval, "model": model, "caller": caller}
        return read(Forecast, self._link.get("predict", **query))

    def predict_many(
        self,
        symbols: Sequence[str],
        model: str | None = None,
        *,
        interval: str | None = None,
        caller: str | None = None,
    ) -> list[Forecast]:
        """The same for several symbols in one request, in their order. Raises WrongInput."""
        body = {"symbols": list(symbols), "model": model, "interval": interval, "caller": caller}
        return [
            read(Forecast, one)
            for one in mapping(self._link.post("predict", body=body), "answers")["answers"]
        ]

    def predict_from(
        self,
        candles: Candles,
        model: str | None = None,
        *,
        symbol: str | None = None,
        interval: str | None = None,
    ) -> Forecast:
        """A forecast from candles of your own; the service stores nothing of it.

        candles: a DataFrame with `open_time` (UTC) as index or column, or a list of mappings; oldest first,
        closed, without a gap, as many as the features look back and one more. Raises WrongInput (which says
        how many that is), NotFound (no champion); ValueError where a field is missing or not finite.
        """
        body = {"candles": records(candles), "model": model, "symbol": symbol, "interval": interval}
        return read(Forecast, self._link.post("predict", body=body))

    def ensemble(self, *, symbol: str | None = None, interval: str | None = None) -> Json:
        """The mixture of the champions: members, weights, losses in units of σ̂², regret and its bound."""
        return mapping(self._link.get("ensemble", symbol=symbol, interval=interval))

    def explain(
        self,
        model_type: str,
        *,
        symbol: str | None = None,
        interval: str | None = None,
        top: int | None = None,
        version: str | None = None,
        against: str | None = None,
    ) -> Json:
        """What the newest forecast is made of (log returns), what the champion listens to, what changed.

        top: features listed, default all. The first of a service's life takes seconds. Raises NotFound,
        Conflict (it cannot be explained).
        """
        query = {"symbol": symbol, "interval": interval, "top": top, "version": version, "against": against}
        return mapping(self._link.get("explain", model_type, **query))

    # -- retraining

    def retrain(
        self,
        models: Iterable[str] | None = None,
        *,
        force: bool = False,
        symbols: Iterable[str] | None = None,
        intervals: Iterable[str] | None = None,
        params: Json | None = None,
        wait: bool = False,
        timeout: float | None = 3600.0,
        poll: float = 1.0,
    ) -> Run:
        """Start a run; None: all that are watched. Without `force` those whose trigger fires.

        params: hyper-parameters per model type over the configured ones, for this run.

        wait: return it when it has ended; timeout, poll: as for `wait`. Otherwise it has but its id and
        `running`. Raises Conflict (`run_id`: the one in progress), WrongInput, AccessRefused (role operate).
        """
        body = {
            "models": None if models is None else list(models), "force": force,
            "symbols": None if symbols is None else list(symbols),
            "intervals": None if intervals is None else list(intervals), "params": params,
        }  # fmt: skip
        run_id = str(mapping(self._link.post("retrain", body=body), "run_id")["run_id"])
        return self.wait(run_id, timeout=timeout, poll=poll) if wait else Run(run_id=run_id, status="running")

    def wait(
        self, run: Run | str, *, timeout: float | None = 3600.0, poll: float = 1.0, outage: float = 60.0
    ) -> Run:
        """Follow a run to its end and return it, whatever the end: look at `completed`, `error`, `report`.

        timeout: seconds, None: for ever; poll: seconds between looks. outage: seconds that the service may
        be away meanwhile, or the run lie interrupted, as while the service is restarted. Raises
        StillRunning, NotFound, and Unreachable or ServiceUnavailable after an outage.
        """
        run_id = run if isinstance(run, str) else run.run_id
        return follow(
            partial(self.run, run_id), run_id, timeout=timeout, poll=poll, outage=outage, sleep=self._sleep,
            clock=self._clock,
        )  # fmt: skip

    def status(self) -> Run | None:
        """The newest run; None: there was none yet."""
        found = mapping(self._link.get("status"), "run_id")
        return None if found["run_id"] is None else read(Run, found)

    def runs(self, limit: int = 20, *, kind: str = "retrain") -> list[Run]:
        """Runs, newest first. kind: retrain, shadow, retention or reproduce."""
        return [read(Run, found) for found in mappings(self._link.get("runs", limit=limit, kind=kind))]

    def run(self, run_id: str) -> Run:
        """One run. Raises NotFound."""
        return read(Run, self._link.get("runs", run_id))

    def events(self, run: Run | str) -> Iterator[Run]:
        """The run each time something about it changes, told by the service; the last one is over.

        One connection, without retries: `wait` outlives a restart of the service. Raises NotFound.
        """
        for told in self._link.events("runs", run if isinstance(run, str) else run.run_id, "events"):
            yield read(Run, told)

    def run_models(self, run: Run | str) -> Json:
        """`models`: each with its state and why; `log`: what the run said, oldest first. Raises NotFound."""
        run_id = run if isinstance(run, str) else run.run_id
        return mapping(self._link.get("runs", run_id, "models"), "models")

    def cancel(self, run: Run | str) -> Run:
        """End a run; what it had finished stays. Raises NotFound, Conflict (it is over), AccessRefused."""
        return read(Run, self._link.post("runs", run if isinstance(run, str) else run.run_id, "cancel"))

    # -- versions and what was decided about them

    def models(self, *, symbol: str | None = None, interval: str | None = None) -> dict[str, Json]:
        """Model type → its champion and metrics; nulls where there is none."""
        return mapping(self._link.get("models", symbol=symbol, interval=interval))

    def triggers(self, *, symbol: str | None = None, interval: str | None = None) -> dict[str, str | None]:
        """Model type → why it should be retrained now, a sentence; None: no need."""
        return mapping(self._link.get("triggers", symbol=symbol, interval=interval))

    def history(
        self, model_type: str, limit: int = 5, *, symbol: str | None = None, interval: str | None = None
    ) -> list[Version]:
        """Versions, newest first; empty when there are none. Raises WrongInput."""
        found = self._link.get("history", model_type, limit=limit, symbol=symbol, interval=interval)
        return [read(Version, version) for version in mapping(found, "versions")["versions"]]

    def promote(
        self,
        model_type: str,
        version: str,
        *,
        symbol: str | None = None,
        interval: str | None = None,
        uncertified: bool = False,
    ) -> Version:
        """Make a version the champion by hand; uncertified: also without a leakage certificate.

        Raises NotFound, Conflict (it is not fit for it), AccessRefused (role admin).
        """
        query = {"symbol": symbol, "interval": interval, "uncertified": uncertified}
        return read(Version, self._link.post("promote", model_type, version, query=query))

    def rollback(self, model_type: str, *, symbol: str | None = None, interval: str | None = None) -> Version:
        """Retire the champion and bring back the version it replaced, which is returned.

        Raises NotFound (there is none), Conflict, AccessRefused (role operate).
        """
        query = {"symbol": symbol, "interval": interval}
        return read(Version, self._link.post("rollback", model_type, query=query))

    def decisions(
        self,
        model: str | None = None,
        limit: int = 20,
        *,
        symbol: str | None = None,
        interval: str | None = None,
        every: bool = False,
        outcome: str | None = None,
        text: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Decision]:
        """What was decided about candidates, newest first; model None: of all model types.

        every: of all series, where none is named. outcome: PROMOTE, CONTINUE or REJECT; text: part of the
        reason; since, until: with a timezone. Raises WrongInput.
        """
        found = self._link.get(
            "decisions", model=model, limit=limit, symbol=symbol, interval=interval, every=every,
            outcome=outcome, text=text, since=since and since.isoformat(), until=until and until.isoformat(),
        )  # fmt: skip
        return [read(Decision, decision) for decision in mappings(found)]

    def reigns(
        self, model_type: str, limit: int = 100, *, symbol: str | None = None, interval: str | None = None
    ) -> list[Json]:
        """Who was champion when, and why, newest first. Raises WrongInput."""
        found = self._link.get("reigns", model_type, limit=limit, symbol=symbol, interval=interval)
        return mappings(found)

    def compare(
        self, model_type: str, a: str, b: str, *, symbol: str | None = None, interval: str | None = None
    ) -> Json:
        """Two versions side by side: `facts` and `features`. Raises NotFound, WrongInput."""
        found = self._link.get("compare", model_type, a=a, b=b, symbol=symbol, interval=interval)
        return mapping(found, "facts")

    def reproduce(
        self, model_type: str, version: str, *, symbol: str | None = None, interval: str | None = None
    ) -> Run:
        """Start to make a version once more; `wait` for it, and look at `report["verdict"]`.

        Raises NotFound, Conflict (another one is being made), AccessRefused (role operate).
        """
        query = {"symbol": symbol, "interval": interval}
        found = mapping(self._link.post("reproduce", model_type, version, query=query), "run_id")
        return Run(run_id=str(found["run_id"]), status="running")

    def decision(self, decision_id: int) -> ExplainedDecision:
        """One decision, decided again from the stored rows. Raises NotFound."""
        return read(ExplainedDecision, self._link.get("decisions", decision_id))

    def shadow(self, *, symbol: str | None = None, interval: str | None = None) -> list[Json]:
        """Champions, challengers with E and the hours still needed, the guard; of all series by default."""
        return mappings(self._link.get("shadow", symbol=symbol, interval=interval))

    def evidence(
        self, model: str, points: int = 600, *, symbol: str | None = None, interval: str | None = None
    ) -> Json:
        """E and the sum of gains over time, of challengers and guard; at most so many points, thinned."""
        asked = {"points": points, "symbol": symbol, "interval": interval}
        return mapping(self._link.get("shadow", model, "evidence", **asked))

    def forecasts(
        self,
        model: str,
        limit: int = 168,
        *,
        before: datetime | None = None,
        symbol: str | None = None,
        interval: str | None = None,
    ) -> Json:
        """Forecasts of champion and challengers beside what came, newest candle first.

        before: only candles opened earlier, an aware time. Raises ValueError for one without a zone.
        """
        if before is not None and before.tzinfo is None:
            raise ValueError(f"before: {before} has no time zone")
        asked = {
            "limit": limit, "before": before.isoformat() if before else None, "symbol": symbol,
            "interval": interval,
        }  # fmt: skip
        return mapping(self._link.get("shadow", model, "forecasts", **asked))

    def skill(self, offset: int = 0, *, limit: int = 12, days: int = 30) -> Json:
        """How champions have done live beside their evaluation, a page of series at a time."""
        return mapping(self._link.get("skill", offset=offset, limit=limit, days=days))

    def trials(
        self,
        model: str | None = None,
        limit: int = 20,
        *,
        symbol: str | None = None,
        interval: str | None = None,
    ) -> list[Json]:
        """Every attempt at a better model, newest first, with its cost in seconds."""
        return mappings(self._link.get("trials", model=model, limit=limit, symbol=symbol, interval=interval))

    def data(
        self, *, symbol: str | None = None, interval: str | None = None, days: float | None = None
    ) -> Json:
        """Stored candles thinned to at most 1,000 bars, gaps, revisions, freshness, request weight used."""
        return mapping(self._link.get("data", symbol=symbol, interval=interval, days=days))

    def drift(
        self,
        model_type: str,
        *,
        symbol: str | None = None,
        interval: str | None = None,
        days: int | None = None,
        top: int | None = None,
    ) -> Json:
        """Features and volatility against the training window, by day. Raises NotFound (never trained)."""
        query = {"symbol": symbol, "interval": interval, "days": days, "top": top}
        return mapping(self._link.get("drift", model_type, **query))

    def replays(self) -> list[Json]:
        """The replays in the service's CLM_REPLAY_DIR, newest first."""
        return mappings(self._link.get("replays"))

    def replay(self, name: str) -> Json:
        """One report. Raises NotFound, Conflict (it is damaged, or not written yet)."""
        return mapping(self._link.get("replays", name), "scores")

    # -- the service itself

    def config(self) -> Json:
        """The settings in force, secrets masked."""
        return mapping(self._link.get("config"))

    def clock(self) -> Json:
        """What time it is at the exchange, and at the service."""
        return mapping(self._link.get("clock"))

    def pulse(self) -> Json:
        """Stays the same as long as nothing new is stored: a cheap question before the others."""
        return mapping(self._link.get("pulse"))

    def clear_cache(self) -> Json:
        """Drop cached candles and what is held in memory. Raises Conflict while a run is in progress."""
        return mapping(self._link.ask("DELETE", "api/clm/clear-cache"))

    def alerts(self, limit: int = 20) -> list[Json]:
        """What a human should have heard of, newest first."""
        return mappings(self._link.get("alerts", limit=limit))

    def audit(self, limit: int = 20) -> list[Json]:
        """Who changed something, or tried to, newest first. Raises AccessRefused (role admin)."""
        return mappings(self._link.get("audit", limit=limit))

    def live(self) -> Json:
        """The process answers. Raises Unreachable."""
        return mapping(self._link.ask("GET", "health/live"))

    def ready(self) -> Json:
        """`status`: "ready" or "not ready"; `checks` with a sentence each, for whoever may read."""
        return mapping(self._link.ask("GET", "health/ready", fine=_NOT_READY))
