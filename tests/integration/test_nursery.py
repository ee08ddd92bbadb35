"""The nursery that children of tests are forked from outlives whatever becomes of those who ask it."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.quick import REAL
from tests.support.waiting import eventually

ANSWER = "import clm, os; print(os.getppid())"


@pytest.fixture
def folder() -> Path:
    if sys.executable == REAL:
        pytest.skip("children are begun anew here, there is no nursery")
    return Path(os.environ["CLM_TEST_NURSERY"])


@pytest.fixture
def nursery(folder: Path) -> int:
    """Its process."""
    return asked()


def asked() -> int:
    """The process that forked a child which did as it was told."""
    done = subprocess.run([sys.executable, "-c", ANSWER], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return int(done.stdout)


def listens(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(address)) == 0


def test_a_child_comes_of_the_nursery_and_not_of_who_asked(nursery: int) -> None:
    assert nursery not in (os.getpid(), os.getppid())
    assert asked() == nursery


@pytest.mark.parametrize(
    "said", [b"", b"\0\0\0", b"\0\0\0\0\0\0\0\x63half of it"], ids=["nothing", "a bit", "half"]
)
def test_who_hangs_up_before_all_is_said_ends_nothing(folder: Path, nursery: int, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / "clm"))
        connection.sendall(said)

    assert asked() == nursery


def test_who_asks_may_be_killed_at_any_moment(nursery: int) -> None:
    moments = random.Random(7)
    for _ in range(40):
        with subprocess.Popen([sys.executable, "-c", ANSWER], stdout=subprocess.DEVNULL) as child:
            time.sleep(moments.uniform(0, 0.06))
            child.kill()

    assert asked() == nursery


@pytest.mark.rehearse
def test_after_a_nursery_that_was_killed_comes_another(folder: Path, nursery: int) -> None:
    os.kill(nursery, signal.SIGKILL)
    eventually(lambda: not listens(folder / "clm"))

    assert asked() != nursery
