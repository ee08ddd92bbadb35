"""The other side: `python -m clm.training.neural.child` reads questions on standard input and answers them.

Nothing but answers goes to standard output, whatever a library prints. It ends when its parent does.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any, BinaryIO

from clm.core import ambit
from clm.training.neural.messages import Message, receive, send

_LOOK_SECONDS = 0.5


def _end_with_parent() -> None:
    """Also in the middle of a training, when nobody reads the pipe that broke."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _answer(question: Message, models: dict[str, Any], out: BinaryIO) -> Message:
    # Seconds, and only here: who imports this module has not asked for it yet.
    from clm.training.neural import networks

    do, name = question.head["do"], question.head.get("model")
    if do == "train":
        steps = int(question.head["steps"])

        def hear(part: ambit.Part) -> None:
            send(out, Message({"done": part.done}))

        with ambit.heard_by(hear):
            return networks.train(question, ambit.counter(steps, "steps") or (lambda done: None))
    if do == "load":
        models[str(name)] = networks.load(question.raw)
        return Message({})
    if do == "drop":
        del models[str(name)]
        return Message({})
    if do == "predict":
        return Message({}, {"z": models[str(name)].forecast(question.arrays)})
    if do == "contributions":
        return Message({}, models[str(name)].attributions(question.arrays))
    return Message({"error": f"{do!r} is nothing a network does"})


def main() -> None:
    """Answers until the other side hangs up."""
    _end_with_parent()
    out: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    models: dict[str, Any] = {}
    while (question := receive(sys.stdin.buffer)) is not None:
        try:
            answer = _answer(question, models, out)
        except Exception as error:  # noqa: BLE001  # told to the parent, whose error it becomes
            answer = Message({"error": f"{type(error).__name__}: {error}"})
        send(out, answer)


if __name__ == "__main__":
    main()
