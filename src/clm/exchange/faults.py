"""What may go wrong on purpose: which answers are spoilt, and how.

Grammar of a plan: parts joined by commas, each `KIND@N` (the N-th klines request since the plan was set,
counted from 1; `KIND@N-M` a range), `KIND:P` (each klines request with probability P) or `KIND` (every one):
`429@3,500:0.05,revise:0.01`. Kinds:

    429        too many requests, with Retry-After     418        banned, with Retry-After
    500        server error, Binance's JSON            502        a proxy's HTML page
    html       200 with an HTML page                   cut        200 with half of the JSON
    empty      200 without a body                      timeout    no answer for `timeout_seconds`
    duplicate  one candle twice                        gap        one candle missing
    revise     closes of the newest closed candles differ slightly from what is served at other times
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass

import numpy as np

from clm.core.errors import BadInput

KINDS = ("429", "418", "500", "502", "html", "cut", "empty", "timeout", "duplicate", "gap", "revise")
_PART = re.compile(r"(?P<kind>\w+)(?:@(?P<first>\d{1,9})(?:-(?P<last>\d{1,9}))?|:(?P<chance>[\d.]+))?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One part of a plan. first, last: request numbers, None: any; chance: 0 to 1."""

    kind: str
    first: int | None = None
    last: int | None = None
    chance: float = 1.0


class FaultPlan:
    """Which of the coming klines requests are spoilt. Seeded: the same requests meet the same faults."""

    def __init__(
        self,
        faults: tuple[Fault, ...] = (),
        *,
        seed: int = 0,
        retry_after: int = 1,
        timeout_seconds: float = 30.0,
    ) -> None:
        self.faults = faults
        self.retry_after = retry_after
        self.timeout_seconds = timeout_seconds
        self._rng = np.random.default_rng(seed)
        self._count = 0
        self._lock = threading.Lock()

    @classmethod
    def parse(
        cls, text: str, *, seed: int = 0, retry_after: int = 1, timeout_seconds: float = 30.0
    ) -> FaultPlan:
        """A plan from its text, see the module. Raises BadInput naming the part that is wrong."""
        faults = tuple(_fault(part.strip()) for part in text.split(",") if part.strip())
        return cls(faults, seed=seed, retry_after=retry_after, timeout_seconds=timeout_seconds)

    def next(self) -> frozenset[str]:
        """The faults of the next klines request."""
        with self._lock:
            self._count += 1
            hit = set()
            for fault in self.faults:
                drawn = self._rng.random() < fault.chance if fault.chance < 1 else True
                first = fault.first if fault.first is not None else 1
                last = fault.last if fault.last is not None else self._count
                if drawn and first <= self._count <= last:
                    hit.add(fault.kind)
            return frozenset(hit)


def _fault(part: str) -> Fault:
    found = _PART.fullmatch(part)
    allowed = f"KIND, KIND@N, KIND@N-M or KIND:P with KIND one of {', '.join(KINDS)} and P from 0 to 1"
    if found is None or found["kind"] not in KINDS:
        raise BadInput("faults", part, allowed)
    if found["chance"] is not None:
        try:
            chance = float(found["chance"])
        except ValueError as exc:
            raise BadInput("faults", part, allowed) from exc
        if not 0 <= chance <= 1:
            raise BadInput("faults", part, allowed)
        return Fault(found["kind"], chance=chance)
    first = int(found["first"]) if found["first"] else None
    last = int(found["last"]) if found["last"] else first
    return Fault(found["kind"], first, last)
