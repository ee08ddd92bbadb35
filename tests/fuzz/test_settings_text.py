"""Whatever an environment says: settings that work, or an error that names the variable but no secret."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from clm.bootstrap import Application
from clm.core.errors import BadInput, ClmError, InvalidSetting
from clm.core.text import mask_url
from clm.jobs.schedule import cron_trigger
from clm.registry.engine import open_engine
from clm.settings import PREFIX, Settings
from tests.support.fuzzing import examples, outcome

NAMES = [PREFIX + name.upper() for name in Settings.model_fields]
#: What an environment can hold: any bytes but zero, undecodable ones as lone surrogates.
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40),
    st.binary(max_size=20).map(lambda raw: os.fsdecode(raw.replace(b"\0", b""))),
    st.floats().map(repr),
    st.integers().map(str),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ).map(json.dumps),
    st.sampled_from([
        "inf", "-inf", "nan", "1e308", "1e999", "9" * 5000, "0x10", "1_000", "١", "true", "TRUE", "yes",
        "null", "", " ", ",", ",,", "off", "* * * * *", "*/0 * * * *", "60 * * * *", "0 0 31 2 *",
        "L * * * *", "99999999999 * * * *", "1-99999999 0 * * *", "* * * * 8", "* * * * ٣", "a b c d e",
        "*/99999999999999999999 * * * *", "btcusdt", "BTCUSDT,BTCUSDT", "http://[::1", "http://",
        "https://a b", "http://x:99999999", "[" * 5000, '{"lightgbm": {"num_trees": NaN}}', '{"lightgbm": 1}',
        '{"\\ud800": {}}', '{"a": {"b": "\\u0000"}}', "postgresql://[bad/db", "sqlite://", "://",
        "postgresql+nothing://x", "postgresql://h:port/d", "10.0.0.0/99", "::/129", "*", "https://*",
        "https://[", "admin:", "sha256:zz", "\udcff" * 20,
    ]),
)  # fmt: skip


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """This process's, with these variables in it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.rehearse
@examples(1500)
@given(name=st.sampled_from(NAMES), value=VALUES)
@example(name="CLM_TRAINING_PARAMS", value="{")
@example(name="CLM_CACHE_TTL", value="inf")
@example(name="CLM_RETRAIN_INTERVAL_DAYS", value="1e308")
def test_any_text_in_any_variable(name: str, value: str) -> None:
    with environment({name: value}):
        loaded = outcome(Settings.load, BadInput)
    if isinstance(loaded, BadInput):
        assert isinstance(loaded, InvalidSetting)
        assert name in str(loaded)
        assert len(str(loaded)) < 2000
        assert str(loaded).encode()
        return
    assert Settings(**json.loads(loaded.for_children())) == loaded.model_copy(
        update={"api_key": (), "alert_urls": ()}
    )
    assert json.dumps(loaded.masked(), allow_nan=False)
    assert repr(loaded)


NUMBERS = [name for name in NAMES if Settings.model_fields[name[4:].lower()].annotation in (float, int)]


@pytest.mark.rehearse
@examples(400)
@given(values=st.dictionaries(
    st.sampled_from(NUMBERS),
    st.sampled_from([
        "0", "1e-300", "5e-324", "0.5", "1", "7", "36500", "876000", "1e9", "1000000000", "2147483647",
    ]),
))  # fmt: skip
def test_numbers_within_their_limits_build_an_application(values: dict[str, str]) -> None:
    """What passes the settings breaks nothing that is built from them."""
    with environment(values):
        loaded = outcome(Settings.load, InvalidSetting)
    if isinstance(loaded, InvalidSetting):
        return
    with Application(loaded, interactive=True) as application:
        manager = outcome(application.manager, ClmError)

        assert isinstance(manager, ClmError) or manager.series in application.series


@examples(400)
@given(expression=st.one_of(
    VALUES,
    st.lists(st.text("0123456789*/,-LW#sunmoday٣ ", max_size=6), min_size=5, max_size=5).map(" ".join),
    st.lists(
        st.sampled_from(["*", "0", "59", "*/5", "1-5", "5-1", "1,2", "*/0", "99", "sun", "jan", "8", "-1"]),
        min_size=5, max_size=5,
    ).map(" ".join),
))  # fmt: skip
def test_any_text_as_a_schedule(expression: str) -> None:
    trigger = outcome(lambda: cron_trigger(expression), InvalidSetting)

    assert (
        "CLM_SCHEDULE" in str(trigger)
        if isinstance(trigger, InvalidSetting)
        else len(expression.split()) == 5
    )


@examples(300)
@given(url=VALUES | VALUES.map(lambda text: f"postgresql://{text}") | VALUES.map(lambda t: f"mysql://{t}"))
def test_any_text_as_a_database_that_is_no_file(url: str) -> None:
    if url.lower().startswith("sqlite"):
        return
    engine = outcome(lambda: open_engine(url), InvalidSetting)

    assert isinstance(engine, Engine) or "db_url" in str(engine)


SECRET = "tr0ub4dor&3"
AROUND = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8)


@pytest.mark.rehearse
@examples(500)
@given(
    scheme=st.sampled_from(["postgresql+psycopg", "http", "https", "ftp", "redis", ""]),
    user=st.text("abc.-_%", max_size=5), before=AROUND, after=AROUND, host=AROUND,
    in_query=st.sampled_from(["", "?password=", "?sslmode=off&sslpassword="]),
)  # fmt: skip
def test_a_password_in_an_address_is_never_shown(
    scheme: str, user: str, before: str, after: str, host: str, in_query: str
) -> None:
    password = before + SECRET + after
    url = f"{scheme}://{user}:{password}@{host}" + (f"{in_query}{SECRET}" if in_query else "")

    assert SECRET not in mask_url(url)
    for name in ("CLM_DB_URL", "CLM_BINANCE_URL"):
        with environment({name: url}):
            loaded = outcome(Settings.load, BadInput)
        told = str(loaded) if isinstance(loaded, BadInput) else f"{loaded!r} {loaded.masked()}"
        assert SECRET not in told
    assert SECRET not in str(outcome(lambda: open_engine(url), ClmError))


@examples(200)
@given(
    value=VALUES.map(lambda text: f"{text}s3cret-of-somebody"),
    role=st.sampled_from(["", "read:", "root:", "::"]),
)
def test_a_key_is_never_shown(value: str, role: str) -> None:
    with environment({"CLM_API_KEY": role + value}):
        loaded = outcome(Settings.load, BadInput)
    told = str(loaded) if isinstance(loaded, BadInput) else f"{loaded!r} {loaded.for_children()}"

    assert "s3cret" not in told


@examples(200)
@given(suffix=st.text(st.characters(exclude_characters="\0=", exclude_categories=("Cs",)), max_size=20))
def test_any_other_name_is_refused_without_its_value(suffix: str) -> None:
    name = f"CLM_{suffix}_X"
    with environment({name: "s3cret"}), pytest.raises(BadInput, match="no such setting") as refused:
        Settings.load()

    assert name in str(refused.value)
    assert "s3cret" not in str(refused.value)


@examples(200)
@given(
    content=st.binary(max_size=80) | VALUES.map(lambda text: f"CLM_PORT={text}".encode("utf-8", "replace"))
)
@example(content=b"\xff\xfe")
@example(content=b"CLM_MODEL_DIR=a\x00b")
def test_any_dotenv_file(content: bytes) -> None:
    Path(".env").write_bytes(content)
    loaded = outcome(Settings.load, BadInput)

    if isinstance(loaded, BadInput):
        assert ".env" in str(loaded) or "CLM_" in str(loaded).upper()
    else:
        assert json.dumps(loaded.masked(), allow_nan=False)
