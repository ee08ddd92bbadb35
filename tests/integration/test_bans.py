"""What could run a stranger's code does not pass `make check`: each such line is refused by the linter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DANGEROUS = (
    "import pickle",
    "import _pickle",
    "import marshal",
    "import joblib",
    "import shelve",
    "import dill",
    "import cloudpickle",
    "import jsonpickle",
    "from pickle import loads",
    "from joblib import load",
    "from importlib import import_module",
    "import numpy; numpy.load('x.npy', allow_pickle=True)",
    "from numpy import load",
    "import pandas; pandas.read_pickle('x')",
    "import torch; torch.load('x.pt')",
    "import yaml; yaml.load(text)",
    "import yaml; yaml.unsafe_load(text)",
    "eval(text)",
    "exec(text)",
    "import os; os.system(text)",
    "import os; os.popen(text)",
    "import subprocess; subprocess.run(text, shell=True)",
    "import subprocess; subprocess.Popen(text, shell=True)",
    "import subprocess; subprocess.getoutput(text)",
)
#: The rules that are about this, and nothing about style.
_RULES = ("TID251", "S1", "S3", "S5", "S6")


def _refused(lines: tuple[str, ...], name: str = "src/clm/registry/new.py") -> set[int]:
    """Numbers of the lines that the linter refuses, as `make check` would run it."""
    text = "text = input()\n" + "\n".join(lines) + "\n"
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--output-format", "json", "--stdin-filename", name, "-"],
        cwd=ROOT, input=text, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    return {f["location"]["row"] - 2 for f in found if str(f["code"]).startswith(_RULES)}


def test_every_dangerous_line_is_refused() -> None:
    refused = _refused(DANGEROUS)

    assert [line for number, line in enumerate(DANGEROUS) if number not in refused] == []


@pytest.mark.parametrize("folder", ["tests/core", "benchmarks", "alembic/versions"])
def test_pickles_are_refused_outside_the_product_too(folder: str) -> None:
    lines = ("import pickle", "import joblib", "import torch; torch.load('x')")

    assert _refused(lines, f"{folder}/new.py") == {0, 1, 2}


def test_what_is_harmless_passes() -> None:
    assert _refused(("import json", "json.loads(text)", "import yaml; yaml.safe_load(text)")) == set()


def test_no_line_of_the_product_is_excused_from_the_rules_against_strangers_code() -> None:
    """Excuses are for our own interpreter as a child process, and for names that stand in the code."""
    excused = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for file in sorted((ROOT / "src").rglob("*.py"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if "noqa" in line and ("S3" in line or "S5" in line or "S6" in line or "TID251" in line)
    ]

    assert [line for line in excused if "our own interpreter, no shell" not in line] == [
        "src/clm/__init__.py: from importlib import import_module"
        "  # noqa: TID251  # of names that stand below"
    ]
