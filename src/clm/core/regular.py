"""Files that others may have put there: what is none is not waited for, what lies elsewhere not touched."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_LONGEST_NAME = 255


def open_regular(path: Path) -> BufferedReader:
    """`path` for reading. Raises OSError, also for a pipe or a device, which might never say anything."""
    # A pipe that nobody writes to would be waited for as it is opened.
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def read_regular(path: Path) -> bytes:
    """All of it. Raises OSError, as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def within(folder: Path, name: str) -> Path | None:
    """The file of that name in a folder, there or not; None where the name, or a link, leads elsewhere."""
    if os.path.basename(name) != name or name in ("", ".", "..") or "\0" in name or len(name) > _LONGEST_NAME:
        return None
    file = folder / name
    if not file.is_symlink():
        return file
    try:
        return file if file.resolve().parent == folder.resolve() else None
    except (OSError, RuntimeError):
        # Links that lead in a circle.
        return None
