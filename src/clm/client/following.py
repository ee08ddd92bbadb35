"""A run is followed to its end, also past a restart of the service."""

from __future__ import annotations

from collections.abc import Callable

from clm.client.errors import ServiceUnavailable, StillRunning, Unreachable
from clm.client.records import Run


def follow(
    look: Callable[[], Run],
    run_id: str,
    *,
    timeout: float | None,
    poll: float,
    outage: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> Run:
    """What `look` shows once the run is over; every parameter but the first two as `Client.wait` tells.

    An interrupted run is as a rule taken up again by the next service that starts, so it counts as ended
    only when it has lain for `outage` seconds.
    """
    seen: Run | None = None
    began = well = clock()
    while True:
        try:
            seen = look()
        except (Unreachable, ServiceUnavailable):
            if clock() - well >= outage:
                raise
        else:
            if seen.over or (seen.status == "interrupted" and clock() - well >= outage):
                return seen
            if seen.status != "interrupted":
                well = clock()
        left = None if timeout is None else began + timeout - clock()
        if left is not None and left <= 0:
            raise StillRunning(f"run {run_id} has not ended within {timeout:g} seconds", seen)
        sleep(poll if left is None else min(poll, left))
