"""`make bench-fuzz`: thousands of requests, right and wrong ones, at a `clm serve` process and its database.

Everything the service's own OpenAPI document names is asked: without a key while there is none, then as every
role and as a stranger; the edges of every schema, drawn requests, and chains along the document's links.
Exit code 1 where an answer breaks what the document says, where there is a 500, or where an operation was
never reached or never once did what it is for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from benchmarks.examiner import Findings, Plan, examine
from benchmarks.rehearsal import serve, stage
from clm.bootstrap import Application
from clm.core.access import Role
from clm.core.runs import RunRequest
from clm.telemetry import set_up_logging


@dataclass(frozen=True, slots=True)
class Examined:
    """A service under examination. url: where it answers; application: another process's view of it."""

    url: str
    application: Application

    def key(self, role: Role) -> str:
        """A new key of this role; from the first one on the service is closed to strangers."""
        return self.application.keys.add(f"the-{role}", role)[1]


@contextmanager
def examined(folder: Path) -> Iterator[Examined]:
    """A service with two versions of every model, and no key yet; it refuses nobody for asking too often."""
    with stage(folder, rate_limit_per_minute=0) as on, on.application() as application:
        for _ in range(2):
            application.run(RunRequest(force=True, requested_by="fuzz"))
            on.exchange.clock.advance(timedelta(hours=30))
        service = serve(on)
        try:
            yield Examined(service.url, application)
        finally:
            service.stop()


def missed(found: Findings) -> list[str]:
    """Operations that were never asked, or that never once did what they are for."""
    return sorted(found.operations - found.succeeded)


def _table(parts: dict[str, Findings]) -> str:
    lines = [f"{'as':<10}{'operations':>12}{'requests':>10}{'failures':>10}{'5xx':>6}  statuses"]
    for name, found in parts.items():
        seen = found.statuses
        asked = len([n for n in found.operations if n in found.answers])
        told = ", ".join(f"{status} × {count}" for status, count in sorted(seen.items()))
        wrong = sum(count for status, count in seen.items() if status >= 500 or not status)
        covered = f"{asked} of {len(found.operations)}"
        lines.append(f"{name:<10}{covered:>12}{seen.total():>10,}{len(found.failures):>10}{wrong:>6}  {told}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=40, help="requests drawn per operation")
    parser.add_argument("--rounds", type=int, default=20, help="of chains along the document's links")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    set_up_logging("error")
    began, parts = time.monotonic(), {}
    few = Plan(max(1, given.examples // 8), 0, seed=given.seed, edges=False)
    with tempfile.TemporaryDirectory() as folder, examined(Path(folder)) as service:
        parts["anybody"] = examine(service.url, None, few, closed=False)
        key = service.key(Role.ADMIN)
        parts["admin"] = examine(service.url, key, Plan(given.examples, given.rounds, seed=given.seed))
        for role in (Role.OPERATE, Role.READ):
            parts[role] = examine(service.url, service.key(role), few)
        parts["stranger"] = examine(service.url, "nobody-knows-this-key", few, document=key)
        runs = len(service.application.runs.recent(500))
    parts["together"] = together = sum(parts.values(), Findings())
    print(_table(parts))
    print(f"{time.monotonic() - began:.0f} s; {runs} runs were begun, most of them cancelled")
    never = missed(parts["admin"])
    for line in [*together.failures[:20], *(f"never succeeded: {name}" for name in never)]:
        print(f"\n{line}")
    return int(bool(together.failures or never))


if __name__ == "__main__":
    sys.exit(main())
