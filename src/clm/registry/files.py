"""Where model files are kept by name: a folder of this machine, or an object store; each with one promise.

A file is there under its name as a whole and for good, or not at all; and `create` never replaces one.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from clm.core.errors import StorageFailed
from clm.core.objects import Found, Objects
from clm.core.places import place
from clm.core.regular import read_regular, within

FILE_NAME = r"\w[\w.-]{0,199}"
_TEMPORARY = ".clm-writing-"
_LEFTOVER_SECONDS = 3600
#: What an error calls the file that was only a trial.
_TRIED = "a model file"


class Files(Protocol):
    """Files by name. All methods raise StorageFailed naming the file and what was wrong."""

    def create(self, name: str, raw: bytes) -> bool:
        """False where there is a file of that name, which is left as it is."""

    def replace(self, name: str, raw: bytes) -> None:
        """Writes a file, or replaces it."""

    def read(self, name: str) -> bytes | None:
        """None where there is none."""

    def about(self, name: str) -> Found | None:
        """None where there is none; of what is no file, such as a folder, a length below 0."""

    def written_at(self, name: str) -> float | None:
        """Seconds; None where there is none."""

    def delete(self, name: str) -> None:
        """Also where there is none."""

    def move(self, name: str, to: str) -> None:
        """Under another name, which may have one slash; nothing where there is no such file."""

    def names(self) -> set[str]:
        """Of all files that have no slash in their name."""

    def holds(self, name: str) -> bool:
        """Whether a name is one of a file in here, there or not."""

    def told(self, name: str) -> str:
        """A file's whole name."""

    def check(self, name: str, raw: bytes) -> None:
        """Tries on a file that holds `raw` already whether `create` keeps its promise here."""


def files_at(where: Path | str) -> Files:
    """In a folder, or at a URL. Raises InvalidSetting."""
    where = place("model_dir", where)
    return LocalFiles(where) if isinstance(where, Path) else ObjectFiles(where)


class LocalFiles:
    """In one folder, made when first written to: written aside, fsynced, linked into place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def create(self, name: str, raw: bytes) -> bool:
        with self._told(name, "written"):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            with self._aside(raw) as aside:
                try:
                    # A link, unlike a rename, never replaces a file that is already there.
                    os.link(aside, self._at(name))
                except FileExistsError:
                    return False
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return True

    def replace(self, name: str, raw: bytes) -> None:
        with self._told(name, "written"):
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._aside(raw) as aside:
                aside.replace(self._at(name))

    def read(self, name: str) -> bytes | None:
        with self._told(name, "read"):
            try:
                return read_regular(self._at(name))
            except FileNotFoundError:
                return None

    def about(self, name: str) -> Found | None:
        with self._told(name, "read"):
            try:
                found = self._at(name).stat()
            except FileNotFoundError:
                return None
        size = found.st_size if stat.S_ISREG(found.st_mode) else -1
        return Found(size, (found.st_mtime_ns, found.st_size))

    def written_at(self, name: str) -> float | None:
        with self._told(name, "read"):
            try:
                return self._at(name).stat().st_mtime
            except FileNotFoundError:
                return None

    def delete(self, name: str) -> None:
        with self._told(name, "deleted"):
            self._at(name).unlink(missing_ok=True)

    def move(self, name: str, to: str) -> None:
        target = self._folder / to
        with self._told(name, f"moved to {target.parent.name}"):
            try:
                target.parent.mkdir(exist_ok=True)
                self._at(name).rename(target)
            except FileNotFoundError:
                return

    def names(self) -> set[str]:
        if not self._folder.is_dir():
            return set()
        return {file.name for file in self._folder.iterdir() if file.is_file() and self.holds(file.name)}

    def holds(self, name: str) -> bool:
        return re.fullmatch(FILE_NAME, name) is not None and within(self._folder, name) is not None

    def told(self, name: str) -> str:
        return str(self._folder / name)

    def check(self, name: str, raw: bytes) -> None:
        """Writes a file, links it as `create` does, and takes both away again."""
        with self._told(_TRIED, "written"), self._aside(raw) as aside:
            tried = aside.with_name(f"{aside.name}-tried")
            try:
                os.link(aside, tried)
            finally:
                tried.unlink(missing_ok=True)

    def _at(self, name: str) -> Path:
        """A file in here, whatever a row says. Raises OSError for one that is elsewhere."""
        found = within(self._folder, name)
        if found is None:
            raise PermissionError(errno.EPERM, "it lies outside the folder of the models")
        return found

    @contextmanager
    def _aside(self, raw: bytes) -> Iterator[Path]:
        # Not tempfile's: those are closed to the group, whatever the umask says.
        aside = self._folder / f"{_TEMPORARY}{secrets.token_hex(6)}"
        try:
            with aside.open("xb") as out:
                out.write(raw)
                out.flush()
                os.fsync(out.fileno())
            yield aside
        finally:
            aside.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Removes what processes that died while writing left behind."""
        for leftover in self._folder.glob(f"{_TEMPORARY}*"):
            try:
                age = time.time() - leftover.stat().st_mtime
            except FileNotFoundError:
                # Another process has just finished writing it.
                continue
            if age > _LEFTOVER_SECONDS:
                leftover.unlink(missing_ok=True)

    @contextmanager
    def _told(self, name: str, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise StorageFailed(f"{self._folder / name} cannot be {done}: {exc.strerror or exc}") from exc


class ObjectFiles:
    """Below one URL of an object store.

    That `create` never replaces is the store's word (S3: `If-None-Match: *`). An S3 server from before
    conditional writes does not keep it: `check` finds that out, and nothing is written there.
    """

    def __init__(self, url: str) -> None:
        self._objects = Objects(url)

    def __str__(self) -> str:
        return self._objects.url

    def create(self, name: str, raw: bytes) -> bool:
        return self._objects.create(name, raw)

    def replace(self, name: str, raw: bytes) -> None:
        self._objects.put(name, raw)

    def read(self, name: str) -> bytes | None:
        return self._objects.get(name)

    def about(self, name: str) -> Found | None:
        return self._objects.about(name)

    def written_at(self, name: str) -> float | None:
        return self._objects.written_at(name)

    def delete(self, name: str) -> None:
        self._objects.delete(name)

    def move(self, name: str, to: str) -> None:
        self._objects.move(name, to)

    def names(self) -> set[str]:
        return {name for name in self._objects.sizes() if self.holds(name)}

    def holds(self, name: str) -> bool:
        return re.fullmatch(FILE_NAME, name) is not None

    def told(self, name: str) -> str:
        return f"{self._objects.url}/{name}"

    def check(self, name: str, raw: bytes) -> None:
        if self._objects.create(name, raw):
            raise StorageFailed(
                f"{self._objects.url} replaces objects it was asked not to replace (If-None-Match): model "
                "files are not safe there"
            )
