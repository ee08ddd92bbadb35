"""The command `clm`: parse, call, print. Commands import what they need when they run: help is quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: a ClmError is one sentence and an exit code, never a traceback.

    arguments: default: those of this process.
    """
    from clm.cli.app import app
    from clm.cli.output import fail
    from clm.core.consoles import write_otherwise
    from clm.core.errors import BadInput, ClmError

    write_otherwise()
    try:
        app(args=arguments, prog_name="clm")
    except BadInput as error:
        sys.exit(fail(error, 2))
    except ClmError as error:
        sys.exit(fail(error, 1))
