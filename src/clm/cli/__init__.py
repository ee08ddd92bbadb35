"""The command `clm`: parse, call, print. Commands import what they need when they run: help is quick."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point: a ClmError is one sentence and an exit code, never a traceback."""
    from clm.cli.app import app
    from clm.cli.output import fail
    from clm.core.errors import BadInput, ClmError

    try:
        app(prog_name="clm")
    except BadInput as error:
        sys.exit(fail(error, 2))
    except ClmError as error:
        sys.exit(fail(error, 1))
