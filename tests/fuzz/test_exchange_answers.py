"""Whatever an exchange answers, it becomes a sound candle frame or an error of ours: never anything else."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.core.domain import Series
from clm.core.errors import ClmError, ExchangeUnavailable
from clm.market.binance import BinanceDataClient
from clm.market.candles import repair, validate
from clm.market.pace import Pace
from clm.market.vendor import candles_of
from tests.support.fuzzing import examples
from tests.support.promises import assert_candle_frame

HOURLY = Series("BTCUSDT", "1h")
NOW = datetime(2024, 6, 1, 0, 30, tzinfo=UTC)
_HOUR_MS = 3_600_000

SCALARS = st.one_of(
    st.none(), st.booleans(), st.text(max_size=12), st.floats(), st.integers(),
    st.integers(-(2**70), 2**70), st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1, 0, -1, 10**400]),
    st.sampled_from([
        "0", "-1", "1e400", "nan", "Infinity", "-Infinity", "1_000", "", " 1 ", "0x10", "٣", "1e-400", "1,5",
        "9" * 5000, "True", "1.7e308", "\x00", "\ud800", "1704067200000",
    ]),
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=13) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


def row(hour: int, price: float = 100.0) -> list[Any]:
    """A sound kline."""
    opened = 1_704_067_200_000 + hour * _HOUR_MS
    return [
        opened, str(price), str(price + 2), str(price - 2), str(price + 1), "5.5", opened + _HOUR_MS - 1,
        "550.1", 42, "2.5", "250.0", "0",
    ]  # fmt: skip


@st.composite
def pages(draw: st.DrawFn) -> Any:
    """A page of klines, most of it sound."""
    rows = [row(hour) for hour in draw(st.lists(st.integers(-1, 6), max_size=6))]
    for _ in range(draw(st.integers(0, 3))):
        if rows:
            target = draw(st.sampled_from(rows))
            if target:
                target[draw(st.integers(0, len(target) - 1))] = draw(SCALARS)
    for _ in range(draw(st.integers(0, 1))):
        rows.insert(draw(st.integers(0, len(rows))), draw(JSON))
    return rows


@pytest.mark.rehearse
@examples(1200)
@given(answer=pages() | JSON)
def test_an_answer_is_a_sound_frame_or_an_error_of_ours(answer: Any) -> None:
    try:
        frame = candles_of(answer, HOURLY, "http://exchange")
    except ExchangeUnavailable:
        return
    assert len(frame) == len(answer)
    try:
        validate(frame, HOURLY)
    except ClmError:
        mended, report = repair(frame, HOURLY)
        assert len(mended) + len(report.dropped) == len(frame)
        assert_candle_frame(mended, HOURLY)
    else:
        assert_candle_frame(frame, HOURLY)


class Liar(ThreadingHTTPServer):
    """An exchange that answers whatever it is told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.clock, self.asked = 200, b"", b"", 0
        self.headers: tuple[tuple[str, str], ...] = ()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is meant to."""


class _Handler(BaseHTTPRequestHandler):
    server: Liar

    def do_GET(self) -> None:
        self.server.asked += 1
        told = self.path.endswith("/time") and self.server.clock
        status, body = (200, self.server.clock) if told else (self.server.status, self.server.body)
        self.send_response(status)
        for name, value in () if told else self.server.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name it has there
        return


@pytest.fixture(autouse=True)
def _no_finalizer_at_the_recursion_limit() -> Iterator[None]:
    """JSON that nests without end leads there, where what earlier tests left could not be tidied up."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module")
def liar() -> Iterator[Liar]:
    with Liar() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _client(liar: Liar, folder: Path | None) -> BinanceDataClient:
    pace = Pace(attempts=2, first_wait=0.001, longest_wait=0.01, sleep=lambda seconds: None)
    # What it asked this machine for before is forgotten.
    pace.account.reopen(liar.url.removeprefix("http://"))
    return BinanceDataClient(
        base_url=liar.url, data_dir=folder or Path("unused"), cache_enabled=folder is not None, pace=pace
    )


ENCODED = st.one_of(
    st.binary(max_size=60),
    JSON.map(lambda value: json.dumps(value, ensure_ascii=True).encode()),
    pages().map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"", b"{}", b"[]", b"null", b'{"code": [], "msg": {}}', b"[" * 100_000, b"<html>"]),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["Retry-After", "x-mbx-used-weight-1m", "Content-Type", "Content-Encoding"]),
        st.sampled_from([
            "nan", "inf", "-5", "1e400", "\xb2", "9" * 30, "", "0", "gzip", "text/html; charset=bogus",
            "Wed, 21 Oct 2015 07:28:00 GMT",
        ]),
    ),
    max_size=2, unique_by=lambda pair: pair[0],
)  # fmt: skip


@pytest.mark.rehearse
@examples(150)
@given(
    status=st.sampled_from([200, 200, 200, 204, 302, 400, 403, 418, 429, 500, 599]),
    body=ENCODED,
    headers=HEADERS,
)
def test_a_client_gives_a_sound_frame_or_an_error_of_ours(
    liar: Liar, status: int, body: bytes, headers: list[tuple[str, str]]
) -> None:
    liar.status, liar.body, liar.headers = status, body, tuple(headers)
    liar.clock = json.dumps({"serverTime": int(NOW.timestamp() * 1000)}).encode()
    liar.asked = 0
    client = _client(liar, None)
    try:
        frame = client.load_training_data(datetime(2024, 1, 1, tzinfo=UTC), NOW)
    except ClmError:
        assert liar.asked <= 8
    else:
        assert_candle_frame(frame, HOURLY)
    finally:
        client.close()


@pytest.mark.rehearse
@examples(80)
@given(clock=st.one_of(ENCODED, SCALARS.map(lambda told: json.dumps({"serverTime": told}).encode())))
def test_an_exchanges_time_is_a_time_or_an_error_of_ours(liar: Liar, clock: bytes) -> None:
    liar.clock, liar.body, liar.status, liar.headers = clock or b" ", b"[]", 200, ()
    client = _client(liar, None)
    try:
        now = client.server_time()
    except ExchangeUnavailable:
        return
    finally:
        client.close()
    assert datetime(1970, 1, 1, tzinfo=UTC) <= now < datetime(2263, 1, 1, tzinfo=UTC)


def test_an_exchange_that_repeats_itself_is_not_asked_for_ever(liar: Liar, tmp_path: Path) -> None:
    """Full pages of candles that lie before what was asked for."""
    liar.body = json.dumps([row(hour) for hour in range(1000)]).encode()
    liar.clock = json.dumps({"serverTime": int(NOW.timestamp() * 1000)}).encode()
    liar.status, liar.headers, liar.asked = 200, (), 0
    client = _client(liar, tmp_path)

    with pytest.raises(ExchangeUnavailable, match="nobody asked for"):
        client.load_training_data(datetime(2024, 1, 1, tzinfo=UTC), NOW)

    assert liar.asked < 6
    client.close()


def test_an_answer_without_end_is_not_read_to_its_end(liar: Liar) -> None:
    liar.body = b"[" + b" " * (40 << 20) + b"]"
    liar.clock, liar.status, liar.headers = b"", 200, ()
    client = _client(liar, None)

    with pytest.raises(ExchangeUnavailable, match="has no end"):
        client.server_time()

    client.close()


def test_more_days_than_there_have_been_are_refused(liar: Liar) -> None:
    liar.clock = json.dumps({"serverTime": int(NOW.timestamp() * 1000)}).encode()
    client = _client(liar, None)

    for days in (1e6, 1e300, float("inf")):
        with pytest.raises(ClmError, match="days"):
            client.load_recent_data(days)
    assert timedelta(days=1e6) > NOW - datetime(1, 1, 1, tzinfo=UTC)
    client.close()
