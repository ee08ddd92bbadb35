"""The log: whose line it is, in one file for all processes, without secrets, and never in the way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clm.settings import Settings
from tests.support.exchange import serving, simulated
from tests.support.shell import Shell, shell_in
from tests.support.waiting import LIMIT

_WRITER = """
import sys, structlog
from clm import telemetry
telemetry._FULL_BYTES = int(sys.argv[3])
telemetry._KEPT = 500
telemetry.set_up_logging("info", "json", sys.argv[1])
log = structlog.get_logger()
for number in range(400):
    log.info("line", who=sys.argv[2], number=number, filling="x" * 300)
"""


def _run(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _lines(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("clm.log*"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


_ERROR = """
import sys
from clm.telemetry import set_up_logging
from clm.logs import logger
set_up_logging("info", sys.argv[1], sys.argv[2], ("s3cr3t-of-the-setting",))

def asked(headers):
    session = "a-session-cookie-in-a-variable"
    raise RuntimeError("no such thing: password=in-the-message and s3cr3t-of-the-setting")

try:
    asked({"X-API-Key": "a-key-in-a-variable"})
except RuntimeError:
    logger("x").exception("it_failed", url="postgresql://clm:in-the-address@db/clm")
    import logging
    logging.getLogger("uvicorn.error").exception("it failed there too")
"""


@pytest.mark.parametrize("fmt", ["console", "json"])
def test_an_error_shows_where_it_was_and_no_frames_variables_nor_a_secret(fmt: str, tmp_path: Path) -> None:
    process = _run(_ERROR, fmt, str(tmp_path / "clm.log"))
    _, screen = process.communicate(timeout=LIMIT)

    assert process.returncode == 0, screen
    for said in (screen, (tmp_path / "clm.log").read_text()):
        assert said.count("RuntimeError: no such thing") == 2
        assert said.count("in asked") == 2
        for secret in ("in-a-variable", "in-the-message", "s3cr3t-of", "in-the-address"):
            assert secret not in said, secret


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    with serving(simulated()) as exchange:
        yield shell_in(tmp_path, exchange)


@pytest.mark.parametrize(
    "symbols",
    [
        pytest.param("BTCUSDT", id="one"),
        pytest.param("BTCUSDT,ETHUSDT", id="side-by-side", marks=pytest.mark.rehearse),
    ],
)
def test_every_line_of_a_run_names_it_and_what_it_is_about(shell: Shell, symbols: str) -> None:
    done = shell(
        "retrain",
        CLM_SYMBOLS=symbols,
        CLM_LOG_LEVEL="info",
        CLM_LOG_FORMAT="json",
        CLM_PROCESSES="2",
        CLM_EXECUTOR="local",
    )
    assert done.returncode == 0, done.stderr

    lines = _lines(shell.folder / "logs")
    run_id = json.loads(shell("status", "--json").stdout)["run_id"]
    steps = [line for line in lines if line["event"] == "progress"]
    assert {line["run_id"] for line in steps} == {run_id}
    if symbols == "BTCUSDT":
        fits = [line for line in steps if line["step"].startswith("training")]
        assert {(line["series"], line["model"]) for line in fits} == {
            ("BTCUSDT 1h", "xgboost"), ("BTCUSDT 1h", "lightgbm"),
        }  # fmt: skip
    trained = [line for line in lines if line["event"] == "trained"]
    assert {(line["run_id"], line["series"], line["model"]) for line in trained} == {
        (run_id, f"{symbol} 1h", model) for symbol in symbols.split(",") for model in ("xgboost", "lightgbm")
    }


def test_processes_that_write_and_rotate_at_once_lose_and_tear_no_line(tmp_path: Path) -> None:
    file = str(tmp_path / "logs" / "clm.log")

    writers = [_run(_WRITER, file, name, "20000") for name in ("a", "b", "c")]
    ends = [writer.communicate(timeout=LIMIT) for writer in writers]

    assert [writer.returncode for writer in writers] == [0, 0, 0], ends
    lines = _lines(tmp_path / "logs")
    found = sorted((line["who"], line["number"]) for line in lines)
    assert found == [(who, number) for who in "abc" for number in range(400)]
    assert len(list((tmp_path / "logs").glob("clm.log.*"))) > 5
    assert max(file.stat().st_size for file in (tmp_path / "logs").glob("clm.log.*")) < 21_000


@pytest.mark.parametrize("file", ["/dev/full", "/proc/none/clm.log"], ids=["full", "unwritable"])
def test_a_log_that_cannot_be_written_is_complained_of_once_and_stops_nothing(file: str) -> None:
    writer = _run(_WRITER, file, "a", "10000000")
    _, said = writer.communicate(timeout=LIMIT)

    assert writer.returncode == 0
    complaints = re.findall(r"CLM_LOG_FILE: .*", said)
    assert len(complaints) == 1, complaints
    assert f"{file} cannot be written (No s" in complaints[0]
    assert said.count('"number"') == 400
    assert "Traceback" not in said


def test_no_line_holds_a_secret(tmp_path: Path) -> None:
    settings = Settings.load(
        db_url="postgresql+psycopg://clm:pa%2Fss-word@db/clm", alert_urls="slack://tokenA/tokenB/tokenC",
        log_file=str(tmp_path / "clm.log"),
    )  # fmt: skip
    code = (
        "import logging, structlog; from clm.settings import Settings; from clm.telemetry import *\n"
        f"set_up_logging(file={settings.log_file!r}, secrets={settings.secrets()!r})\n"
        "log = structlog.get_logger()\n"
        "log.warning('a', url='postgresql+psycopg://clm:pa%2Fss-word@db/clm', plain='pa/ss-word')\n"
        "log.warning('b', to='slack://tokenA/tokenB/tokenC', header='Authorization: Bearer abcdefgh12345')\n"
        "logging.getLogger('urllib3').warning('https://x.io/?api_key=SECRETVALUE&a=1 password=hunter22')\n"
        "try:\n    raise ValueError('redis://me:topsecret@cache/0')\n"
        "except ValueError:\n    log.warning('c', exc_info=True)\n"
    )

    _, said = _run(code).communicate(timeout=LIMIT)

    for text in (said, (tmp_path / "clm.log").read_text()):
        assert text.count("***") >= 6
        for secret in ("ss-word", "tokenB", "abcdefgh", "SECRETVALUE", "hunter22", "topsecret"):
            assert secret not in text
        assert "@db/clm" in text


def test_off_keeps_no_file(shell: Shell) -> None:
    assert shell("retrain", CLM_LOG_LEVEL="info", CLM_LOG_FILE="off").returncode == 0

    assert not (shell.folder / "logs").exists()


def test_a_host_that_has_set_up_logging_itself_gets_clms_lines_and_grep_finds_them(tmp_path: Path) -> None:
    code = (
        "import logging, sys\n"
        "logging.basicConfig(filename=sys.argv[1], level=logging.INFO)\n"
        "from tests.support.frames import feature_frame\n"
        "from clm import QuantumModelTrainer\n"
        "from clm.core.ambit import about\n"
        "with about(series='BTCUSDT 1h'):\n"
        "    QuantumModelTrainer().train('lightgbm', feature_frame(1500))\n"
        "logging.getLogger('host').info('its own')\n"
    )
    writer = _run(code, str(tmp_path / "clm.log"))
    said = writer.communicate(timeout=LIMIT)
    assert writer.returncode == 0, said

    found = subprocess.run(["grep", "CLM", tmp_path / "clm.log"], capture_output=True, text=True)

    (line,) = found.stdout.splitlines()
    assert line.startswith(
        "INFO:clm.training.trainer:CLM trained series=BTCUSDT 1h family=lightgbm rows=1500"
    )
    assert "INFO:host:its own" in (tmp_path / "clm.log").read_text()
    assert said == ("", "")


@pytest.mark.parametrize("fmt", ["console", "json"])
def test_a_line_of_clms_own_log_says_whose_it_is(tmp_path: Path, fmt: str) -> None:
    file = tmp_path / "clm.log"
    code = (
        "import logging; from clm.logs import logger; from clm.telemetry import set_up_logging\n"
        f"set_up_logging('info', {fmt!r}, {str(file)!r})\n"
        "logger('clm.market.store').info('ours')\n"
        "logging.getLogger('urllib3').warning('theirs')\n"
    )

    _run(code).communicate(timeout=LIMIT)

    ours, theirs = file.read_text().splitlines()
    assert ("CLM" in ours, "CLM" in theirs, "urllib3" in theirs) == (True, False, True)
