"""What a proxy says of a request, believed of those alone that CLM_TRUSTED_PROXIES lists. Pure ASGI.

From here inwards the path begins with the prefix that the outside sees (`root_path`), whether the proxy has
taken it off or not, and no header says so a second time.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from clm.api.hosts import PASSED_ON
from clm.logs import logger
from clm.settings import Settings

log = logger(__name__)
_PREFIX = b"x-forwarded-prefix"
#: Prefixes of which it is remembered whether they are taken off.
_REMEMBERED = 1000
#: It ends up in pages, redirects and cookies.
_SEGMENTS = re.compile(r"(?:/[A-Za-z0-9_~.-]{1,100}){1,10}")
#: What the paths of this service begin with; `_static` and NiceGUI's files too.
_OURS = re.compile(
    # What begins like a route of the API and ends like these has a prefix of that name before it.
    r"/(?:api/clm/(?!(?:.*/)?(?:api/clm/|health/|_nicegui|static-offline-docs/|(?:login|logout|docs|redoc|"
    r"openapi\.json)$)).+|"
    r"health/(?:live|ready)|_nicegui(?!.*/_nicegui).*|static-offline-docs/[^/]+|decisions/[^/]+|login|logout|"
    r"metrics|docs(?:/oauth2-redirect)?|"
    r"redoc|openapi\.json|retrain|shadow|history|decisions|explain|drift|data|replays|service)?",
    re.DOTALL,
)


class Proxies:
    """Around the whole app: who asks, how, and below which path, as a trusted proxy tells."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        networks = [ip_network(one) for one in settings.trusted_proxies]

        @lru_cache(maxsize=4096)
        def trusted(host: str) -> bool:
            try:
                address = ip_address(host)
            except ValueError:
                return False
            return any(address in network for network in networks)

        self._trusted = trusted
        self._inner: ASGIApp = app
        #: Prefix → whether its proxy takes it off, as the last path that can be read in one way alone told.
        self._strips: dict[str, bool] = {}
        if networks:
            # The one of the server itself would stand before this, and hide which proxy has spoken.
            self._inner = ProxyHeadersMiddleware(app, list(settings.trusted_proxies))  # type: ignore[arg-type,assignment]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        said = [value for name, value in scope["headers"] if name == _PREFIX]
        if said:
            # Whoever reads it further in would put it before what is put here.
            headers = [pair for pair in scope["headers"] if pair[0] != _PREFIX]
            scope = {**scope, "headers": headers, PASSED_ON: True}
            client = scope.get("client")
            if client and self._trusted(client[0]):
                scope = self._below(scope, b",".join(said).decode("latin-1"))
        return await self._inner(scope, receive, send)

    def _below(self, scope: Scope, said: str) -> Scope:
        """The request below the prefix; as it was where the header holds none."""
        # Proxies behind one another each add theirs.
        prefix = "".join(part.strip().rstrip("/") for part in said.split(","))
        if not prefix:
            return scope
        if not _SEGMENTS.fullmatch(prefix) or any(part in (".", "..") for part in prefix.split("/")):
            log.warning("prefix_not_understood", x_forwarded_prefix=said[:200])
            return scope
        path = scope["path"]
        kept = self._kept(path, prefix)
        below = path.removeprefix(prefix) or "/" if kept else path
        raw: bytes | None = scope.get("raw_path")
        if raw is not None and not kept:
            raw = prefix.encode("ascii") + raw
        root = prefix + scope.get("root_path", "")
        return {**scope, "root_path": root, "path": prefix + below, "raw_path": raw}

    def _kept(self, path: str, prefix: str) -> bool:
        """Whether the prefix still stands before the path. It may be called as a path of ours begins: /api of
        /api/clm/status; and a path may be one of ours either way: /data, below /data.
        """
        if path != prefix and not path.startswith(f"{prefix}/"):
            self._learn(prefix, strips=True)
            return False
        taken_off, kept = _OURS.fullmatch(path), _OURS.fullmatch(path.removeprefix(prefix) or "/")
        if taken_off and kept:
            return not self._strips.get(prefix, True)
        if kept:
            self._learn(prefix, strips=False)
        return not taken_off

    def _learn(self, prefix: str, *, strips: bool) -> None:
        if prefix in self._strips or len(self._strips) < _REMEMBERED:
            self._strips[prefix] = strips
