"""Figures of what a series costs where there are many, from the rows of `benchmarks.growth`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from benchmarks import growth
from benchmarks.figures.commands import table

_FEW, _MANY = 10, 200
Sizes = Mapping[int, growth.Found]
_TIMES = (
    "a tick of the live shadow", "serving's first look", "a run, nothing due", "a look for drift",
    "a run that trains",
)  # fmt: skip


@cache
def measured(sizes: Sequence[int] = (1, 10, 100, 200, 10, 1000)) -> Sizes:
    """`make bench-growth`, once for the figures that are made of it."""
    return growth.measured_over(sizes)


def times(of: Sizes | None = None) -> str:
    """Processor time for one series."""
    of = of or measured()
    return _grown(
        "processor time for one series, ms",
        of,
        _TIMES,
        lambda one: {n: s * 1e3 for n, s in one.seconds.items()},
    )


def memory(of: Sizes | None = None) -> str:
    """The most a process held."""
    of = of or measured()
    return _grown(
        "the most memory a process held, MB", of, ("live shadow", "serving", "worker"), lambda one: one.memory
    )


def _grown(
    title: str, of: Sizes, names: Sequence[str], costs: Callable[[growth.Found], Mapping[str, float]]
) -> str:
    columns = {size: costs(one) for size, one in of.items()}
    rows = []
    for name in names:
        cells = [_three(column[name]) if name in column else "–" for column in columns.values()]
        known = all(name in columns.get(size, {}) for size in (_FEW, _MANY))
        rows.append((name, *cells, f"{columns[_MANY][name] / columns[_FEW][name]:.2f}" if known else "–"))
    return table(f"| {title} | {' | '.join(f'{size:,}' for size in columns)} | {_MANY} ÷ {_FEW} |", rows)


def _three(number: float) -> str:
    """As many digits as repeat."""
    return f"{number:.0f}" if number >= 20 else f"{number:.1f}"
