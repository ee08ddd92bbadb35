"""Whatever an exchange calls its markets, they are kept alive; what it does not list is said so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from clm.core.domain import Series
from clm.core.dumps import series_of
from clm.core.errors import BadInput
from clm.exchange.simulate import simulate_market
from tests.support.exchange import NOW, serving
from tests.support.shell import Shell, serving_clm, shell_in
from tests.support.waiting import LIMIT

#: As Binance lists them since 2025.
CHINESE, OTHER = "币安人生USDT", "ŠUMEUSDT"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    end = NOW + timedelta(days=30)
    market = simulate_market((CHINESE, OTHER), "1h", start=end - timedelta(days=200), end=end, signal=0.04)
    with serving(market) as exchange:
        shell = shell_in(tmp_path_factory.mktemp("symbols"), exchange)
        shell.environment |= {
            "CLM_SYMBOLS": f"{CHINESE},{OTHER}", "CLM_LIVE_SHADOW": "false", "CLM_SCHEDULE": "off",
        }  # fmt: skip
        yield shell


@pytest.fixture(scope="module")
def trained(shell: Shell) -> Shell:
    done = shell("retrain")
    assert done.returncode == 0, done.stderr
    return shell


@pytest.mark.rehearse
def test_they_are_trained_verified_forecast_and_backed_up(trained: Shell, tmp_path: Path) -> None:
    for symbol in (CHINESE, OTHER):
        assert trained.json("models", "--symbol", symbol)["lightgbm"]["active_version"]
        assert symbol in trained("predict", "--symbols", symbol).stdout
    assert trained("verify").returncode == 0
    assert trained("backup", str(tmp_path / "backup")).returncode == 0
    again = {"CLM_DB_URL": f"sqlite:///{tmp_path}/again.db", "CLM_MODEL_DIR": str(tmp_path / "models")}
    restored = trained("restore", str(tmp_path / "backup"), **again)
    assert restored.returncode == 0, restored.stderr
    assert trained("verify", **again).returncode == 0


def test_over_http_and_on_pages_unknown_ones_are_said_to_be_unknown(trained: Shell, tmp_path: Path) -> None:
    with (
        serving_clm(trained, tmp_path / "log") as (_, base),
        httpx.Client(base_url=base, timeout=LIMIT) as http,
    ):
        assert http.get("/api/clm/history/lightgbm", params={"symbol": CHINESE}).json()["versions"]
        assert http.get("/api/clm/predict", params={"symbol": OTHER}).status_code == 200
        assert CHINESE in http.get("/metrics").text
        answer = http.get("/api/clm/history/lightgbm", params={"symbol": "NOPEUSDT"})
        assert answer.status_code == 422
        assert CHINESE in answer.json()["detail"]
        for path in ("history", "shadow", "explain", "drift", "data"):
            known = http.get(f"/{path}", params={"symbol": CHINESE, "interval": "1h"}).text
            for wrong in ({"symbol": "NOPEUSDT"}, {"symbol": CHINESE, "interval": "5m"}, {"interval": "5m"}):
                page = http.get(f"/{path}", params=wrong).text
                assert "is watched here" in page, (path, wrong)
                assert "NOPEUSDT" in page or "5m" in page
            assert "is watched here" not in known
        for path in ("history", "shadow", "explain", "drift"):
            page = http.get(f"/{path}", params={"symbol": CHINESE, "model": "nonsense"}).text
            assert "no model" in page.lower(), path


@pytest.mark.parametrize("symbol", ["BTCUSDT", "1000SATSUSDT", CHINESE, OTHER, "Ω9"])
def test_names_of_markets(symbol: str) -> None:
    assert Series(symbol, "1h").symbol == symbol
    assert series_of(f"{symbol}-1h-2024-01.zip") == Series(symbol, "1h")


@pytest.mark.parametrize(
    "symbol", ["btcusdt", "BTC/USDT", "BTC_USDT", "A", "A" * 21, "BTC USDT", "币 安", "..", "币\0", "😀😀"]
)
def test_what_is_no_name_of_a_market(symbol: str) -> None:
    with pytest.raises(BadInput, match="symbol"):
        Series(symbol, "1h")
