"""What is the same for every database and every application is made once a process: tests open thousands.

SQLAlchemy keeps compiled statements with each engine, under the engine's dialect: here all engines keep them
in one place, and dialects that write the same SQL are equal. FastAPI reads every route's signature and models
anew for each application, Typer every command's for each call: here the first reading is kept. Where a
library changes inside, tests are slower.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any

import fastapi.routing
import typer.main
from sqlalchemy.engine import Engine, default
from sqlalchemy.util import LRUCache

_KEPT = 3000


def keep() -> None:
    """From here on, in this process."""
    _keep_statements()
    _keep_routes()
    typer.main.get_command = cache(typer.main.get_command)


def folder(prefix: str) -> Path:
    """A new one, for what tests of this process copy; gone when it ends."""
    made = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, made)
    return made


def _writes(dialect: default.DefaultDialect) -> tuple[Any, ...]:
    """All that the SQL of our engines depends on, which are opened with no option of a dialect."""
    return type(dialect), dialect.paramstyle, getattr(dialect, "server_version_info", None)


def _keep_statements() -> None:
    compiled: LRUCache[Any, Any] = LRUCache(_KEPT)
    begin = Engine.__init__

    def begun(engine: Engine, *given: Any, **more: Any) -> None:
        begin(engine, *given, **more)
        engine._compiled_cache = compiled

    Engine.__init__ = begun  # type: ignore[method-assign]
    default.DefaultDialect.__eq__ = lambda one, other: (  # type: ignore[assignment,method-assign]
        one is other or (isinstance(other, default.DefaultDialect) and _writes(one) == _writes(other))
    )
    default.DefaultDialect.__hash__ = lambda one: hash(_writes(one)[:2])  # type: ignore[method-assign]


def _keep_routes() -> None:
    for name in ("create_model_field", "_build_dependant_with_parameterless_dependencies"):
        if (made := getattr(fastapi.routing, name, None)) is not None:
            setattr(fastapi.routing, name, _kept(made))


def _kept(make: Callable[..., Any]) -> Callable[..., Any]:
    """`make`, which answers what it answered to the very same objects before. They are kept too.

    But for functions that were made within others, which may hold an application.
    """
    known: dict[Any, tuple[Any, Any]] = {}

    @wraps(make)
    def answer(**given: Any) -> Any:
        if "<locals>" in getattr(given.get("call"), "__qualname__", ""):
            return make(**given)
        key = tuple((name, _same(value)) for name, value in given.items())
        if key not in known:
            known[key] = given, make(**given)
        return known[key][1]

    return answer


def _same(value: Any) -> Any:
    """Equal for texts that are equal, lists of the same, and one and the same object."""
    if isinstance(value, list):
        return tuple(map(_same, value))
    return value if isinstance(value, str) else id(value)
