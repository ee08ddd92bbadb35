"""Objects below one URL of an object store (S3, Google's, Azure's), by fsspec.

Every object is written as a whole or not at all, and whoever lists or reads after that sees it: so these
stores promise. What the vendor raises becomes a StorageFailed that names the URL and the cause.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from clm.core.errors import StorageFailed

#: An S3 server that does not answer is given up after a minute and a half at most: s3fs tries a read
#: twice over, and each of its tries is two of botocore's. One connection an object: no look at its size
#: before.
_ATTEMPTS = 2
_S3 = {
    "max_concurrency": 1,
    "config_kwargs": {
        "connect_timeout": 5,
        "read_timeout": 10,
        "retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS},
    },
}
#: Whatever a client waits for itself: no single object takes longer, and another second for each megabyte.
_SECONDS = 60.0
#: Said instead of "there is one already" where two create the same object in the same moment.
_TAKEN = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


@dataclass(frozen=True, slots=True)
class Found:
    """An object, or a file. bytes: how long it is. stamp: changes when it does."""

    bytes: int
    stamp: Hashable


class Objects:
    """By name, which may have slashes. Building it connects nothing; all methods raise StorageFailed."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __str__(self) -> str:
        return self.url

    def create(self, name: str, raw: bytes) -> bool:
        """Writes a new object; False where there is one of that name, which is left as it is.

        A store that does not know conditional writes (`If-None-Match`) would replace it and say True; who
        relies on them tries that out first.
        """
        store, path = self._at(name)
        with self._told(name, "written"):
            try:
                _ask(store, "pipe_file", path, raw, mode="create", seconds=_SECONDS + len(raw) / 1e6)
            except FileExistsError:
                return False
            except OSError as exc:
                if _code(exc) in _TAKEN:
                    return False
                raise
        return True

    def put(self, name: str, raw: bytes) -> None:
        """Writes an object, or replaces it."""
        store, path = self._at(name)
        with self._told(name, "written"):
            _ask(store, "pipe_file", path, raw, seconds=_SECONDS + len(raw) / 1e6)

    def get(self, name: str) -> bytes | None:
        """None where there is no such object."""
        return self.get_all([name]).get(name)

    def get_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Several at once; those that are not there are left out."""
        wanted = {self._at(name)[1]: name for name in names}
        if not wanted:
            return {}
        store, _ = self._opened()
        found: dict[str, bytes] = {}
        answers = self._read(store, list(wanted))
        for path, answer in answers.items():
            name = wanted[path]
            with self._told(name, "read"):
                try:
                    if isinstance(answer, Exception):
                        raise answer
                    found[name] = answer
                except FileNotFoundError as exc:
                    _require_bucket(exc)
        return found

    def sizes(self, below: str = "") -> dict[str, int]:
        """Names of all objects, or of those below a prefix, in order; and how long each is."""
        store, path = self._at(below) if below else self._opened()
        root = len(self._opened()[1]) + 1
        with self._told(below, "listed"):
            try:
                found = _ask(store, "find", path, detail=True)
            except FileNotFoundError as exc:
                _require_bucket(exc)
                return {}
        return {each[root:]: int(about["size"]) for each, about in sorted(found.items())}

    def about(self, name: str) -> Found | None:
        """None where there is no such object."""
        store, path = self._at(name)
        with self._told(name, "read"):
            try:
                about = _ask(store, "info", path)
            except FileNotFoundError as exc:
                _require_bucket(exc)
                return None
        return Found(int(about["size"]), str(about))

    def written_at(self, name: str) -> float | None:
        """Seconds, by the store's clock; None where there is no such object."""
        store, path = self._at(name)
        with self._told(name, "read"):
            try:
                moment: datetime = store.modified(path)
            except FileNotFoundError as exc:
                _require_bucket(exc)
                return None
        return moment.timestamp()

    def delete(self, name: str) -> None:
        """Also where there is none."""
        store, path = self._at(name)
        with self._told(name, "deleted"):
            try:
                _ask(store, "rm_file", path)
            except FileNotFoundError as exc:
                _require_bucket(exc)

    def move(self, name: str, to: str) -> None:
        """Nothing where there is no such object. A crash in between leaves it under both names."""
        store, path = self._at(name)
        with self._told(name, "moved"):
            try:
                _ask(store, "cp_file", path, self._at(to)[1])
                _ask(store, "rm_file", path)
            except FileNotFoundError as exc:
                _require_bucket(exc)

    def _read(self, store: Any, paths: list[str]) -> dict[str, Any]:
        with self._told("", "read"):
            seconds = 2 * _SECONDS * len(paths)
            found: dict[str, Any] = _ask(store, "cat", paths, on_error="return", seconds=seconds)
        return found

    def _opened(self) -> tuple[Any, str]:
        with self._told("", "opened"):
            return opened(self.url, os.getpid())

    def _at(self, name: str) -> tuple[Any, str]:
        store, root = self._opened()
        return store, f"{root}/{name}"

    @contextmanager
    def _told(self, name: str, done: str) -> Iterator[None]:
        try:
            yield
        except Exception as exc:
            # Every vendor has a tree of its own, and under it that of its HTTP library.
            what = f"{self.url}/{name}" if name else self.url
            said = str(exc).strip().splitlines()
            silent = "no answer in time" if isinstance(exc, TimeoutError) else type(exc).__name__
            raise StorageFailed(f"{what} cannot be {done}: {said[0] if said else silent}") from exc


@lru_cache
def opened(url: str, process: int) -> tuple[Any, str]:
    """A file system that all threads of a process share, and the path in it; one takes a while to build."""
    from fsspec.core import url_to_fs

    options = _S3 if url.startswith("s3://") else {}
    store, path = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **options)
    if options:
        store.retries = _ATTEMPTS
    return store, path.rstrip("/")


def _ask(store: Any, method: str, *given: Any, seconds: float = _SECONDS, **named: Any) -> Any:
    """One call, given up after so many seconds: a PUT may wait for a word of the server's without end."""
    if not store.async_impl:
        return getattr(store, method)(*given, **named)
    from fsspec.asyn import sync

    return sync(store.loop, getattr(store, f"_{method}"), *given, timeout=seconds, **named)


def _require_bucket(error: FileNotFoundError) -> None:
    """A bucket that is not there is no missing object: raises the error again."""
    if _code(error) == "NoSuchBucket":
        raise error


def _code(error: BaseException) -> str | None:
    """The word of an S3 server, where the error has one."""
    answer = getattr(error.__cause__, "response", None)
    told = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    return told if isinstance(told, str) else None
