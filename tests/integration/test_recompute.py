"""A decision comes to the same again from what is stored, whatever order the hours were stored in."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from clm.core.recompute import recompute
from clm.core.runs import RunRequest
from tests.support.service import running_service


def test_a_run_decides_on_the_hours_a_service_forecast_before_it_went_down(tmp_path: Path) -> None:
    """The live shadow stored an hour and died before it could score it; a run comes before it is back."""
    with running_service(tmp_path, models=("lightgbm",)) as (application, exchange):
        shadow = application.live_shadow()
        registry = application.registry
        application.run(RunRequest(force=True))
        exchange.clock.advance(timedelta(hours=30))
        shadow.tick()
        exchange.clock.advance(timedelta(hours=4))
        application.run(RunRequest(force=True))
        decision = registry.get_decisions("lightgbm")[0]
        shadow.tick()

        again = recompute(registry, decision)

        assert decision.inputs["own_until"] == (application.now() - timedelta(hours=2)).strftime(
            "%Y-%m-%dT%H:00:00Z"
        )
        assert again.differences == ()
        assert again.same


def test_decisions_of_a_run_over_several_series_whose_bets_joined_come_to_the_same(tmp_path: Path) -> None:
    """Series after series bets on the same hours: each on the mean of those before it and its own."""
    symbols = ("BTCUSDT", "ETHUSDT")
    with running_service(tmp_path, models=("lightgbm",), symbols=symbols) as (application, exchange):
        application.run(RunRequest(force=True))
        exchange.clock.advance(timedelta(days=2))
        application.run(RunRequest(force=True))
        joined = []
        for series in application.series:
            registry = application.registry.for_series(series)
            champion = registry.get_active("lightgbm")
            assert champion is not None
            assert champion.promoted_at is not None
            (key,) = registry.book.ledgers("lightgbm", champion.version, champion.promoted_at)
            joined.append([row.pool.total.count for row in registry.book.evidence(key) if row.pool])
            decisions = registry.get_decisions("lightgbm")
            assert [recompute(registry, d).differences for d in decisions] == [()] * 2

        assert [set(counts) for counts in sorted(joined, key=min)] == [{1}, {2}]
        assert len({len(counts) for counts in joined}) == 1
