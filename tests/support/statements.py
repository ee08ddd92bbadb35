"""SQL that is compiled once a process, not once a database: tests open thousands of them.

SQLAlchemy keeps compiled statements with each engine, under the engine's dialect. Here all engines keep them
in one place, and dialects that write the same SQL are equal.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Engine, default
from sqlalchemy.util import LRUCache

_KEPT = 3000


def _writes(dialect: default.DefaultDialect) -> tuple[Any, ...]:
    """All that the SQL of our engines depends on, which are opened with no option of a dialect."""
    return type(dialect), dialect.paramstyle, getattr(dialect, "server_version_info", None)


def keep() -> None:
    """From here on, in this process."""
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
