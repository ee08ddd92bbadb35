"""A real PostgreSQL for tests: the one that is given, else the machine's own binaries, else a skip.

`CLM_TEST_POSTGRES_URL` names a server whose user may create databases. Otherwise the newest server installed
under /usr/lib/postgresql is started in a temporary folder, once per test process, and thrown away afterwards.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
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


@cache
def _server() -> str | None:
    given = os.environ.get("CLM_TEST_POSTGRES_URL")
    if given:
        return given
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return _start(found[-1].parent) if found else None


def _start(binaries: Path) -> str:
    folder = Path(tempfile.mkdtemp(prefix="clm-pg-"))
    folder.chmod(0o777)
    data, port = folder / "data", _free_port()
    # PostgreSQL refuses to run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    settings = "-c fsync=off -c synchronous_commit=off -c listen_addresses=127.0.0.1"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    subprocess.run(
        [*as_user, str(binaries / "initdb"), "-D", str(data), "-U", "clm", "-A", "trust", "--no-sync"],
        **quiet,
    )
    control = [*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    options = f"{settings} -p {port} -k {folder}"
    subprocess.run([*control, "-l", str(folder / "log"), "-o", options, "start"], **quiet)

    def stop() -> None:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, stdout=subprocess.DEVNULL, cwd="/")
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    url = f"postgresql+psycopg://clm@127.0.0.1:{port}/postgres"
    _wait_for(url)
    return url


def _wait_for(url: str) -> None:
    for _ in range(100):
        try:
            psycopg.connect(url.replace("+psycopg", ""), connect_timeout=1).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL at {url} does not answer")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
