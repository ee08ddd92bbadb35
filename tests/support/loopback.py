"""The real application behind a real server on loopback, in a thread of the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from clm.api.app import create_app
from clm.bootstrap import Application
from tests.support.waiting import LIMIT, eventually


@contextmanager
def on_loopback(application: Application) -> Iterator[str]:
    """Its address, while it answers; the application is closed with it."""
    config = uvicorn.Config(create_app(application), host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="service", daemon=True)
    thread.start()
    eventually(lambda: server.started or not thread.is_alive(), "a service that answers", pause=0.01)
    assert server.started, "the service did not start"
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(LIMIT)
