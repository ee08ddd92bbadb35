"""A real PostgreSQL for tests: the one that is given, else the machine's own binaries, else a skip.

`CLM_TEST_POSTGRES_URL` names a server whose user may create databases. Otherwise the newest server installed
under /usr/lib/postgresql is started in a temporary folder, once per test process, and thrown away afterwards.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest

from benchmarks.asking import free_port
from tests.support.costs import watch


@contextmanager
def fresh_database() -> Iterator[str]:
    """The URL of an empty database of its own; skips the test where no server can be had."""
    server = _server()
    if server is None:
        pytest.skip("no PostgreSQL: neither CLM_TEST_POSTGRES_URL nor /usr/lib/postgresql/*/bin/initdb")
    name = f"clm_{uuid.uuid4().hex[:12]}"
    plain = server.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Server:
    """A PostgreSQL of a test's own, that can be stopped and started again at the same address."""

    def __init__(self, binaries: Path, *, durable: bool = False) -> None:
        """durable: what was committed survives an immediate stop (of the server, not of the machine)."""
        self._commit = "on" if durable else "off"
        self._folder = Path(tempfile.mkdtemp(prefix="clm-pg-"))
        self._folder.chmod(0o777)
        self._port = free_port()
        # PostgreSQL refuses to run as root.
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        data = str(self._folder / "data")
        self._run([*as_user, str(binaries / "initdb"), "-D", data, "-U", "clm", "-A", "trust", "--no-sync"])
        self._control = [*as_user, str(binaries / "pg_ctl"), "-D", data, "-w"]
        self.url = f"postgresql+psycopg://clm@127.0.0.1:{self._port}/postgres"
        self.start()

    def start(self) -> None:
        settings = f"-c fsync=off -c synchronous_commit={self._commit} -c listen_addresses=127.0.0.1"
        options = f"{settings} -p {self._port} -k {self._folder}"
        self._run([*self._control, "-l", str(self._folder / "log"), "-o", options, "start"])
        _wait_for(self.url)
        watch(self._postmaster())

    def stop(self) -> None:
        """At once: every connection breaks."""
        self._run([*self._control, "-m", "immediate", "stop"])

    def remove(self) -> None:
        """For good."""
        subprocess.run(
            [*self._control, "-m", "immediate", "stop"], check=False, stdout=subprocess.DEVNULL, cwd="/"
        )
        shutil.rmtree(self._folder, ignore_errors=True)

    def _postmaster(self) -> int:
        return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])

    def _run(self, command: list[str]) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._folder)


@contextmanager
def own_server() -> Iterator[Server]:
    """A server nobody else uses; skips the test where there are no binaries."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL: no /usr/lib/postgresql/*/bin/initdb")
    server = Server(binaries, durable=True)
    try:
        yield server
    finally:
        server.remove()


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].parent if found else None


@cache
def _server() -> str | None:
    given = os.environ.get("CLM_TEST_POSTGRES_URL")
    if given:
        return given
    binaries = _binaries()
    if binaries is None:
        return None
    server = Server(binaries)
    atexit.register(server.remove)
    return server.url


def _wait_for(url: str) -> None:
    for _ in range(100):
        try:
            psycopg.connect(url.replace("+psycopg", ""), connect_timeout=1).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL at {url} does not answer")
