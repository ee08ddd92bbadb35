"""What a scenario answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the benchmark's table.

    ours, peer: seconds (best of the paired repetitions) of our way and of the named peer on the same work.
    """

    name: str
    peer_name: str
    ours: float
    peer: float
    note: str = ""

    @property
    def ratio(self) -> float:
        """ours / peer: below 1 we are faster."""
        return self.ours / self.peer
