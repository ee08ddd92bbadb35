"""`clm search`: what it proposes becomes a challenger, and by itself never more than that."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from clm.bootstrap import Application
from clm.cli import main
from clm.core.runs import RunRequest
from clm.core.standings import trial_views
from clm.exchange.server import ExchangeServer
from clm.fanout import Task, cycle
from clm.settings import Settings
from tests.support.exchange import serving, simulated
from tests.support.networks import needs_deep
from tests.support.service import settings_for
from tests.support.shell import Shell
from tests.support.waiting import LIMIT, eventually

#: One tree that hardly learns, on a year.
CRIPPLED = {"num_boost_round": 1, "learning_rate": 0.001, "min_data_in_leaf": 100}
SETTINGS = {
    "CLM_MODELS": "lightgbm", "CLM_TRAINING_LOOKBACK_DAYS": "360", "CLM_FEATURES": "basic",
    "CLM_TRAINING_PARAMS": json.dumps({"lightgbm": CRIPPLED}),
    "CLM_LOG_LEVEL": "error", "COLUMNS": "160",
}  # fmt: skip


@pytest.fixture(scope="module")
def exchange() -> Iterator[ExchangeServer]:
    with serving(simulated()) as server:
        yield server


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory, exchange: ExchangeServer) -> Shell:
    """An empty folder."""
    return Shell(tmp_path_factory.mktemp("empty"), {**SETTINGS, "CLM_BINANCE_URL": exchange.url})


@pytest.fixture(scope="module")
def reigned(tmp_path_factory: pytest.TempPathFactory, untrained: Shell) -> Shell:
    """A folder with a champion of the crippled recipe."""
    shell = Shell(tmp_path_factory.mktemp("reigned"), untrained.environment)
    with _application(shell) as application:
        assert application.run(RunRequest()).error is None
    return shell


@pytest.fixture
def trained(tmp_path: Path, reigned: Shell) -> Shell:
    """A copy of it."""
    return Shell(shutil.copytree(reigned.folder, tmp_path / "copy"), reigned.environment)


@contextmanager
def _inside(shell: Shell, **more: str) -> Iterator[None]:
    """This process in the shell's folder, with its environment."""
    before, origin = dict(os.environ), Path.cwd()
    os.environ.update({**shell.environment, **more})
    os.chdir(shell.folder)
    try:
        yield
    finally:
        os.chdir(origin)
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _application(shell: Shell) -> Iterator[Application]:
    with _inside(shell), Application(Settings.load(), interactive=True) as application:
        yield application


def _clm(shell: Shell, *arguments: str, **more: str) -> int:
    """The exit code of a command in this process."""
    with _inside(shell, **more), pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


def _outcomes(shell: Shell) -> list[str]:
    """Of the recipes that searches have on record."""
    with closing(sqlite3.connect(shell.folder / "clm.db")) as database:
        rows = database.execute("select outcome from clm_trials where trigger like 'Search%' order by id")
        return [outcome for (outcome,) in rows]


class _Ear(io.StringIO):
    """A standard error; as soon as it is told of something, it does what it is to do, once."""

    def __init__(self, word: str, do: Callable[[], object]) -> None:
        super().__init__()
        self._word, self._do = word, do
        self._done = False

    def write(self, text: str) -> int:
        if not self._done and self._word in text:
            self._done = True
            self._do()
        return super().write(text)


def _once_tried(shell: Shell, trials: int, do: Callable[[], object]) -> None:
    """Does it as soon as so many recipes are on record."""
    eventually(lambda: len(_outcomes(shell)) >= trials, f"{trials} recipes on record")
    do()


@pytest.fixture(scope="module")
def entered_in(tmp_path_factory: pytest.TempPathFactory, reigned: Shell) -> Shell:
    """A copy whose search's best is entered; see `found`."""
    folder = tmp_path_factory.mktemp("found") / "copy"
    return Shell(shutil.copytree(reigned.folder, folder), reigned.environment)


@pytest.fixture(scope="module")
def found(entered_in: Shell) -> dict[str, Any]:
    """What a search came to, by a real command and a real worker."""
    found: dict[str, Any] = entered_in.json("search", "--trials", "5")
    return found


class TestWhatItFinds:
    def test_the_winner_is_entered_as_a_challenger_with_a_recipe_of_its_own(
        self, entered_in: Shell, found: dict[str, Any]
    ) -> None:
        (search,) = found["searches"]
        best = search["tried"][search["verdict"]["best"]]
        with _application(entered_in) as application:
            entered, champion = application.registry.get_model_history("lightgbm")

        assert search["verdict"]["proposed"] == best["params"]
        assert entered.params.items() >= best["params"].items()
        assert entered.recipe_id == best["recipe_id"]
        assert champion.recipe_id == search["tried"][0]["recipe_id"] != best["recipe_id"]

    def test_it_is_not_promoted_but_bet_on_in_a_ledger_of_its_own(
        self, entered_in: Shell, found: dict[str, Any]
    ) -> None:
        (run,) = found["runs"]
        (decision,) = run["report"]["decisions"]
        with _application(entered_in) as application:
            entered, champion = application.registry.get_model_history("lightgbm")
            (standing,) = application.standings()

        assert (run["status"], run["request"]["requested_by"]) == ("completed", "search")
        assert (decision["outcome"], decision["label"]) == ("CONTINUE", "evidence")
        assert (entered.status, champion.status) == ("SHADOW", "ACTIVE")
        (challenger,) = standing["challengers"]
        assert challenger["recipe_id"] == entered.recipe_id
        # The shadow hours: all before them is in the training of a champion of the same day.
        assert challenger["candles"] == 24
        assert not challenger["same_recipe_as_champion"]

    def test_all_of_it_is_in_the_trial_ledger_beside_ordinary_attempts(
        self, entered_in: Shell, found: dict[str, Any]
    ) -> None:
        (search,) = found["searches"]
        with _application(entered_in) as application:
            first, *searched, entered = trial_views(application.registry, "lightgbm", 50)[::-1]

        assert (first["outcome"], entered["outcome"]) == ("promoted", "shadow")
        assert [t["outcome"] for t in searched] == [one["outcome"] for one in search["tried"]]
        assert [t["trigger"] for t in searched] == [f"Search: trial {n}" for n in range(6)]
        assert searched[0]["reason"].startswith("the present recipe, num_boost_round 1, max_depth 3")
        assert all(t["seconds"] > 0 and t["version"] is None for t in searched)

    def test_the_command_is_in_the_audit_trail(self, entered_in: Shell, found: dict[str, Any]) -> None:
        with _application(entered_in) as application:
            (row,) = [row for row in application.audit.recent(20) if row.deed.action == "clm search"]

        assert (row.result or "").startswith(f"done run_id={found['runs'][0]['run_id']}")
        assert row.deed.detail == {"trials": 5, "minutes": 10.0}

    def test_a_dry_run_finds_the_same_enters_nothing_and_says_how_to(
        self, trained: Shell, found: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        code = _clm(trained, "search", "--trials", "5", "--dry-run")

        said = capsys.readouterr().out
        (search,) = found["searches"]
        proposed = json.dumps({"lightgbm": search["verdict"]["proposed"]})
        assert code == 0
        assert search["verdict"]["reason"] in said
        assert "chosen by these very scores" in said
        assert (
            "not entered; that is done by clm retrain --force --symbols BTCUSDT --models lightgbm --params "
            f"'{proposed}'"
        ) in said
        assert _versions(trained) == 1


class TestWhatItRefuses:
    def test_to_begin_while_a_run_is_in_progress(
        self, trained: Shell, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with _application(trained) as application:
            run = application.runs.create(RunRequest())

        assert _clm(trained, "search") == 1
        assert f"already in progress: {run.run_id}" in capsys.readouterr().err
        assert _outcomes(trained) == []

    def test_to_enter_while_one_has_begun_meanwhile_but_what_was_found_is_told(
        self, trained: Shell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with _application(trained) as other:
            heard = _Ear("trial 1 of 5", lambda: other.runs.create(RunRequest()))
            monkeypatch.setattr(sys, "stderr", heard)

            code = _clm(trained, "search", "--trials", "5")

        assert code == 1
        assert "already in progress" in heard.getvalue()
        assert "not entered; that is done by clm retrain" in capsys.readouterr().out
        assert _versions(trained) == 1

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--trials", "0"), "--trials: 0 is not allowed; allowed: a number from 1 to 10,000"),
            (("--minutes", "nan"), "--minutes: nan is not allowed; allowed: a number from 0.01 to 10,080"),
            (("--seed", "-1"), "--seed: -1 is not allowed"),
            (("--symbols", "NOSUCH"), "'NOSUCH' is not allowed; allowed: BTCUSDT"),
            (("--models", "oracle"), "'oracle' is not known here"),
            pytest.param(
                ("--models", "nhits"),
                "models: 'nhits' is not allowed; allowed: a model type whose family",
                marks=[needs_deep, pytest.mark.rehearse],
            ),
        ],
    )
    def test_wrong_arguments_with_field_value_and_what_is_allowed(
        self, untrained: Shell, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
    ) -> None:
        assert _clm(untrained, "search", *arguments) == 2
        assert said in capsys.readouterr().err

    def test_a_policy_that_does_not_go_by_the_evidence(
        self, untrained: Shell, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert _clm(untrained, "search", CLM_PROMOTION_POLICY="newest") == 2
        assert "CLM_PROMOTION_POLICY: 'newest' is not allowed; allowed: evidence" in capsys.readouterr().err

    def test_to_enter_where_nobody_reigns(self, untrained: Shell, capsys: pytest.CaptureFixture[str]) -> None:
        assert _clm(untrained, "search") == 1
        assert "has no champion to challenge: train one with `clm retrain`" in capsys.readouterr().err

    def test_to_do_without_optuna_and_says_what_to_install(self, untrained: Shell) -> None:
        code = "import sys; sys.modules['optuna'] = None; from clm.cli import main; main()"

        done = subprocess.run(
            [sys.executable, "-c", code, "search", "--dry-run"], cwd=untrained.folder,
            env={**os.environ, **untrained.environment}, capture_output=True, text=True, timeout=LIMIT,
        )  # fmt: skip

        assert done.returncode == 1
        assert "a search needs Optuna: " in done.stderr
        assert "[search]'" in done.stderr


def test_ctrl_c_ends_it_between_two_folds_tells_what_was_found_and_enters_nothing(trained: Shell) -> None:
    process = trained.start("search", "--trials", "5000")
    _once_tried(trained, 4, lambda: process.send_signal(signal.SIGINT))

    out, err = process.communicate(timeout=LIMIT)

    assert process.returncode == 1, err
    assert "it was interrupted: " in out
    assert f"{_outcomes(trained).count('searched')} searched" in out
    assert "Traceback" not in err
    assert _versions(trained) == 1


class TestARunWithHyperParametersOfItsOwn:
    OWN = {"lightgbm": {"num_boost_round": 7}}  # noqa: RUF012  # never written to

    def test_trains_with_them_over_the_configured_ones_and_nobody_else_does(
        self, tmp_path: Path, exchange: ExchangeServer
    ) -> None:
        settings = settings_for(exchange, tmp_path, models=("lightgbm",), symbols=("BTCUSDT", "ETHUSDT"))
        with Application(settings) as application:
            runs, (here, elsewhere) = application.runs, application.series
            run = runs.start(runs.create(RunRequest(params=self.OWN)).run_id, "me")
            # As a run of one series, and as a part of a run over several.
            alone = RunRequest(symbols=(here.symbol,), params=self.OWN)
            assert application.run(alone).error is None
            task = Task(settings.for_children(), elsewhere, None, False, run.fence, run.request.params)
            assert cycle(task).error is None
            application.run(RunRequest(force=True))

            # What another process would take up again.
            assert runs.get(run.run_id).request.params == self.OWN
            for series in application.series:
                newest, first = application.registry.for_series(series).get_model_history("lightgbm")
                assert (first.params["num_boost_round"], newest.params["num_boost_round"]) == (7, 5)
                assert first.params["min_data_in_leaf"] == newest.params["min_data_in_leaf"] == 100

    def test_is_asked_for_by_retrain(self, trained: Shell, capsys: pytest.CaptureFixture[str]) -> None:
        assert _clm(trained, "retrain", "--force", "--params", json.dumps(self.OWN)) == 0
        with _application(trained) as application:
            newest = application.registry.get_model_history("lightgbm")[0]
        assert newest.params["num_boost_round"] == 7

        assert _clm(trained, "retrain", "--params", '{"lightgbm": 7}') == 2
        assert "--params: '{\"lightgbm\": 7}' is not allowed; allowed: JSON per" in capsys.readouterr().err
        assert _clm(trained, "retrain", "--params", '{"oracle": {}}') == 2
        assert "'oracle' is not known here" in capsys.readouterr().err


def _versions(shell: Shell) -> int:
    with _application(shell) as application:
        return len(application.registry.get_model_history("lightgbm"))
