"""Typed settings: environment variables and `.env`, prefix `CLM_`. Read when asked for, never at import."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from clm.core.domain import INTERVALS
from clm.core.errors import BadInput, InvalidSetting

PREFIX = "CLM_"
#: Read by the test suite only, never by the product.
_TEST_PREFIX = "CLM_TEST_"

CommaList = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """Every knob, with its default. `Settings.load()` turns a wrong value into an InvalidSetting."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True,
        env_ignore_empty=True,
    )  # fmt: skip

    symbols: CommaList = Field(("BTCUSDT",), description="markets to keep models for, comma-separated")
    interval: str = Field("1h", description="candle length: 1m … 1d")
    models: CommaList = Field(("xgboost", "lightgbm"), description="model families to train, comma-separated")

    retrain_interval_days: float = Field(7, gt=0, description="a champion older than this is retrained")
    retrain_after_candles: int = Field(
        0, ge=0, description="also retrain after so many new candles since training; 0: off"
    )
    training_lookback_days: float = Field(365, gt=0, description="days of candles a cycle works with")
    holdout_days: float = Field(30, gt=0, description="days kept from training to evaluate on")
    purge_hours: float = Field(24, gt=0, description="hours left unused between training and evaluation")
    shadow_test_hours: float = Field(24, gt=0, description="hours replayed in the shadow test")
    min_improvement_threshold: float = Field(
        0.02, ge=0, lt=1, description="relative gain a candidate must show under the threshold policy"
    )
    promotion_policy: Literal["threshold", "newest"] = Field(
        "threshold", description="threshold: gain and shadow test; newest: always the newest sane model"
    )

    features: Literal["advanced", "basic"] = Field("advanced", description="feature catalogue to compute")
    training_preset: Literal["regularised", "fast", "accurate"] = Field(
        "regularised", description="parameter set of the tree models"
    )
    training_params: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description='JSON per family, e.g. {"lightgbm": {"num_trees": 100}}'
    )
    training_seed: int = Field(0, ge=0, lt=2**31, description="seed of every random choice in a training")

    db_url: str = Field("sqlite:///clm.db", description="SQLAlchemy URL: sqlite:/// or postgresql+psycopg://")
    model_dir: Path = Field(Path("models"), description="folder of the model files")
    data_dir: Path = Field(Path("data"), description="folder of the candle store")
    cache_enabled: bool = Field(True, description="keep fetched candles in the candle store")
    cache_ttl: float = Field(
        3600, ge=0, description="seconds after which the newest stored candles are read again"
    )
    binance_url: str = Field(
        "https://api.binance.com", description="exchange; a `clm exchange` address to rehearse"
    )

    schedule: str = Field("0 2 * * *", description="cron of the retraining job, UTC; off: none")
    host: str = Field("127.0.0.1", description="address the service listens on")
    port: int = Field(8000, ge=0, le=65535, description="port the service listens on")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")
    log_format: Literal["console", "json"] = Field("console", description="how log lines look")

    @field_validator("symbols", "models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("symbols", "models")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(value):
            raise ValueError("at least one name, comma-separated, none of them empty")
        return tuple(dict.fromkeys(value))

    @field_validator("interval")
    @classmethod
    def _interval(cls, value: str) -> str:
        if value not in INTERVALS:
            raise ValueError(f"one of {', '.join(INTERVALS)}")
        return value

    @field_validator("binance_url")
    @classmethod
    def _http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError("an http:// or https:// address without a path, such as https://api.binance.com")
        return value.rstrip("/")

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str) -> str:
        if value != "off" and len(value.split()) != 5:
            raise ValueError("five cron fields (minute hour day month weekday, UTC), or off")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Settings from `overrides`, then the environment, then `.env`, then the defaults.

        Raises InvalidSetting naming the first wrong one, BadInput for a `CLM_` name that does not exist.
        """
        _refuse_unknown(cls, os.environ)
        _refuse_unknown(cls, _dotenv_names(cls))
        try:
            return cls(**overrides)
        except ValidationError as exc:
            first = exc.errors()[0]
            name = str(first["loc"][0])
            allowed = str(first["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
            raise InvalidSetting(PREFIX + name.upper(), first["input"], allowed) from exc

    @classmethod
    def example(cls) -> str:
        """The text of `.env.example`: every setting, commented out, with its default and one line."""
        lines = ["# Copy to .env and take away the # of what you change. Times are UTC.", ""]
        for name, field in cls.model_fields.items():
            default = field.get_default(call_default_factory=True, validated_data={})
            if isinstance(default, tuple):
                default = ",".join(default)
            elif isinstance(default, bool | dict):
                default = json.dumps(default)
            lines += [f"# {field.description}", f"#{PREFIX}{name.upper()}={default}", ""]
        return "\n".join(lines)

    def masked(self) -> dict[str, Any]:
        """JSON-ready settings without secrets: the database password reads `***`."""
        shown: dict[str, Any] = self.model_dump(mode="json")
        shown["db_url"] = mask_url(self.db_url)
        shown["binance_url"] = mask_url(self.binance_url)
        return shown


def mask_url(url: str) -> str:
    """`url` with its password, if any, replaced by `***`."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))


def _dotenv_names(cls: type[Settings]) -> Mapping[str, str | None]:
    file = Path(str(cls.model_config.get("env_file")))
    if not file.is_file():
        return {}
    from dotenv import dotenv_values  # only where there is a file to read

    return dotenv_values(file)


def _refuse_unknown(cls: type[Settings], names: Mapping[str, str | None]) -> None:
    known = [PREFIX + name.upper() for name in cls.model_fields]
    for name in names:
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in known and not upper.startswith(_TEST_PREFIX):
            close = difflib.get_close_matches(upper, known, n=3) or known
            # The value stays unsaid: a misspelt name may hold a secret.
            raise BadInput(
                name, "…", "", message=f"{name}: no such setting; did you mean {', '.join(close)}?"
            )
