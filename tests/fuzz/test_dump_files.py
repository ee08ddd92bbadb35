"""Whatever a candle file holds, importing it stores sound candles or raises our error and stores nothing."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clm.core.domain import CANDLE_COLUMNS
from clm.core.dumps import parse_candles
from tests.support.candles import random_walk
from tests.support.dump_files import HEADER, line, parquet, take_in, text, zipped
from tests.support.fuzzing import examples

CELLS = st.one_of(
    st.binary(max_size=12),
    st.integers(-(2**70), 2**70).map(lambda n: str(n).encode()),
    st.floats().map(lambda x: repr(x).encode()),
    st.sampled_from([
        b"", b"nan", b"NaN", b"inf", b"-inf", b"-1", b"0", b"True", b"1e400", b"1_000", b"0x10", b" 1",
        b"1.5", b"1704067200000.5", b"1735689600000123", b"9" * 400, b'"1"', b"1\x002", b"\xff", b"1d5",
        b"\xef\xbb\xbf1", b"1e15", b"253402300800000", b"9999999999999", "٣".encode(), b"-1704067200000",
    ]),
)  # fmt: skip


@st.composite
def dumps(draw: st.DrawFn) -> bytes:
    """A CSV, most of it sound."""
    micro = draw(st.booleans())
    lines = [line(hour, micro=micro) for hour in draw(st.lists(st.integers(-2, 8), min_size=1, max_size=6))]
    for _ in range(draw(st.integers(0, 3))):
        target = draw(st.sampled_from(lines))
        target[draw(st.integers(0, 11))] = draw(CELLS)
    ends = draw(st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"]))
    body = ends.join(b",".join(values) for values in lines)
    before = draw(
        st.sampled_from([b"", b"", b"", HEADER + ends, b"\xef\xbb\xbf", b"\xef\xbb\xbf" + HEADER + ends])
    )
    return before + body + draw(st.sampled_from([b"", ends, b"\n\n\r\n", b"\x1a", b","]))


@st.composite
def struck(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file cut, flipped, holed or lengthened."""
    raw = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw) - 1))
        match draw(st.sampled_from(["flip", "cut", "hole", "more"])):
            case "flip":
                raw[at] = draw(st.integers(0, 255))
            case "cut":
                del raw[max(1, at) :]
            case "hole":
                del raw[max(1, at) : at + draw(st.integers(1, 20))]
            case _:
                raw[at:at] = draw(st.binary(min_size=1, max_size=20))
    return bytes(raw)


@pytest.mark.rehearse
@examples(500)
@given(content=dumps() | st.binary(max_size=200), mend=st.booleans())
@example(content=b"", mend=False)
@example(content=HEADER, mend=True)
def test_a_csv(content: bytes, mend: bool) -> None:
    take_in("BTCUSDT-1h-2024-01-01.csv", content, mend=mend)


@examples(300)
@given(content=struck(zipped(text())) | st.binary(max_size=100))
def test_a_zip_that_was_struck(content: bytes) -> None:
    take_in("BTCUSDT-1h-2024-01-01.zip", content)


@pytest.mark.rehearse
@examples(400)
@given(content=struck(parquet()) | st.binary(max_size=100))
def test_a_parquet_file_that_was_struck(content: bytes) -> None:
    take_in("BTCUSDT-1h.parquet", content)


NUMBERS = st.floats() | st.integers(-(2**63), 2**63 - 1)


@examples(150)
@given(data=st.data())
def test_a_parquet_file_of_other_values(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["open_time", *CANDLE_COLUMNS]))
    kind = data.draw(st.sampled_from(["float64", "int64", "float32", "int32", "uint64", "bool", "str"]))
    values = np.array([data.draw(NUMBERS) for _ in range(10)], dtype="float64")
    with np.errstate(all="ignore"):
        column = [str(v) for v in values] if kind == "str" else np.nan_to_num(values, posinf=0).astype(kind)

    take_in("BTCUSDT-1h.parquet", parquet(**{name: values if kind == "float64" else column}))


class TestWhatIsTaken:
    """Harmless differences between dumps."""

    @pytest.mark.parametrize(
        "content",
        [
            text(), text(micro=True), text(end=b"\r\n"), HEADER + b"\r\n" + text(end=b"\r\n"),
            b"\xef\xbb\xbf" + text(), b"\xef\xbb\xbf" + HEADER + b"\n" + text(), text() + b"\n\n",
            text().rstrip(), text().replace(b",0\n", b",17928899.62484339\n"), text(range(1)),
        ],
        ids=[
            "plain", "microseconds", "CRLF", "header and CRLF", "byte order mark", "mark and header",
            "empty lines at the end", "no line end", "another last column", "one candle",
        ],
    )  # fmt: skip
    def test_a_dump(self, content: bytes) -> None:
        assert take_in("BTCUSDT-1h-2024-01-01.csv", content) == "stored"
        assert take_in("BTCUSDT-1h-2024-01-01.zip", zipped(content)) == "stored"

    @pytest.mark.parametrize(
        "name", ["../../evil.csv", "/etc/evil.csv", "..\\evil.csv", "a/b/c.csv", "C:\\x.csv"]
    )
    def test_a_members_name_is_no_path(self, name: str) -> None:
        """Nothing is ever written under it."""
        assert take_in("BTCUSDT-1h-2024-01-01.zip", zipped(text(), name)) == "stored"

    def test_stamps_kept_as_times_or_as_pandas_keeps_its_index(self) -> None:
        candles = random_walk(10)
        buffer = io.BytesIO()
        candles.to_parquet(buffer)

        for content in (
            buffer.getvalue(),
            parquet(open_time=pd.DatetimeIndex(candles.index).as_unit("ns").tz_localize(None)),
        ):
            taken = parse_candles("BTCUSDT-1h.parquet", content)
            pd.testing.assert_frame_equal(taken, candles, check_freq=False, check_index_type=False)

    def test_prices_are_those_that_are_written_to_the_last_bit(self) -> None:
        prices = np.random.default_rng(0).lognormal(0, 8, 300)
        rows = [line(hour) for hour in range(300)]
        for values, price in zip(rows, prices, strict=True):
            values[1] = repr(float(price)).encode()

        taken = parse_candles("BTCUSDT-1h.csv", b"\n".join(map(b",".join, rows)))

        assert np.array_equal(taken["open"].to_numpy(), prices)
