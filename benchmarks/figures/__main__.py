"""`make figures [NAMES=…]`: makes figures again, for `results/` and the pages that quote them."""

from __future__ import annotations

import sys
import time

from benchmarks.figures import NotHere, Result, commit, put
from benchmarks.figures.make import FIGURES


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        print(f"unknown figure {', '.join(unknown)}; there are: {', '.join(FIGURES)}", file=sys.stderr)
        return 2
    for name in names or FIGURES:
        figure, began = FIGURES[name], time.monotonic()
        try:
            text = figure.make()
        except NotHere as why:
            print(f"{name:<18} left as it is: {why}", flush=True)
            continue
        Result(figure.command, commit(), text).write(name)
        put(name, text)
        print(f"{name:<18} {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
