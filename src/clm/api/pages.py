"""The one page that strangers see: it asks for a key. Plain HTML, no script."""

from __future__ import annotations

import re
from html import escape

from starlette.datastructures import Headers
from starlette.types import Scope

LOGIN, LOGOUT = "/login", "/logout"
#: A path of this service; `//host` and `/\\host` would lead elsewhere.
_LOCAL = re.compile(r"/(?![/\\])[\w\-./~%?=&,:]*")

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>CLM: log in</title>
</head>
<body>
<main>
<h1>Continuous Learning Manager</h1>
<p role="status">{said}</p>
<form method="post" action="{action}">
<p><label for="key">Key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus></p>
<input name="next" type="hidden" value="{after}">
<p><button type="submit">Log in</button></p>
</form>
<p>Keys are made on the service's machine: <code>clm keys add NAME --role read</code></p>
</main>
</body>
</html>
"""


def login_page(scope: Scope, said: str, *, after: str) -> str:
    """The form; after: the path a right key leads to."""
    action = scope.get("root_path", "") + LOGIN
    return _PAGE.format(said=escape(said), action=escape(action), after=escape(local_path(after)))


def local_path(path: str) -> str:
    """`path` where it stays within this service, else its front door."""
    return path if _LOCAL.fullmatch(path) else "/"


def wants_a_page(scope: Scope) -> bool:
    """Whether a browser asks for a page, as against a program for data."""
    return scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", "")
