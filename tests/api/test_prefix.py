"""Below a path of somebody else's site: every address that is told leads back there, through a real nginx."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from websockets.sync.client import connect

from clm.api.app import create_app
from clm.api.hosts import path_of
from clm.api.proxies import Proxies
from clm.bootstrap import Application
from clm.dashboard.frame import PAGES
from clm.settings import Settings
from tests.support.exchange import serving, simulated
from tests.support.nginx import nginx
from tests.support.shell import Shell, serving_clm, shell_in
from tests.support.waiting import LIMIT

KEY = "a-key-that-may-all-0001"
#: What a page names, and where a form leads.
_NAMED = re.compile(r"""(?:src|href|action)=["'](/[^"']*)|url\(["']?(/[^"')]*)|from ["'](/[^"']*)""")


@dataclass
class Site:
    """A browser without eyes: cookies as they are told, redirects seen."""

    url: str
    prefix: str
    http: httpx.Client

    def get(self, path: str) -> httpx.Response:
        return self.http.get(f"{self.url}{self.prefix}{path}", headers={"Accept": "text/html"})


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with serving(simulated()) as exchange:
        shell = shell_in(tmp_path_factory.mktemp("prefix"), exchange)
        shell.environment |= {"CLM_LIVE_SHADOW": "false", "CLM_SCHEDULE": "off", "CLM_API_KEY": KEY}
        yield shell


@pytest.fixture(scope="module")
def service(shell: Shell) -> Iterator[str]:
    with serving_clm(shell, shell.folder / "log", CLM_TRUSTED_PROXIES="127.0.0.1") as (_, base):
        yield base


@pytest.fixture(scope="module", params=["strips", "keeps"])
def site(request: pytest.FixtureRequest, service: str) -> Iterator[Site]:
    """A proxy that takes the prefix off, and one that does not."""
    with (
        nginx(service, "/desk/clm", strips=request.param == "strips") as url,
        httpx.Client(timeout=LIMIT) as http,
    ):
        yield Site(url, "/desk/clm", http)


def test_a_key_is_given_and_a_session_taken_there_and_nowhere_else(site: Site) -> None:
    asked = site.get("/history")
    assert asked.status_code == 401
    assert 'action="/desk/clm/login"' in asked.text
    assert 'value="/history"' in asked.text

    given = site.http.post(f"{site.url}/desk/clm/login", data={"key": KEY, "next": "/history"})
    assert (given.status_code, given.headers["location"]) == (303, "/desk/clm/history")
    assert "Path=/desk/clm;" in given.headers["set-cookie"]
    assert site.get("/api/clm/status").status_code == 200
    assert "/desk/clm/logout" in site.get("/service").text

    left = site.http.post(f"{site.url}/desk/clm/logout", headers={"Origin": site.url})
    assert (left.status_code, left.headers["location"]) == (303, "/desk/clm/login")
    assert site.get("/api/clm/status").status_code == 401


@pytest.mark.parametrize("path", ["/", "/retrain", "/login", "/docs", "/redoc", "/decisions/1"])
def test_whatever_a_page_names_is_there(site: Site, path: str) -> None:
    site.http.headers["X-API-Key"] = KEY
    page = site.get(path)
    named = {found for groups in _NAMED.findall(page.text) for found in groups if found}

    assert page.status_code == 200
    assert named
    assert {one for one in named if not one.startswith("/desk/clm")} == set()
    files = [one for one in sorted(named) if "." in one.rpartition("/")[2]]
    assert [one for one in files if site.http.get(site.url + one).status_code != 200] == []


def test_swagger_calls_routes_below_the_prefix(site: Site) -> None:
    site.http.headers["X-API-Key"] = KEY
    assert "'/desk/clm/openapi.json'" in site.get("/docs").text
    document = site.get("/openapi.json").json()
    assert [server["url"] for server in document["servers"]] == ["/desk/clm"]


def test_redirects_stay_below_the_prefix(site: Site) -> None:
    site.http.headers["X-API-Key"] = KEY
    answer = site.get("/api/clm/status/")

    assert answer.status_code == 307
    assert urlsplit(answer.headers["location"]).path == "/desk/clm/api/clm/status"
    assert site.http.get(answer.headers["location"]).status_code == 200


def test_a_web_socket_opens(site: Site) -> None:
    address = f"{site.url.replace('http', 'ws')}/desk/clm/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    with connect(address, additional_headers={"X-API-Key": KEY}, origin=site.url) as socket:
        assert str(socket.recv(LIMIT)).startswith("0{")


def test_the_audit_trail_names_the_route_and_the_caller_whatever_lies_between(
    site: Site, shell: Shell
) -> None:
    site.http.post(
        f"{site.url}/desk/clm/api/clm/runs/none/cancel",
        headers={"X-API-Key": KEY, "X-Forwarded-For": "192.0.2.7"},
    )

    row = shell.json("audit", "--limit", "1")[0]
    assert (row["action"], row["origin"]) == ("POST /api/clm/runs/none/cancel", "192.0.2.7")


def test_nobody_else_is_believed(shell: Shell, service: str, tmp_path: Path) -> None:
    """Neither where no proxy is trusted, nor a header that is no path."""
    evil = {"X-Forwarded-Prefix": "/evil", "Accept": "text/html"}
    with serving_clm(shell, tmp_path / "log") as (_, base):
        for key in ({}, {"X-API-Key": KEY}):
            for path in ("/", "/login", "/docs", "/openapi.json", "/history"):
                assert "/evil" not in httpx.get(base + path, headers={**evil, **key}, timeout=LIMIT).text
    for said in (
        "//evil.example",
        "/a/../b",
        "evil",
        "/<script>",
        "/a b",
        "https://evil.example",
        '/"x"',
        "/..",
        "\\evil",
    ):
        answer = httpx.get(service + "/login", headers={"X-Forwarded-Prefix": said}, timeout=LIMIT)
        assert 'action="/login"' in answer.text, said


def _heard(path: str, said: str, root: str = "", before: str | None = None) -> tuple[str, str, str]:
    """Root, path and route of a request that came by way of a proxy that says this prefix.

    before: a path that was asked for earlier.
    """
    heard: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append(scope)

    proxies = Proxies(app, Settings.load(trusted_proxies=("10.0.0.0/8",)))
    if before is not None:
        _ask(proxies, before, said, root)
        heard.clear()
    _ask(proxies, path, said, root)
    assert not any(name == b"x-forwarded-prefix" for name, _ in heard[0]["headers"])
    return heard[0]["root_path"], heard[0]["path"], path_of(heard[0])


def _ask(proxies: Proxies, path: str, said: str, root: str) -> None:
    scope = {
        "type": "http", "path": path, "root_path": root, "raw_path": path.encode(), "client": ("10.1.2.3", 5),
        "headers": [(b"x-forwarded-prefix", said.encode())],
    }  # fmt: skip
    coroutine = proxies(scope, None, None)  # type: ignore[arg-type]  # nobody listens
    with pytest.raises(StopIteration):
        coroutine.send(None)


@pytest.mark.parametrize(
    ("path", "said", "root", "route"),
    [
        ("/history", "/clm", "/clm", "/history"),
        ("/clm/history", "/clm", "/clm", "/history"),
        ("/clm/history", "/clm/", "/clm", "/history"),
        ("/clm", "/clm", "/clm", "/"),
        ("/clm/", "/clm", "/clm", "/"),
        ("/", "/clm", "/clm", "/"),
        # Called as paths of this service begin: taken off, and not.
        ("/api/clm/status", "/api", "/api", "/api/clm/status"),
        ("/api/api/clm/status", "/api", "/api", "/api/clm/status"),
        ("/api/clm/status", "/api/clm", "/api/clm", "/api/clm/status"),
        ("/api/clm/api/clm/status", "/api/clm", "/api/clm", "/api/clm/status"),
        ("/data/data", "/data", "/data", "/data"),
        # Two proxies, each with a prefix of its own.
        ("/status", "/a, /b", "/a/b", "/status"),
        ("/status", "/", "", "/status"),
        ("/status", "", "", "/status"),
    ],
)  # fmt: skip
def test_one_idea_of_the_prefix(path: str, said: str, root: str, route: str) -> None:
    assert _heard(path, said) == (root, root + route, route)


#: Named like a page, like a route, like the beginning of one, and like a file of the framework's.
_LIKE_OURS = (
    *(page for page in PAGES if page != "/"), "/api", "/api/clm", "/api/clm/status", "/api/clm/runs", "/runs",
    "/health", "/health/ready", "/login", "/docs", "/metrics", "/openapi.json", "/decisions/1", "/_nicegui",
    "/static-offline-docs", "/status", "/clm", "/clm/api",
)  # fmt: skip


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every path of the service, the dashboard's and the framework's among them."""
    folder = tmp_path_factory.mktemp("routes")
    settings = Settings.load(db_url=f"sqlite:///{folder}/clm.db", model_dir=folder, data_dir=folder)
    with Application(settings) as application:
        app = create_app(application)
        found = [getattr(route, "path", "") for route in app.routes]
        found = [re.sub(r"\{[^}]*\}", "1", path) for path in (*found, *app.openapi()["paths"])]
    more = [
        "/metrics",
        "/decisions/1",
        "/_nicegui/3.0/x.js",
        "/_nicegui_ws/socket.io/",
        "/static-offline-docs/x.js",
    ]
    return sorted({*found, *PAGES, *more} - {"", "/static-offline-docs"})


@pytest.mark.parametrize("strips", [True, False], ids=["strips", "keeps"])
@pytest.mark.parametrize("prefix", _LIKE_OURS)
def test_a_prefix_may_be_called_as_a_page_or_a_route(prefix: str, strips: bool, routes: list[str]) -> None:
    """A page's own files, which every browser asks for, tell how what can be read in two ways is meant."""
    taken = "" if strips else prefix
    wrong = {
        route: heard
        for route in routes
        if (heard := _heard(taken + route, prefix, before=f"{taken}/_nicegui/3.0/x.js"))
        != (prefix, prefix + route, route)
    }
    assert wrong == {}


@pytest.mark.rehearse
@pytest.mark.parametrize("prefix", ["/history", "/api", "/api/clm", "/health"])
@pytest.mark.parametrize("strips", [True, False], ids=["strips", "keeps"])
def test_behind_a_real_proxy_too(service: str, prefix: str, strips: bool) -> None:
    with (
        nginx(service, prefix, strips=strips) as url,
        httpx.Client(timeout=LIMIT, headers={"X-API-Key": KEY}) as http,
    ):
        site = Site(url, prefix, http)
        page = site.get("/")
        named = {found for groups in _NAMED.findall(page.text) for found in groups if found}
        files = [one for one in sorted(named) if "." in one.rpartition("/")[2]]
        assert [one for one in files if http.get(url + one).status_code != 200] == []
        for path, name in PAGES.items():
            assert re.search(rf"aria-current[^>]*>\s*{name}|{name}[^<]*aria-current", site.get(path).text), (
                path
            )
        for route in ("/api/clm/status", "/api/clm/history/lightgbm", "/api/clm/data", "/api/clm/decisions"):
            assert site.get(route).headers["content-type"] == "application/json", route
        assert site.get("/health/live").json() == {"status": "alive"}
        assert "<title>" in site.get("/docs").text
