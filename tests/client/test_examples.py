"""The examples do what they say, as a user runs them, against a real service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.asking import free_port
from clm.client import Client, Forecast
from examples.bot_loop import FEE, Paper, act
from tests.client.conftest import OPERATE, PAGE, READ, Service
from tests.support.exchange import let_go, put_off, slow_down
from tests.support.waiting import LIMIT

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE_OF_CLIENT = EXAMPLES.parent / "docs" / "client.md"
BUTTON, PRESS = EXAMPLES / "RetrainButton.jsx", Path(__file__).parent / "press_button.mjs"
CRON = EXAMPLES / "cron_retrain.sh"
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")


@contextmanager
def _answering(*answers: dict[str, Any]) -> Iterator[str]:
    """A service whose runs end as a real one's seldom do: it gives these answers one after the other."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(left.pop(0)).encode()
            self.send_response(202 if self.command == "POST" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  # as the library calls it

        def log_message(self, *_: object) -> None:
            """Nothing is to be read here."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_ten_lines_of_the_documentation_work(moving: Service) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", PAGE_OF_CLIENT.read_text(), re.DOTALL)
    assert len(lines.splitlines()) == 10

    done = subprocess.run(
        [sys.executable, "-c", lines.replace("http://127.0.0.1:8000", moving.url)],
        capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    run, forecast = done.stdout.splitlines()
    assert run.startswith("completed [")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:00:00\+00:00 -?\d|not to be used: \w", forecast)


def _forecast(close: float, forecast: float, usable: bool) -> Forecast:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    return Forecast(
        symbol="BTCUSDT", interval="1h", model="lightgbm", version="v1", candle_open_time=moment,
        candle_close_time=moment, target_close_time=moment, forecast=forecast, direction="up", close=close,
        usable=usable, reasons=[] if usable else ["stale_data"],
    )  # fmt: skip


class TestBotLoop:
    def _bot(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(EXAMPLES / "bot_loop.py"), "--look", "0.05", *arguments],
            capture_output=True, text=True, timeout=LIMIT,
        )  # fmt: skip

    def test_acts_once_a_candle_on_a_forecast_that_is_usable(self, moving: Service) -> None:
        # A machine that does not keep up with a candle a second is given more time for one.
        for seconds in (1, 4, 20):
            moving.exchange.clock.run_at(3600 / seconds)
            done = self._bot("--url", moving.url, "--rounds", "3", "--symbol", "BTCUSDT")
            if "stale_data" not in done.stdout:
                break

        assert (done.returncode, done.stderr) == (0, "")
        deed = r"(buys|sells|holds|stays out) at [\d,.]+: [+-]\S+% by lightgbm v\S+, 90% within .*"
        found = [
            re.fullmatch(rf"(\S+ \d\d:00)  BTCUSDT {deed}; worth [01]\.\d+", line)
            for line in done.stdout.splitlines()
        ]
        closes = [match[1] for match in found if match]
        assert len(closes) == len(found) == 3, done.stdout
        assert closes == sorted(set(closes))

    def test_without_a_champion_does_nothing_and_says_why(self, service: Service) -> None:
        done = self._bot("--url", service.url, "--rounds", "1", "--symbol", "ETHUSDT")

        assert "ETHUSDT does nothing: no_champion; worth 1.0000" in done.stdout
        assert (done.returncode, done.stderr) == (0, "")

    def test_keeps_what_it_has_while_a_forecast_is_not_usable_and_pays_for_every_trade(self) -> None:
        account = Paper()

        said = [
            act(account, _forecast(close, forecast, usable))
            for close, forecast, usable in (
                (100.0, 0.01, False), (100.0, 0.01, True), (110.0, -0.01, False), (110.0, -0.01, True),
            )
        ]  # fmt: skip

        assert [line.split(" at ")[0] for line in said] == [
            "does nothing: stale_data", "buys", "does nothing: stale_data", "sells",
        ]  # fmt: skip
        assert account.worth == pytest.approx(1.1 * (1 - FEE) ** 2)

    def test_takes_its_key_from_a_file_and_ends_where_waiting_would_not_help(
        self, locked: Service, tmp_path: Path
    ) -> None:
        key = tmp_path / "key"
        key.write_text(READ + "\n")

        without = self._bot("--url", locked.url, "--rounds", "1")
        let_in = self._bot("--url", locked.url, "--rounds", "1", "--key-file", str(key))

        assert (without.returncode, "401 Unauthorized: no key was shown" in without.stderr) == (1, True)
        assert (let_in.returncode, let_in.stderr) == (0, "")


@needs_curl
class TestCron:
    def _cron(self, url: str, **more: str) -> tuple[int, str]:
        settings = {"SERVICE_URL": url, "RETRAIN_POLL": "0.1", "RETRAIN_RETRIES": "0", **more}
        done = subprocess.run(
            ["sh", str(CRON)], env={**os.environ, **settings}, capture_output=True, text=True, timeout=LIMIT
        )
        assert done.stdout == ""
        return done.returncode, done.stderr

    def test_is_plain_shell(self) -> None:
        assert subprocess.run(["sh", "-n", str(CRON)]).returncode == 0
        assert os.access(CRON, os.X_OK)

    def test_retrains_with_a_key_from_a_file_waits_for_the_end_and_is_content(
        self, locked: Service, tmp_path: Path
    ) -> None:
        key = tmp_path / "key"
        key.write_text(OPERATE + "\n")

        code, said = self._cron(
            locked.url, SERVICE_KEY_FILE=str(key), RETRAIN_BODY='{"models": ["lightgbm"], "force": true}'
        )

        with Client(locked.url, OPERATE) as client:
            run = client.status()
        assert run is not None
        assert code == 0, said
        assert re.findall(r"Z (.*)", said) == [f"run {run.run_id} has begun", f"run {run.run_id} completed"]
        assert run.request is not None
        assert (run.request["models"], run.request["force"]) == (["lightgbm"], True)

    def test_waits_for_a_run_that_is_under_way_and_says_when_it_was_cancelled(
        self, service: Service, client: Client
    ) -> None:
        put_off(service.exchange)
        try:
            run = client.retrain(force=True)
            late = self._cron(service.url, RETRAIN_WAIT="0")
            with subprocess.Popen(
                ["sh", str(CRON)], env={**os.environ, "SERVICE_URL": service.url, "RETRAIN_POLL": "0.1"},
                stderr=subprocess.PIPE, text=True,
            ) as waiting:  # fmt: skip
                assert waiting.stderr is not None
                assert f"run {run.run_id} is under way already" in waiting.stderr.readline()
                client.cancel(run)
                assert f"run {run.run_id} cancelled: cancelled over REST" in waiting.stderr.read()
        finally:
            let_go(service.exchange)

        assert late[0] == 4
        assert f"run {run.run_id} is still running after 0 seconds" in late[1]
        assert waiting.returncode == 1

    @pytest.mark.parametrize(
        ("ended", "code", "text"),
        [
            ({"status": "failed", "error": "a \"disk\" is full"}, 1, r'failed: a \"disk\" is full'),
            (
                {"status": "completed", "report": {"failures": {"xgboost": "too few, alas"}}}, 1,
                'completed, but models failed: "xgboost": "too few, alas"',
            ),
            ({"status": "completed", "report": {"by_series": {"status": "x"}, "failures": {}}}, 0, "d"),
        ],
    )  # fmt: skip
    def test_is_content_with_nothing_but_a_run_in_which_no_model_failed(
        self, ended: dict[str, Any], code: int, text: str
    ) -> None:
        with _answering({"run_id": "r1"}, {"status": "running"}, {"status": "interrupted"}, ended) as url:
            done, said = self._cron(url)

        assert (done, f"run r1 {text}" in said or code == 0) == (code, True), said

    @pytest.mark.parametrize(
        ("settings", "code", "text"),
        [
            ({}, 2, "refused, 401: no key was shown; this needs a key with the role operate"),
            ({"SERVICE_KEY_FILE": "/nowhere"}, 2, "/nowhere cannot be read"),
            ({"SERVICE_URL": "http://127.0.0.1:9"}, 3, "http://127.0.0.1:9 cannot be reached"),
        ],
    )
    def test_says_why_it_was_refused_by_words_and_exit_code(
        self, locked: Service, settings: dict[str, str], code: int, text: str
    ) -> None:
        url = settings.pop("SERVICE_URL", locked.url)

        done, said = self._cron(url, **settings)

        assert (done, text in said) == (code, True), said

    def test_a_wrong_body_is_told(self, service: Service) -> None:
        code, said = self._cron(service.url, RETRAIN_BODY='{"models": ["prophet"]}')

        assert code == 2
        assert "422: model_type: 'prophet' is not known here" in said

    def test_a_service_that_is_just_starting_is_asked_again(self) -> None:
        began = time.monotonic()

        code, _ = self._cron(f"http://127.0.0.1:{free_port()}", RETRAIN_RETRIES="1")

        assert code == 3
        assert time.monotonic() - began >= 1

    def test_the_lines_for_cron_are_lines_for_cron(self) -> None:
        lines = (EXAMPLES / "crontab.example").read_text().splitlines()
        jobs = [line for line in lines if re.match(r"[\d*]", line)]

        assert len(jobs) == 2
        for job in jobs:
            assert re.match(r"([\d*/,-]+ +){5}.*cron_retrain\.sh$", job)
            assert "%" not in job


@needs_node
class TestRetrainButton:
    def _press(self, url: str, wish: str, origin: str = PAGE) -> list[dict[str, Any]]:
        done = subprocess.run(
            ["node", str(PRESS), str(BUTTON), url, OPERATE, origin, wish],
            capture_output=True, text=True, timeout=LIMIT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_starts_a_run_shows_its_progress_and_its_end(self, locked: Service) -> None:
        slow_down(locked.exchange, 0.3)
        try:
            shown = self._press(locked.url, "wait")
        finally:
            let_go(locked.exchange)

        assert shown[0] == {"buttons": ["Retrain"], "progress": None, "said": [""]}
        assert any(s["buttons"] == ["Retraining…", "Cancel"] for s in shown)
        steps = [tuple(s["progress"]) for s in shown if s["progress"] and s["progress"][1] > 1]
        assert steps == sorted(steps)
        assert len(steps) > 1
        assert shown[-1]["buttons"] == ["Retrain"]
        assert shown[-1]["said"][0].startswith("Completed; new champions: ")

    def test_cancels(self, locked: Service) -> None:
        put_off(locked.exchange)
        try:
            shown = self._press(locked.url, "cancel")
        finally:
            let_go(locked.exchange)

        assert shown[-1]["said"] == ["Cancelled; what it had finished stays"]

    def test_on_a_page_of_an_origin_that_is_not_listed_says_that_it_failed(self, locked: Service) -> None:
        shown = self._press(locked.url, "wait", origin="https://evil.example")

        assert shown[-1] == {"buttons": ["Retrain"], "progress": None, "said": ["", "Failed to fetch"]}
