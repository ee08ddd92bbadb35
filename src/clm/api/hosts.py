"""Where a request came from and what it was told to go to: read off its headers, believed as far as they go.

A name in the Host header that is not this service's means that a web page has had its own name point here
(DNS rebinding); an Origin that is not this service's, that another page's script or form is asking.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from clm.settings import Settings

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(\d{1,5}))?", re.IGNORECASE)
_ANY = ("0.0.0.0", "::", "")  # noqa: S104  # compared with, not bound to
_DEFAULT_PORTS = {"http": "80", "https": "443"}
#: What proxies, balancers and tunnels add to what they pass on; no browser and no plain client sends any.
_FORWARDED = frozenset({
    b"cdn-loop", b"client-ip", b"fastly-client-ip", b"fastly-ff", b"fly-client-ip", b"forwarded",
    b"forwarded-for", b"incap-client-ip", b"max-forwards", b"proxy-connection", b"remote-ip",
    b"true-client-ip", b"via", b"wl-proxy-client-ip", b"x-amzn-trace-id", b"x-arr-log-id", b"x-client-ip",
    b"x-cloud-trace-context", b"x-cluster-client-ip", b"x-coming-from", b"x-forwarded", b"x-host",
    b"x-originating-ip", b"x-proxyuser-ip", b"x-real-ip", b"x-real-port", b"x-remote-addr", b"x-remote-ip",
    b"x-script-name", b"x-varnish",
})  # fmt: skip
_FORWARDED_AS = (
    b"cf-", b"tailscale-", b"x-akamai-", b"x-appengine-", b"x-azure-", b"x-envoy-", b"x-forwarded-",
    b"x-google-", b"x-original-", b"x-sucuri-",
)  # fmt: skip
#: Where it is noted that a proxy passed a request on: several ask, once is enough to look.
PASSED_ON = "clm.passed_on"


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine and is reached from nowhere else."""
    address = _address(host)
    return address.is_loopback if address is not None else host.lower() == "localhost"


def path_of(scope: Scope) -> str:
    """The path as this app's routes know it, wherever the app is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def front_door(scope: Scope) -> str:
    """The path that the outside knows this app's `/` by: what its cookies are for."""
    return scope.get("root_path", "") or "/"


def address_of(scope: Scope) -> str:
    """The caller's address; an IPv4 one as such also where it came over IPv6. `unknown` on a Unix socket."""
    client = scope.get("client")
    if not client or not client[0]:
        return "unknown"
    address = _address(client[0])
    if address is None:
        return str(client[0])[:100]
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def neighbourhood(address: str) -> str:
    """What counts as one caller: an IPv4 address, or the /64 that an IPv6 customer is given."""
    try:
        network = ip_network((address.partition("%")[0], 64), strict=False)
    except ValueError:
        return address
    return str(network) if network.version == 6 else address


def in_process(scope: Scope) -> bool:
    """Called by code in this very process, such as a test client: no network, no browser lies between.

    Such a caller has a name in place of an address, which nothing that comes over a socket can have.
    """
    client = scope.get("client")
    if not client or not client[0] or _forwarded(scope):
        return False
    return _address(client[0]) is None


def at_home(scope: Scope, settings: Settings) -> bool:
    """Whether a request came from this machine, by a name of this service, and through no proxy."""
    if in_process(scope):
        return True
    return is_loopback(address_of(scope)) and not _forwarded(scope) and known_host(scope, settings)


def known_host(scope: Scope, settings: Settings) -> bool:
    """Whether the Host header names this service.

    Bound to every address it has whatever name leads to them, unless CLM_ALLOWED_HOSTS lists them; whoever
    asks under another one cannot have a key, since browsers keep sessions by name.
    """
    if in_process(scope):
        return True
    found = _HOST.fullmatch(Headers(scope=scope).get("host", ""))
    if found is None:
        return False
    host = found.group(1).strip("[]").lower().removesuffix(".")
    if is_loopback(host) or host == settings.host.lower() or host in settings.allowed_hosts:
        return True
    return settings.host in _ANY and not settings.allowed_hosts


def cross_site(scope: Scope, settings: Settings) -> str | None:
    """What says that another web page is asking; None where nothing does. Programs send no such headers."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is not None and origin.lower() in settings.cors_origins:
        return None
    if origin is not None and not _same(origin, headers.get("host", "")):
        return f"Origin: {origin[:200]}"
    site = headers.get("sec-fetch-site", "same-origin")
    return None if site in ("same-origin", "none") else f"Sec-Fetch-Site: {site[:50]}"


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return False
    # The scheme is not compared: behind a proxy that ends TLS this service sees another one.
    port = _DEFAULT_PORTS.get(parts.scheme)
    return port is not None and parts.netloc.removesuffix(f":{port}") == host.lower().removesuffix(f":{port}")


@lru_cache(maxsize=4096)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """`text` as an address, None where it is a name. The same few come again and again."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def signs_of_proxy(scope: Scope) -> dict[str, str]:
    """Headers that say that a proxy passed a request on; HTTP/1.0 counts as `via`. {}: nothing says so.

    Not every proxy leaves a sign: one that speaks HTTP/1.1 and adds nothing cannot be told from a program of
    this machine, which is what CLM_REQUIRE_KEY is for.
    """
    signs = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in _FORWARDED or name.startswith(_FORWARDED_AS)
    }
    if scope.get("http_version") == "1.0":
        # Only proxies still speak it, nginx by default; a sign of its own where the request is passed on.
        signs.setdefault("via", "1.0")
    return signs


def _forwarded(scope: Scope) -> bool:
    found: bool | None = scope.get(PASSED_ON)
    if found is None:
        found = scope[PASSED_ON] = bool(signs_of_proxy(scope))
    return found
