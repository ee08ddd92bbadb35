"""Whatever a console can show, a command ends as it would elsewhere, and its words can be read."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

from clm.core.consoles import write_otherwise
from tests.support.exchange import serving, simulated
from tests.support.quick import REAL
from tests.support.shell import CLM, Shell, shell_in
from tests.support.waiting import LIMIT

ENCODINGS = ("gbk", "latin-1", "ascii", "cp1252", "shift_jis", "koi8-r")
SOURCES = sorted(Path("src/clm").rglob("*.py"))
#: What prints tables, sentences, bars and errors of a service that has trained.
COMMANDS = (
    "models", "status", "history lightgbm", "decisions", "shadow", "explain lightgbm", "verify",
    "retrain --models nonsense",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with serving(simulated()) as exchange:
        # A folder whose name many consoles cannot show.
        folder = tmp_path_factory.mktemp("console") / "прогноз-币-ü"
        folder.mkdir()
        shell = shell_in(folder, exchange)
        shell.environment |= {
            "CLM_DB_URL": f"sqlite:///{folder}/clm.db",
            "CLM_MODEL_DIR": str(folder / "модели"),
        }
        assert shell("retrain").returncode == 0
        exchange.clock.advance(timedelta(hours=1))
        yield shell


def _on(shell: Shell, encoding: str, command: str, python: str = sys.executable) -> tuple[int, bytes, bytes]:
    environment = {**os.environ, **shell.environment, "PYTHONIOENCODING": f"{encoding}:strict"}
    done = subprocess.run(
        [python, *CLM[1:], *command.split()],
        cwd=shell.folder,
        env=environment,
        capture_output=True,
        timeout=LIMIT,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.rehearse
def test_every_command_ends_as_it_does_in_utf_8(trained: Shell) -> None:
    for command in COMMANDS:
        code, out, err = _on(trained, "latin-1", command)

        assert code == trained(*command.split()).returncode, (command, err)
        assert b"Traceback" not in err, command
        assert b"UnicodeEncodeError" not in out + err, command


@pytest.mark.rehearse
@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_a_retraining_that_is_done_says_so(trained: Shell, encoding: str) -> None:
    code, out, err = _on(trained, encoding, "retrain --force")

    assert (code, b"Error" in err) == (0, False), err
    assert b"lightgbm" in out
    assert json.loads(_on(trained, encoding, "status --json", REAL)[1]) == trained.json("status")


@cache
def _words() -> set[str]:
    """Letters beyond ASCII of every text in the sources that is no docstring."""
    found: set[str] = set()
    for source in SOURCES:
        tree = ast.parse(source.read_text("utf-8"))
        told = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
                # Halves of pairs stand in patterns only.
                found.update(c for c in node.value if not c.isascii() and not "\ud800" <= c <= "\udfff")
    return found


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_letter_that_is_ever_printed_can_be_read(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, errors="strict"))
    write_otherwise()

    sys.stdout.write("".join(sorted(_words() | set("—²…×"))))
    sys.stdout.flush()

    assert "\\" not in raw.getvalue().decode(encoding)


def test_what_has_no_other_spelling_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    write_otherwise()

    sys.stdout.write("币安USDT é \udcff R² — ½")
    sys.stdout.flush()

    assert raw.getvalue() == rb"\u5e01\u5b89USDT e \udcff R^2 - 1/2"
