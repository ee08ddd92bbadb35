"""Local processes for the parts of a run: each may die alone, none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import as_completed
from pathlib import Path

import psutil
import pytest

from clm.core.errors import TaskEnded
from clm.jobs.guard import Limits
from clm.jobs.pool import LocalPool
from tests.support.waiting import LIMIT, eventually


def square(number: int) -> int:
    return number * number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def leave(code: int) -> None:
    os._exit(code)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def sign(folder: str) -> int:
    """Its process, which leaves its number there."""
    Path(folder, str(os.getpid())).touch()
    return os.getpid()


def meet(folder: str) -> int:
    """Its process, once another one has been there too."""
    sign(folder)
    eventually(lambda: len(os.listdir(folder)) >= 2, "a second process")
    return os.getpid()


def stay(folder: str) -> None:
    """Signs, and goes on."""
    sign(folder)
    time.sleep(1000)


def hoard(megabytes: int) -> int:
    held = bytearray(megabytes << 20)
    time.sleep(1000)
    return len(held)


def refuse(what: str) -> None:
    raise ValueError(what)


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    made = LocalPool(2, Limits(seconds=LIMIT, megabytes=600))
    yield made
    made.shutdown(cancel_futures=True)


def test_tasks_are_done_side_by_side_each_once(pool: LocalPool) -> None:
    futures = {pool.submit(square, n): n for n in range(20)}

    assert {futures[f]: pool.result(f) for f in as_completed(futures)} == {n: n * n for n in range(20)}


def test_several_processes_are_at_it(pool: LocalPool, tmp_path: Path) -> None:
    futures = [pool.submit(meet, str(tmp_path)) for _ in range(4)]

    pids = {pool.result(future) for future in futures}

    assert len(pids) == 2
    assert os.getpid() not in pids


def test_of_a_process_that_is_killed_only_its_own_task_fails(pool: LocalPool) -> None:
    killed, left = pool.submit(die, 1), pool.submit(leave, 7)
    others = [pool.submit(square, n) for n in range(10)]

    assert [pool.result(future) for future in others] == [n * n for n in range(10)]
    with pytest.raises(TaskEnded, match="its process was ended by SIGKILL"):
        pool.result(killed)
    with pytest.raises(TaskEnded, match="its process ended with exit code 7"):
        pool.result(left)


@pytest.mark.rehearse
def test_processes_that_die_while_they_have_nothing_to_do_cost_no_task(pool: LocalPool) -> None:
    first = pool.result(pool.submit(os.getpid))
    idle = [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())]
    assert first in {each.pid for each in idle}
    for each in idle:
        each.kill()
    eventually(lambda: not any(each.is_running() for each in idle), "their end, noticed by their pool")

    later = [pool.submit(square, n) for n in range(10)]

    assert [pool.result(future) for future in later] == [n * n for n in range(10)]


@pytest.mark.rehearse
def test_processes_that_die_each_time_they_begin_are_given_up(pool: LocalPool) -> None:
    tight = LocalPool(1, Limits(megabytes=1))

    with pytest.raises(TaskEnded, match=r"ended before they began with it|more than the limit of 1 MB"):
        tight.result(tight.submit(sleep, 1000))
    tight.shutdown(cancel_futures=True)


@pytest.mark.rehearse
def test_a_task_beyond_its_limit_is_ended_and_the_others_go_on(pool: LocalPool) -> None:
    # Of two pools, so that on a slow machine what is too large is not too slow as well.
    brief = LocalPool(2, Limits(seconds=8))
    slow, large = brief.submit(sleep, 1000), pool.submit(hoard, 700)
    others = {each: each.submit(square, 3) for each in (brief, pool)}

    with pytest.raises(TaskEnded, match="longer than the limit of 8 s"):
        brief.result(slow)
    with pytest.raises(TaskEnded, match="more than the limit of 600 MB"):
        pool.result(large)
    assert [each.result(other) for each, other in others.items()] == [9, 9]
    brief.shutdown(cancel_futures=True)


def test_what_a_task_raises_is_raised(pool: LocalPool) -> None:
    with pytest.raises(ValueError, match="not today"):
        pool.result(pool.submit(refuse, "not today"))


_PARENT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from clm.jobs.guard import Limits
from clm.jobs.pool import LocalPool
from test_pool import stay
if __name__ == "__main__":
    pool = LocalPool(2, Limits())
    for _ in range(2):
        pool.submit(stay, sys.argv[2])
    time.sleep(1000)
"""


@pytest.mark.rehearse
def test_processes_end_with_their_parent_however_it_ends(tmp_path: Path) -> None:
    here = os.path.dirname(__file__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, here, str(tmp_path)], env=environment)
    eventually(lambda: len(os.listdir(tmp_path)) == 2, "two processes at work")
    working = [psutil.Process(int(name)) for name in os.listdir(tmp_path)]
    parent.kill()
    parent.wait()

    _, alive = psutil.wait_procs(working, timeout=LIMIT)
    assert len(working) == 2
    assert alive == []
