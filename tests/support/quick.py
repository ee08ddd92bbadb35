"""A Python that is quick to start: real child processes of CLM without two seconds of imports for each.

`sys.executable` of a test process is a small program that asks a *nursery*, a process that has imported CLM
once and does nothing else, to fork. What comes of it is a process as any other: its own number, session,
environment, working directory, standard streams, exit code; signals sent to the program reach it, and it dies
when the program is killed. Only how it began differs. Asked for anything but CLM (`-m clm`, `-c "from clm"`),
for a module that watches its parent, or under other settings of Python or the locale, the program becomes the
real interpreter, as it does where there is no fork. Tests of what happens at a start take `REAL` themselves,
and `CLM_TEST_REAL_PYTHON=1` takes it for all.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from tests.support.quick_start import read_at_start

#: The interpreter itself.
REAL = sys.executable
_FOLDER = "CLM_TEST_NURSERY"

_PROGRAM = """#!{real} -ISE
import os, sys
sys.path.append({support!r})
import quick_start
quick_start.start({real!r}, {nursery!r}, {folder!r}, {pins!r})
"""


def install() -> None:
    """From here on `sys.executable` is quick to start, in this process and its children."""
    if not hasattr(os, "fork") or sys.platform == "darwin" or os.environ.get("CLM_TEST_REAL_PYTHON"):
        return
    folder = Path(tempfile.mkdtemp(prefix="clm-q-"))
    (folder / "owner").write_text(str(os.getpid()))
    os.environ[_FOLDER] = str(folder)
    program = folder / "python"
    here = Path(__file__).parent
    program.write_text(
        _PROGRAM.format(
            real=REAL,
            support=str(here),
            nursery=str(here / "nursery.py"),
            folder=str(folder),
            pins=read_at_start(),
        )
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    sys.executable = str(program)


def remove() -> None:
    """Ends the nursery of this process, and with it what it still has begun."""
    folder = os.environ.pop(_FOLDER, None)
    if folder is None:
        return
    sys.executable = REAL
    # It finds its folder gone, and ends.
    shutil.rmtree(folder)


def spent() -> float:
    """Seconds of a processor: this process's nursery, and what it has forked that has ended."""
    folder = os.environ.get(_FOLDER)
    try:
        with open(f"{folder}/costs", "rb") as file:
            return sum(map(float, file))
    except FileNotFoundError:
        return 0.0
