"""How to get what an optional extra needs: a command that works when it is copied.

CLM is on no index, so a command that names it there would install whatever somebody registered under it.
Where it was installed from a checkout the command names that folder, elsewhere the libraries themselves.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

OURS = "quantum-clm"
_PACKAGE = Path(__file__).resolve().parents[1]
#: Of a checkout, where this runs from one.
_ROOT = _PACKAGE.parents[1]


def how_to_install(*extras: str, package: str = OURS) -> str:
    """A shell command for this interpreter, from the checkout `package` came from, with its constraints.

    Without one it names what the extras of CLM need, held to the versions the wheel was tested with; a
    stranger's package came from an index then, and is named. Raises PackageNotFoundError.
    """
    found = distribution(package)
    named = f"[{','.join(extras)}]"
    folder, editable = _checkout(found, package)
    if folder is not None:
        return _pip(folder / "constraints.txt", *(("-e",) if editable else ()), f"{folder}{named}")
    if package != OURS:
        return _pip(None, f"{package}{named}")
    wanted = [requirement for extra in extras for requirement in requirements(found, extra)]
    return _pip(_PACKAGE / "constraints.txt", *wanted)


def requirements(package: Distribution, extra: str) -> Iterator[str]:
    """What the package says an extra of it needs, as pip takes it: `optuna>=4`."""
    for line in package.requires or ():
        requirement, _, condition = line.partition(";")
        if re.search(rf"""extra\s*==\s*["']{re.escape(extra)}["']""", condition):
            yield requirement.strip()


def _checkout(found: Distribution, package: str) -> tuple[Path | None, bool]:
    """The folder it came from, while one can install from it; and whether it is used in place."""
    if package == OURS and (_ROOT / "pyproject.toml").is_file():
        return _ROOT, True
    told = json.loads(found.read_text("direct_url.json") or "{}")
    url = urlsplit(told.get("url", ""))
    folder = Path(unquote(url.path))
    if "dir_info" not in told or url.scheme != "file" or not (folder / "pyproject.toml").is_file():
        return None, False
    return folder, bool(told["dir_info"].get("editable"))


def _pip(constraints: Path | None, *arguments: str) -> str:
    """By this interpreter's pip; environments that uv makes have none."""
    own = [sys.executable, "-m", "pip", "install"]
    uv = ["uv", "pip", "install", "--python", sys.executable]
    pinned = ["-c", str(constraints)] if constraints is not None and constraints.is_file() else []
    return shlex.join([*(own if find_spec("pip") is not None else uv), *pinned, *arguments])
