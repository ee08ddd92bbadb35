"""A file is looked through once, and one that was refused is refused again."""

from __future__ import annotations

import pytest

from clm.training.soundness import REMEMBERED, once_for_each_file


class Check:
    """Lets everything through but b"bad", and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def ask(self, payload: bytes) -> tuple[str, int]:
        self.asked.append(payload)
        if payload == b"bad":
            raise ValueError("it is bad")
        return payload.decode(), len(payload)


def test_the_same_bytes_are_looked_through_once_and_others_for_themselves() -> None:
    check = Check()
    checked = once_for_each_file(check.ask)
    assert checked(b"one") == checked(bytes(bytearray(b"one"))) == ("one", 3)
    assert checked(b"four") == ("four", 4)
    assert check.asked == [b"one", b"four"]


def test_bytes_that_were_refused_are_looked_through_and_refused_each_time() -> None:
    check = Check()
    checked = once_for_each_file(check.ask)
    for _ in range(2):
        with pytest.raises(ValueError, match="it is bad"):
            checked(b"bad")
    assert check.asked == [b"bad", b"bad"]


def test_what_is_remembered_has_a_bound_and_the_answers_stay_right() -> None:
    check = Check()
    checked = once_for_each_file(check.ask)
    payloads = [str(number).encode() for number in range(REMEMBERED + 1)]
    assert [checked(payload)[0].encode() for payload in payloads] == payloads
    assert checked(payloads[0]) == ("0", 1)
    assert check.asked == [*payloads, payloads[0]]
