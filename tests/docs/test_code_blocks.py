"""Every code block of README and docs is done as it stands: Python, `clm …` and `curl …`, on a real service.

What cannot be done here is in `NOT_HERE`, each with its reason; nothing else is left out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from markdown_it import MarkdownIt

from clm.bootstrap import Application
from clm.core.runs import RunRequest
from clm.worker import work
from tests.support.exchange import serving, simulated
from tests.support.quick import REAL
from tests.support.service import settings_for
from tests.support.shell import CLM, Shell, serving_clm, shell_in
from tests.support.waiting import LIMIT, eventually

pytestmark = pytest.mark.rehearse
ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "examples" / "README.md", *(ROOT / "docs").rglob("*.md")])
SHELL = ("console", "sh")

#: What a command line holds → why it is not done here, and where it is.
NOT_HERE = {
    "make demo": "a target of this checkout: CI runs it",
    "make test": "it is what runs this",
    "pip install": "it would change the environment of the tests",
    "cp .env.example": "tests/core/test_settings.py holds the file to the settings",
    "clm serve": "it goes on until it is stopped; every other block asks one",
    "clm exchange": "it goes on until it is stopped; tests/exchange starts one with these options",
    "localhost:8765/control": "it moves the clock of the exchange the other blocks stand on",
    "--replay candles/": "no real candles are in the repository",
    "CLM_SYMBOLS=BTCUSDT,ETHUSDT,SOLUSDT clm retrain": "no real candles are in the repository",
    "--candles candles/": "no real candles are in the repository; tests/replay replays simulated ones",
    "nhits,patchtst clm retrain": "minutes; tests/integration/test_neural_cycle.py",
    "clm search": "minutes; tests/cli/test_search.py",
    "clm demo": "half a minute; tests/cli and CI run it",
    "clm alerts test": "no Slack here; tests/jobs/test_messenger.py delivers to a receiver of its own",
    "clm keys add": "from then on the service asks everybody for a key; tests/api/test_access.py",
    "X-API-Key: clm_5t2": "the key of somebody else; tests/api/test_access.py asks with real ones",
    "clm restore": "into an empty place only; tests/registry/test_restore.py",
    "clm db copy": "tests/registry/test_copy.py copies to a real PostgreSQL",
    "clm db downgrade": "the service beside it would stop; tests/registry/test_migrations.py",
    "export CLM_DB_URL=postgresql": "tests/registry runs on a real PostgreSQL",
    "export CLM_MODEL_DIR=s3": "tests/integration/test_off_the_machine.py runs on a real S3 server",
    "export AWS_": "tests/integration/test_off_the_machine.py runs on a real S3 server",
    "dask scheduler": "tests/integration/test_fanout.py starts a cluster",
    "dask worker": "tests/integration/test_fanout.py starts a cluster",
    "clm backup /var/backups": "that folder is the operator's; tests/registry/test_backup.py",
    "clm series add SOLUSDT": "the simulated exchange has no SOLUSDT; tests/integration/test_watchlist.py",
    "clm series remove SOLUSDT": "the simulated exchange has no SOLUSDT; tests/integration/test_watchlist.py",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def _blocks() -> list[Block]:
    return [
        Block(page, token.map[0] + 1, token.info.strip(), token.content)
        for page in PAGES
        for token in MarkdownIt().parse(page.read_text())
        if token.type == "fence" and token.map
    ]


BLOCKS = _blocks()


def _commands(block: Block) -> list[str]:
    """Lines behind a prompt, continued ones as one; of a plain script all but its settings."""
    text = block.text.replace("\\\n", " ")
    if block.language == "console":
        return [line[2:].strip() for line in text.splitlines() if line.startswith("$ ")]
    return [line for line in text.splitlines() if not line.startswith(("#", "CLM_")) and line.strip()]


def _why_not(command: str) -> str | None:
    return next((why for what, why in NOT_HERE.items() if what in command), None)


@dataclass(frozen=True)
class Place:
    """A service somebody has used for a while; its settings in the shell."""

    shell: Shell
    url: str
    exchange: str
    versions: list[str]

    def here(self, text: str) -> str:
        """With this place's addresses, and versions that exist."""
        text = re.sub(r"(127\.0\.0\.1|localhost):8000", self.url.removeprefix("http://"), text)
        text = text.replace("http://127.0.0.1:8765", self.exchange)
        named = dict.fromkeys(re.findall(r"v20\d{6}_\d{6}", text))
        for name, version in zip(named, self.versions, strict=False):
            text = text.replace(name, version)
        return text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("docs")
    with serving(simulated()) as exchange:
        settings = settings_for(exchange, folder, promotion_policy="newest")
        with Application(settings, interactive=True) as application:
            for _ in range(2):
                run = application.runs.create(RunRequest(force=True))
                assert work(application, run.run_id) == 0
                exchange.clock.advance(timedelta(days=8))
                application.live_shadow().tick()
            newest = application.registry.for_series(application.series[0]).get_model_history("lightgbm")
        shell = shell_in(folder, exchange)
        shell.environment |= {
            "CLM_SCHEDULE": "off", "CLM_LIVE_SHADOW": "false", "CLM_LOG_LEVEL": "info",
            "CLM_PROMOTION_POLICY": "newest", "CLM_RATE_LIMIT_PER_MINUTE": "0",
        }  # fmt: skip
        with serving_clm(shell.anew(), folder / "log") as (_, url):
            yield Place(shell, url, exchange.url, [version.version for version in newest])


def _done(place: Place, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **place.shell.environment}
    return subprocess.run(
        command, cwd=place.shell.folder, env=environment, capture_output=True, text=True, timeout=LIMIT
    )


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=str)
def test_python_runs(block: Block, place: Place) -> None:
    # In an interpreter that has imported nothing: a block must name all it uses.
    done = _done(place, REAL, "-c", place.here(block.text))

    assert done.returncode == 0, done.stderr


def _to_run() -> list[Any]:
    """Every command once, on the page that shows it first."""
    found: dict[str, Block] = {}
    for block in BLOCKS:
        for command in _commands(block) if block.language in SHELL else ():
            found.setdefault(command.split("  #")[0].strip(), block)
    return [
        pytest.param(command, id=f"{block} {command[:50]}")
        for command, block in found.items()
        if _why_not(command) is None
    ]


@pytest.mark.parametrize("command", _to_run())
def test_a_command_does_what_it_is_shown_for(command: str, place: Place) -> None:
    if "curl" in command and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    clm = " ".join(f"'{part}'" for part in CLM)
    eventually(
        lambda: httpx.get(f"{place.url}/api/clm/status", timeout=LIMIT).json()["status"] != "running",
        "the end of the run",
    )

    done = _done(place, "bash", "-euc", f'clm() {{ {clm} "$@"; }}; {place.here(command)}')

    assert done.returncode == 0, done.stderr
    if command.startswith("curl"):
        assert "urn:clm:error" not in done.stdout or "run-in-progress" in done.stdout, done.stdout


def test_whatever_is_left_out_has_a_reason_that_still_holds() -> None:
    commands = [c for block in BLOCKS if block.language in SHELL for c in _commands(block)]

    assert [what for what in NOT_HERE if not any(what in command for command in commands)] == []


def test_no_block_is_of_a_kind_that_nobody_looks_at() -> None:
    # No language: drawings, and lines of a crontab.
    assert {block.language for block in BLOCKS} <= {"", "python", "js", "toml", "yaml", "nginx", *SHELL}


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "js"], ids=str)
@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_javascript_can_be_read(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "block.mjs"
    file.write_text(block.text)

    done = subprocess.run(["node", "--check", str(file)], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "nginx"], ids=str)
@pytest.mark.skipif(not Path("/usr/sbin/nginx").exists(), reason="nginx is not installed")
def test_nginx_reads_its_configuration(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    text = block.text.replace("listen 80;", "listen 127.0.0.1:8099;")
    file.write_text(f"error_log stderr; pid {tmp_path}/pid; events {{}} http {{ access_log off; {text} }}")

    done = subprocess.run(["/usr/sbin/nginx", "-t", "-c", str(file)], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in ("toml", "yaml")], ids=str)
def test_configuration_can_be_read(block: Block) -> None:
    read: Any = tomllib.loads(block.text) if block.language == "toml" else yaml.safe_load(block.text)

    assert json.loads(json.dumps(read))
