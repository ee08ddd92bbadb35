"""Settling one series and model type: bets in time order, a decision after each candle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from clm.core.alert import Alarm
from clm.core.book import EvidenceRow, Forecast, Kind
from clm.core.bookkeeper import Bookkeeper, Duel, own_gains
from clm.core.domain import Decision, Outcome
from clm.core.errors import ChampionChanged
from clm.core.evidence import Bet, Evidence
from clm.core.policy import Case, PromotionPolicy, Standing
from clm.core.pooled_bets import PooledBets, pooled_by_candle
from clm.core.reign import Reign, look
from clm.core.verdict import carry_out, facts, roll_back, with_inputs
from clm.core.wire import jsonable
from clm.shadow.parity import Parity

#: What may be pooled with what: (kind, challenger's recipe, champion's recipe or "" for challenges).
PoolKey = tuple[Kind, str, str]


#: Own bets of this tick, for the others to pool: key → candle → (gain, bound).
Gathered = Mapping[PoolKey, Mapping[datetime, tuple[float, float]]]
#: Those of all series: key → candle → bets.
Pools = Mapping[PoolKey, Mapping[datetime, PooledBets]]


@dataclass(frozen=True, slots=True)
class _Open:
    """A duel with the bets it can place now."""

    duel: Duel
    pairs: Sequence[tuple[Forecast, Forecast]]
    rows: list[EvidenceRow] = field(default_factory=list)
    standing: Standing | None = None


class Settling:
    """One tick of one series and model type."""

    def __init__(
        self,
        keeper: Bookkeeper,
        policy: PromotionPolicy,
        model_type: str,
        now: datetime,
        parity: Mapping[str, Parity],
        alarm: Alarm,
    ) -> None:
        self._keeper, self._policy, self._model_type = keeper, policy, model_type
        self._now, self._parity, self._alarm = now, parity, alarm

    def gather(self) -> Gathered:
        """This series' own gains on candles that can be bet on now."""
        reign = self._reign()
        duels = self._duels(reign) if reign else []
        return {_pool_key(duel): own_gains(self._keeper.unsettled(duel)) for duel in duels}

    def settle(self, pools: Pools) -> list[Decision]:
        """Places every bet there is, and carries out what follows. Raises EvidenceMoved."""
        taken: list[Decision] = []
        while (reign := self._reign()) is not None:
            opened = [self._open(duel, reign, pools) for duel in self._duels(reign)]
            # First as things stand: a crash may have come between the last bet and what follows from it.
            decision = self._decided(reign, opened, None) or self._walk(reign, opened)
            if decision is None:
                return taken
            taken.append(decision)
        return taken

    def _reign(self) -> Reign | None:
        registry, hours = self._keeper.registry, self._policy.guard_hours
        return look(registry, self._model_type, hours)

    def _duels(self, reign: Reign) -> list[Duel]:
        """The guard's, and one per recipe that has a challenger, by its newest version."""
        newest = {a.recipe_id: a for a in self._keeper.registry.challengers(self._model_type)}
        duels = [self._keeper.challenge(reign, challenger) for challenger in newest.values()]
        guard = self._keeper.guard(reign)
        return [guard, *duels] if guard is not None else duels

    def _open(self, duel: Duel, reign: Reign, pools: Pools) -> _Open:
        pairs = self._keeper.unsettled(duel)
        shared = pools.get(_pool_key(duel), {}) if self._keeper.pool else {}
        symbol = self._keeper.registry.series.symbol

        def pooled(bet: Bet) -> PooledBets | None:
            return shared[bet.time].with_own(symbol, bet) if bet.time in shared else None

        rows = list(self._keeper.rows(duel, pairs, pooled))
        standing = None
        if duel.key.kind is Kind.CHALLENGE:
            parity = self._parity.get(duel.challenger.version)
            standing = self._keeper.standing(
                duel, reign, self._policy, self._now, parity.deviation if parity else None
            )
        return _Open(duel, pairs, rows, standing)

    def _walk(self, reign: Reign, opened: Sequence[_Open]) -> Decision | None:
        """Bets candle by candle up to the first one that decides something; None when none did."""
        for time in sorted({row.open_time for each in opened for row in each.rows}):
            decision = self._decided(reign, opened, time, dry=True)
            if decision is not None:
                self._append(opened, time)
                return self._decided(reign, opened, time)
        self._append(opened, None)
        return None

    def _append(self, opened: Sequence[_Open], until: datetime | None) -> None:
        for each in opened:
            rows = [row for row in each.rows if until is None or row.open_time <= until]
            after = self._keeper.evidence(each.duel.key).last
            self._keeper.append(each.duel, rows, after)

    def _decided(
        self, reign: Reign, opened: Sequence[_Open], time: datetime | None, *, dry: bool = False
    ) -> Decision | None:
        """What follows from the evidence up to the candle `time` (None: from what is stored)."""
        for each in opened:
            evidence = self._evidence_at(each, time)
            if evidence is None or evidence.last is None:
                continue
            if time is not None and evidence.last != time:
                # No bet on this candle: nothing new to decide from.
                continue
            step, horizon = self._keeper.registry.series.step, self._keeper.rule.horizon
            as_of = evidence.last + (1 + horizon) * step
            decision = (
                self._of_guard(each, evidence, as_of)
                if each.duel.key.kind is Kind.GUARD
                else self._of_challenge(each, reign, evidence, as_of)
            )
            if decision is not None and (dry or self._carried_out(each, decision, as_of)):
                return decision
        return None

    def _evidence_at(self, each: _Open, time: datetime | None) -> Evidence | None:
        if time is None:
            return self._keeper.evidence(each.duel.key)
        return next((row.state for row in reversed(each.rows) if row.open_time <= time), None)

    def _of_guard(self, each: _Open, evidence: Evidence, as_of: datetime) -> Decision | None:
        reason = self._policy.decide_rollback(evidence)
        if reason is None:
            return None
        key = each.duel.key
        decision = Decision(
            model_type=self._model_type,
            candidate_version=each.duel.challenger.version,
            champion_version=each.duel.champion.version,
            outcome=Outcome.PROMOTE,
            label="guard",
            policy=self._policy.name,
            reason=reason,
            numbers={"log_e": evidence.log_e, "log_e_peak": evidence.peak, "evidence_candles": evidence.bets},
            decided_by="guard",
            decided_at=as_of,
        )
        inputs = {
            **facts(self._policy, self._keeper.rule), "ledger": key, "evidence_until": evidence.last,
        }  # fmt: skip
        return replace(decision, inputs=jsonable(inputs))

    def _of_challenge(
        self, each: _Open, reign: Reign, evidence: Evidence, as_of: datetime
    ) -> Decision | None:
        """A decision something comes of; None: go on."""
        if each.standing is None or evidence.last is None:
            return None
        challenger, until, pool = each.duel.challenger, evidence.last, each.standing.pool
        standing = replace(
            each.standing,
            evidence=evidence,
            own=each.standing.own.up_to(until),
            pool=lambda: tuple(replace(b, paired=b.paired.up_to(until)) for b in pool()),
            champion_age=as_of - reign.champion.trained_at,
        )
        case = Case(
            model_type=self._model_type,
            candidate_version=challenger.version,
            champion_version=reign.champion.version,
            as_of=as_of,
            metrics=challenger.metrics,
            certificate=challenger.certificate,
            standing=standing,
        )
        decision = self._policy.decide(case)
        if decision.outcome is Outcome.CONTINUE and not decision.numbers.get("refresh_weighed"):
            return None
        return with_inputs(decision, case, each.duel, self._policy, self._keeper.rule)

    def _carried_out(self, each: _Open, decision: Decision, as_of: datetime) -> bool:
        """Whether this call made it so; False where another process did, or nothing changes any more."""
        registry = self._keeper.registry
        if each.duel.key.kind is Kind.GUARD:
            return roll_back(registry, decision, as_of, self._alarm) is not None
        if decision.outcome is Outcome.CONTINUE:
            return registry.record_decision(decision)
        try:
            return carry_out(registry, self._policy, decision, each.duel.challenger)
        except ChampionChanged:
            return False


def pooled_over(gathered: Mapping[str, Gathered]) -> Pools:
    """The bets of all series: symbol → its own, in."""
    keys = dict.fromkeys(key for own in gathered.values() for key in own)
    return {
        key: pooled_by_candle({symbol: own[key] for symbol, own in gathered.items() if key in own})
        for key in keys
    }


def _pool_key(duel: Duel) -> PoolKey:
    if duel.key.kind is Kind.CHALLENGE:
        return Kind.CHALLENGE, duel.key.recipe_id, ""
    return Kind.GUARD, duel.challenger.recipe_id, duel.champion.recipe_id
