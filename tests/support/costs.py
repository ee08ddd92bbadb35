"""What each test costs: `pytest --costs FILE` writes its processor time, and prints a table by folder.

Counted are the test's own process, the children it waited for (and theirs), its nursery and what that has
forked (tests/support/quick.py), and the servers it uses that are no children of it (PostgreSQL: `watch`). A
fixture of a session counts for the test that first asks for it, or for the one after which it is closed. What
a worker spends besides its tests (imports, collection, talking to pytest-xdist) is a line of its own. A child
that nobody waits for is missed; therefore what the whole machine was busy meanwhile stands beside the sum: on
a machine that does nothing else it is the upper bound.
"""

from __future__ import annotations

import os
import resource
import time
from collections import defaultdict
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.support import quick

_TICK = os.sysconf("SC_CLK_TCK")
_watched: set[int] = set()


def watch(pid: int) -> None:
    """Count this server and its children too; it is no child of the test's process."""
    _watched.add(pid)


@dataclass(frozen=True)
class Cost:
    """Seconds: processor time of the test's process, of its children, of servers; and by the clock."""

    own: float = 0.0
    children: float = 0.0
    servers: float = 0.0
    clock: float = 0.0

    @property
    def processor(self) -> float:
        return self.own + self.children + self.servers

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


def spent() -> Cost:
    """What this process has cost since it began."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(
        time.process_time(),
        children.ru_utime + children.ru_stime + quick.spent(),
        sum(_of_server(pid) for pid in _watched),
        time.monotonic(),
    )


def _of_server(pid: int) -> float:
    """A postmaster, the backends it has waited for, and those that are there now."""
    seconds = 0.0
    # It may have ended a moment ago.
    with suppress(OSError):
        seconds = _ticks(pid, 4) / _TICK
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(OSError):
                seconds += _ticks(int(child), 2) / _TICK
    return seconds


def _ticks(pid: int, fields: int) -> int:
    """utime, stime, cutime, cstime of proc(5): the first two, or all four."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(v) for v in after_name[11 : 11 + fields])


def _machine() -> float:
    """Seconds in which any processor of this machine did something, since it was started."""
    user, nice, system, _idle, _waiting, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / _TICK


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--costs", metavar="FILE", help="where to write each test's processor time")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--costs"):
        config.pluginmanager.register(Costs(config), "clm-costs")


class Costs:
    """In each process that runs tests, and in the one that tells."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        #: Of this process, and of those that ran tests for it.
        self._rows: list[tuple[str, Cost]] = []
        self._others: list[tuple[str, Cost]] = []
        self._begun, self._machine = time.monotonic(), _machine()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        before = spent()
        done = yield
        self._rows.append((item.nodeid, spent() - before))
        return done

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        whole = replace(spent(), clock=time.monotonic() - self._begun)
        if self._others:
            # Those that ran tests are its children, and tell of themselves.
            whole = replace(whole, children=0.0)
        rest = whole - sum((cost for _, cost in self._rows), Cost())
        self._rows.append(("(besides tests)", rest))
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output["costs"] = [(name, *astuple(cost)) for name, cost in self._rows]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        rows = getattr(node, "workeroutput", {}).get("costs", ())
        self._others.extend((name, Cost(*cost)) for name, *cost in rows)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        rows = sorted(self._rows + self._others, key=lambda row: -row[1].processor)
        lines = ["\t".join((name, *(f"{v:.3f}" for v in astuple(cost)))) for name, cost in rows]
        Path(self._config.getoption("--costs")).write_text(
            "\n".join(("test\town\tchildren\tservers\tclock", *lines, "")), encoding="utf-8"
        )
        terminalreporter.section("processor time, seconds")
        for line in table(rows):
            terminalreporter.write_line(line)
        terminalreporter.write_line(
            f"the machine was busy for {_machine() - self._machine:.0f} s of "
            f"{time.monotonic() - self._begun:.0f} s × {os.cpu_count()} processors"
        )


def table(rows: Iterable[tuple[str, Cost]]) -> list[str]:
    """By folder, the dearest first."""
    by_folder: dict[str, list[Cost]] = defaultdict(list)
    for name, cost in rows:
        path = PurePosixPath(name.partition("::")[0])
        by_folder["/".join(path.parts[:2])].append(cost)
        by_folder["all"].append(cost)
    sums = {folder: sum(costs, Cost()) for folder, costs in by_folder.items()}
    head = f"{'folder':<22}{'tests':>7}{'own':>9}{'children':>10}{'servers':>9}{'processor':>11}{'clock':>9}"
    return [
        head,
        *(
            f"{folder:<22}{len(by_folder[folder]):>7}{c.own:>9.1f}{c.children:>10.1f}{c.servers:>9.1f}"
            f"{c.processor:>11.1f}{c.clock:>9.1f}"
            for folder, c in sorted(sums.items(), key=lambda pair: -pair[1].processor)
        ),
    ]
