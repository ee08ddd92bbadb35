"""A real S3 API on loopback: moto's server, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clm.core import objects

_AWAY = """
import sys
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

moto = DomainDispatcherApplication(create_backend_app)


class Silent(MotoRequestHandler):
    def log_request(self, *given):
        pass


def answer(environ, start_response):
    if sys.argv[2] == "unconditional":
        environ.pop("HTTP_IF_NONE_MATCH", None)
    return moto(environ, start_response)


server = make_server("127.0.0.1", int(sys.argv[1]), answer, threaded=True, request_handler=Silent)
print(server.port, flush=True)
server.serve_forever()
"""
BUCKET = "candles-and-models"


@contextmanager
def s3_server(*, conditional: bool = True) -> Iterator[S3]:
    """A server with an empty bucket; meanwhile the environment says where it is, for children too.

    conditional: else one from before conditional writes, which does not know `If-None-Match`.
    """
    server = S3("conditional" if conditional else "unconditional")
    try:
        with server.pointed_at():
            server.make_bucket()
            yield server
    finally:
        server.stop()


class S3:
    """It can be stopped, and started again at the same address, empty."""

    def __init__(self, kind: str) -> None:
        self._kind, self._port = kind, 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def variables(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _AWAY, str(self._port), self._kind], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    @contextmanager
    def pointed_at(self) -> Iterator[None]:
        before = {name: os.environ.get(name) for name in self.variables}
        os.environ.update(self.variables)
        # A process keeps its clients; these shall not be those of the test before.
        objects.opened.cache_clear()
        try:
            yield
        finally:
            objects.opened.cache_clear()
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value

    def client(self) -> Any:
        """Another's hands on the same objects: boto3's."""
        import boto3

        return boto3.client("s3")

    def make_bucket(self, name: str = BUCKET) -> None:
        self.client().create_bucket(Bucket=name)

    def names(self, below: str = "") -> list[str]:
        """All objects of the bucket below a prefix."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=below)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]
