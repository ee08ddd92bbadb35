"""What entrances ask for: each a few lines over the parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from clm.core import plugins
from clm.core.domain import Decision, ModelArtifact, Progress, Series
from clm.core.errors import (
    InvalidSetting,
    LastSeries,
    NotCertified,
    TransientError,
    VersionNotFound,
)
from clm.core.journal import RunJournal
from clm.core.recompute import Recomputed, recompute
from clm.core.reign import load_fit
from clm.core.runs import Run, RunKind, RunRequest
from clm.core.sight import Sight
from clm.core.space import SearchableFamily, space_of
from clm.core.standings import standings
from clm.core.turns import turns
from clm.core.watchlist import Watched
from clm.core.wire import jsonable
from clm.cycles import CycleOutcome, Cycles
from clm.jobs.cluster import without_workers, workers_at
from clm.market.look import picture
from clm.market.ping import ping
from clm.market.stores import candle_store
from clm.parts import check_training, policy_of
from clm.registry.mend import mend
from clm.registry.verify import Finding
from clm.settings import scheduler_of

#: Revised candles that are listed at once.
_REVISIONS = 200


class Application(Cycles):
    """The use cases of one `Settings`."""

    def ensemble_standing(self, series: Series) -> dict[str, Any]:
        """Of one series. Raises InvalidSetting where there is but one model type to mix."""
        keeper = self.ensemble_keeper(series)
        if keeper is None:
            allowed = "at least two model types, to be mixed"
            raise InvalidSetting("models", ",".join(self.models_of(series)), allowed)
        standing: dict[str, Any] = jsonable(keeper.standing())
        return {"symbol": series.symbol, "interval": series.interval, **standing}

    def watched(self, *, every: bool = False) -> list[dict[str, Any]]:
        """The series that are watched, JSON-ready; every: also those that have been taken off."""
        champions = self._champions()
        watched = self.watchlist.look()
        gone = [e.series for e in self.watchlist.entries() if not e.watched] if every else []
        return [self._view(series, champions) for series in (*watched, *gone)]

    def watch(
        self,
        symbol: str,
        interval: str | None = None,
        models: Sequence[str] | None = None,
        overrides: Mapping[str, Any] | None = None,
        *,
        by: str,
    ) -> tuple[bool, dict[str, Any]]:
        """Watches a series from now on, or otherwise than before; whether it is new, and how it is.

        Raises BadInput (a symbol the exchange does not trade, an override that cannot be), UnknownModelType,
        InsufficientData (not one candle), ExchangeUnavailable.
        """
        series = Series(symbol, interval or self.settings.interval)
        named = None if models is None else plugins.require_model_types(tuple(models))
        own, note = self.settings.of_series(series, named, overrides or {}), None
        check_training(own, named or own.models)
        manager = self.build_manager(series, own, ())
        new = series not in self.watchlist.look()
        if new:
            with closing(self.build_client(series)) as client:
                note = manager.gatherer.short_by(client.begins(), client.server_time())
        self.watchlist.put(
            Watched(series=series, models=named, overrides=dict(overrides or {}), changed_by=by)
        )
        return new, {**self._view(series, self._champions()), "note": note}

    def unwatch(self, symbol: str, interval: str | None = None, *, by: str) -> dict[str, Any]:
        """Watches a series no more; what is stored of it stays. Raises InvalidSetting, LastSeries."""
        every = self.watchlist.look()
        series = self.find_series(symbol, interval, every)
        if len(every) == 1:
            raise LastSeries(f"{series} is the last series that is watched: add another one first")
        entry = self.watchlist.entry(series) or Watched(series=series)
        self.watchlist.put(replace(entry, watched=False, changed_by=by))
        return self._view(series, self._champions())

    def _champions(self) -> dict[tuple[str, ...], str]:
        """(symbol, interval, model type) → the version that reigns there."""
        return {row[:3]: row[3] for row in self.registry.reigning()}

    def _view(self, series: Series, champions: Mapping[tuple[str, ...], str]) -> dict[str, Any]:
        entry, models = self.watchlist.entry(series), self.models_of(series)
        own = {m: champions.get((series.symbol, series.interval, m)) for m in models}
        return {
            **jsonable(series), "models": list(models), "overrides": dict(entry.overrides) if entry else {},
            "origin": "settings" if series in self.watchlist.configured else "added",
            "watched": entry is None or entry.watched,
            "changed_by": entry.changed_by if entry else None,
            "changed_at": jsonable(entry.changed_at) if entry else None, "champions": own,
        }  # fmt: skip

    def newest_stored(self, series: Series) -> datetime | None:
        """When the newest candle of the store closes; None where there is none."""
        spans = candle_store(self.settings.data_dir).coverage(series).spans
        return datetime.fromtimestamp(spans[-1][1] / 1000, UTC) if spans else None

    def stored_candles(self, series: Series, days: float) -> dict[str, Any]:
        """What is stored of the last days, thinned; how fresh it is; what asking the exchange has cost.

        The exchange is asked for its time alone: where it does not answer, `clock_note` says so. Raises
        BadInput, StorageFailed, InvalidCandles.
        """
        found = picture(candle_store(self.settings.data_dir), series, days)
        now, note = None, None
        try:
            now = self.exchange_time()
        except TransientError as error:
            note = str(error)
        behind = (now - found.newest_close).total_seconds() if now and found.newest_close else None
        late = 2 * series.step.total_seconds() + 60
        since = found.since
        return {
            **jsonable(series), "step_seconds": series.step.total_seconds(),
            "kept": self.settings.cache_enabled, "now": now, "clock_note": note, "behind_seconds": behind,
            "fresh": None if behind is None else behind <= late,
            **jsonable(found),
            "revisions": self.registry.for_series(series).book.revised(since, _REVISIONS) if since else [],
            "weight": self.weight_used(),
        }  # fmt: skip

    def ping_exchange(self, seconds: float) -> None:
        """Returns when the exchange answers. Raises ExchangeUnavailable, RateLimited."""
        ping(self.settings.binance_url, seconds, self._pace)

    def cluster_lacks(self, seconds: float) -> str | None:
        """Why a cluster would let a run wait, if there is one that would. Raises ExecutorUnavailable."""
        address = scheduler_of(self.settings)
        return without_workers(address) if address and not workers_at(address, seconds) else None

    def folders(self) -> list[Path]:
        """Where this application writes to on this machine."""
        url = self.registry.database.engine.url
        own = (
            [Path(url.database).absolute().parent]
            if url.get_backend_name() == "sqlite" and url.database
            else []
        )
        places = (self.settings.model_dir, self.settings.data_dir)
        return [*own, *(place.absolute() for place in places if isinstance(place, Path))]

    def standings(self, symbol: str | None = None, interval: str | None = None) -> list[dict[str, Any]]:
        """How challengers stand on one series, or on all (symbol None)."""
        chosen = self.series if symbol is None and interval is None else (self.find_series(symbol, interval),)
        found: list[dict[str, Any]] = []
        for series in chosen:
            manager = self.manager(series)
            found += standings(manager.keeper, manager.policy, manager.models, self.now())
        return found

    def promote_by_hand(
        self, series: Series, model_type: str, version: str, *, uncertified: bool = False
    ) -> ModelArtifact:
        """A human's decision; the guard watches over it as over any other. Raises NotCertified."""
        registry = self.registry.for_series(series)
        artifact = registry.get_version(model_type, version)
        problems = artifact.certificate["problems"] if artifact.certificate else ["it has none"]
        if problems and not uncertified:
            raise NotCertified(
                f"{model_type} {version} of {series} has no leakage certificate ({'; '.join(problems)}); "
                "promoting it all the same has to be asked for"
            )
        return registry.promote(model_type, version, at=self.now())

    def roll_back_by_hand(self, series: Series, model_type: str, reason: str) -> ModelArtifact:
        """Back to the version the champion replaced, because a human says so."""
        return self.registry.for_series(series).rollback(model_type, reason=reason, at=self.now())

    def explain(self, decision_id: int) -> tuple[Series, Decision, Recomputed]:
        """A stored decision, and what comes out when it is decided again. Raises DecisionNotFound."""
        series, decision = self.registry.get_decision(decision_id)
        return series, decision, recompute(self.registry.for_series(series), decision)

    def to_be_searched(
        self, models: Sequence[str] | None, symbols: Sequence[str] | None, *, enter: bool
    ) -> list[tuple[Series, str]]:
        """Series and model types of a search; models None: of the configured ones those that can be.

        enter: what is found is to become a challenger, so there must be a champion, a policy that goes by the
        evidence, and no run in progress. Raises UnknownModelType, BadInput, InvalidSetting, VersionNotFound,
        RunInProgress.
        """
        named = plugins.require_model_types(tuple(models)) if models else self.models
        chosen = [m for m in named if models or isinstance(plugins.model_family(m), SearchableFamily)]
        for model_type in chosen or named:
            space_of(model_type)
        every = self.check_request(RunRequest(symbols=None if symbols is None else tuple(symbols)))
        pairs = [(s, m) for s in every for m in chosen if models or m in self.models_of(s)]
        if enter:
            policy = self.settings.promotion_policy
            if not policy_of(self.settings).continuous:
                allowed = "evidence: a search's winner is not promoted on point estimates; or --dry-run"
                raise InvalidSetting("CLM_PROMOTION_POLICY", policy, allowed)
            self.supervisor.tidy()
            self.runs.refuse_while_running()
            for series, model_type in pairs:
                self._require_champion(series, model_type)
        return pairs

    def _require_champion(self, series: Series, model_type: str) -> None:
        if self.registry.for_series(series).get_active(model_type) is None:
            raise VersionNotFound(
                f"{model_type} of {series} has no champion to challenge: train one with `clm retrain` "
                "first, or search with --dry-run"
            )

    def turns(self, run_id: str) -> dict[str, Any]:
        """How each model of a run fares, and what the run said so far. Raises RunNotFound."""
        run = self.runs.get(run_id)
        request, wanted = run.request, []
        if request.kind is RunKind.RETRAIN:
            # As far as it is still watched.
            wanted = [
                (series, request.models or self.models_of(series)) for series in self.series
                if (request.symbols is None or series.symbol in request.symbols)
                and (request.intervals is None or series.interval in request.intervals)
            ]  # fmt: skip
        return {
            "models": turns(run, self.runs.journal(run_id), wanted),
            "log": list(run.progress.get("log", ())),
        }

    def perform(self, run: Run, progress: Callable[[Progress], None]) -> CycleOutcome:
        """What a run asks for, here and now; of what earlier attempts have done, nothing twice."""
        if run.request.kind is RunKind.RETENTION:
            return self.retain()
        return self.run(run.request, progress, RunJournal(self.runs, run))

    def retain(self) -> CycleOutcome:
        """Puts old model files away, and sees to loose ends."""
        gone = self.registry.upkeep.retain(self.settings.keep_versions) if self.settings.keep_versions else []
        return CycleOutcome({"deleted_files": gone, "mended": self.mend()}, None)

    def mend(self) -> list[str]:
        """What `clm verify --fix` does; a sentence for each thing done."""
        return mend(self.registry, Sight.of(self.feature_engineer), self.now(), self.alarm)

    def verify(self) -> list[Finding]:
        """What is wrong with any version, by `registry.verify`, and champions this process cannot serve."""
        findings, sight = self.registry.verify(), Sight.of(self.feature_engineer)
        known = {(finding.series, finding.version) for finding in findings}
        for series, model_type in self.registry.kept():
            registry = self.registry.for_series(series)
            champion = registry.get_active(model_type)
            if champion is None or (str(series), champion.version) in known:
                continue
            _, unfit = load_fit(registry, champion, sight)
            if unfit is not None:
                said = f"unreadable_here: {unfit.reason}" if unfit.here else unfit.reason
                severity: Literal["error", "note"] = "note" if unfit.here else "error"
                findings.append(Finding(severity, str(series), model_type, champion.version, said))
        return findings

    def clear_cache(self) -> None:
        """Drops cached candles, and models and all that is held in memory, here and in the watch's process.

        Who answers goes on by what it knows until candles and models were read anew. Raises RunInProgress
        while a run is under way.
        """
        self.runs.refuse_while_running()
        for series in self.series:
            self.data_client(series).clear_cache()
        self._managers.clear()
        self._shelf.clear()
        self._desks = {}
        for remembers in ("explainer", "drift"):
            self.__dict__.pop(remembers, None)
        if "forecasts" in self.__dict__:
            self.forecasts.follower.wake()
        if "live_watch" in self.__dict__:
            self.live_watch.renew()
