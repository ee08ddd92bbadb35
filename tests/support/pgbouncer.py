"""A real PgBouncer in transaction mode between a test and its PostgreSQL: Debian's, else a skip."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from benchmarks.asking import free_port
from tests.support.waiting import LIMIT, eventually


@contextmanager
def pooled(url: str, **settings: str) -> Iterator[str]:
    """The same database by way of a pooler that has two connections to it, whoever asks.

    settings: further ones of pgbouncer.ini.
    """
    binary = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if binary is None:
        pytest.skip("no pgbouncer: apt-get install pgbouncer")
    server, port = sa.make_url(url), free_port()
    folder = Path(tempfile.mkdtemp(prefix="clm-pgbouncer-"))
    folder.chmod(0o777)
    said = {
        "listen_addr": "127.0.0.1", "listen_port": str(port), "unix_socket_dir": "", "auth_type": "any",
        "pool_mode": "transaction", "default_pool_size": "2", "max_client_conn": "200",
        "logfile": str(folder / "log"), **settings,
    }  # fmt: skip
    ini = "".join(f"{name} = {value}\n" for name, value in said.items())
    where = f"host={server.host} port={server.port} user={server.username} dbname={server.database}"
    (folder / "pgbouncer.ini").write_text(f"[databases]\n{server.database} = {where}\n[pgbouncer]\n{ini}")
    # It refuses to run as root.
    as_user = ["-u", "postgres"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [binary, "-q", *as_user, str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pooler = server.set(port=port)
        eventually(lambda: _answers(pooler, process), "an answer of PgBouncer", pause=0.05)
        yield pooler.render_as_string(hide_password=False)
    finally:
        process.terminate()
        process.wait(LIMIT)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: sa.URL, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "PgBouncer has ended"
    try:
        psycopg.connect(host=url.host, port=url.port, user=url.username, dbname=url.database).close()
    except psycopg.OperationalError:
        return False
    return True
