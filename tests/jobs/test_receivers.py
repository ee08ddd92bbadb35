"""What a receiver's library says of an address reaches nobody with the token in it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from clm.core.alert import Alert, StoredAlert, message_of
from clm.jobs.receivers import Receiver
from tests.support.receiver import TOKEN
from tests.support.versions import BTC


class _Indiscreet:
    """A service whose library tells the address it was given, in an error of its own or in its log."""

    def __init__(self, *, raises: bool) -> None:
        self._raises = raises

    def notify(self, title: str, body: str) -> bool:
        said = f"POST https://hooks.example.com/services/{TOKEN.lower()}/x was refused"
        if self._raises:
            raise ConnectionError(said)
        logging.getLogger("apprise").error(said)
        return False


@pytest.mark.parametrize("raises", [True, False])
def test_a_library_that_tells_the_address_gives_no_token_away(raises: bool) -> None:
    receiver, now = Receiver("slack:1", f"slack://{TOKEN}/x", _Indiscreet(raises=raises)), datetime.now(UTC)
    alert = Alert("parity", BTC, "lightgbm", "v1", "something is the matter")

    said = receiver.tell(message_of([StoredAlert(alert, now, now, 1)]))

    assert said is not None
    assert "/services/***/x was refused" in said
    assert TOKEN.lower() not in said.lower()
