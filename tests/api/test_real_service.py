"""`clm serve` as a real process: how it starts, how it stops, and that it tells nobody its secrets."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa

from clm.core.access import fingerprint
from clm.exchange.server import ExchangeServer
from clm.registry.engine import open_engine, reading
from clm.registry.tables import METADATA
from tests.support.exchange import hold_back, let_go, put_off, serving, simulated
from tests.support.postgres import fresh_database
from tests.support.shell import Shell, serving_clm, shell_in
from tests.support.waiting import LIMIT, eventually

KEY, PASSWORD = "a-key-nobody-should-see-0001", "a-password-nobody-should-see"


@pytest.fixture
def exchange() -> Iterator[ExchangeServer]:
    with serving(simulated()) as server:
        yield server


@pytest.fixture
def shell(tmp_path: Path, exchange: ExchangeServer) -> Shell:
    shell = shell_in(tmp_path, exchange)
    shell.environment |= {"CLM_LIVE_SHADOW": "false", "CLM_SCHEDULE": "off", "CLM_KEEP_VERSIONS": "0"}
    return shell


def _once(client: httpx.Client, run_id: str, *states: str) -> dict[str, Any]:
    def asked() -> dict[str, Any]:
        run: dict[str, Any] = client.get(f"/api/clm/runs/{run_id}").json()
        return run

    def become() -> dict[str, Any] | None:
        run = asked()
        return run if run["status"] in states and (run["status"] != "running" or run["owner"]) else None

    return eventually(become, lambda: f"{run_id} became {states}: {asked()}", pause=0.05)


class TestStopping:
    def test_hands_a_run_over_within_the_grace_and_the_next_start_completes_it(
        self, shell: Shell, exchange: ExchangeServer, tmp_path: Path
    ) -> None:
        shell.environment["CLM_SHUTDOWN_GRACE_SECONDS"] = "2"
        put_off(exchange)
        with (
            serving_clm(shell, tmp_path / "log") as (process, base),
            httpx.Client(base_url=base, timeout=LIMIT) as client,
        ):
            run_id = client.post("/api/clm/retrain", json={}).json()["run_id"]
            worker = int(_once(client, run_id, "running")["owner"].rpartition(":")[2])
            began = time.monotonic()
            process.terminate()
            process.wait(LIMIT)
            took = time.monotonic() - began

        stopped = shell.json("status")
        assert (stopped["status"], stopped["error"]) == ("interrupted", "the service was stopped")
        assert took >= 2
        assert not psutil.pid_exists(worker)

        let_go(exchange)
        with (
            serving_clm(shell, tmp_path / "log") as (process, base),
            httpx.Client(base_url=base, timeout=LIMIT) as client,
        ):
            ended = _once(client, run_id, "completed")
        assert (ended["attempt"], ended["error"]) == (2, None)
        assert [i["reason"] for i in ended["interruptions"]] == ["the service was stopped"]
        assert ended["report"]["promoted_models"] == ["xgboost", "lightgbm"]

    def test_waits_for_a_run_that_ends_within_the_grace(
        self, shell: Shell, exchange: ExchangeServer, tmp_path: Path
    ) -> None:
        shell.environment["CLM_SHUTDOWN_GRACE_SECONDS"] = str(LIMIT)
        hold_back(exchange)
        with (
            serving_clm(shell, tmp_path / "log") as (process, base),
            httpx.Client(base_url=base, timeout=LIMIT) as client,
        ):
            run_id = client.post("/api/clm/retrain", json={}).json()["run_id"]
            _once(client, run_id, "running")
            process.terminate()
            time.sleep(0.5)
            assert process.poll() is None
            let_go(exchange)
            process.wait(LIMIT)

        assert shell.json("status")["status"] == "completed"

    def test_without_a_run_is_done_at_once(self, shell: Shell, tmp_path: Path) -> None:
        shell.environment["CLM_SHUTDOWN_GRACE_SECONDS"] = str(2 * LIMIT)
        for number in (signal.SIGTERM, signal.SIGINT):
            with (
                serving_clm(shell, tmp_path / "log") as (process, base),
                httpx.Client(base_url=base, timeout=LIMIT) as client,
            ):
                assert client.get("/health/ready").status_code == 200
                process.send_signal(number)
                process.wait(LIMIT)  # half of the grace: nothing is waited for

        assert "Traceback" not in (tmp_path / "log").read_text()


class TestDoors:
    def test_on_all_addresses_need_a_key_of_the_environment_or_of_the_database(
        self, shell: Shell, tmp_path: Path
    ) -> None:
        shell.environment["CLM_HOST"] = "0.0.0.0"
        refused = shell("serve")
        assert (refused.returncode, "clm keys add NAME" in refused.stderr) == (2, True)

        with serving_clm(shell, tmp_path / "log", CLM_API_KEY=f"read:{KEY}") as (_, base):
            assert httpx.get(f"{base}/api/clm/status", timeout=LIMIT).status_code == 401
            assert (
                httpx.get(f"{base}/api/clm/status", headers={"X-API-Key": KEY}, timeout=LIMIT).status_code
                == 200
            )

        key = shell.json("keys", "add", "desk", "--role", "operate")["key"]
        with serving_clm(shell, tmp_path / "log") as (_, base):
            assert httpx.get(f"{base}/api/clm/status", timeout=LIMIT).status_code == 401
            assert (
                httpx.get(f"{base}/api/clm/status", headers={"X-API-Key": key}, timeout=LIMIT).status_code
                == 200
            )
        shell("keys", "revoke", "desk")
        assert shell("serve").returncode == 2

    def test_a_body_that_never_ends_is_cut_off(self, shell: Shell, tmp_path: Path) -> None:
        def endless() -> Iterator[bytes]:
            for _ in range(300):
                yield b" " * 10_000

        with serving_clm(shell, tmp_path / "log") as (_, base):
            for content in (endless(), b" " * 3_000_000):
                answer = httpx.post(f"{base}/api/clm/retrain", content=content, timeout=LIMIT)

                assert (answer.status_code, answer.json()["detail"]) == (
                    413,
                    "the body is longer than 1024 kB",
                )

    def test_believe_a_proxy_only_when_told_to(self, shell: Shell, tmp_path: Path) -> None:
        headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        shell.environment["CLM_API_KEY"] = KEY

        def origin_and_cookie(**more: str) -> tuple[str, bool]:
            with serving_clm(shell, tmp_path / "log", **more) as (_, base):
                answer = httpx.post(f"{base}/login", data={"key": KEY}, headers=headers, timeout=LIMIT)
            return shell.json("audit", "--limit", "1")[0]["origin"], "Secure" in answer.headers["set-cookie"]

        assert origin_and_cookie() == ("127.0.0.1", False)
        assert origin_and_cookie(CLM_TRUSTED_PROXIES="127.0.0.1") == ("192.0.2.7", True)


@pytest.mark.rehearse
def test_no_secret_is_in_logs_answers_rows_or_command_lines(
    shell: Shell, exchange: ExchangeServer, tmp_path: Path
) -> None:
    with fresh_database() as url:
        shell.environment |= {
            "CLM_DB_URL": re.sub(r"://(\w+)@", rf"://\1:{PASSWORD}@", url),
            "CLM_API_KEY": KEY, "CLM_LOG_LEVEL": "debug", "CLM_LIVE_SHADOW": "true",
        }  # fmt: skip
        with serving_clm(shell.anew(), tmp_path / "log") as (process, base):
            hold_back(exchange)
            with httpx.Client(base_url=base, headers={"X-API-Key": KEY}, timeout=LIMIT) as client:
                run_id = client.post("/api/clm/retrain", json={"force": True}).json()["run_id"]
                _once(client, run_id, "running")
                children = eventually(lambda: _two_children(process.pid), "a worker and a live shadow")
                lines = [*psutil.Process(process.pid).cmdline(), *(w for c in children for w in c.cmdline())]
                environments = b"".join(Path(f"/proc/{c.pid}/environ").read_bytes() for c in children)
                let_go(exchange)
                _once(client, run_id, "completed")
                said = [answer.text + str(answer.headers) for answer in _every_kind_of_answer(client)]
        commands = ("audit --json", "keys list --json", "status", "verify", "db upgrade")
        shown = [shell(*command.split()) for command in commands]
        wrong = [
            shell("status", **{name: value})
            for name, value in (
                ("CLM_DB_URL", f"postgresql://clm:{PASSWORD}@127.0.0.1:9/clm"),
                ("CLM_DB_URL", f"mysql://clm:{PASSWORD}@h/clm"),
                ("CLM_API_KEY", f"opreate:{KEY}"),
                ("CLM_API_KEYS", KEY),
            )
        ]
        engine = open_engine(url)
        with reading(engine) as connection:
            rows = str([connection.execute(sa.select(table)).all() for table in METADATA.sorted_tables])
        engine.dispose()

    assert len(children) == 2
    assert "run_submitted" in (tmp_path / "log").read_text()
    assert [done.returncode for done in shown] == [0] * 5
    assert 0 not in [done.returncode for done in wrong]
    told = [done.stdout + done.stderr for done in [*shown, *wrong]]
    for secret in (KEY, PASSWORD, fingerprint(KEY)):
        assert secret not in (tmp_path / "log").read_text()
        assert not [text for text in (*said, *told, *lines) if secret in text]
    assert not [secret for secret in (KEY, PASSWORD) if secret in rows]
    assert KEY.encode() not in environments


def _two_children(pid: int) -> list[psutil.Process] | None:
    found = psutil.Process(pid).children(recursive=True)
    return found if len(found) == 2 else None


def _every_kind_of_answer(client: httpx.Client) -> Iterator[httpx.Response]:
    for path in ("config", "status", "runs", "audit", "triggers", "alerts", "history/prophet", "runs/none"):
        yield client.get(f"/api/clm/{path}")
    yield client.get("/health/ready")
    yield client.get("/api/clm/status", headers={"X-API-Key": KEY + "x"})
    yield client.post("/login", data={"key": KEY})
    yield client.post("/login", data={"key": KEY + "x"})
    yield client.post(
        f"/api/clm/retrain?api_key={KEY}", json={"models": [], "key": KEY, "db_password": PASSWORD}
    )
    yield client.post("/api/clm/retrain", content=f"not json {KEY}".encode())
    yield client.post("/api/clm/retrain", headers={"Origin": "https://evil.example"})
    yield client.delete("/api/clm/clear-cache")


def test_commands_that_change_something_are_on_record_by_who_ran_them_and_where(
    shell: Shell, tmp_path: Path
) -> None:
    assert shell("retrain", "--models", "lightgbm").returncode == 0
    assert shell("rollback", "lightgbm").returncode == 1
    assert shell("verify", "--fix").returncode == 0
    assert shell("keys", "add", "desk", "--role", "read").returncode == 0
    assert shell("keys", "revoke", "desk").returncode == 0
    assert shell("status").returncode == 0

    trail = shell.json("audit")

    assert [row["action"] for row in trail] == [
        "clm keys revoke", "clm keys add", "clm verify --fix", "clm rollback", "clm retrain",
    ]  # fmt: skip
    assert all(re.fullmatch(r"cli:\S+@\S+", row["actor"]) for row in trail)
    assert trail[-1]["detail"] == {"models": ["lightgbm"]}
    assert re.fullmatch(r"done run_id=r\S+ completed", trail[-1]["result"])
    assert trail[-2]["result"].startswith("failed: ")
    assert trail[1]["detail"] == {"name": "desk", "role": "read"}
    assert "clm_" not in str(trail)
    assert "cli:" in shell("audit").stdout
    assert "promoted" in shell("alerts").stdout
