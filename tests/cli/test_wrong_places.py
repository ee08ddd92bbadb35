"""Commands in a folder where nothing was begun: whatever reads says so, and leaves the folder as it was."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from clm.cli.app import app
from tests.support.exchange import serving, simulated
from tests.support.postgres import fresh_database
from tests.support.shell import Shell, shell_in

#: What may be the first command ever, or works with no database of its own.
BEGINS = {
    "demo", "serve", "retrain", "search", "live", "replay", "import", "exchange", "restore", "keys add",
    "series add", "alerts test", "db upgrade", "db downgrade", "db copy", "db status",
}  # fmt: skip
#: What a command needs to be told.
ARGUMENTS = {
    "history": "lightgbm", "promote": "lightgbm v20240101_000000", "rollback": "lightgbm",
    "explain": "lightgbm", "explain-decision": "1", "reproduce": "v20240101_000000", "backup": "there",
    "keys revoke": "desk", "series remove": "BTCUSDT", "experiment show": "x1", "experiment stop": "x1",
    "experiment start": "lightgbm v20240101_000000 v20240102_000000",
}  # fmt: skip


def _commands() -> list[str]:
    """Every command there is, by its words: one that is added tomorrow too."""
    found: list[str] = []

    def walk(command: Any, words: tuple[str, ...]) -> None:
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                walk(inner, (*words, name))
        else:
            found.append(" ".join(words))

    walk(typer.main.get_command(app), ())
    return found


READS = [command for command in _commands() if command not in BEGINS]


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with serving(simulated()) as exchange:
        yield shell_in(tmp_path_factory.mktemp("anywhere"), exchange)


def test_the_lists_speak_of_commands_there_are() -> None:
    assert set(_commands()) >= BEGINS | set(ARGUMENTS)


@pytest.mark.parametrize("command", READS)
def test_a_command_that_reads_creates_nothing_and_says_where_it_looked(anywhere: Shell, command: str) -> None:
    done = anywhere(*command.split(), *ARGUMENTS.get(command, "").split())

    assert (done.returncode, done.stdout) == (1, "")
    assert f"no database at {anywhere.folder}/clm.db" in done.stderr
    assert list(anywhere.folder.iterdir()) == []


def test_an_empty_file_that_an_older_clm_left_is_no_database(anywhere: Shell, tmp_path: Path) -> None:
    (tmp_path / "clm.db").touch()

    done = anywhere("status", CLM_DB_URL=f"sqlite:///{tmp_path}/clm.db")

    assert done.returncode == 1
    assert f"no tables of CLM at {tmp_path}/clm.db" in done.stderr
    assert (tmp_path / "clm.db").stat().st_size == 0


def test_no_folder_of_a_path_is_made(anywhere: Shell, tmp_path: Path) -> None:
    done = anywhere(
        "models", CLM_DB_URL=f"sqlite:///{tmp_path}/deep/er/clm.db", CLM_LOG_FILE=f"{tmp_path}/l/x.log"
    )

    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_of_a_server_stays_empty(anywhere: Shell) -> None:
    with fresh_database() as url:
        for command in ("status", "triggers", "verify --fix"):
            done = anywhere(*command.split(), CLM_DB_URL=url)

            assert done.returncode == 1
            assert "no tables of CLM at postgresql" in done.stderr
        assert anywhere("db", "status", CLM_DB_URL=url).returncode == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_service_whose_port_is_taken_begins_nothing(anywhere: Shell, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = anywhere("serve", "--host", host, "--port", port)

    assert done.returncode == 2
    assert f"CLM_PORT: {port} is not allowed" in done.stderr
    assert "another `clm serve`" in done.stderr
    assert list(anywhere.folder.iterdir()) == []


def test_a_port_that_is_bound_but_not_listened_on_is_taken_too(anywhere: Shell) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        done = anywhere("serve", "--port", str(other.getsockname()[1]))

    assert done.returncode == 2
    assert list(anywhere.folder.iterdir()) == []


def test_an_address_of_another_machine_is_refused(anywhere: Shell) -> None:
    done = anywhere("serve", "--host", "192.0.2.1")

    assert done.returncode == 2
    assert "CLM_HOST" in done.stderr
    assert list(anywhere.folder.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["CLM_MODELS", "CLM_MODELS='xgboost\n", 'CLM_API_KEY="a-key-that-is-secret\nCLM_PORT=1', "= 5"]
)
def test_a_line_of_dotenv_that_cannot_be_read_stops(anywhere: Shell, tmp_path: Path, text: str) -> None:
    """It was left out before, and the default held without a word."""
    (tmp_path / ".env").write_text(f"CLM_SYMBOLS=BTCUSDT\n{text}\n")

    done = Shell(tmp_path, anywhere.environment)("retrain")

    assert done.returncode == 2
    assert ".env, line 2" in done.stderr
    assert "NAME=value" in done.stderr
    assert "secret" not in done.stderr


def test_other_programs_lines_of_dotenv_are_theirs(anywhere: Shell, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# a comment\n\nexport OTHER='x y'\nFLAG\nCLM_PORT=8001 # ours\n")

    assert "no database" in Shell(tmp_path, anywhere.environment)("status").stderr


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ('{"lightgbm": {"num_tres": 5}}', "lightgbm parameter: 'num_tres'"),
        ('{"lightgbm": {"num_trees": "many"}}', "lightgbm.num_boost_round: 'many'"),
        ('{"xgboost": {"preset": "fastest"}}', "xgboost.preset: 'fastest'"),
        ('{"xgbost": {}}', "xgbost"),
    ],
)
def test_a_parameter_that_no_model_has_is_refused_before_the_run(
    anywhere: Shell, tmp_path: Path, params: str, said: str
) -> None:
    shell = Shell(tmp_path, anywhere.environment)
    done = shell("retrain", "--params", params)

    assert done.returncode == 2
    assert said in done.stderr
    assert shell.json("status")["status"] == "idle"


def test_what_stands_in_brackets_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Rich takes them for instructions."""
    from clm.cli.output import print_table

    said = "pip install 'quantum-clm[deep]' [bold]x[/] :smile: [/nothing]"
    print_table(said, ("model", "why [deep]"), [("nhits", said)], "")

    assert capsys.readouterr().out.count("quantum-clm[deep]' [bold]x[/] :smile: [/nothing]") == 2
