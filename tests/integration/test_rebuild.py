"""Rebuilding from what a disk still holds: a real store, exchange and registry; here, not in a child."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from clm.bootstrap import Application
from clm.core.domain import ModelArtifact
from clm.core.errors import ArtifactCorrupt, ExchangeUnavailable, NotReproducible
from clm.core.runs import RunRequest
from clm.exchange.server import ExchangeServer
from clm.rebuild import rebuild
from clm.registry.engine import writing
from tests.support.exchange import market_of, serving, walk_market
from tests.support.service import settings_for
from tests.support.versions import candidate

VERSION = "v20240601_003000"
MARKET, CANDLES = walk_market(3000)


@pytest.fixture(scope="module")
def exchange() -> Iterator[ExchangeServer]:
    with serving(MARKET) as server:
        yield server


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, exchange: ExchangeServer) -> Path:
    """A folder with one completed run of both models."""
    folder = tmp_path_factory.mktemp("rebuild") / "clm"
    with Application(settings_for(exchange, folder)) as application:
        assert application.run(RunRequest()).error is None
    return folder


@dataclass
class Own:
    """A copy of that folder, and an application over it."""

    folder: Path
    application: Application

    def __call__(self, family: str = "lightgbm", *, restore: bool = False) -> dict[str, Any]:
        return rebuild(self.application, self.application.series[0], family, VERSION, restore)

    @property
    def data(self) -> Path:
        return self.folder / "data" / "BTCUSDT" / "1h"

    def file(self, family: str = "lightgbm") -> Path:
        return self.folder / "models" / Path(str(self.artifact(family).file_path))

    def artifact(self, family: str = "lightgbm") -> ModelArtifact:
        return self.application.registry.get_version(family, VERSION)

    def alter(self, **values: Any) -> None:
        """The rows of all versions, as somebody with a database client would."""
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        with writing(self.application.registry.database.engine) as connection:
            connection.execute(sa.text(f"UPDATE clm_model_versions SET {assignments}"), values)


@pytest.fixture
def own(tmp_path: Path, trained: Path, exchange: ExchangeServer) -> Iterator[Own]:
    with _copied(tmp_path, trained, exchange) as application:
        yield Own(tmp_path / "own", application)


def _copied(tmp_path: Path, trained: Path, exchange: ExchangeServer, **more: Any) -> Application:
    shutil.copytree(trained, tmp_path / "own")
    return Application(settings_for(exchange, tmp_path / "own", **more), interactive=True)


@pytest.fixture
def revising(tmp_path: Path, trained: Path) -> Iterator[Own]:
    """The same beside an exchange that has revised a candle since."""
    with serving(market_of(_revised(2000))) as other, _copied(tmp_path, trained, other) as application:
        yield Own(tmp_path / "own", application)


class TestCandles:
    @pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
    def test_of_the_store_are_enough(self, own: Own, exchange: ExchangeServer, family: str) -> None:
        before = len(exchange.requests)

        found = own(family)

        assert (found["verdict"], found["candles_from"]) == ("identical", "the candle store")
        assert len(exchange.requests) == before

    def test_that_are_gone_are_fetched_and_kept_again(self, own: Own) -> None:
        shutil.rmtree(own.data)

        assert own()["verdict"] == "identical"

        assert (own.data / "2024-05.parquet").exists()

    def test_of_a_month_that_is_unreadable_are_fetched_again(self, own: Own) -> None:
        (own.data / "2024-04.parquet").write_bytes(b"no parquet")

        assert own()["verdict"] == "identical"

    def test_that_the_store_has_wrong_are_had_from_the_exchange(self, own: Own) -> None:
        month = own.data / "2024-04.parquet"
        stored = pd.read_parquet(month)
        stored.loc[100, ["open", "high", "low", "close"]] *= 1.01
        stored.to_parquet(month, index=False)

        found = own()

        assert (found["verdict"], found["candles_from"]) == ("identical", "the exchange")
        assert found["notes"][0].startswith("the candle store: 1 of ")

    def test_that_the_exchange_revised_are_no_matter_while_the_store_has_those_of_then(
        self, revising: Own
    ) -> None:
        assert revising()["verdict"] == "identical"

    def test_that_nobody_has_any_more_are_named(self, revising: Own) -> None:
        shutil.rmtree(revising.data)

        found = revising(restore=True)

        assert (found["verdict"], found["first_difference"]) == ("different", "candles")
        assert f"differs: {CANDLES.index[2000]:%Y-%m-%d %H:%M} UTC" in found["differences"][0]["said"]
        assert found["restored"] is False

    def test_without_a_store_come_from_the_exchange(
        self, tmp_path: Path, trained: Path, exchange: ExchangeServer
    ) -> None:
        with _copied(tmp_path, trained, exchange, cache_enabled=False) as application:
            found = Own(tmp_path / "own", application)()

        assert (found["verdict"], found["candles_from"]) == ("identical", "the exchange")

    def test_of_an_exchange_that_is_away_and_of_no_store_are_an_error(
        self, tmp_path: Path, trained: Path, exchange: ExchangeServer
    ) -> None:
        with _copied(tmp_path, trained, exchange, binance_url="http://127.0.0.1:9") as application:
            own = Own(tmp_path / "own", application)
            assert own()["verdict"] == "identical"
            shutil.rmtree(own.data)
            with pytest.raises(ExchangeUnavailable):
                own()


class TestSettings:
    def test_of_today_are_no_matter(self, tmp_path: Path, trained: Path, exchange: ExchangeServer) -> None:
        other: dict[str, Any] = {
            "training_seed": 5, "features": "advanced", "training_lookback_days": 365, "purge_hours": 48,
            "training_preset": "fast", "training_params": {}, "models": ("lightgbm",), "holdout_days": 10,
        }  # fmt: skip
        with _copied(tmp_path, trained, exchange, **other) as application:
            assert Own(tmp_path / "own", application)("xgboost")["verdict"] == "identical"

    @pytest.mark.parametrize(
        "made_with",
        [
            {"features": "advanced", "training_preset": "fast"},
            {"training_seed": 11, "purge_hours": 30, "shadow_test_hours": 48, "holdout_days": 20},
            {"training_params": {"lightgbm": {"target_scaling": False, "min_data_in_leaf": 60}}},
        ],
        ids=["features, preset", "seed, windows", "parameters"],
    )
    def test_of_then_are_those_it_is_rebuilt_with(
        self, tmp_path: Path, exchange: ExchangeServer, made_with: dict[str, Any]
    ) -> None:
        with Application(settings_for(exchange, tmp_path / "own", **made_with)) as application:
            assert application.run(RunRequest(models=("lightgbm",))).error is None
        with Application(settings_for(exchange, tmp_path / "own"), interactive=True) as application:
            assert Own(tmp_path / "own", application)()["verdict"] == "identical"


def _prune(own: Own) -> None:
    own.alter(pruned_at="2024-06-02 00:00:00")
    own.file().unlink()


def _quarantine(own: Own) -> None:
    own.file().write_bytes(b"no model")
    assert "lightgbm v20240601_003000 of BTCUSDT 1h: set aside" in own.application.mend()


def _lose(own: Own) -> None:
    own.file().unlink()


def _spoil(own: Own) -> None:
    own.file().write_bytes(b"no model")


class TestRestore:
    @pytest.mark.parametrize("damage", [_prune, _quarantine, _lose, _spoil])
    def test_puts_the_file_back_and_ends_whatever_kept_it_away(
        self, own: Own, damage: Callable[[Own], None]
    ) -> None:
        before = own.file().read_bytes()
        damage(own)
        assert own()["restored"] is False

        assert own(restore=True)["restored"] is True

        artifact = own.artifact()
        assert own.file().read_bytes() == before
        assert (artifact.pruned_at, artifact.quarantined_at, artifact.quarantine_reason) == (None,) * 3
        assert own.application.registry.load_model(artifact).to_bytes() == before
        assert [f for f in own.application.registry.verify() if f.model_type == "lightgbm"] == []

    def test_of_a_file_that_is_there_leaves_it_alone(self, own: Own) -> None:
        stamp = own.file().stat().st_mtime_ns

        assert own(restore=True)["restored"] is True

        assert own.file().stat().st_mtime_ns == stamp
        assert not (own.folder / "models" / "quarantine").exists()

    def test_takes_no_bytes_but_those_that_were_registered(self, own: Own) -> None:
        with pytest.raises(ArtifactCorrupt, match="are not the file of lightgbm"):
            own.application.registry.upkeep.put_back(own.artifact(), b"other")

    def test_of_what_retention_put_away_is_not_swept_up_again(self, own: Own) -> None:
        _prune(own)
        own(restore=True)

        assert own.file().name not in own.application.registry.upkeep.retain(1)
        assert own.file().exists()


def test_a_version_that_no_cycle_made_cannot_be_rebuilt(own: Own) -> None:
    saved = own.application.registry.save_model(candidate(model_type="lightgbm"))

    with pytest.raises(NotReproducible, match="by other means than a training cycle"):
        rebuild(own.application, saved.series, "lightgbm", saved.version)


def _revised(row: int) -> pd.DataFrame:
    candles = CANDLES.copy()
    candles.iloc[row, [0, 1, 2, 3]] *= 1.01
    return candles
