"""The command line as a user types it: real processes, a real exchange, results on standard output."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.asking import free_port
from clm.core import plugins
from clm.exchange.server import ExchangeServer
from tests.support.candles import REAL, needs_real_candles, random_walk
from tests.support.databases import sqlite_in
from tests.support.exchange import put_off, serving, simulated
from tests.support.shell import FEW, Shell, line_of, shell_in, until_it_answers
from tests.support.waiting import LIMIT, eventually

COMMANDS = (
    "demo", "serve", "retrain", "status", "triggers", "models", "history", "promote", "rollback", "verify",
    "import", "exchange", "db", "replay", "decisions", "shadow", "explain-decision", "trials", "live",
    "keys", "audit", "alerts", "backup", "restore", "explain", "reproduce", "experiment",
    "predict", "ensemble", "search",
)  # fmt: skip


@pytest.fixture(scope="module")
def exchange() -> Iterator[ExchangeServer]:
    with serving(simulated()) as server:
        yield server


@pytest.fixture
def shell(tmp_path: Path, exchange: ExchangeServer) -> Shell:
    return shell_in(tmp_path, exchange)


@pytest.fixture
def begun(shell: Shell) -> Shell:
    """The same with a database in which nothing has happened yet."""
    sqlite_in(shell.folder)
    return shell


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, exchange: ExchangeServer) -> Shell:
    """A folder with one completed run."""
    shell = shell_in(tmp_path_factory.mktemp("cli"), exchange)
    done = shell.anew()("retrain")
    assert done.returncode == 0, done.stderr
    return shell


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_explains_itself(self, shell: Shell, command: str) -> None:
        done = shell(command, "--help")

        assert done.returncode == 0
        assert "Usage" in done.stdout

    def test_help_lists_them_all(self, shell: Shell) -> None:
        listed = shell("--help").stdout

        assert all(re.search(rf"^\s*{command}\b", listed, re.MULTILINE) for command in COMMANDS)

    def test_version_is_told(self, shell: Shell) -> None:
        assert re.fullmatch(r"clm \d+\.\d+\.\d+\n", shell("--version").stdout)


class TestAFreshFolder:
    def test_status_says_what_to_do(self, begun: Shell) -> None:
        assert "start one with `clm retrain`" in begun("status").stdout
        assert begun.json("status")["status"] == "idle"

    def test_models_history_and_triggers_are_empty_but_not_silent(self, begun: Shell) -> None:
        shell = begun
        assert shell.json("models")["xgboost"]["active_version"] is None
        assert "train one with `clm retrain --models xgboost`" in shell("history", "xgboost").stdout
        reasons = shell.json("triggers")
        assert reasons["xgboost"] == reasons["lightgbm"] == "Never trained"
        assert {reasons[name] for name in reasons if plugins.lacking(name) is None} == {"Never trained"}
        assert "begin one with `clm experiment start" in shell("experiment", "list").stdout

    def test_an_empty_registry_is_sound(self, begun: Shell) -> None:
        done = begun("verify")

        assert (done.returncode, "present, intact and loadable" in done.stdout) == (0, True)

    def test_the_database_is_upgraded_on_demand(self, shell: Shell) -> None:
        done = shell("db", "upgrade")

        assert (done.returncode, done.stdout.strip()) == (0, "sqlite:///clm.db is at revision 0011")


class TestAfterARun:
    def test_status_shows_figures_and_reasons(self, trained: Shell) -> None:
        shown = trained("status").stdout

        assert "completed" in shown
        assert "BTCUSDT 1h" in shown
        assert "PROMOTE  BTCUSDT xgboost v20240601_003000 (first)" in shown

    def test_json_is_what_rest_answers(self, trained: Shell) -> None:
        status = trained.json("status")

        assert status["status"] == "completed"
        assert status["report"]["promoted_models"] == ["xgboost", "lightgbm"]
        (version,) = trained.json("history", "lightgbm")["versions"]
        assert version["status"] == "ACTIVE"
        assert trained.json("models")["lightgbm"]["active_version"] == version["version"]

    def test_tables_have_units_and_utc(self, trained: Shell) -> None:
        shown = trained("models").stdout

        assert "2024-06-01 00:30 UTC" in shown
        assert " %" in shown
        assert "RMSE (log return)" in shown

    def test_decisions_trials_and_shadow_say_what_happened_and_why(self, trained: Shell) -> None:
        decisions = trained.json("decisions")
        assert {(d["outcome"], d["label"], d["decided_by"]) for d in decisions} == {
            ("PROMOTE", "first", "policy")
        }
        assert "passed the sanity" in trained("decisions").stdout
        assert {t["outcome"] for t in trained.json("trials")} == {"promoted"}
        assert "Never trained" in trained("trials", "--model", "xgboost").stdout
        shown = trained("shadow").stdout
        assert "champion since 2024-06-01T00:30Z" in shown
        assert [e["model_type"] for e in trained.json("shadow")] == ["xgboost", "lightgbm"]

    def test_a_forecast_comes_with_its_price_its_interval_and_whether_to_use_it(self, trained: Shell) -> None:
        (answer,) = trained.json("predict", "--model", "lightgbm")["answers"]
        shown = trained("predict").stdout

        assert answer["version"] == trained.json("models")["lightgbm"]["active_version"]
        assert answer["price_lower"] < answer["implied_price"] < answer["price_upper"]
        assert answer["usable"], answer["reasons"]
        assert "basis points" in shown
        assert "90 % interval" in shown
        assert " … " in shown
        assert "UTC" in shown

    def test_a_forecast_nobody_can_make_says_why(self, begun: Shell) -> None:
        shell = begun
        (answer,) = shell.json("predict")["answers"]

        assert (answer["forecast"], answer["usable"]) == (None, False)
        assert "no_champion" in answer["reasons"]
        assert "no: no_champion" in shell("predict").stdout
        assert "xgboost, lightgbm, ensemble" in shell("predict", "--model", "prophet").stderr

    def test_without_the_exchange_it_is_not_known_rather_than_none_and_ends_with_1(
        self, trained: Shell
    ) -> None:
        done = trained("predict", "--model", "lightgbm", CLM_BINANCE_URL="http://127.0.0.1:9")

        assert done.returncode == 1
        assert "no: stale_data" in done.stdout
        assert "no_champion" not in done.stdout

    def test_a_champion_of_fewer_features_than_are_computed_now_goes_on(self, trained: Shell) -> None:
        (before,) = trained.json("predict", "--model", "lightgbm")["answers"]
        (after,) = trained.json("predict", "--model", "lightgbm", CLM_FEATURES="advanced")["answers"]

        assert after["forecast"] == before["forecast"]
        assert after["usable"], after["reasons"]

    def test_the_ensemble_is_shown_beside_its_members(self, trained: Shell) -> None:
        trained("predict")
        found = trained.json("ensemble")
        shown = trained("ensemble").stdout

        assert set(found["members"]) == {"xgboost", "lightgbm"}
        assert "mixture, online" in shown
        assert "Nothing is settled yet" in shown

    def test_a_decision_is_explained_by_deciding_it_again(self, trained: Shell) -> None:
        number = str(trained.json("decisions", "--limit", "1")[0]["id"])

        done = trained("explain-decision", number)

        assert done.returncode == 0
        assert "same: 0 bets settled again, the decision comes out the same to the last bit" in done.stdout
        assert trained.json("explain-decision", number)["same"] is True
        assert trained("explain-decision", "99999").returncode != 0

    def test_one_tick_of_the_live_shadow_by_hand(self, trained: Shell) -> None:
        tick = trained.json("live", "--once")

        # Whoever asked before for a forecast has had it stored.
        assert tick["forecasts"] in (0, 2)
        assert (tick["late"], tick["errors"]) == (0, {})
        assert "0 forecasts stored" in trained("live", "--once").stdout

    def test_verify_names_a_missing_and_an_altered_file(self, trained: Shell, tmp_path: Path) -> None:
        files = sorted((trained.folder / "models").glob("*_v*"))
        assert trained("verify").returncode == 0
        kept = {file: file.read_bytes() for file in files}
        try:
            files[0].unlink()
            files[1].write_bytes(kept[files[1]] + b"x")
            done = trained("verify", "--json")
            problems = {
                finding["model_type"]: finding["problem"] for finding in json.loads(done.stdout)["findings"]
            }
        finally:
            for file, content in kept.items():
                file.write_bytes(content)

        assert done.returncode == 1
        assert "is missing" in problems["lightgbm"]
        assert "not the one that was registered" in problems["xgboost"]
        assert trained("verify").returncode == 0


def test_a_second_run_promotion_and_rollback_by_hand(tmp_path: Path) -> None:
    with serving(simulated()) as exchange:
        shell = shell_in(tmp_path, exchange)
        assert shell("retrain", "--models", "lightgbm").returncode == 0
        exchange.clock.advance(timedelta(days=3))
        idle = shell("retrain", "--models", "lightgbm")
        forced = shell("retrain", "--models", "lightgbm", "--force")
        new, old = (v["version"] for v in shell.json("history", "lightgbm")["versions"])
        promoted = shell("promote", "lightgbm", new)
        back = shell.json("rollback", "lightgbm")
        nothing = shell("rollback", "lightgbm")

    assert "nothing to do: no trigger fired" in idle.stdout
    assert re.search(r"(REJECT|CONTINUE|PROMOTE)\s+BTCUSDT lightgbm", forced.stdout)
    assert (promoted.returncode, f"{new} of BTCUSDT 1h is now the champion" in promoted.stdout) == (0, True)
    assert (back["version"], back["status"]) == (old, "ACTIVE")
    assert (nothing.returncode, "replaced no version" in nothing.stderr) == (1, True)


def test_an_experiment_from_start_to_stop(tmp_path: Path) -> None:
    with serving(simulated()) as exchange:
        shell = shell_in(tmp_path, exchange)
        for _ in range(2):
            assert shell("retrain", "--models", "lightgbm", "--force").returncode == 0
            exchange.clock.advance(timedelta(hours=1))
        b, a = (v["version"] for v in shell.json("history", "lightgbm")["versions"])
        begun = shell.json("experiment", "start", "lightgbm", a, b, "--days", "3", "--split", "0.25")
        number = begun["experiment_id"]
        second = shell("experiment", "start", "lightgbm", b, a, "--end", "2024-07-01")
        for _ in range(3):
            assert shell("live", "--once").returncode == 0
            exchange.clock.advance(timedelta(hours=1))
        listed, shown = shell("experiment", "list"), shell("experiment", "show", number, "--recompute")
        stopped = shell("experiment", "stop", number)
        whole = shell.json("experiment", "show", number, "--recompute")
        trail = shell.json("audit")

    assert (begun["state"], begun["running"], begun["split"]) == ("open", True, 0.25)
    assert (second.returncode, number in second.stderr) == (1, True)
    assert number in listed.stdout
    assert f"B            {b}, 0 callers" in shown.stdout
    assert re.search(r"same: 1 candles settled again, it comes out the same to the last bit", shown.stdout)
    assert (stopped.returncode, "stopped by cli:" in stopped.stdout) == (0, True)
    assert (whole["state"], whole["result"]["why"], whole["recomputed"]["same"]) == ("ended", "stopped", True)
    assert whole["candles"] == 1
    done = {row["result"] for row in trail if row["action"] == "clm experiment start"}
    assert f"done experiment_id={number}" in done


def test_two_processes_with_the_same_candles_and_settings_write_the_same_bytes(
    tmp_path: Path, exchange: ExchangeServer
) -> None:
    """Each retrain is a worker process of its own; the registered hashes and the files agree."""
    hashes, files = [], []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shell = shell_in(tmp_path / name, exchange)
        assert shell("retrain").returncode == 0
        versions = [shell.json("history", m)["versions"][0] for m in ("xgboost", "lightgbm")]
        hashes.append([(v["artifact_sha256"], v["data_fingerprint"], v["recipe_id"]) for v in versions])
        files.append([(tmp_path / name / "models" / v["file_path"]).read_bytes() for v in versions])

    assert hashes[0] == hashes[1]
    assert files[0] == files[1]


class TestWrongInput:
    @pytest.mark.parametrize(
        ("arguments", "environment", "said"),
        [
            (("retrain", "--models", "prophet"), {}, "valid model types: lightgbm, "),
            (("retrain", "--symbols", "DOGEUSDT"), {}, "BTCUSDT"),
            (("models", "--interval", "7m"), {}, "1m, 3m, 5m"),
            (("history", "prophet"), {}, "xgboost"),
            (("status",), {"CLM_RETRAIN_INTERVAL_DAYS": "-1"}, "CLM_RETRAIN_INTERVAL_DAYS"),
            (("status",), {"CLM_RETRAIN_INTERVAL": "7"}, "did you mean"),
            (("status",), {"CLM_DB_URL": "mysql://x/y"}, "sqlite:///"),
            (("triggers",), {"CLM_SYMBOLS": "btc"}, "capital letters"),
            (("serve", "--host", "0.0.0.0"), {}, "as long as there is no key"),
            (("serve",), {"CLM_API_KEY": "read:short-secret"}, "CLM_API_KEY"),
            (("keys", "add", "local"), {}, "not local or stranger"),
            (("serve",), {"CLM_SCHEDULE": "61 2 * * *"}, "five cron fields"),
            (("import", "nowhere"), {}, "an existing file or folder"),
            (("experiment", "start", "xgboost", "v1", "v1", "--days", "3"), {}, "two different versions"),
            (("experiment", "start", "xgboost", "v1", "v2"), {}, "one of the two"),
            (("exchange",), {}, "exactly one of the two"),
            (("exchange", "--simulate", "--faults", "explode@1"), {}, "explode@1"),
        ],
    )
    def test_is_one_sentence_and_exit_code_2(
        self, begun: Shell, arguments: tuple[str, ...], environment: dict[str, str], said: str
    ) -> None:
        done = begun(*arguments, **environment)

        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("arguments", [("nonsense",), ("history",), ("retrain", "--loud")])
    def test_of_the_shells_own_kind_is_a_usage_error(self, shell: Shell, arguments: tuple[str, ...]) -> None:
        assert shell(*arguments).returncode == 2


class TestTrouble:
    def test_an_exchange_that_is_down_fails_with_its_address(self, begun: Shell) -> None:
        down = {"CLM_BINANCE_URL": "http://127.0.0.1:9"}

        triggers = begun("triggers", **down)

        assert (triggers.returncode, "http://127.0.0.1:9 cannot be reached" in triggers.stderr) == (1, True)

    def test_a_model_folder_that_cannot_be_written_fails_the_run_and_leaves_no_version(
        self, shell: Shell
    ) -> None:
        (shell.folder / "blocked").write_text("a file")

        done = shell("retrain", CLM_MODEL_DIR="blocked/models")

        assert done.returncode == 1
        assert "blocked/models" in done.stdout
        assert shell.json("history", "xgboost")["versions"] == []

    def test_ctrl_c_cancels_the_run_and_its_worker(self, tmp_path: Path) -> None:
        with serving(simulated()) as exchange:
            put_off(exchange)
            shell = shell_in(tmp_path, exchange)
            child = shell.start("retrain")
            # The worker has begun, and the command tells of it.
            line_of(child, r"^\[0/\d+\] reading BTCUSDT")
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=LIMIT)
            after = shell.json("status")

        assert child.returncode == 1
        assert not psutil.pid_exists(int(after["owner"].rpartition(":")[2]))
        assert (after["status"], after["error"]) == ("cancelled", "cancelled with Ctrl-C")


@needs_real_candles
def test_the_exchange_and_the_service_as_two_commands(tmp_path: Path) -> None:
    """`clm exchange` replays real candles, `clm serve` trains on them; both stop cleanly."""
    shell = Shell(tmp_path, {"CLM_LOG_LEVEL": "error", "CLM_TRAINING_PARAMS": FEW, "CLM_FEATURES": "basic"})
    exchange = shell.start(
        "exchange", "--replay", str(REAL / "candles" / "BTCUSDT-1h.parquet"), "--start-time", "2024-12-31",
        "--speed", "0", "--port", "0",
    )  # fmt: skip
    url = line_of(exchange, "use it with").strip().rpartition("=")[2]
    shell.environment |= {
        "CLM_BINANCE_URL": url,
        "CLM_PORT": str(free_port()),
        "CLM_TRAINING_LOOKBACK_DAYS": "90",
    }
    service = shell.start("serve")
    base = line_of(service, "CLM on").split()[2].removesuffix("/docs")
    until_it_answers(base)

    started = httpx.post(f"{base}/api/clm/retrain", json={}, timeout=LIMIT).json()
    status = _until_over(base)
    service.send_signal(signal.SIGINT)
    exchange.send_signal(signal.SIGINT)
    for process in (service, exchange):
        process.communicate(timeout=LIMIT)

    assert status["run_id"] == started["run_id"]
    assert status["report"]["promoted_models"] == ["xgboost", "lightgbm"]
    assert service.returncode in (0, 130, -signal.SIGINT)
    assert exchange.returncode in (0, 130, -signal.SIGINT)


@needs_real_candles
def test_dumps_are_imported_and_anomalies_refused_by_row(shell: Shell) -> None:
    imported = shell("import", str(REAL / "binance-vision"))
    refused = shell("import", str(REAL / "anomalies"))
    mended = shell.json("import", str(REAL / "anomalies"), "--repair")

    assert "BTCUSDT 1h: 744 candles from 31 files" in imported.stdout
    assert (refused.returncode, "2018-02-09T09:28:14.789000Z" in refused.stderr) == (1, True)
    assert "… and 23 more" in refused.stderr
    assert len(mended[0]["dropped"]) == 43


def _until_over(base: str) -> dict[str, Any]:
    def over() -> dict[str, Any] | None:
        status: dict[str, Any] = httpx.get(f"{base}/api/clm/status", timeout=LIMIT).json()
        return status if status["status"] not in ("queued", "running") else None

    return eventually(over, "the end of the run", pause=0.1)


def test_a_file_that_cannot_be_read_keeps_its_own_series_out_and_no_other(shell: Shell) -> None:
    folder = shell.folder / "files"
    folder.mkdir()
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        random_walk(50).to_parquet(folder / f"{symbol}-1h.parquet")
    (folder / "BTCUSDT-1h-2024-01-03.zip").write_bytes(b"")
    (folder / "ETHUSDT-1h-2024-01-03.csv").write_text("a,b\n")

    done = shell("import", "files")
    as_json = shell("import", "files", "--json")

    assert done.returncode == as_json.returncode == 2
    assert "SOLUSDT 1h: 50 candles from 1 files" in done.stdout
    for symbol, file in (("BTCUSDT", "BTCUSDT-1h-2024-01-03.zip"), ("ETHUSDT", "ETHUSDT-1h-2024-01-03.csv")):
        assert f"nothing of {symbol} 1h was imported" in done.stderr
        assert file in done.stderr
        assert symbol not in done.stdout
    assert [part["series"]["symbol"] for part in json.loads(as_json.stdout)] == ["SOLUSDT"]


def test_nothing_that_is_written_is_for_others(shell: Shell) -> None:
    """Whatever the system says of others; what it says of the group holds."""
    assert shell("retrain").returncode == 0
    assert shell("backup", "backup").returncode == 0

    written = list(shell.folder.rglob("*"))
    assert {file.name for file in written} >= {"clm.db", "models", "manifest.json"}
    assert [str(file) for file in written if file.stat().st_mode & 0o007] == []
    assert any(file.stat().st_mode & 0o040 for file in written) == (not _umask() & 0o040)


def _umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found
