"""What `sys.executable` of a test process does: asks the nursery for a fork, and stands for it until it ends.

Imports next to nothing, because it is begun hundreds of times, without `site`. See tests/support/quick.py.
"""

from __future__ import annotations

import _socket
import os
import sys
from array import array

#: Signals that are handed on. SIGKILL cannot be: the nursery sees the connection close, and kills.
PASSED_ON = (1, 2, 3, 10, 12, 15)
#: What of CLM may be forked, and by which nursery. Not a pool's processes: they watch their parent.
_MODULES = {
    **dict.fromkeys(("clm", "clm.live", "clm.rebuild", "clm.worker", "tests.support.loading"), "clm"),
    "clm.training.neural.child": "networks",
}
_READ = ("PYTHON", "LC_", "LANG")
_TRIES, _WAIT = 1200, 0.05


def start(real: str, nursery: str, folder: str, pins: dict[str, str]) -> None:
    """Does what an interpreter does with these arguments; does not return."""
    arguments = sys.argv[1:]
    kind = _kind(arguments)
    if os.environ.get("CLM_TEST_REAL_PYTHON") or kind is None or read_at_start() != pins:
        os.execv(real, [real, *arguments])
    connection = _connected([real, nursery, folder, kind])
    import signal

    ignored = [str(s) for s in PASSED_ON if signal.getsignal(s) is signal.SIG_IGN]
    for number in PASSED_ON:
        if str(number) not in ignored:
            signal.signal(number, lambda got, frame: connection.send(bytes([got])))
    environment = [f"{name}={value}" for name, value in os.environ.items()]
    umask = os.umask(0)
    parts = [str(len(arguments)), *arguments, os.getcwd(), ",".join(ignored), str(umask), *environment]
    order = b"\0".join(os.fsencode(part) for part in parts)
    fds = array("i", [0, 1, 2])
    head = len(order).to_bytes(8, "big")
    connection.sendmsg([head], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])
    while order:
        order = order[connection.send(order) :]
    # What reads the child's output waits for its end, not for ours.
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    said = b""
    while len(said) < 4 and (more := connection.recv(4 - len(said))):
        said += more
    if len(said) < 4:
        os._exit(70)
    status = int.from_bytes(said, "big", signed=True)
    if status < 0:
        if -status in PASSED_ON:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _kind(arguments: list[str]) -> str | None:
    """The nursery that forks this; None: it is begun as ever."""
    match arguments:
        case ["-m", module, *_]:
            # What is measured by a benchmark means nothing here: its way is rehearsed.
            return "clm" if module.startswith("benchmarks.") else _MODULES.get(module)
        case ["-c", code, *_]:
            lines = code.replace(";", "\n").splitlines()
            if any(line.strip().startswith(("from clm", "import clm")) for line in lines):
                return "clm"
    return None


def read_at_start() -> dict[str, str]:
    """What an interpreter reads of its environment as it starts; with another one a child starts anew.

    But for the encoding of its streams, which a nursery's child is given as an interpreter gives it.
    """
    own = {name: value for name, value in os.environ.items() if name.startswith(_READ)}
    own.pop("PYTHONIOENCODING", None)
    return own


def _connected(command: list[str]) -> _socket.socket:
    """To the nursery that this command begins, which whoever needs it first does."""
    import fcntl
    import time

    *_, folder, kind = command
    address = f"{folder}/{kind}"
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(address)
        return connection
    except OSError:
        pass
    with open(address + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            connection.connect(address)
            return connection
        except OSError:
            pass
        nothing = os.open(os.devnull, os.O_RDWR)
        log = os.open(address + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            for fd, source in ((0, nothing), (1, log), (2, log)):
                os.dup2(source, fd)
            os.execv(command[0], command)
        for _ in range(_TRIES):
            try:
                connection.connect(address)
                return connection
            except OSError:
                if os.waitpid(pid, os.WNOHANG)[0]:
                    break
                time.sleep(_WAIT)
    with open(address + ".log", errors="replace") as file:
        raise SystemExit(f"no nursery came to be: {file.read()[-4000:]}")
