"""Local processes for the parts of a run: each may die alone, none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import as_completed

import psutil
import pytest

from clm.core.errors import TaskEnded
from clm.jobs.guard import Limits
from clm.jobs.pool import LocalPool


def square(number: int) -> int:
    return number * number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def leave(code: int) -> None:
    os._exit(code)


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def hoard(megabytes: int) -> int:
    held = bytearray(megabytes << 20)
    time.sleep(30)
    return len(held)


def refuse(what: str) -> None:
    raise ValueError(what)


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    # Long enough for a busy machine to begin a process in.
    made = LocalPool(2, Limits(seconds=8, megabytes=600))
    yield made
    made.shutdown(cancel_futures=True)


def test_tasks_are_done_side_by_side_each_once(pool: LocalPool) -> None:
    futures = {pool.submit(square, n): n for n in range(20)}

    assert {futures[f]: pool.result(f) for f in as_completed(futures)} == {n: n * n for n in range(20)}


def test_several_processes_are_at_it(pool: LocalPool) -> None:
    futures = [pool.submit(sleep, 0.5) for _ in range(4)]

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


def test_a_task_beyond_its_limit_is_ended_and_the_others_go_on(pool: LocalPool) -> None:
    slow, large = pool.submit(sleep, 60), pool.submit(hoard, 700)
    other = pool.submit(square, 3)

    with pytest.raises(TaskEnded, match="longer than the limit of 8 s"):
        pool.result(slow)
    with pytest.raises(TaskEnded, match="more than the limit of 600 MB"):
        pool.result(large)
    assert pool.result(other) == 9


def test_what_a_task_raises_is_raised(pool: LocalPool) -> None:
    with pytest.raises(ValueError, match="not today"):
        pool.result(pool.submit(refuse, "not today"))


_PARENT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from clm.jobs.guard import Limits
from clm.jobs.pool import LocalPool
from test_pool import sleep
if __name__ == "__main__":
    pool = LocalPool(2, Limits())
    for _ in range(2):
        pool.submit(sleep, 600)
    time.sleep(600)
"""


def test_processes_end_with_their_parent_however_it_ends() -> None:
    here = os.path.dirname(__file__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, here], env=environment)
    working: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while len(working) < 2 and time.monotonic() < deadline:
        children = psutil.Process(parent.pid).children()
        working = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        time.sleep(0.1)
    time.sleep(1)
    parent.kill()
    parent.wait()

    _, alive = psutil.wait_procs(working, timeout=30)
    assert len(working) == 2
    assert alive == []
