"""`make bench`: every scenario, one table, each figure a ratio against a peer or a limit of the same run."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks import cycle, features, fetch, newest
from benchmarks.result import Result
from clm.telemetry import set_up_logging

#: Permanent name → scenario.
SCENARIOS: dict[str, Callable[[], list[Result]]] = {
    "features": features.run,
    "newest": newest.run,
    "fetch": fetch.run,
    "cycle": cycle.run,
}


def _seconds(taken: float) -> str:
    return f"{taken:.3f} s" if taken >= 0.1 else f"{taken * 1e3:.3f} ms"


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        print(f"unknown scenario {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    set_up_logging("error")
    print(f"{'scenario':<44} {'ours':>10} {'peer':>10} {'ratio':>7}  against")
    for name in names or SCENARIOS:
        for result in SCENARIOS[name]():
            figures = f"{_seconds(result.ours):>10} {_seconds(result.peer):>10} {result.ratio:>7.3f}"
            note = f"; {result.note}" if result.note else ""
            print(f"{result.name:<44} {figures}  {result.peer_name}{note}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
