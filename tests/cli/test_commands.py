"""The command line as a user types it: real processes, a real exchange, results on standard output."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from clm.exchange.server import ExchangeServer
from support.candles import REAL, needs_real_candles
from support.exchange import serving, simulated

FEW = json.dumps({m: {"num_trees": 5, "min_data_in_leaf": 100} for m in ("xgboost", "lightgbm")})
COMMANDS = (
    "demo", "serve", "retrain", "status", "triggers", "models", "history", "promote", "rollback", "verify",
    "import", "exchange", "db",
)  # fmt: skip
CLM = (sys.executable, "-c", "from clm.cli import main; main()")


@dataclass
class Shell:
    """A user's shell in an empty folder, settings in its environment."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CLM, *arguments], cwd=self.folder, env={**os.environ, **self.environment, **more},
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip

    def json(self, *arguments: str, **more: str) -> Any:
        done = self(*arguments, "--json", **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*CLM, *arguments], cwd=self.folder, env={**os.environ, **self.environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def exchange() -> Iterator[ExchangeServer]:
    with serving(simulated()) as server:
        yield server


def _shell(folder: Path, exchange: ExchangeServer) -> Shell:
    return Shell(
        folder,
        {
            "CLM_BINANCE_URL": exchange.url, "CLM_TRAINING_LOOKBACK_DAYS": "90", "CLM_FEATURES": "basic",
            "CLM_TRAINING_PARAMS": FEW, "CLM_LOG_LEVEL": "error", "COLUMNS": "160",
        },
    )  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path, exchange: ExchangeServer) -> Shell:
    return _shell(tmp_path, exchange)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, exchange: ExchangeServer) -> Shell:
    """A folder with one completed run."""
    shell = _shell(tmp_path_factory.mktemp("cli"), exchange)
    done = shell("retrain")
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
    def test_status_says_what_to_do(self, shell: Shell) -> None:
        assert "start one with `clm retrain`" in shell("status").stdout
        assert shell.json("status")["status"] == "idle"

    def test_models_history_and_triggers_are_empty_but_not_silent(self, shell: Shell) -> None:
        assert shell.json("models")["xgboost"]["active_version"] is None
        assert "train one with `clm retrain --models xgboost`" in shell("history", "xgboost").stdout
        assert set(shell.json("triggers").values()) == {"Never trained"}

    def test_an_empty_registry_is_sound(self, shell: Shell) -> None:
        done = shell("verify")

        assert (done.returncode, "present, intact and loadable" in done.stdout) == (0, True)

    def test_the_database_is_upgraded_on_demand(self, shell: Shell) -> None:
        done = shell("db", "upgrade")

        assert (done.returncode, done.stdout.strip()) == (0, "sqlite:///clm.db is at revision 0001")


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

    def test_verify_names_a_missing_and_an_altered_file(self, trained: Shell, tmp_path: Path) -> None:
        files = sorted((trained.folder / "models").iterdir())
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
        shell = _shell(tmp_path, exchange)
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


def test_two_processes_with_the_same_candles_and_settings_write_the_same_bytes(
    tmp_path: Path, exchange: ExchangeServer
) -> None:
    """Each retrain is a worker process of its own; the registered hashes and the files agree."""
    hashes, files = [], []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shell = _shell(tmp_path / name, exchange)
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
            (("retrain", "--models", "prophet"), {}, "valid model types: lightgbm, sklearn_ridge, xgboost"),
            (("retrain", "--symbols", "DOGEUSDT"), {}, "BTCUSDT 1h"),
            (("models", "--interval", "7m"), {}, "1m, 3m, 5m"),
            (("history", "prophet"), {}, "xgboost"),
            (("status",), {"CLM_RETRAIN_INTERVAL_DAYS": "-1"}, "CLM_RETRAIN_INTERVAL_DAYS"),
            (("status",), {"CLM_RETRAIN_INTERVAL": "7"}, "did you mean"),
            (("status",), {"CLM_DB_URL": "mysql://x/y"}, "sqlite:///"),
            (("triggers",), {"CLM_SYMBOLS": "btc"}, "capital letters"),
            (("serve", "--host", "0.0.0.0"), {}, "no access control"),
            (("serve",), {"CLM_SCHEDULE": "61 2 * * *"}, "five cron fields"),
            (("import", "nowhere"), {}, "an existing file or folder"),
            (("exchange",), {}, "exactly one of the two"),
            (("exchange", "--simulate", "--faults", "explode@1"), {}, "explode@1"),
        ],
    )
    def test_is_one_sentence_and_exit_code_2(
        self, shell: Shell, arguments: tuple[str, ...], environment: dict[str, str], said: str
    ) -> None:
        done = shell(*arguments, **environment)

        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("arguments", [("nonsense",), ("history",), ("retrain", "--loud")])
    def test_of_the_shells_own_kind_is_a_usage_error(self, shell: Shell, arguments: tuple[str, ...]) -> None:
        assert shell(*arguments).returncode == 2


class TestTrouble:
    def test_an_exchange_that_is_down_fails_with_its_address(self, shell: Shell) -> None:
        down = {"CLM_BINANCE_URL": "http://127.0.0.1:9"}

        triggers = shell("triggers", **down)

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
            exchange.exchange.latency = 0.6
            shell = _shell(tmp_path, exchange)
            child = shell.start("retrain")
            for _ in range(200):
                time.sleep(0.05)
                if (tmp_path / "clm.db").exists() and shell.json("status")["status"] == "running":
                    break
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=30)
            after = shell.json("status")

        assert child.returncode == 1
        assert (after["status"], after["error"]) == ("cancelled", "cancelled with Ctrl-C")


def _line(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(pattern, line):
            return line
    raise AssertionError(f"{pattern} was never printed")


@needs_real_candles
def test_the_exchange_and_the_service_as_two_commands(tmp_path: Path) -> None:
    """`clm exchange` replays real candles, `clm serve` trains on them; both stop cleanly."""
    shell = Shell(tmp_path, {"CLM_LOG_LEVEL": "error", "CLM_TRAINING_PARAMS": FEW, "CLM_FEATURES": "basic"})
    exchange = shell.start(
        "exchange", "--replay", str(REAL / "candles" / "BTCUSDT-1h.parquet"), "--start-time", "2024-12-31",
        "--speed", "0", "--port", "0",
    )  # fmt: skip
    url = _line(exchange, "use it with").strip().rpartition("=")[2]
    shell.environment |= {
        "CLM_BINANCE_URL": url,
        "CLM_PORT": str(_free_port()),
        "CLM_TRAINING_LOOKBACK_DAYS": "90",
    }
    service = shell.start("serve")
    base = _line(service, "CLM on").split()[2].removesuffix("/docs")
    _until_it_answers(base)

    started = httpx.post(f"{base}/api/clm/retrain", json={}).json()
    status = _until_over(base)
    service.send_signal(signal.SIGINT)
    exchange.send_signal(signal.SIGINT)
    for process in (service, exchange):
        process.communicate(timeout=30)

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


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_it_answers(base: str) -> None:
    for _ in range(200):
        try:
            httpx.get(f"{base}/health/live")
            return
        except httpx.ConnectError:
            time.sleep(0.05)
    raise AssertionError(f"{base} does not answer")


def _until_over(base: str) -> dict[str, Any]:
    for _ in range(600):
        status: dict[str, Any] = httpx.get(f"{base}/api/clm/status").json()
        if status["status"] not in ("queued", "running"):
            return status
        time.sleep(0.1)
    raise AssertionError("the run never ended")
