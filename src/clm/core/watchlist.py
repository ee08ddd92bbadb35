"""Which series are watched: those of the settings, and what was added or taken off since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import gcd
from typing import Any, Protocol

from clm.core.domain import Series
from clm.core.protocols import Clock

#: Seconds after which a process looks again at what others have added or taken off.
_KEPT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What somebody wants of a series, instead of what the settings say.

    models: None for the settings'. overrides: setting → value, for this series alone. watched False: it was
    taken off; what is stored of it stays. changed_by, changed_at: who said so last, and when.
    """

    series: Series
    models: tuple[str, ...] | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    watched: bool = True
    changed_by: str = ""
    changed_at: datetime | None = None


class WatchlistStore(Protocol):
    """One entry per series at most."""

    def entries(self) -> list[Watched]:
        """In the order in which series were first put there."""
        ...

    def put(self, entry: Watched) -> None:
        """Takes the place of the series' entry; `changed_at` is the store's."""
        ...


class Watchlist:
    """The settings' series in their order, then those added in theirs, without those taken off.

    Read anew once a second at most; `look` reads at once.
    """

    def __init__(self, configured: Sequence[Series], store: WatchlistStore, clock: Clock) -> None:
        self.configured = tuple(dict.fromkeys(configured))
        self._store, self._clock = store, clock
        self._known: tuple[float, dict[Series, Watched], tuple[Series, ...]] | None = None

    def series(self) -> tuple[Series, ...]:
        """The series watched. Raises DatabaseUnavailable."""
        known = self._known
        if known is None or self._clock() - known[0] > _KEPT_SECONDS:
            return self.look()
        return known[2]

    def look(self) -> tuple[Series, ...]:
        """The same, as it is now."""
        entries = {entry.series: entry for entry in self._store.entries()}
        every = dict.fromkeys((*self.configured, *entries))
        watched = tuple(s for s in every if s not in entries or entries[s].watched)
        self._known = (self._clock(), entries, watched)
        return watched

    def entry(self, series: Series) -> Watched | None:
        """What is said of a series besides the settings, as last read; None: nothing."""
        if self._known is None:
            self.look()
        return self._known[1].get(series) if self._known else None

    def entries(self) -> list[Watched]:
        """Everything that is said of any series, as last read."""
        return list(self._known[1].values()) if self._known else []

    def put(self, entry: Watched) -> None:
        """Stores it; known here from now on, and to other processes within a second or two."""
        self._store.put(entry)
        self.look()


def common_step(every: Sequence[Series]) -> timedelta:
    """The longest step at whose multiples all candles of these series close."""
    return timedelta(seconds=gcd(*(int(series.step.total_seconds()) for series in every)))
