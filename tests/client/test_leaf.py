"""Whoever imports the client gets httpx and the client, and not the service."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.quick import REAL

#: What a machine needs to have: httpx, and what httpx itself brings or looks for.
WITH_HTTPX = {
    "httpx", "httpcore", "h11", "h2", "anyio", "sniffio", "idna", "certifi", "click", "rich", "pygments",
    "markdown_it", "mdurl", "typing_extensions", "exceptiongroup", "zstandard", "brotli", "brotlicffi",
    "socksio", "trio", "linkify_it", "ipywidgets", "attr", "backports",
}  # fmt: skip
LOOK = """
import sys, time
before = set(sys.modules)
began = time.process_time()
import httpx
between = time.process_time()
import clm.client
share = (time.process_time() - between) / (between - began)
import json
print(json.dumps([share, sorted(set(sys.modules) - before)]))
"""


def test_importing_the_client_imports_nothing_of_the_service_and_is_quick() -> None:
    looks = [
        json.loads(subprocess.run([REAL, "-c", LOOK], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]

    modules = set(looks[0][1])
    foreign = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names) - {"clm"}
    assert {name for name in foreign if not name.startswith("_")} <= WITH_HTTPX
    assert {
        name for name in modules if name.startswith("clm.") and not name.startswith("clm.client")
    } == set()
    # Of what it takes to import httpx, on the same machine at the same time.
    assert min(share for share, _ in looks) < 1
