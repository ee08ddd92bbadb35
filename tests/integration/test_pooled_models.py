"""A model over all series is trained once, and on each series a candidate like any other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm.bootstrap import Application
from clm.core import pooling
from clm.core.book import Kind
from clm.core.domain import EvaluationResult, ModelArtifact, Outcome, RetrainReport, Series
from clm.core.errors import InvalidSetting
from clm.core.journal import NoJournal
from clm.core.pooling import PooledCycle
from clm.core.runs import RunRequest, RunState
from clm.exchange.market import merge
from clm.exchange.server import ExchangeServer
from clm.rebuild import rebuild
from tests.support.candles import random_walk
from tests.support.exchange import NOW, serving
from tests.support.managers import manager_over
from tests.support.parts import DictRegistry, FrameDataClient
from tests.support.service import running_service, settings_for, wait_for_end

BTC, ETH = Series("BTCUSDT", "1h"), Series("ETHUSDT", "1h")
TWO: dict[str, Any] = {
    "symbols": ("BTCUSDT", "ETHUSDT"), "models": ("lightgbm",), "pooled_models": ("lightgbm",),
    "executor": "inline",
}  # fmt: skip


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Application, ExchangeServer]]:
    """Two series with one model each, and one model over both."""
    with running_service(tmp_path, **TWO) as (application, exchange):
        assert application.run(RunRequest()).error is None
        yield application, exchange


def _versions(application: Application, series: Series) -> tuple[ModelArtifact, ModelArtifact]:
    """(its own, that over both)."""
    history = application.registry.for_series(series).get_model_history("lightgbm")
    return next(a for a in history if not a.pooled), next(a for a in history if a.pooled)


class TestAModelOverAllSeries:
    def test_is_trained_once_and_entered_on_each_beside_its_own(
        self, two: tuple[Application, ExchangeServer]
    ) -> None:
        application, _ = two
        btc, eth = (_versions(application, series) for series in (BTC, ETH))

        assert btc[1].artifact_sha256 == eth[1].artifact_sha256
        assert btc[0].artifact_sha256 != eth[0].artifact_sha256
        assert btc[1].training_samples == btc[0].training_samples + eth[0].training_samples
        assert btc[1].recipe_id == eth[1].recipe_id != btc[0].recipe_id
        assert btc[1].notes.startswith("trained over 2 series")
        for own, pooled in (btc, eth):
            assert pooled.certificate is not None
            assert pooled.certificate["problems"] == []
            assert (own.status, pooled.status) == ("ACTIVE", "SHADOW")
            decisions = application.registry.for_series(own.series).get_decisions("lightgbm")
            assert [d.outcome for d in decisions] == [Outcome.CONTINUE, Outcome.PROMOTE]
            trials = application.registry.for_series(own.series).book.trials("lightgbm")
            assert [t.version for t in trials] == [pooled.version, own.version]

    def test_has_a_ledger_of_its_own_and_the_evidence_is_split_over_both_recipes(
        self, two: tuple[Application, ExchangeServer]
    ) -> None:
        application, exchange = two
        own, pooled = _versions(application, BTC)
        shadow = application.live_shadow()
        for _ in range(3):
            exchange.clock.advance(timedelta(hours=1))
            assert shadow.tick().errors == {}

        book = application.registry.for_series(BTC).book
        assert own.version != pooled.version
        champion = application.registry.for_series(BTC).get_active("lightgbm")
        assert champion is not None
        assert champion.promoted_at is not None
        keys = book.ledgers("lightgbm", champion.version, champion.promoted_at)
        assert [key.recipe_id for key in keys if key.kind is Kind.CHALLENGE] == [pooled.recipe_id]
        assert len(book.evidence(keys[0])) > 24
        (standing,) = application.standings("BTCUSDT")
        assert [c["version"] for c in standing["challengers"]] == [pooled.version]

    def test_comes_again_when_its_own_time_has_come_and_puts_nobody_elses_off(
        self, two: tuple[Application, ExchangeServer]
    ) -> None:
        application, exchange = two
        assert application.run(RunRequest()).report["models_trained"] == []
        exchange.clock.advance(timedelta(days=6))
        assert application.run(RunRequest()).report["models_trained"] == []
        exchange.clock.advance(timedelta(days=1))

        report = application.run(RunRequest()).report

        assert report["by_series"]["BTCUSDT 1h"]["triggers"]["lightgbm"].startswith("Time-based")
        assert [d["symbol"] for d in report["decisions"]] == ["BTCUSDT"] * 2 + ["ETHUSDT"] * 2
        history = application.registry.for_series(BTC).get_model_history("lightgbm")
        assert [a.pooled for a in history] == [True, False, True, False]

    def test_is_not_trained_over_some_of_its_series(self, two: tuple[Application, ExchangeServer]) -> None:
        application, _ = two

        application.run(RunRequest(symbols=("BTCUSDT",), force=True))

        history = application.registry.for_series(BTC).get_model_history("lightgbm")
        assert [a.pooled for a in history] == [False, True, False]

    def test_is_made_again_from_what_is_stored_to_the_last_bit(
        self, two: tuple[Application, ExchangeServer]
    ) -> None:
        application, _ = two
        _, pooled = _versions(application, BTC)

        again = rebuild(application, BTC, "lightgbm", pooled.version)

        assert (again["verdict"], again["differences"]) == ("identical", [])

    def test_is_known_to_have_been_made_from_other_candles_of_another_series(
        self, two: tuple[Application, ExchangeServer]
    ) -> None:
        application, _ = two
        _, pooled = _versions(application, BTC)
        folder = application.settings.data_dir
        (folder / "ETHUSDT").rename(folder / "kept")
        (folder / "BTCUSDT").rename(folder / "ETHUSDT")
        application.clear_cache()
        with serving(_swapped()) as other:
            changed = application.settings.model_copy(update={"binance_url": other.url})
            with Application(changed, interactive=True) as elsewhere:
                again = rebuild(elsewhere, BTC, "lightgbm", pooled.version)

        assert again["verdict"] == "different"
        assert any("ETHUSDT" in d["said"] for d in again["differences"]), again

    @pytest.mark.rehearse
    def test_side_by_side_is_the_one_of_one_after_the_other(self, tmp_path: Path) -> None:
        found = []
        for executor in ("local", "inline"):
            folder = tmp_path / executor
            folder.mkdir()
            with running_service(folder, **{**TWO, "executor": executor, "processes": 2}) as (application, _):
                run = application.supervisor.submit(RunRequest())
                run = wait_for_end(application, run.run_id)
                assert (run.state, run.error) == (RunState.COMPLETED, None)
                assert run.progress["done"] == run.progress["total"]
                found.append([_versions(application, s)[1].artifact_sha256 for s in (BTC, ETH)])

        assert found[0] == found[1]

    def test_of_more_rows_than_are_allowed_takes_every_second_of_each_series(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pooling, "MOST_ROWS", 3000)
        with running_service(tmp_path, **TWO) as (application, _):
            assert application.run(RunRequest()).error is None
            own, pooled = _versions(application, BTC)

            assert abs(pooled.training_samples - own.training_samples) <= 2
            assert rebuild(application, BTC, "lightgbm", pooled.version)["verdict"] == "identical"

    def test_that_is_to_be_the_newest_everywhere_is_refused(self, tmp_path: Path) -> None:
        with serving(_swapped()) as exchange:
            settings = settings_for(exchange, tmp_path, promotion_policy="newest", **TWO)
            with pytest.raises(InvalidSetting, match="CLM_POOLED_MODELS"):
                Application(settings)


class TestASeriesOfThePool:
    def test_that_is_too_short_keeps_nobody_from_the_model_over_the_others(self, tmp_path: Path) -> None:
        frames = [(Series(s, "1h"), _walk(k)) for k, s in enumerate(("BTCUSDT", "ETHUSDT", "SOLUSDT"))]
        frames[2] = (frames[2][0], frames[2][1].iloc[-300:])
        more = {**TWO, "symbols": ("BTCUSDT", "ETHUSDT", "SOLUSDT")}
        with (
            serving(merge(frames)) as exchange,
            Application(settings_for(exchange, tmp_path, **more)) as application,
        ):
            report = application.run(RunRequest()).report

            assert "more candles" in report["failures"]["lightgbm"]
            assert len([d for d in report["decisions"] if d["label"] != "first"]) == 2
            assert _versions(application, BTC)[1].notes.startswith("trained over 2 series")

    def test_with_windows_of_its_own_is_not_put_together_with_the_others(self, tmp_path: Path) -> None:
        with running_service(tmp_path, **TWO) as (application, _):
            application.watch("ETHUSDT", overrides={"holdout_days": 20}, by="test")

            assert application.pools(application.series, None) == []

    def test_whose_newest_always_reigns_is_left_out_and_the_others_go_on(self, tmp_path: Path) -> None:
        three = {**TWO, "symbols": ("BTCUSDT", "ETHUSDT", "SOLUSDT")}
        with running_service(tmp_path, **three) as (application, _):
            application.watch("ETHUSDT", overrides={"promotion_policy": "newest"}, by="test")

            ((_, every),) = application.pools(application.series, None)
            assert [series.symbol for series in every] == ["BTCUSDT", "SOLUSDT"]


def test_what_happens_after_now_on_any_series_changes_no_bit_of_it() -> None:
    frames = {series: _walk(k, rows=3600) for k, series in enumerate((BTC, ETH))}
    now = pd.Timestamp(frames[BTC].index[-400])
    futures = [frame.copy() for frame in frames.values()]
    for frame in futures:
        frame.loc[now:, ["open", "high", "low", "close"]] *= 3

    as_it_was = _cycle(dict(frames), now)
    otherwise = _cycle(dict(zip(frames, futures, strict=True)), now)

    assert len(as_it_was) == len(otherwise) == 2
    for one, other in zip(as_it_was, otherwise, strict=True):
        assert one.decisions == other.decisions
        assert _same(one.evaluations[0], other.evaluations[0])


def test_the_holdout_hours_of_another_series_are_not_learnt_from() -> None:
    frames = {series: _walk(k, rows=3600) for k, series in enumerate((BTC, ETH))}
    now = pd.Timestamp(frames[BTC].index[-1])
    other = frames[ETH].copy()
    # The holdout is the month before the shadow's day; what purges it from training lies before it.
    other.loc[now - pd.Timedelta(days=32) :, ["open", "high", "low", "close"]] *= 1.5

    as_it_was, otherwise = _cycle(frames, now), _cycle({BTC: frames[BTC], ETH: other}, now)

    assert _same(as_it_was[0].evaluations[0], otherwise[0].evaluations[0])
    assert not _same(as_it_was[1].evaluations[0], otherwise[1].evaluations[0])


def _same(one: EvaluationResult, other: EvaluationResult) -> bool:
    return bool(np.array_equal(one.forecast, other.forecast))


def _cycle(frames: dict[Series, pd.DataFrame], now: pd.Timestamp) -> list[RetrainReport]:
    managers = []
    for series, frame in frames.items():
        client = FrameDataClient(frame, series)
        client.now = now.to_pydatetime()
        managers.append(manager_over(client, DictRegistry(series)))
    reports = PooledCycle(managers, "lightgbm").run(False, NoJournal())
    assert [report.failures for report in reports] == [{}, {}]
    return reports


def _walk(seed: int, rows: int = 3000) -> pd.DataFrame:
    start = pd.Timestamp(NOW).floor("h") - pd.Timedelta(hours=rows - 1)
    return random_walk(rows, seed=seed, start=str(start.tz_localize(None)))


def _swapped() -> Any:
    """A market in which both have other candles."""
    return merge([(series, _walk(k + 7)) for k, series in enumerate((BTC, ETH))])
