"""A child process with PyTorch in it, and who keeps one: asked one thing at a time, begun anew if it died."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from clm.core.errors import TrainingFailed
from clm.training.neural.messages import Message, receive, send

_CHILD = (sys.executable, "-m", "clm.training.neural.child")
#: Models a child holds at once: those asked about last.
_MOST_MODELS = 32
#: No answer of one takes longer, a training aside.
_ANSWER_SECONDS = 120.0


class Child:
    """One process. `ask` raises TrainingFailed with what it said, or that it died."""

    def __init__(self, threads: int = 1) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "CUDA_MODULE_LOADING": "LAZY"}
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter, no shell
            _CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
            cwd=Path(__file__).anchor,
        )  # fmt: skip
        self._errors: list[bytes] = []
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(
        self,
        message: Message,
        seconds: float | None = _ANSWER_SECONDS,
        count: Callable[[int], None] | None = None,
    ) -> Message:
        """The child's answer. seconds: it is ended where it takes longer; None: however long.

        count: hears of what is done on the way, where the child says so.
        """
        timer = threading.Timer(seconds, self._process.kill) if seconds is not None else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            send(cast(BinaryIO, self._process.stdin), message)
            answer = receive(cast(BinaryIO, self._process.stdout))
            while answer is not None and "done" in answer.head:
                if count is not None:
                    count(int(answer.head["done"]))
                answer = receive(cast(BinaryIO, self._process.stdout))
        except OSError:
            answer = None
        finally:
            if timer is not None:
                timer.cancel()
        if answer is None:
            raise TrainingFailed(self._obituary(message))
        if "error" in answer.head:
            raise TrainingFailed(str(answer.head["error"]))
        return answer

    def close(self) -> None:
        """Ends it now."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    # What was still to be written has nobody to read it.
                    continue
        self._listening.join(5)

    def _listen(self) -> None:
        stream = cast(BinaryIO, self._process.stderr)
        with stream:
            for line in stream:
                self._errors = [*self._errors[-20:], line]

    def _obituary(self, message: Message) -> str:
        self._process.kill()
        code = self._process.wait()
        self._listening.join(5)
        said = b"".join(self._errors[-3:]).decode(errors="replace").strip()
        how = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"the process for {message.head.get('do')} {how}{f': {said}' if said else ''}"


class Keeper:
    """Keeps one child for forecasts, begun at the first question; it is sent a model it does not hold.

    most: models it holds at once.
    """

    def __init__(self, most: int = _MOST_MODELS) -> None:
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._most = most
        #: Hashes of the models it holds, the one asked about last at the end.
        self._known: dict[str, None] = {}

    def ask(self, sha256: str, raw: bytes, question: Mapping[str, Any], **arrays: Any) -> Message:
        """About the model with those bytes. Raises TrainingFailed."""
        with self._lock:
            if self._child is None or not self._child.alive:
                self._drop()
                self._child, self._known = Child(), {}
            if sha256 not in self._known:
                self._child.ask(Message({"do": "load", "model": sha256}, raw=raw))
            self._known.pop(sha256, None)
            self._known[sha256] = None
            while len(self._known) > self._most:
                oldest = next(iter(self._known))
                self._child.ask(Message({"do": "drop", "model": oldest}))
                del self._known[oldest]
            return self._child.ask(Message({**question, "model": sha256}, arrays))

    def close(self) -> None:
        """Until the next question."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None


#: Of this process.
KEEPER = Keeper()
atexit.register(KEEPER.close)
