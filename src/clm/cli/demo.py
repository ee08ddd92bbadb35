"""`clm demo`: the guide's seven steps on a simulated exchange, in under a minute."""

from __future__ import annotations


def demo() -> None:
    """Walk through the whole cycle on a simulated exchange: nothing outside a temporary folder is touched."""
    raise NotImplementedError
