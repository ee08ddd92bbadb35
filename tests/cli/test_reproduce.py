"""`clm reproduce` and `clm explain` as a user types them: real processes, a real exchange, real files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from clm.exchange.server import ExchangeServer
from clm.registry.engine import opened, writing
from tests.support.exchange import market_of, serving, walk_market
from tests.support.shell import Shell, shell_in

VERSION = "v20240601_003000"
FAMILIES = ("xgboost", "lightgbm")
MARKET, CANDLES = walk_market(3000)


@pytest.fixture(scope="module")
def exchange() -> Iterator[ExchangeServer]:
    with serving(MARKET) as server:
        yield server


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, exchange: ExchangeServer) -> Shell:
    """A folder with one completed run; tests only read."""
    shell = shell_in(tmp_path_factory.mktemp("reproduce"), exchange)
    done = shell("retrain")
    assert done.returncode == 0, done.stderr
    return shell


@pytest.fixture
def own(tmp_path: Path, trained: Shell) -> Shell:
    """A copy of that folder."""
    folder = tmp_path / "own"
    shutil.copytree(trained.folder, folder)
    return Shell(folder, trained.environment)


def _alter(shell: Shell, **values: Any) -> None:
    """The rows of all versions, as somebody with a database client would."""
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    with opened(f"sqlite:///{shell.folder}/clm.db") as engine, writing(engine) as connection:
        connection.execute(sa.text(f"UPDATE clm_model_versions SET {assignments}"), values)


def _told(shell: Shell, *arguments: str, code: int = 0, **more: str) -> dict[str, Any]:
    done = shell("reproduce", VERSION, *arguments, "--json", **more)
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class TestReproduce:
    def test_every_version_of_the_name_comes_out_identical(self, trained: Shell) -> None:
        told = _told(trained)

        assert told["verdict"] == "identical"
        assert [one["model_type"] for one in told["results"]] == sorted(FAMILIES)
        for one in told["results"]:
            assert one["rebuilt_sha256"] == one["artifact_sha256"]
            assert (one["differences"], one["notes"], one["restored"]) == ([], [], False)

    def test_says_so_in_words_whatever_the_present_settings(self, trained: Shell) -> None:
        done = trained(
            "reproduce", VERSION, "--model", "xgboost", CLM_TRAINING_SEED="5", CLM_FEATURES="advanced",
            CLM_SYMBOLS="ETHUSDT", CLM_INTERVAL="4h", CLM_TRAINING_LOOKBACK_DAYS="365",
        )  # fmt: skip

        assert done.returncode == 0
        assert done.stdout.startswith(f"IDENTICAL: xgboost {VERSION} of BTCUSDT 1h, from 2,112 rows")
        assert "lightgbm" not in done.stdout

    def test_names_the_candle_that_was_revised_and_puts_nothing_back(self, own: Shell) -> None:
        revised = CANDLES.copy()
        revised.iloc[2000, [0, 1, 2, 3]] *= 1.01
        shutil.rmtree(own.folder / "data")
        _prune(own)
        with serving(market_of(revised)) as other:
            done = own(
                "reproduce", VERSION, "--model", "xgboost", "--restore", CLM_BINANCE_URL=other.url
            )  # fmt: skip

        assert done.returncode == 1
        assert done.stdout.startswith(f"DIFFERENT, candles first: xgboost {VERSION}")
        assert f"differs: {CANDLES.index[2000]:%Y-%m-%d %H:%M} UTC" in done.stdout
        assert "NOT put back" in done.stdout
        assert list((own.folder / "models").glob("*_v*")) == []

    def test_names_library_versions_that_were_altered_and_rebuilds_all_the_same(self, own: Shell) -> None:
        _alter(own, library_versions_json='{"xgboost": "0.1", "numpy": "0.1"}')

        (one,) = _told(own, "--model", "xgboost")["results"]

        assert (one["verdict"], one["first_difference"]) == ("identical", "library versions")
        assert one["differences"][0]["said"].startswith("numpy 0.1 then, ")

    def test_names_the_seed_that_was_altered(self, own: Shell) -> None:
        _alter(own, seed=77)

        (one,) = _told(own, "--model", "lightgbm", code=1)["results"]

        assert (one["verdict"], one["first_difference"]) == ("different", "seed")
        assert one["rebuilt_sha256"] not in (None, one["artifact_sha256"])

    def test_an_unknown_version_is_an_error(self, trained: Shell) -> None:
        for arguments in (("v1999",), (VERSION, "--symbol", "ETHUSDT")):
            done = trained("reproduce", *arguments)

            assert (done.returncode, done.stdout) == (1, "")
            assert "is registered" in done.stderr

    def test_puts_back_the_file_that_retention_put_away(self, own: Shell) -> None:
        file = next((own.folder / "models").glob("xgboost_v*"))
        before = file.read_bytes()
        _prune(own)

        shown = own("reproduce", VERSION, "--model", "xgboost", "--restore")

        assert "its file is in its place" in shown.stdout
        assert file.read_bytes() == before
        (newest, *_) = own.json("audit")
        assert (newest["action"], newest["result"]) == ("clm reproduce --restore", "done restored=1")
        assert newest["detail"] == {"version": VERSION, "model": "xgboost"}


def _prune(shell: Shell) -> None:
    """As retention does."""
    _alter(shell, pruned_at="2024-06-02 00:00:00")
    for file in (shell.folder / "models").glob("*_v*"):
        file.unlink()


class TestExplain:
    def test_tells_parts_importances_and_what_there_is_to_compare(self, trained: Shell) -> None:
        shown = trained("explain", "xgboost", "--top", "4").stdout

        assert f"xgboost {VERSION} of BTCUSDT 1h" in shown
        assert "Forecast made at 2024-06-01 00:00 UTC" in shown
        for line in ("base", "other features", "forecast", "share of training gain"):
            assert line in shown
        assert "Nothing to compare with: it replaced no version." in shown

    def test_json_is_what_rest_answers(self, trained: Shell) -> None:
        told = trained.json("explain", "xgboost")

        forecast = told["forecast"]
        added = forecast["base"] + sum(part["contribution"] for part in forecast["contributions"])
        assert added == pytest.approx(forecast["log_return"], rel=1e-6)
        assert len(told["importance"]["features"]) == len(forecast["contributions"]) > 20
        assert told["drift"] is None

    def test_compares_two_versions(self, trained: Shell) -> None:
        shown = trained("explain", "lightgbm", "--version", VERSION, "--against", VERSION).stdout

        assert f"Against {VERSION}: 0.0 % of the importance moved, rank correlation 1.00" in shown

    def test_where_there_is_nothing_to_explain_says_so(self, trained: Shell) -> None:
        nobody, unknown = trained("explain", "nhits"), trained("explain", "prophet")

        assert (nobody.returncode, unknown.returncode) == (1, 2)
        assert "no champion to explain" in nobody.stderr
