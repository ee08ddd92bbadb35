"""A real nginx in front of a service, at a path of its own: Debian's, else a skip."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.asking import free_port
from tests.support.waiting import LIMIT, eventually

#: All in one folder.
_BEGIN = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
"""
#: As docs/access.md has it.
_CONFIGURATION = (
    _BEGIN
    + """
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen 127.0.0.1:{port};
    location {prefix}/ {{
      proxy_pass {behind}{path};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Prefix {prefix};
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
"""
)


#: What its package's users begin with.
_PLAIN = (
    _BEGIN
    + """
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {behind}; {more} }} }}
}}
"""
)


@contextmanager
def plain_nginx(behind: str, more: str = "") -> Iterator[str]:
    """Its address: `proxy_pass` and nothing else. more: directives beside it."""
    with _running(
        lambda folder, port: _PLAIN.format(folder=folder, port=port, behind=behind, more=more)
    ) as url:
        yield url


@contextmanager
def nginx(behind: str, prefix: str, *, strips: bool) -> Iterator[str]:
    """Its address, without the prefix. strips: whether it takes the prefix off the path."""
    path = "/" if strips else ""
    with _running(
        lambda folder, port: _CONFIGURATION.format(
            folder=folder, port=port, prefix=prefix, behind=behind, path=path
        )
    ) as url:
        yield url


@contextmanager
def _running(configuration: Callable[[Path, int], str]) -> Iterator[str]:
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if binary is None:
        pytest.skip("no nginx: apt-get install nginx-light")
    folder, port = Path(tempfile.mkdtemp(prefix="clm-nginx-")), free_port()
    folder.chmod(0o777)
    (folder / "nginx.conf").write_text(configuration(folder, port))
    process = subprocess.Popen(
        [binary, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL
    )
    base = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: _answers(base, process), "an answer of nginx", pause=0.05)
        yield base
    finally:
        process.terminate()
        process.wait(LIMIT)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(base: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "nginx has ended"
    try:
        httpx.get(base)
    except httpx.TransportError:
        return False
    return True
