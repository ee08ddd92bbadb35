"""What every test process is given: quick children, memory for its files, one third-party model family."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import hypothesis

from tests.support import once, quick

# How long an example takes is the machine's business.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")

pytest_plugins = ["tests.support.costs"]

# Begun in the background of a shell it would ignore Ctrl-C, and so would every process of a test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Two threads are slower than one on small fits, and workers started by tests inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# By nothing but an entry point on the path is it installed, here and in child processes (workers, `clm …`).
PLUGINS = str(Path(__file__).parent / "support" / "plugins")
if PLUGINS not in sys.path:
    sys.path.append(PLUGINS)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), PLUGINS)))
for name in [name for name in os.environ if name.startswith("CLM_") and not name.startswith("CLM_TEST_")]:
    del os.environ[name]

# Before anything of CLM is imported: what it begins children with is this.
quick.install()
once.keep()

_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 2 << 30


def _in_memory() -> None:
    """Temporary files go where nobody waits for a disk, if there is room for them, and programs may run."""
    if "TMPDIR" in os.environ or not _MEMORY.is_dir() or not os.access(_MEMORY, os.W_OK):
        return
    programs_run = not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC
    if programs_run and shutil.disk_usage(_MEMORY).free >= _ENOUGH_BYTES:
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


_in_memory()


# What an exchange has asked this machine for is shared by all tests and their children, and by nobody else.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="clm-state-")


def pytest_unconfigure() -> None:
    quick.remove()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["XDG_STATE_HOME"], ignore_errors=True)
