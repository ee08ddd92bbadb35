"""Several questions at once, their answers in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

#: Answers that may lie waiting for their turn, by lanes.
_AHEAD = 2


def in_order(
    ask: Callable[[Q], A], questions: Iterable[Q], lanes: int, begin: Callable[[], None]
) -> Iterator[A]:
    """`ask` of each question, `lanes` at a time, answers in the order of the questions.

    begin: called once in each lane. An error comes in its answer's turn; what was asked after it is dropped.
    """
    pool = ThreadPoolExecutor(lanes, "lane", initializer=begin)
    waiting: deque[Future[A]] = deque()
    try:
        for question in questions:
            waiting.append(pool.submit(ask, question))
            if len(waiting) > _AHEAD * lanes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Who waits for the exchange's leave in a lane is not waited for.
        pool.shutdown(wait=False, cancel_futures=True)
