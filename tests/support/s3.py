"""A real S3 API on loopback: moto's server, in a thread of the test's process or in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clm.core import objects

_AWAY = """
import sys, threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
threading.Event().wait()
"""
BUCKET = "candles-and-models"


@contextmanager
def s3_server() -> Iterator[S3]:
    """A server with an empty bucket; meanwhile the environment says where it is, for children too."""
    server = S3()
    try:
        with server.pointed_at():
            server.make_bucket()
            yield server
    finally:
        server.stop()


class S3:
    """In a process of its own, so that it can be stopped and go on at the same address (and empty)."""

    def __init__(self) -> None:
        self._port = 0
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
            [sys.executable, "-c", _AWAY, str(self._port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def pause(self) -> None:
        """It takes connections and answers none."""
        self._process.send_signal(19)

    def go_on(self) -> None:
        self._process.send_signal(18)

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
