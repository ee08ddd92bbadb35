"""Settings: every wrong one is named with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from clm.core.errors import BadInput, InvalidSetting
from clm.settings import Settings, mask_url


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("CLM_RETRAIN_INTERVAL_DAYS", "-3", "greater than 0"),
        ("CLM_RETRAIN_INTERVAL_DAYS", "0", "greater than 0"),
        ("CLM_SHADOW_TEST_HOURS", "soon", "valid number"),
        ("CLM_INTERVAL", "7m", "1m, 3m"),
        ("CLM_SYMBOLS", "BTCUSDT,,ETHUSDT", "at least one name"),
        ("CLM_PROMOTION_POLICY", "hope", "threshold"),
        ("CLM_PORT", "99999", "65535"),
        ("CLM_BINANCE_URL", "binance", "http://"),
        ("CLM_SCHEDULE", "daily", "five cron fields"),
        ("CLM_MIN_IMPROVEMENT_THRESHOLD", "2", "less than 1"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(InvalidSetting) as caught:
        Settings.load()

    assert name in str(caught.value)
    assert value in str(caught.value)
    assert allowed in str(caught.value)


def test_a_misspelt_name_is_refused_with_the_right_one_and_without_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLM_RETRAIN_INTERVALL_DAYS", "s3cret")

    with pytest.raises(BadInput, match="CLM_RETRAIN_INTERVAL_DAYS") as caught:
        Settings.load()

    assert "s3cret" not in str(caught.value)


def test_a_dotenv_file_is_read_and_checked_alike(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CLM_SYMBOLS=ETHUSDT, SOLUSDT\nCLM_MODELS=lightgbm\nOTHER=1\n")
    assert Settings.load().symbols == ("ETHUSDT", "SOLUSDT")

    (tmp_path / ".env").write_text("CLM_SYMBOL=ETHUSDT\n")
    with pytest.raises(BadInput, match="CLM_SYMBOLS"):
        Settings.load()


def test_secrets_never_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLM_DB_URL", "postgresql+psycopg://clm:s3cret@db.example:5432/clm")

    masked = Settings.load().masked()

    assert masked["db_url"] == "postgresql+psycopg://clm:***@db.example:5432/clm"
    assert mask_url("sqlite:///clm.db") == "sqlite:///clm.db"


def test_a_worker_rebuilds_equal_settings_whatever_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Settings.load(symbols="ETHUSDT,SOLUSDT", training_params={"lightgbm": {"max_depth": 4}})
    monkeypatch.setenv("CLM_INTERVAL", "5m")

    assert Settings(**sent.model_dump(mode="json")) == sent


def test_the_example_file_lists_every_setting_with_its_default() -> None:
    example = (Path(__file__).parents[2] / ".env.example").read_text()

    assert example == Settings.example()
