"""Between the book and the policy: turns stored forecasts into bets, and what is stored into a Case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from clm.core.book import EvidenceRow, Forecast, Kind, LedgerKey, Source
from clm.core.domain import ModelArtifact, Outcome
from clm.core.errors import EvidenceMoved
from clm.core.evidence import Bet, Evidence
from clm.core.paired import Paired
from clm.core.policy import Beside, PromotionPolicy, Standing
from clm.core.pooled_bets import PooledBets, Stood, joining
from clm.core.protocols import ModelRegistry
from clm.core.reign import Reign
from clm.core.timeline import TimelineRule

#: The level α is spent once in so long, however often the champion is refreshed meanwhile.
PURSE = timedelta(days=365)
_DECISIONS = 300
#: (champion's, challenger's) forecasts of the same candles.
Pairs = Sequence[tuple[Forecast, Forecast]]
_ATTEMPTS = 5
#: Missed candles further back than this are not made up for.
MAX_CATCH_UP = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Duel:
    """A ledger with the two versions that forecast for it now. until: no outcome after it is bet on."""

    key: LedgerKey
    champion: ModelArtifact
    challenger: ModelArtifact
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Bookkeeper:
    """Keeps the evidence of one series; pool: registries of the other series that share theirs."""

    registry: ModelRegistry
    rule: TimelineRule
    pool: tuple[ModelRegistry, ...] = ()

    def challenge(self, reign: Reign, challenger: ModelArtifact) -> Duel:
        """The duel of a recipe, by its newest version, for the present champion's place."""
        key = LedgerKey(
            model_type=reign.champion.model_type, kind=Kind.CHALLENGE, reign=reign.since,
            champion_version=reign.champion.version, recipe_id=challenger.recipe_id,
        )  # fmt: skip
        return Duel(key, reign.champion, challenger)

    def guard(self, reign: Reign) -> Duel | None:
        """The duel of the replaced champion for its return; None when the guard does not watch."""
        if reign.guarded is None:
            return None
        previous = reign.guarded
        key = LedgerKey(
            model_type=reign.champion.model_type, kind=Kind.GUARD, reign=reign.since,
            champion_version=reign.champion.version, recipe_id=previous.version,
        )  # fmt: skip
        return Duel(key, reign.champion, previous, reign.guard_until)

    def evidence(self, key: LedgerKey) -> Evidence:
        """Where the ledger stands."""
        return self.registry.book.newest_evidence(key) or self.beginning(key)

    def beginning(self, key: LedgerKey) -> Evidence:
        """Where the ledger began: at E = 1, but after a refresh with what its predecessor had left.

        A refresh must not refill the purse, else a year of refreshes would be a year of fresh chances for
        luck; and what was won against the predecessor does not count, for it was won against another. After
        `PURSE` it is full again: so much luck is allowed a year.
        """
        log_purse, since = 0.0, key.reign
        rise = self.registry.get_rise(key.model_type, key.champion_version, key.reign)
        if key.kind is Kind.CHALLENGE and rise and rise.label == "refresh" and rise.champion_version:
            book = self.registry.book
            last = book.closing_evidence(key.model_type, rise.champion_version, key.recipe_id, key.reign)
            if last is not None and last.since and key.reign - last.since < PURSE:
                log_purse, since = min(0.0, last.log_e), last.since
        step, symbols = self.registry.series.step, 1 + len(self.pool)
        return Evidence.start(step, self.rule.horizon, symbols, log_purse, since)

    def unsettled(self, duel: Duel) -> list[tuple[Forecast, Forecast]]:
        """(champion's, challenger's) forecasts of candles that can be bet on and have not been, oldest first.

        Both out-of-sample, both stored, the outcome known, neither of them late.
        """
        last = self.evidence(duel.key).last
        since = last + self.registry.series.step if last is not None else None
        if duel.key.kind is Kind.GUARD and since is None:
            since = duel.key.reign - self.registry.series.step
        champion = {f.open_time: f for f in self.champion_forecasts(duel.champion, since)}
        challenger = self.registry.book.forecasts(
            duel.challenger.model_type, duel.challenger.version, since=since
        )
        return [
            (champion[f.open_time], f)
            for f in challenger
            if f.open_time in champion
            and all(map(_can_be_bet_on, (f, champion[f.open_time])))
            and (duel.until is None or f.open_time + 2 * self.registry.series.step <= duel.until)
        ]

    def champion_forecasts(self, champion: ModelArtifact, since: datetime | None = None) -> list[Forecast]:
        """What the champion itself forecast out-of-sample.

        Earlier ones stored under its name were made by the fit it was judged by as a candidate.
        """
        own = self._first_of(champion)
        first = own if since is None else max(own, since)
        return self.registry.book.forecasts(champion.model_type, champion.version, since=first)

    def _first_of(self, champion: ModelArtifact) -> datetime:
        """The first candle that is out-of-sample for it."""
        return champion.train_end + self.rule.purge - self.registry.series.step

    def reached(self, model_type: str, version: str, since: datetime) -> datetime:
        """The candle up to which a version has forecast every one opened after `since`.

        Its newest where that is not after `since`, and `since` before its first.

        A request is answered, and a run's shadow replayed, for the newest candles: those missed before them
        are still to be made up for, unless they are further back than `MAX_CATCH_UP`.
        """
        book, step = self.registry.book, self.registry.series.step
        newest = book.newest_forecast(model_type, version)
        if newest is None or newest <= since:
            return newest or since
        since = max(since, newest - MAX_CATCH_UP)
        if book.count_forecasts(model_type, version, since, newest) == -((since - newest) // step):
            # As nearly always: none is missing.
            return newest
        stored = set(book.forecast_times(model_type, version, since))
        ahead = (newest - since) // step
        at = newest - ahead * step
        while at in stored or at == since:
            at += step
        return max(at - step, since)

    def rows(
        self,
        duel: Duel,
        pairs: Pairs,
        pooled: Callable[[Bet], PooledBets | None],
    ) -> Iterator[EvidenceRow]:
        """The bets of `pairs`, each in its pool, and the ledger after each."""
        paired = Paired.of(*zip(*pairs, strict=True)) if pairs else None
        own = {bet.time: bet for bet in paired.bets()} if paired is not None else {}
        state, symbol = self.evidence(duel.key), self.registry.series.symbol
        for champion, challenger in pairs:
            bet = own[challenger.open_time]
            pool = pooled(bet)
            for _, reached in state.walk([pool.bet_of(symbol, bet) if pool else bet]):
                state = reached
                yield EvidenceRow(
                    key=duel.key, challenger_version=duel.challenger.version, open_time=bet.time,
                    source=challenger.source, actual=_known(challenger.actual),
                    champion_forecast=champion.forecast, challenger_forecast=challenger.forecast,
                    variance=challenger.variance, gain=bet.gain, bound=bet.bound, pool=pool,
                    log_e=reached.log_e, state=reached,
                )  # fmt: skip

    def append(self, duel: Duel, rows: Sequence[EvidenceRow], after: datetime | None) -> None:
        """Store bets of one ledger; `after` is the newest before them. Raises EvidenceMoved."""
        self.registry.book.append_evidence(duel.key, rows, after)

    def feed(self, duel: Duel) -> Evidence:
        """Bets on everything unsettled, joining what the other series have bet for the same recipe.

        Raises EvidenceMoved where other processes keep betting first.
        """
        symbol = self.registry.series.symbol
        for attempt in range(_ATTEMPTS):
            pairs = self.unsettled(duel)
            if not pairs:
                break
            after = self.evidence(duel.key).last

            def joined(stood: Mapping[datetime, Stood], pairs: Pairs = tuple(pairs)) -> list[EvidenceRow]:
                return list(self.rows(duel, pairs, lambda bet: joining(stood.get(bet.time), symbol, bet)))

            try:
                if self.pool and duel.key.kind is Kind.CHALLENGE:
                    self.registry.book.append_joining(duel.key, joined, pairs[0][1].open_time, after)
                else:
                    self.append(duel, list(self.rows(duel, pairs, lambda _: None)), after)
                break
            except EvidenceMoved:
                # The live shadow was at it; what it has stored is where this goes on.
                if attempt == _ATTEMPTS - 1:
                    raise
        return self.evidence(duel.key)

    def own(self, duel: Duel) -> Paired:
        """All candles this version and the champion both forecast."""
        champion, challenger = duel.champion, duel.challenger
        since = self._first_of(champion)
        return self.registry.book.paired(challenger.model_type, champion.version, challenger.version, since)

    def standing(
        self, duel: Duel, reign: Reign, policy: PromotionPolicy, as_of: datetime, parity: float | None
    ) -> Standing:
        """Everything the evidence policy weighs, from what is stored at `as_of`."""
        same = duel.challenger.recipe_id == reign.champion.recipe_id
        recipes = self.recipes(reign) | {duel.key.recipe_id}
        cool_down = timedelta(hours=policy.cool_down_hours)
        return Standing(
            evidence=self.evidence(duel.key),
            recipes=len(recipes),
            own=self.own(duel),
            pool=cache(lambda: tuple(self.beside(duel)) if same else ()),
            same_recipe=same,
            champion_age=as_of - reign.champion.trained_at,
            refresh_tried_at=self._refresh_tried_at(reign),
            cool_down_until=reign.rolled_back_at + cool_down if reign.rolled_back_at else None,
            parity=parity,
        )

    def recipes(self, reign: Reign) -> set[str]:
        """Those that challenge the champion, or have in this reign: α is shared out among them."""
        model_type = reign.champion.model_type
        ledgers = self.registry.book.ledgers(model_type, reign.champion.version, reign.since)
        found = {key.recipe_id for key in ledgers if key.kind is Kind.CHALLENGE}
        return found | {rival.recipe_id for rival in self.registry.challengers(model_type)}

    def beside(self, duel: Duel) -> Iterator[Beside]:
        """The same recipe's newest challenger beside its champion on each pooled series."""
        for registry in self.pool:
            champion = registry.get_active(duel.key.model_type)
            rivals = [a for a in registry.challengers(duel.key.model_type) if _same_recipe(a, duel)]
            if champion is not None and rivals and champion.recipe_id == duel.key.recipe_id:
                paired = Bookkeeper(registry, self.rule).own(Duel(duel.key, champion, rivals[-1]))
                yield Beside(registry.series, champion.version, rivals[-1].version, paired)

    def _refresh_tried_at(self, reign: Reign) -> datetime | None:
        model_type = reign.champion.model_type
        return next(
            (
                decision.decided_at
                for decision in self.registry.get_decisions(model_type, limit=_DECISIONS, since=reign.since)
                if decision.champion_version == reign.champion.version
                and decision.outcome is Outcome.CONTINUE
                and decision.numbers.get("refresh_weighed")
            ),
            None,
        )


def own_gains(pairs: Iterable[tuple[Forecast, Forecast]]) -> dict[datetime, tuple[float, float]]:
    """(gain, bound) by candle, for the other series to pool."""
    every = list(pairs)
    if not every:
        return {}
    bets = Paired.of(*zip(*every, strict=True)).bets()
    return {bet.time: (bet.gain, bet.bound) for bet in bets}


def _same_recipe(artifact: ModelArtifact, duel: Duel) -> bool:
    return artifact.recipe_id == duel.key.recipe_id


def _can_be_bet_on(forecast: Forecast) -> bool:
    return forecast.actual is not None and forecast.source is not Source.LATE


def _known(actual: float | None) -> float:
    if actual is None:
        raise ValueError("a candle without an outcome cannot be bet on")
    return actual
