"""Whatever is typed after `clm`: exit code 0, 1 or 2 and a sentence, never a traceback."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clm.cli import main
from clm.core.errors import BadInput
from clm.exchange.faults import FaultPlan
from clm.registry.sql import SQLModelRegistry
from tests.support.fuzzing import examples, outcome
from tests.support.versions import BTC, candidate

#: Commands that come back by themselves; those that serve, train or replay are met below and elsewhere.
COMMANDS = [
    "status", "triggers", "models", "history", "promote", "rollback", "decisions", "shadow",
    "explain-decision", "trials", "alerts", "audit", "verify", "import", "keys", "db", "--version",
    "--help", "nonsense",
]  # fmt: skip
OPTIONS = [
    "--json", "--help", "--limit", "--symbol", "--interval", "--model", "--models", "--uncertified",
    "--repair", "--fix", "--", "-", "-x", "--nonsense", "--limit=0", "--limit=501", "--limit=1e3",
    "--symbol=", "--role",
]  # fmt: skip
VALUES = [
    "xgboost", "lightgbm", "sklearn_ridge", "nhits", "XGBOOST", "BTCUSDT", "ETHUSDT", "1h", "7m",
    "1", "0", "-1", "999999999999999999999999", "nan", "{}", "٣", "v20240501_000000",
    "../../etc/passwd", "list", "add", "revoke", "status", "upgrade", "read", "root", "%s%n",
    "$(id)",
]  # fmt: skip
WORDS = st.one_of(
    st.sampled_from([*OPTIONS, *VALUES, "", " ", "x" * 300, "a\nb", "\udcff"]),
    st.text(st.characters(exclude_characters="\0"), max_size=10),
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a registry of one version; the exchange of its settings is one nobody answers at."""
    folder = tmp_path_factory.mktemp("home")
    before, origin = dict(os.environ), Path.cwd()
    os.environ.update(
        CLM_DB_URL=f"sqlite:///{folder}/clm.db", CLM_MODEL_DIR=str(folder / "models"), COLUMNS="200",
        CLM_DATA_DIR=str(folder / "data"), CLM_BINANCE_URL="http://127.0.0.1:9", CLM_LOG_LEVEL="error",
    )  # fmt: skip
    os.chdir(folder)
    with SQLModelRegistry(os.environ["CLM_DB_URL"], folder / "models", series=BTC) as registry:
        registry.save_model(candidate())
    yield folder
    os.chdir(origin)
    os.environ.clear()
    os.environ.update(before)


def run(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and what was said on standard error, which escapes what it cannot encode as Python's does."""
    capsys.readouterr()
    said = io.BytesIO()
    with io.TextIOWrapper(said, "utf-8", errors="backslashreplace", write_through=True) as stderr:
        with redirect_stderr(stderr), pytest.raises(SystemExit) as left:
            main(arguments)
        text = said.getvalue().decode()
    code = left.value.code
    return (0 if code is None else int(code)), text


@pytest.mark.rehearse
@examples(250)
@given(words=st.lists(WORDS, max_size=5), command=st.sampled_from(COMMANDS))
@example(command="explain-decision", words=["99999999999999999999999999"])
@example(command="import", words=["x" * 300])
@example(command="history", words=["\ud800"])
@example(command="promote", words=["sklearn_ridge", "\ud800"])
def test_any_words_after_a_command(
    home: Path, capsys: pytest.CaptureFixture[str], command: str, words: list[str]
) -> None:
    code, said = run([command, *words], capsys)

    assert code in (0, 1, 2)
    assert "Traceback" not in said
    assert code == 0 or said or command == "verify"


NUMBERS = [
    "--days", "--signal", "--speed", "--latency", "--seed", "--weight-limit", "--start-time",
    "--interval", "--symbols", "--faults", "--regime-change",
]  # fmt: skip
ODD = [
    "nan", "inf", "-inf", "-1", "0", "1", "1e9", "1e308", "99999999999999999999", "2024-06-01",
    "0001-01-01", "9999-12-31", "1h", "1m", "7m", "BTCUSDT", "btc", ",", "x", "429@3", "500:2",
    "429@99999999999999999999999", "429@9-1",
]  # fmt: skip


@pytest.mark.rehearse
@examples(150)
@given(options=st.dictionaries(st.sampled_from(NUMBERS), st.sampled_from([*ODD, ""]), max_size=3))
def test_any_number_for_an_exchange_whose_port_is_taken(
    home: Path, capsys: pytest.CaptureFixture[str], options: dict[str, str]
) -> None:
    """Whatever else is right or wrong, it does not get as far as to serve."""
    given_ = [word for pair in options.items() for word in pair]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = run(["exchange", "--simulate", "--days", "3", *given_, "--port", str(port)], capsys)

    assert code in (1, 2)
    assert "Traceback" not in said
    assert said


@pytest.mark.parametrize("port", ["-1", "65536", "99999999999"])
def test_a_port_there_is_not(home: Path, capsys: pytest.CaptureFixture[str], port: str) -> None:
    code, said = run(["exchange", "--simulate", "--days", "3", "--port", port], capsys)

    assert code == 2
    assert "--port" in said


@examples(400)
@given(text=st.text(max_size=20) | st.text("429500htmlcutemptyrevise@:-.,0٣", max_size=16))
def test_any_text_as_a_fault_plan(text: str) -> None:
    plan = outcome(lambda: FaultPlan.parse(text), BadInput)

    if isinstance(plan, FaultPlan):
        assert plan.next() is not None
    else:
        assert "faults" in str(plan)
