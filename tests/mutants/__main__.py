"""Breaks the product in small ways, one at a time, and sees whether the tests notice: `make mutants`.

`mutants.toml` names what is broken, where, and the tests that must fail then. Given words, it tries those
whose name or file holds one of them. Nothing is changed here: all of it happens in copies.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
#: What tests read of a checkout, besides the files on top.
_FOLDERS = (".ci", "alembic", "benchmarks", "docs", "examples", "src", "tests")
_LEFT_OUT = (".git", ".env", "*.db*")
_AT_ONCE = 2
_DEADLINE, _ALL_TOGETHER = 120.0, 900.0
#: So many of them must fall to `make test` alone.
_ENOUGH = 36
#: What `make test` leaves out.
_REHEARSALS = ("rehearse", "faults")
#: A mutant that does not even run is none, and proves nothing.
_DOES_NOT_RUN = ("SyntaxError", "IndentationError", "ImportError", "ModuleNotFoundError", "NameError")
#: Python takes compiled code for that of a file as long and as old: each file written gets an age of its own.
_AGES = count(1_000_000_000)


@dataclass(frozen=True, slots=True)
class Mutant:
    """name: what is broken, in a sentence. before: text that the file holds once; after: in its place.

    killed_by: tests that fail then.
    """

    name: str
    file: str
    before: str
    after: str
    killed_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run of tests. failed: the first test that failed, None where none did; said: what came of it."""

    code: int
    failed: str | None
    said: str


def main(words: Sequence[str]) -> int:
    """0 where every mutant is killed, and enough of them by quick tests."""
    read = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text(encoding="utf-8"))
    every = [Mutant(**{**entry, "killed_by": tuple(entry["killed_by"])}) for entry in read["mutant"]]
    mutants = [m for m in every if not words or any(word in f"{m.name} {m.file}" for word in words)]
    unfit = [said for mutant in mutants if (said := unfit_for(mutant)) is not None]
    if unfit or not mutants:
        print("\n".join(unfit) or "no mutant has such a name")
        return 1
    began = time.monotonic()
    with TemporaryDirectory(prefix="clm-mutants-") as scratch:
        folders = _copies(Path(scratch))
        tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.killed_by))
        whole = _pytest(folders[0], tests, None, _ALL_TOGETHER)
        if whole.code != 0:
            print(f"the tests fail before anything is broken: {whole.failed or ''}\n{whole.said}")
            return 1
        print(
            f"{len(tests)} tests pass before anything is broken ({time.monotonic() - began:.0f} s)",
            flush=True,
        )
        free: SimpleQueue[Path] = SimpleQueue()
        for folder in folders:
            free.put(folder)
        with ThreadPoolExecutor(_AT_ONCE) as side_by_side:
            ends = list(side_by_side.map(lambda mutant: _tried(mutant, free), mutants))
    quick, late = ends.count("make test"), ends.count("rehearsal")
    print(
        f"{len(mutants)} mutants: {quick} killed in `make test`, {late} in a rehearsal, "
        f"{ends.count('SURVIVED')} survived ({time.monotonic() - began:.0f} s)"
    )
    return int("SURVIVED" in ends or quick < min(_ENOUGH, len(mutants)))


def unfit_for(mutant: Mutant) -> str | None:
    """Why it cannot be tried, None where it can."""
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    found = text.count(mutant.before)
    if found != 1:
        return f"{mutant.file} holds what is to be broken {found} times, not once: {mutant.name}"
    try:
        compile(text.replace(mutant.before, mutant.after), mutant.file, "exec", dont_inherit=True)
    except SyntaxError as exc:
        return f"{mutant.file} is no Python any more (line {exc.lineno}): {mutant.name}"
    return None


def _copies(scratch: Path) -> list[Path]:
    """One checkout for each mutant that is tried at a time, beside the candles where there are any."""
    if (shared := ROOT.parent / "shared").exists():
        (scratch / "shared").symlink_to(shared)
    folders = [scratch / f"copy{number}" for number in range(_AT_ONCE)]
    for folder in folders:
        for name in _FOLDERS:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ROOT.iterdir():
            if file.is_file() and not any(fnmatch(file.name, pattern) for pattern in _LEFT_OUT):
                shutil.copy(file, folder)
    return folders


def _tried(mutant: Mutant, free: SimpleQueue[Path]) -> str:
    """`make test`, `rehearsal` or `SURVIVED`; told as soon as it is known."""
    folder, began = free.get(), time.monotonic()
    try:
        with _broken(folder / mutant.file, mutant):
            end, said = _killed(folder, mutant)
    finally:
        free.put(folder)
    told = end if end == "SURVIVED" else f"killed in {'`make test`' if end == 'make test' else 'a rehearsal'}"
    print(f"{told} ({time.monotonic() - began:.1f} s): {mutant.name}{said}", flush=True)
    return end


def _killed(folder: Path, mutant: Mutant) -> tuple[str, str]:
    """How it ended, and what is to be said of a survivor."""
    said = []
    for end, marks in _rounds():
        outcome = _pytest(folder, mutant.killed_by, marks, _DEADLINE)
        if outcome.code == 1 and outcome.failed is not None:
            return end, ""
        # 5: no test has such a mark.
        if outcome.code != 5:
            said.append(f"\n    {outcome.said}")
    return "SURVIVED", "".join(said)


@cache
def _rounds() -> tuple[tuple[str, str], tuple[str, str]]:
    """How a mutant may be killed, with the marks of the tests to run; pytest refuses those it knows not."""
    read = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    known = [mark.partition(":")[0] for mark in read["tool"]["pytest"]["ini_options"]["markers"]]
    late = " or ".join(mark for mark in _REHEARSALS if mark in known)
    return ("make test", f"not ({late})"), ("rehearsal", late)


@contextmanager
def _broken(file: Path, mutant: Mutant) -> Iterator[None]:
    whole = file.read_text(encoding="utf-8")
    try:
        _write(file, whole.replace(mutant.before, mutant.after))
        yield
    finally:
        _write(file, whole)


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    age = next(_AGES)
    os.utime(file, (age, age))


def _pytest(folder: Path, tests: Sequence[str], marks: str | None, seconds: float) -> Outcome:
    """Runs tests of a copy, to the first that fails."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--junit-xml", str(report),
        *(("-m", marks) if marks else ()), *tests,
    ]  # fmt: skip
    child = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder / "src")}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return Outcome(-1, None, f"no end within {seconds:.0f} s")
    last = output.strip().splitlines()[-1:] or ["pytest said nothing"]
    return Outcome(child.returncode, _first_failed(report), last[0])


def _first_failed(report: Path) -> str | None:
    """The first test that failed: none that could not be collected or set up, or whose code does not run."""
    if not report.exists():
        return None
    for case in ElementTree.parse(report).iter("testcase"):  # pytest's own
        failure = case.find("failure")
        if failure is not None and not failure.get("message", "").startswith(_DOES_NOT_RUN):
            return case.get("name")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
