"""A real PostgreSQL for tests: the one that is given, else the machine's own binaries, else a skip.

`CLM_TEST_POSTGRES_URL` names a server whose user may create databases. Otherwise the newest server installed
under /usr/lib/postgresql is started in a temporary folder, once per test process, and thrown away with it.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil
import psycopg
import pytest

from benchmarks.asking import free_port
from clm.registry.migrate import upgrade
from tests.support.costs import watch
from tests.support.waiting import LIMIT, eventually


@contextmanager
def fresh_database() -> Iterator[str]:
    """The URL of an empty database of its own; skips the test where no server can be had."""
    with _database_from("template1") as url:
        yield url


@contextmanager
def migrated_database() -> Iterator[str]:
    """The URL of a database of its own with CLM's tables, all empty; skips as `fresh_database` does."""
    with _database_from(_migrated(_required_server())) as url:
        yield url


@contextmanager
def _database_from(template: str) -> Iterator[str]:
    server, name = _required_server(), f"clm_{uuid.uuid4().hex[:12]}"
    with _administering(server) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield _beside(server, name)
    finally:
        with _administering(server) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _administering(server: str) -> psycopg.Connection:
    return psycopg.connect(server.replace("postgresql+psycopg://", "postgresql://"), autocommit=True)


def _beside(server: str, name: str) -> str:
    return f"{server.rpartition('/')[0]}/{name}"


@cache
def _migrated(server: str) -> str:
    """The name of a database of this process that others are made from."""
    name = f"clm_{uuid.uuid4().hex[:12]}"
    with _administering(server) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    upgrade(_beside(server, name))
    atexit.register(_drop, server, name)
    return name


def _drop(server: str, name: str) -> None:
    # A server of our own may have been ended before.
    with suppress(psycopg.OperationalError), _administering(server) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _required_server() -> str:
    server = _server()
    if server is None:
        pytest.skip("no PostgreSQL: neither CLM_TEST_POSTGRES_URL nor /usr/lib/postgresql/*/bin/initdb")
    return server


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
        # However this process ends, also by SIGKILL, its end of the pipe closes.
        stop = [*self._control, "-m", "immediate", "stop"]
        self._undertaker = subprocess.Popen(
            ["sh", "-c", 'cat; "$@"; rm -rf "$0"', str(self._folder), *stop], cwd="/", stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
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

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside it says nothing, as behind a network that is dead; its kernel still takes what is sent."""
        postmaster = psutil.Process(self._postmaster())
        every = [postmaster, *postmaster.children(recursive=True)]
        for process in every:
            process.suspend()
        try:
            yield
        finally:
            for process in every:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def remove(self) -> None:
        """For good."""
        assert self._undertaker.stdin is not None
        self._undertaker.stdin.close()
        self._undertaker.wait(LIMIT)

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
    def answers() -> bool:
        try:
            psycopg.connect(url.replace("+psycopg", ""), connect_timeout=10).close()
        except psycopg.OperationalError:
            return False
        return True

    eventually(answers, f"an answer of PostgreSQL at {url}", pause=0.05)
