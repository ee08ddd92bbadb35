"""How far it is: bars where somebody sits at a terminal, plain lines where nobody does."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

from clm.cli import output
from clm.core.ambit import Part
from clm.core.domain import Progress
from tests.support.exchange import serving, simulated
from tests.support.shell import CLM, Shell, shell_in
from tests.support.waiting import LIMIT

_MANY = '{"lightgbm": {"num_trees": 2000, "min_data_in_leaf": 20}}'


def _on_a_terminal(shell: Shell, *arguments: str, **more: str) -> str:
    """What a terminal is sent by a command, both of its streams."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*CLM, *arguments], cwd=shell.folder, stdout=theirs, stderr=theirs, stdin=theirs,
        env={**os.environ, **shell.environment, "TERM": "xterm", **more},
    )  # fmt: skip
    os.close(theirs)
    said, deadline = b"", time.monotonic() + LIMIT
    while time.monotonic() < deadline and (process.poll() is None or select.select([ours], [], [], 0)[0]):
        if select.select([ours], [], [], 0.1)[0]:
            try:
                said += os.read(ours, 65536)
            except OSError:
                break
    os.close(ours)
    if process.poll() is None and time.monotonic() >= deadline:
        process.kill()
    assert process.wait(LIMIT) == 0, said.decode()
    return said.decode()


def test_a_terminal_shows_a_bar_over_the_steps_and_one_over_the_rounds(tmp_path: Path) -> None:
    with serving(simulated()) as exchange:
        said = _on_a_terminal(
            shell_in(tmp_path, exchange), "retrain", "--models", "lightgbm", CLM_TRAINING_PARAMS=_MANY,
            CLM_LOG_LEVEL="info",
        )  # fmt: skip

    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)
    assert "training lightgbm on" in plain
    assert re.search(r"rounds .*\d+/2000", plain)
    assert "completed" in plain
    # The worker's lines are in the file; they would tear the bars.
    assert "run_id=" not in plain.partition("run r")[0]
    assert "trained" in (tmp_path / "logs" / "clm.log").read_text()


def test_a_pipe_is_given_a_line_for_each_step(tmp_path: Path) -> None:
    with serving(simulated()) as exchange:
        done = shell_in(tmp_path, exchange)("retrain", "--models", "lightgbm")

    lines = done.stderr.splitlines()
    assert done.returncode == 0
    assert "\x1b" not in done.stderr
    # Each of them once, however short it was.
    begun = [int(found[1]) for line in lines if (found := re.match(r"\[(\d)/8\] (?!.*: [\d,]+ of )", line))]
    assert begun == list(range(9))
    assert any(re.fullmatch(r"\[\d/8\] training lightgbm on [\d,]+ candles.*", line) for line in lines)
    assert len(lines) < 20


def test_a_step_that_takes_long_is_told_of_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    moments = iter([0.0, 3.0, 9.0, 11.0, 12.0, 13.0])

    with output.progress_bar(clock=lambda: next(moments)) as tell:
        for done in range(1, 5):
            part = Part(done * 1000, 5000, "rounds")
            tell(Progress(step="refit", message="training", done=3, total=8, part=part))
        tell(Progress(step="shadow", message="replaying", done=4, total=8))
        tell(Progress(step="shadow", message="replaying", done=4, total=8))

    assert capsys.readouterr().err.splitlines() == [
        "[3/8] training: 1,000 of 5,000 rounds", "[3/8] training: 4,000 of 5,000 rounds", "[4/8] replaying",
    ]  # fmt: skip
