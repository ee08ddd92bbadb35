"""Decides once more from what is stored, and says whether it comes to the same: bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from clm.core.book import EvidenceRow, Kind, LedgerKey
from clm.core.bookkeeper import Bookkeeper, Duel
from clm.core.domain import Comparison, Decision, Outcome, Series, ShadowTestResult
from clm.core.evidence import Evidence, Ledger, gains
from clm.core.evidence_policy import EvidencePolicy
from clm.core.policy import Beside, Case, NewestPolicy, PromotionPolicy, Standing, ThresholdPolicy
from clm.core.protocols import ModelRegistry
from clm.core.timeline import TimelineRule
from clm.core.wire import jsonable

_POLICIES: Mapping[str, type[EvidencePolicy] | type[ThresholdPolicy] | type[NewestPolicy]] = {
    "evidence": EvidencePolicy,
    "threshold": ThresholdPolicy,
    "newest": NewestPolicy,
}
#: Compared. The reason says the same in words, which may be others in another version of CLM.
_COMPARED = ("outcome", "label", "numbers")


@dataclass(frozen=True, slots=True)
class Recomputed:
    """again: the decision as it comes out now, None where there is nothing to compute (a human decided).

    differences: what is not the same; empty: the same, to the last bit. bets: evidence rows settled again.
    """

    again: Decision | None
    differences: tuple[str, ...]
    bets: int

    @property
    def same(self) -> bool:
        return self.again is not None and not self.differences


def recompute(registry: ModelRegistry, decision: Decision) -> Recomputed:
    """Settles the bets again, builds the case again, asks the same policy again."""
    inputs = decision.inputs
    if not inputs:
        return Recomputed(None, (f"decided by {decision.decided_by}: there is nothing to compute",), 0)
    policy = _policy(inputs["policy"])
    rule = TimelineRule(purge=timedelta(seconds=inputs["purge_seconds"]), horizon=inputs["horizon"])
    keeper = Bookkeeper(registry, rule)
    evidence: Evidence | None = None
    differences: list[str] = []
    bets = 0
    if "ledger" in inputs:
        key = _key(inputs["ledger"])
        rows = registry.book.evidence(key, until=_time(inputs["evidence_until"]))
        rows = rows if inputs["evidence_until"] else []
        evidence, differences = settle_again(registry.series, rows, keeper.beginning(key))
        bets = len(rows)
        evidence = evidence or keeper.beginning(key)
        if key.kind is Kind.GUARD:
            again = _guard_again(decision, policy, evidence)
            return Recomputed(again, (*differences, *_unlike(decision, again)), bets)
    again = policy.decide(_case(keeper, decision, evidence))
    return Recomputed(again, (*differences, *_unlike(decision, again)), bets)


def settle_again(
    series: Series, rows: list[EvidenceRow], beginning: Evidence
) -> tuple[Evidence | None, list[str]]:
    """The ledger of `series` after `rows`, each bet computed anew from its forecasts and outcome."""
    if not rows:
        return None, []
    # The stakes are those it was bet with: how many series were pooled then.
    log_purse = beginning.ledgers[0].log_wealth[0]
    ledgers = tuple(
        Ledger(ledger.stakes, (log_purse,) * len(ledger.stakes)) for ledger in rows[0].state.ledgers
    )
    state = replace(beginning, ledgers=ledgers)
    differences = []
    columns = ("actual", "champion_forecast", "challenger_forecast", "variance")
    gain, bound = gains(*(np.array([getattr(row, name) for row in rows]) for name in columns))
    for row, d, b in zip(rows, gain.tolist(), bound.tolist(), strict=True):
        if (d, b) != (row.gain, row.bound):
            differences.append(f"the bet on {row.open_time:%Y-%m-%d %H:%M} is {d!r}, stored is {row.gain!r}")
        own = replace(row.bet, gain=d, bound=b)
        state = state.after([row.pool.bet_of(series.symbol, own) if row.pool else own])
        if state != row.state or state.log_e != row.log_e:
            differences.append(
                f"log E after {row.open_time:%Y-%m-%d %H:%M} is {state.log_e!r}, stored is {row.log_e!r}"
            )
    return state, differences[:5]


def _case(keeper: Bookkeeper, decision: Decision, evidence: Evidence | None) -> Case:
    inputs, registry = decision.inputs, keeper.registry
    candidate = registry.get_version(decision.model_type, decision.candidate_version)
    as_of = _time(inputs["as_of"]) or candidate.trained_at
    standing = None
    if evidence is not None and decision.champion_version is not None:
        champion = registry.get_version(decision.model_type, decision.champion_version)
        duel = Duel(_key(inputs["ledger"]), champion, candidate)
        standing = Standing(
            evidence=evidence,
            recipes=inputs["recipes"],
            own=keeper.own(duel).up_to(_time(inputs["own_until"]) or candidate.train_start),
            pool=lambda: tuple(_beside(keeper, decision, item) for item in inputs["pool"]),
            same_recipe=inputs["same_recipe"],
            champion_age=timedelta(seconds=inputs["champion_age"]),
            refresh_tried_at=_time(inputs["refresh_tried_at"]),
            cool_down_until=_time(inputs["cool_down_until"]),
            parity=inputs["parity"],
        )
    return Case(
        model_type=decision.model_type,
        candidate_version=decision.candidate_version,
        champion_version=decision.champion_version,
        as_of=as_of,
        metrics=candidate.metrics,
        certificate=candidate.certificate,
        comparison=Comparison(**inputs["comparison"]) if inputs["comparison"] else None,
        shadow=_shadow(inputs["shadow"]),
        standing=standing,
        unreadable=inputs.get("unreadable"),
    )


def _beside(keeper: Bookkeeper, decision: Decision, item: Mapping[str, Any]) -> Beside:
    series = Series(**item["series"])
    registry = keeper.registry.for_series(series)
    versions = (registry.get_version(decision.model_type, item[n]) for n in ("champion", "challenger"))
    champion, challenger = versions
    paired = Bookkeeper(registry, keeper.rule).own(
        Duel(_key(decision.inputs["ledger"]), champion, challenger)
    )
    until = _time(item["until"]) or challenger.train_start
    return Beside(series, champion.version, challenger.version, paired.up_to(until))


def _guard_again(decision: Decision, policy: PromotionPolicy, evidence: Evidence) -> Decision:
    reason = policy.decide_rollback(evidence)
    numbers = {
        "log_e": evidence.log_e,
        "log_e_peak": evidence.peak,
        "evidence_candles": evidence.bets,
    }
    if reason is None:
        return replace(decision, outcome=Outcome.CONTINUE, reason="not taken back", numbers=numbers)
    return replace(decision, reason=reason, numbers=numbers)


def _unlike(stored: Decision, again: Decision) -> list[str]:
    pairs = [(name, jsonable(getattr(stored, name)), jsonable(getattr(again, name))) for name in _COMPARED]
    return [f"{name} is {now!r}, stored is {then!r}" for name, then, now in pairs if then != now]


def _policy(stored: Mapping[str, Any]) -> PromotionPolicy:
    given = {name: value for name, value in stored.items() if name != "name"}
    policy: PromotionPolicy = _POLICIES[stored["name"]](**given)
    return policy


def _key(stored: Mapping[str, Any]) -> LedgerKey:
    reign = _time(stored["reign"])
    if reign is None:
        raise ValueError("a ledger without a reign")
    return LedgerKey(**{**stored, "kind": Kind(stored["kind"]), "reign": reign})


def _shadow(stored: Mapping[str, Any] | None) -> ShadowTestResult | None:
    if stored is None:
        return None
    times = {name: _time(stored[name]) for name in ("start", "end")}
    return ShadowTestResult(**{**stored, **times})


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
