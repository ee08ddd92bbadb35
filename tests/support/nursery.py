"""A process that has imported CLM and forks what is asked for; see tests/support/quick.py.

It has one thread of Python and no work of its own, and ends with the test process it was begun for.
"""

from __future__ import annotations

import array
import atexit
import gc
import os
import random
import runpy
import selectors
import shutil
import signal
import socket
import sys
import threading
import time
import types
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LOOK_SECONDS = 0.5
#: Within which who has connected says all it wants; it may be stopped, and others wait.
_SAID_SECONDS = 60
#: Bytes that tell how long an order is.
_HEAD = 8
#: What a worker, a service or a command needs; what a network's process does: six seconds more, a gigabyte.
_IMPORTED = {
    "clm": (
        "alembic.command", "binance.client", "lightgbm", "nicegui.ui_run_with", "psycopg", "pyarrow.dataset",
        "rich.progress", "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite", "sqlite3", "talib",
        "uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.auto",
        "uvicorn.protocols.websockets.auto", "xgboost", "clm.api.app", "clm.cli.app", "clm.dashboard.mount",
        "clm.exchange.server", "clm.exchange.simulate", "clm.live", "clm.market.vendor", "clm.rebuild",
        "clm.registry.backup", "clm.registry.restore", "clm.registry.verify", "clm.training.boosting",
        "clm.training.lightgbm_file", "clm.training.xgboost_file", "clm.worker",
    ),
    "networks": ("clm.training.neural.child", "clm.training.neural.networks"),
}  # fmt: skip
#: Begun as `-m` is, and imported already.
_BEGUN_BY_MAIN = ("clm.live", "clm.rebuild", "clm.training.neural.child", "clm.worker")


@dataclass(frozen=True)
class Order:
    """What a child is to be."""

    arguments: list[str]
    folder: str
    ignored: list[int]
    umask: int
    environment: dict[str, str]
    #: Standard input, output and error.
    fds: list[int]


def main() -> None:
    """The nursery of a folder, as long as the process that made it lives; in a child: what was asked for."""
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    sys.executable = str(folder / "python")
    _import_all(_IMPORTED[kind])
    gc.collect()
    gc.freeze()
    order = Nursery(folder, kind).serve()
    if order is not None:
        os._exit(_ended(order))


def _ended(order: Order) -> int:
    """The exit code of a child that does what it was asked for, all of whose last words are said.

    As an interpreter ends, but for taking itself apart: that takes longer than most commands.
    """
    code = 0
    try:
        become(order)
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        _flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001  # what an interpreter does with it
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    _flush()
    return code


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # Whoever read it may be gone.
        with suppress(OSError, ValueError):
            stream.flush()


def _import_all(names: tuple[str, ...]) -> None:
    """Nothing of it does anything yet."""
    before = list(warnings.filters)
    warnings.simplefilter("ignore")
    for name in names:
        # What is not installed (psycopg is an extra) is not needed either.
        with suppress(ModuleNotFoundError):
            __import__(name)
    warnings.filters[:] = before  # type: ignore[index]


class Nursery:
    """Forks for whoever connects, tells them how it ended, and kills what nobody waits for any more."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._owner = int((folder / "owner").read_text())
        self._listener = socket.socket(socket.AF_UNIX)
        # Whoever begins a nursery holds the lock: what is there belongs to one that is gone.
        (folder / kind).unlink(missing_ok=True)
        self._listener.bind(str(folder / kind))
        self._listener.listen(64)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._children: dict[int, socket.socket] = {}
        self._awake, waker = socket.socketpair()
        waker.setblocking(False)
        self._awake.setblocking(False)
        self._waker = waker
        self._selector.register(self._awake, selectors.EVENT_READ)
        self._spent = 0.0
        signal.set_wakeup_fd(waker.fileno())
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def serve(self) -> Order | None:
        """None once its owner is gone; in each child, its order."""
        while _lives(self._owner) and self._folder.is_dir():
            for key, _ in self._selector.select(_LOOK_SECONDS):
                if key.fileobj is self._listener:
                    if (order := self._fork()) is not None:
                        return order
                elif key.fileobj is self._awake:
                    self._awake.recv(4096)
                else:
                    self._hear(key.data)
            self._reap()
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)
        return None

    def _fork(self) -> Order | None:
        connection, _ = self._listener.accept()
        connection.settimeout(_SAID_SECONDS)
        order = _order_of(connection)
        if order is None:
            connection.close()
            return None
        try:
            pid = os.fork()
        except OSError as error:
            # It is told by the connection's end; the others are still waited for.
            sys.stderr.write(f"cannot fork: {error}\n")
            pid = -1
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for other in (self._listener, self._awake, self._waker, connection, *self._children.values()):
                other.close()
            self._selector.close()
            return order
        for fd in order.fds:
            os.close(fd)
        if pid < 0:
            connection.close()
            return None
        self._children[pid] = connection
        self._selector.register(connection, selectors.EVENT_READ, pid)
        return None

    def _hear(self, pid: int) -> None:
        """Signals for a child; the end of who asked for it is its own."""
        connection = self._children.get(pid)
        if connection is None:
            return
        try:
            said = connection.recv(16)
        except OSError:
            said = b""
        if not said:
            self._selector.unregister(connection)
            os.kill(pid, signal.SIGKILL)
        for number in said:
            os.kill(pid, number)

    def _reap(self) -> None:
        while self._children:
            pid, status, used = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            self._cost(used.ru_utime + used.ru_stime)
            connection = self._children.pop(pid)
            if connection in self._selector.get_map():
                self._selector.unregister(connection)
            code = os.waitstatus_to_exitcode(status)
            # Who asked may have been killed.
            with suppress(OSError):
                connection.sendall(code.to_bytes(4, "big", signed=True))
            connection.close()

    def _cost(self, seconds: float) -> None:
        """Of a child that has ended, and of this process since the last one."""
        now = time.process_time()
        # The folder is gone once the owner is, and its disk may be full: what is lost is a figure.
        with suppress(OSError), (self._folder / "costs").open("a") as file:
            file.write(f"{seconds + now - self._spent:.3f}\n")
        self._spent = now


def _order_of(connection: socket.socket) -> Order | None:
    """None where who asked is gone before all was said, as one that was killed is."""
    fds = array.array("i")
    try:
        head, control, _, _ = connection.recvmsg(_HEAD, socket.CMSG_SPACE(3 * fds.itemsize))
        for _, kind, data in control:
            if kind == socket.SCM_RIGHTS:
                fds.frombytes(data)
        head += _exactly(connection, _HEAD - len(head))
        said = _exactly(connection, int.from_bytes(head, "big"))
    except OSError:
        for fd in fds:
            os.close(fd)
        return None
    count, *parts = (os.fsdecode(part) for part in said.split(b"\0"))
    arguments, (folder, ignored, umask, *environment) = parts[: int(count)], parts[int(count) :]
    return Order(
        arguments, folder, [int(s) for s in ignored.split(",") if s], int(umask),
        dict(entry.split("=", 1) for entry in environment), list(fds),
    )  # fmt: skip


def _exactly(connection: socket.socket, size: int) -> bytes:
    said = b""
    while len(said) < size:
        more = connection.recv(size - len(said))
        if not more:
            raise ConnectionError("who asked is gone")
        said += more
    return said


def become(order: Order) -> None:
    """This process is what was asked for. Raises what that raises, SystemExit above all."""
    for fd, source in enumerate(order.fds):
        os.dup2(source, fd)
        os.close(source)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in order.ignored:
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    os.umask(order.umask)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    time.tzset()
    random.seed()
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    if encoding:
        # Anew: one that was opened where it could seek cannot be told of another encoding.
        sys.stdout = open(1, "w", encoding=encoding, errors=errors or "strict", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=stream.isatty() or stream is sys.stderr)  # type: ignore[union-attr]
    option, what, *rest = order.arguments
    if option == "-m":
        sys.argv, sys.path[0] = [what, *rest], order.folder
        if what not in _BEGUN_BY_MAIN:
            runpy.run_module(what, run_name="__main__", alter_sys=True)
            return
        # It is imported already: what its last line would do is done, and its children find it by its name.
        module = sys.modules["__main__"] = sys.modules[what]
        sys.exit(module.main())
    else:
        sys.argv, sys.path[0] = ["-c", *rest], ""
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), module.__dict__)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
