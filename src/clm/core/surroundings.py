"""What besides candles and recipe may shape a model: this CLM's code, and the libraries it stands on."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clm.core.domain import fingerprint

#: Libraries under features and frames; families name their own.
_LIBRARIES = ("numpy", "pandas", "TA-Lib")
_PACKAGE = Path(__file__).resolve().parents[1]
#: Sources that decide which rows a model learns from, and what it learns.
_SHAPING = ("core/domain.py", "core/timeline.py", "features/*.py", "training/**/*.py")


@cache
def code() -> Mapping[str, str]:
    """version: of CLM. sha256: over the sources that shape a model; empty where they are not at hand."""
    files = sorted(file for pattern in _SHAPING for file in _PACKAGE.glob(pattern))
    parts = [part for file in files for part in (file.relative_to(_PACKAGE).as_posix(), file.read_bytes())]
    return {"version": _version("quantum-clm"), "sha256": fingerprint(*parts) if parts else ""}


@cache
def libraries() -> Mapping[str, str]:
    """Versions, and the kind of machine."""
    own = {"python": platform.python_version(), "machine": f"{platform.machine()} {platform.system()}"}
    return {**own, **{name: _version(name) for name in _LIBRARIES}}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
