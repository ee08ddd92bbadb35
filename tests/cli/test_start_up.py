"""Starting is quick because nothing heavy is imported before it is needed."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.quick import REAL

HEAVY = (
    "xgboost",
    "lightgbm",
    "sqlalchemy",
    "binance",
    "pandas",
    "numpy",
    "fastapi",
    "pydantic",
    "talib",
    "scipy",
)


@pytest.mark.parametrize(
    "code",
    ["import clm", "import sys; sys.argv = ['clm', '--help']; from clm.cli import main; main()"],
    ids=["import clm", "clm --help"],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    check = (
        "import sys, atexit\natexit.register(lambda: print('HEAVY', [m for m in %r if m in sys.modules]))\n"
    )

    done = subprocess.run([REAL, "-c", check % (HEAVY,) + code], capture_output=True, text=True)

    assert done.stdout.strip().splitlines()[-1] == "HEAVY []"


def test_public_names_are_there_and_others_are_not() -> None:
    import clm

    for name in clm.__all__:
        assert getattr(clm, name).__name__ == name
    assert set(clm.__all__) <= set(dir(clm))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = clm.nonsense
