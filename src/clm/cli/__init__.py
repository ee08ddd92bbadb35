"""The command `clm`: parse, call, print. Commands import what they need when they run: help is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: a ClmError is one sentence and an exit code, never a traceback.

    arguments: default: those of this process.
    """
    from clm.cli.app import app
    from clm.cli.output import fail
    from clm.core.consoles import write_otherwise
    from clm.core.errors import BadInput, ClmError

    write_otherwise()
    with _nothing_for_others():
        try:
            app(args=arguments, prog_name="clm")
        except BadInput as error:
            sys.exit(fail(error, 2))
        except ClmError as error:
            sys.exit(fail(error, 1))


@contextmanager
def _nothing_for_others() -> Iterator[None]:
    """Database, models, candles, backups and logs are for their owner, and the group if the system says so.

    Here and in all processes begun from here.
    """
    before = os.umask(0)
    os.umask(before | 0o007)
    try:
        yield
    finally:
        os.umask(before)
