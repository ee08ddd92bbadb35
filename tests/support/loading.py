"""Loads files nobody should trust, each in a process of its own, and says what became of it.

    python -m tests.support.loading FOLDER

FOLDER holds `cases.json`, a list of {name, family, file}. One line of JSON per case: its name and its
outcome, `corrupt` or `mismatch` (an error of ours), `answer` (finite forecasts), else what went wrong: a
signal, a hang, another exception (memory without bound is one). The libraries are imported once; each case
is a fork.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from clm.core import plugins
from clm.core.errors import ArtifactCorrupt, SchemaMismatch, UnreadableHere
from clm.registry.sql import SQLModelRegistry
from tests.support.frames import feature_frame
from tests.support.versions import BTC, candidate

_SECONDS = 120.0
#: More memory than any file here may need, beyond what the libraries took when they were imported.
_MEMORY = 512 * 2**20
_FRAME = feature_frame(50, 4)
_ROW = replace(candidate(), model=None)


def main(folder: Path) -> None:
    """Every case of a folder."""
    cases = json.loads((folder / "cases.json").read_text())
    for family in sorted({case["family"] for case in cases}):
        plugins.model_family(family)
    # What a fork never collects it need not copy either.
    gc.collect()
    gc.freeze()
    with SQLModelRegistry(f"sqlite:///{folder}/clm.db", folder, series=BTC) as registry:
        for case in cases:
            outcome = _apart(folder, registry, case)
            print(json.dumps({"name": case["name"], "outcome": outcome}), flush=True)  # noqa: T201


def outcome_of(folder: Path, registry: SQLModelRegistry, family: str, file: str) -> str:
    """Load as the registry does, the file's own hash in its row, and predict once."""
    raw = (folder / file).read_bytes()
    try:
        # The family by itself, without the net the registry holds under careless ones.
        plugins.model_family(family).from_bytes(raw)
        readable = True
    except ArtifactCorrupt:
        readable = False
    artifact = replace(
        _ROW, model_type=family, file_path=file, artifact_sha256=hashlib.sha256(raw).hexdigest()
    )
    try:
        answer = registry.load_model(artifact).predict(_FRAME)
    except (ArtifactCorrupt, UnreadableHere):
        return "the registry refuses what the family reads" if readable else "corrupt"
    except SchemaMismatch:
        return "mismatch"
    sound = answer.shape == (len(_FRAME),) and answer.dtype == np.float64 and np.isfinite(answer).all()
    return "answer" if sound else f"unsound forecasts, such as {answer[:3]}"


def _apart(folder: Path, registry: SQLModelRegistry, case: Mapping[str, str]) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _work(folder, registry, case, writing)
    os.close(writing)
    deadline = time.monotonic() + _SECONDS
    while True:
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reading)
            return f"still busy after {_SECONDS:g} s"
        time.sleep(0.001)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    if os.WIFSIGNALED(status):
        return f"the process died of {signal.Signals(os.WTERMSIG(status)).name}"
    return said


def _work(folder: Path, registry: SQLModelRegistry, case: Mapping[str, str], writing: int) -> None:
    """The child's whole life."""
    # Libraries that die say so at length.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    limit = psutil.Process().memory_info().vms + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        outcome = outcome_of(folder, registry, case["family"], case["file"])
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is the outcome
        outcome = f"{type(error).__name__}: {str(error)[:100]}"
    os.write(writing, outcome.encode()[:1000])
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
