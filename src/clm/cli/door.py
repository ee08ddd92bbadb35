"""The door of the service: taken before anything is begun, so that two services never share one."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

#: Callers that may wait while the service begins.
_BACKLOG = 2048


def take(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen, one per address that `host` stands for; port 0: any free one, the same for all.

    Raises InvalidSetting: somebody else has it, or it is not this machine's, or not for this user.
    """
    from clm.core.errors import InvalidSetting

    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as exc:
        allowed = f"a name or address of this machine ({exc})"
        raise InvalidSetting("CLM_HOST", host, allowed) from exc
    taken: list[socket.socket] = []
    with ExitStack() as stack:
        for family, address in dict.fromkeys((one[0], one[4]) for one in found):
            opened = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            first = taken[0].getsockname()[1] if taken and not port else address[1]
            try:
                opened.bind((address[0], first, *address[2:]))
                # Bound but not listening another service could bind it too.
                opened.listen(_BACKLOG)
            except OSError as exc:
                raise _refused(host, port, exc) from exc
            taken.append(opened)
        stack.pop_all()
    return taken


def _refused(host: str, port: int, error: OSError) -> Exception:
    from clm.core.errors import InvalidSetting

    if error.errno == errno.EADDRINUSE:
        allowed = (
            f"a port that nobody has on {host}: another program, perhaps another `clm serve`, listens there"
        )
        return InvalidSetting("CLM_PORT", port, allowed)
    if error.errno == errno.EACCES:
        return InvalidSetting("CLM_PORT", port, "a port from 1024 on: those below are for root")
    return InvalidSetting("CLM_HOST", host, f"an address of this machine ({error.strerror})")
