"""Settings: every wrong one is named with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from clm.core.errors import BadInput, InvalidSetting
from clm.core.text import mask_url
from clm.settings import Settings, environment_of_children


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
        ("CLM_ALLOWED_HOSTS", "https://clm.example", "without scheme"),
        ("CLM_CORS_ORIGINS", "desk.example", "https://desk.example.com"),
        ("CLM_TRUSTED_PROXIES", "everybody", "127.0.0.1"),
        ("CLM_RATE_LIMIT_PER_MINUTE", "-1", "greater than or equal to 0"),
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


def test_keys_are_kept_as_hashes_shown_by_their_roles_and_sent_to_no_child(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = "a-key-nobody-should-see"
    monkeypatch.setenv("CLM_API_KEY", f"{key}, read:sha256:{'0' * 64}")
    (tmp_path / ".env").write_text(f"CLM_API_KEY=operate:{key}\n")

    settings = Settings.load()

    assert [entry.role for entry in settings.api_key] == ["admin", "read"]
    assert settings.masked()["api_key"] == ["admin:***", "read:***"]
    assert Settings.model_validate_json(settings.for_children()).api_key == ()
    assert "CLM_API_KEY" not in environment_of_children()
    assert environment_of_children(OMP_NUM_THREADS="1")["OMP_NUM_THREADS"] == "1"
    for text in (repr(settings), str(settings), settings.for_children(), settings.model_dump_json()):
        assert key not in text


def test_what_is_wrong_with_a_secret_is_said_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("CLM_API_KEY", "opreate:s3cret-s3cret-s3cret"), ("CLM_API_KEY", "s3cret"),
        ("CLM_BINANCE_URL", "ftp://me:s3cret@exchange.example"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(InvalidSetting, match=name) as wrong:
                Settings.load()

        assert "s3cret" not in f"{wrong.value} {wrong.value.value} {wrong.value.__cause__}"


def test_settings_can_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLM_DB_URL", "postgresql+psycopg://clm:s3cret@db.example:5432/clm")

    assert "s3cret" not in f"{Settings.load()!r} {Settings.load()}"


def test_a_worker_rebuilds_equal_settings_whatever_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Settings.load(symbols="ETHUSDT,SOLUSDT", training_params={"lightgbm": {"max_depth": 4}})
    monkeypatch.setenv("CLM_INTERVAL", "5m")

    assert Settings(**sent.model_dump(mode="json")) == sent


def test_the_example_file_lists_every_setting_with_its_default() -> None:
    example = (Path(__file__).parents[2] / ".env.example").read_text()

    assert example == Settings.example()
