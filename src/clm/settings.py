"""Typed settings: environment variables and `.env`, prefix `CLM_`. Read when asked for, never at import."""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from clm.core.access import ApiKey, configured_keys
from clm.core.cron import Cron
from clm.core.domain import INTERVALS, SYMBOL, Series
from clm.core.errors import BadInput, InvalidSetting
from clm.core.places import place
from clm.core.text import fit_to_show, mask_url, plain_text, read_json, scheme_of
from clm.core.timeline import TimelineRule

PREFIX = "CLM_"
#: How the address of a Dask scheduler begins.
DASK = "dask://"
#: What a series of the watchlist may have of its own.
PER_SERIES = (
    "retrain_interval_days", "retrain_after_candles", "drift_triggers", "training_lookback_days",
    "holdout_days", "purge_hours", "shadow_test_hours", "min_improvement_threshold", "promotion_policy",
    "promotion_alpha", "refresh_after_days", "guard_hours", "guard_alpha", "cool_down_hours",
    "training_preset", "training_params", "training_seed", "stale_model_days",
)  # fmt: skip
#: Read by the test suite only, never by the product.
_TEST_PREFIX = "CLM_TEST_"

CommaList = Annotated[tuple[str, ...], NoDecode]
_SHORTEST_SECRET = 6
_NEXT_URL = re.compile(r"(?<!\s)(?:\s*,\s*|\s+)(?=[A-Za-z0-9]{1,40}://)")
#: A century, and numbers that no clock and no counter overflows at.
Days = Annotated[float, Field(le=36_500)]
Hours = Annotated[float, Field(le=876_000)]
Amount = Annotated[float, Field(le=1e9)]
Count = Annotated[int, Field(le=10**9)]


class Settings(BaseSettings):
    """Every knob, with its default. `Settings.load()` turns a wrong value into an InvalidSetting."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True,
        env_ignore_empty=True, hide_input_in_errors=True,
    )  # fmt: skip

    symbols: CommaList = Field(("BTCUSDT",), description="markets to keep models for, comma-separated")
    interval: str = Field("1h", description="candle length: 1m … 1d")
    models: CommaList = Field(("xgboost", "lightgbm"), description="model families to train, comma-separated")
    pooled_models: CommaList = Field(
        (), description="of these, also one model over all symbols, to compete with each symbol's own"
    )

    retrain_interval_days: Days = Field(7, gt=0, description="a champion older than this is retrained")
    retrain_after_candles: Count = Field(
        0, ge=0, description="also retrain after so many new candles since training; 0: off"
    )
    drift_triggers: bool = Field(
        True, description="also retrain when performance decays, features drift or the regime shifts"
    )
    training_lookback_days: Days = Field(365, gt=0, description="days of candles a cycle works with")
    holdout_days: Days = Field(30, gt=0, description="days kept from training to evaluate on")
    purge_hours: Hours = Field(24, gt=0, description="hours left unused between training and evaluation")
    shadow_test_hours: Hours = Field(24, gt=0, description="hours replayed in the shadow test")
    min_improvement_threshold: float = Field(
        0.02, ge=0, lt=1, description="relative gain of squared error or direction a candidate must show"
    )
    promotion_policy: Literal["evidence", "threshold", "newest"] = Field(
        "evidence",
        description="evidence: only what is proven; threshold: point estimates; newest: always the newest",
    )
    promotion_alpha: float = Field(
        0.05, gt=0, lt=0.5, description="evidence: chance that a reign is ever ended by a model no better"
    )
    refresh_after_days: Days = Field(
        30, ge=0, description="evidence: age at which a champion may be refreshed by its own recipe; 0: never"
    )
    guard_hours: Hours = Field(
        720, ge=0, description="evidence: hours a replaced champion may still come back; 0: no guard"
    )
    guard_alpha: float = Field(
        0.1, gt=0, lt=0.5, description="evidence: chance that a sound promotion is ever taken back"
    )
    cool_down_hours: Hours = Field(
        168, ge=0, description="evidence: hours without promotions after a promotion was taken back"
    )
    pool_symbols: bool = Field(True, description="evidence: bet on the mean over all symbols")
    live_shadow: bool = Field(
        True, description="forecast with champion and challengers at each candle close (`clm serve`)"
    )

    features: Literal["advanced", "basic"] = Field("advanced", description="feature catalogue to compute")
    max_jump: float = Field(
        5, gt=1, le=1e9, description="a price that goes on so many times higher or lower is taken for a gap"
    )
    training_preset: Literal["regularised", "fast", "accurate"] = Field(
        "regularised", description="parameter set of the tree models"
    )
    training_params: Annotated[dict[str, dict[str, Any]], NoDecode] = Field(
        default_factory=dict, description='JSON per family, e.g. {"lightgbm": {"num_trees": 100}}'
    )
    training_seed: int = Field(0, ge=0, lt=2**31, description="seed of every random choice in a training")
    training_threads: int = Field(
        1,
        ge=1,
        le=64,
        description="trainings of one series done at once, to the same models: for few series and many cores",
    )

    stale_model_days: Days = Field(
        90, gt=0, description="a forecast by a model trained longer ago is marked not usable"
    )
    run_time_limit_minutes: Amount = Field(
        120, ge=0, description="a run's worker is ended after so many minutes; 0: never"
    )
    run_memory_limit_mb: Amount = Field(
        0, ge=0, description="a process of a run is ended when it uses more megabytes of memory; 0: no limit"
    )
    worker_niceness: int = Field(
        10, ge=0, le=19, description="how far a run's processes stand back for the service; 0: not at all"
    )
    executor: str = Field(
        "local",
        description="who does a run over several series: local processes, a cluster (dask://host:8786), "
        "or inline: one by one",
    )
    processes: int = Field(0, ge=0, le=1024, description="local processes at most; 0: one per processor")
    series_time_limit_minutes: Amount = Field(
        60, ge=0, description="a series of several is given up after so many minutes; 0: never"
    )
    keep_versions: Count = Field(
        50, ge=0, description="model files kept per series and model; older retired ones go; 0: all are kept"
    )
    shutdown_grace_seconds: Amount = Field(
        20, ge=0, description="a service that is stopped waits so long for its run, then hands it over"
    )

    db_url: str = Field("sqlite:///clm.db", description="SQLAlchemy URL: sqlite:/// or postgresql+psycopg://")
    model_dir: Path | str = Field(
        Path("models"), description="model files: a folder, or a URL such as s3://bucket/prefix"
    )
    data_dir: Path | str = Field(
        Path("data"), description="the candle store: a folder, or a URL such as s3://bucket/prefix"
    )
    state_dir: Path | None = Field(
        None, description="folder for what all processes of this machine share; empty: the user's own"
    )
    replay_dir: Path = Field(
        Path("replay"), description="folder of replays: `clm replay` writes there, the dashboard shows them"
    )
    cache_enabled: bool = Field(True, description="keep fetched candles in the candle store")
    cache_ttl: Amount = Field(
        3600, ge=0, description="seconds after which the newest stored candles are read again"
    )
    binance_url: str = Field(
        "https://api.binance.com", description="exchange; a `clm exchange` address to rehearse"
    )

    schedule: str = Field("0 2 * * *", description="cron of the retraining job, UTC; off: none")
    host: str = Field("127.0.0.1", description="address the service listens on")
    port: int = Field(8000, ge=0, le=65535, description="port the service listens on")
    api_key: Annotated[tuple[ApiKey, ...], NoDecode] = Field(
        (),
        description="keys to the service: [role:]key or [role:]sha256:<hex>, comma-separated; role read, "
        "operate or admin (default)",
    )  # fmt: skip
    require_key: bool = Field(
        False, description="a key is asked for from this machine too: for a service behind a proxy"
    )
    alert_urls: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="who is told of incidents: Apprise addresses such as slack://…, comma-separated"
    )
    alerts_per_hour: Count = Field(
        20, ge=1, description="messages at most; what is more goes out together, once an hour"
    )
    allowed_hosts: CommaList = Field(
        (), description="names the service answers to besides loopback and CLM_HOST, comma-separated"
    )
    cors_origins: CommaList = Field(
        (), description="other web pages that may call it, such as https://desk.example.com, comma-separated"
    )
    trusted_proxies: CommaList = Field(
        (), description="addresses whose X-Forwarded-For and -Proto are believed, comma-separated"
    )
    rate_limit_per_minute: Count = Field(
        60, ge=0, description="requests that change something, per caller; 0: no limit"
    )
    max_body_kb: Count = Field(1024, ge=1, description="longest body of a request, kilobytes")
    min_free_mb: Amount = Field(
        200, ge=0, description="a service with less disk space is not ready, megabytes; 0: not looked at"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")
    log_format: Literal["console", "json"] = Field("console", description="how log lines look")
    log_file: str = Field(
        "logs/clm.log", description="where log lines are kept, besides standard error; off: nowhere"
    )

    @field_validator("model_dir", "data_dir", mode="before")
    @classmethod
    def _places(cls, value: object, info: ValidationInfo) -> object:
        return place(str(info.field_name), value) if isinstance(value, str) else value

    @field_validator("state_dir", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator(
        "symbols", "models", "pooled_models", "allowed_hosts", "cors_origins", "trusted_proxies",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("training_params", mode="before")
    @classmethod
    def _json(cls, value: object) -> object:
        return read_json(value) if isinstance(value, str) else value

    @field_validator("alert_urls", mode="before")
    @classmethod
    def _urls(cls, value: object) -> object:
        # An address may hold commas of its own: the next one begins with its scheme.
        return tuple(re.split(_NEXT_URL, value.strip())) if isinstance(value, str) else value

    @field_validator("api_key", mode="before")
    @classmethod
    def _keys(cls, value: object) -> object:
        return configured_keys(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        hosts = tuple(part.lower().strip("[]") for part in value)
        if any(not host or any(c in host for c in "/*@ ") for host in hosts):
            raise ValueError("host names or addresses without scheme, port or path, comma-separated")
        return hosts

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        origins = tuple(part.lower().rstrip("/") for part in value)
        for origin in origins:
            parts = urlsplit(origin)
            if origin != f"{parts.scheme}://{parts.netloc}" or "*" in origin or not parts.netloc:
                raise ValueError(
                    "origins such as https://desk.example.com, each by its name, comma-separated"
                )
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for part in value:
                ipaddress.ip_network(part)
        except ValueError as exc:
            raise ValueError("addresses or networks, such as 127.0.0.1 or 10.0.0.0/8") from exc
        return value

    @field_validator("symbols", "models")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(value):
            raise ValueError("at least one name, comma-separated, none of them empty")
        return tuple(dict.fromkeys(value))

    @field_validator("symbols")
    @classmethod
    def _markets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(SYMBOL, symbol) for symbol in value):
            raise ValueError("2 to 20 capital letters and digits each, of any script, such as BTCUSDT")
        return value

    @field_validator("interval")
    @classmethod
    def _interval(cls, value: str) -> str:
        if value not in INTERVALS:
            raise ValueError(f"one of {', '.join(INTERVALS)}")
        return value

    @field_validator("executor")
    @classmethod
    def _executor(cls, value: str) -> str:
        if value not in ("local", "inline") and not re.fullmatch(DASK + r"[^/:\s]+:[0-9]{1,5}", value):
            raise ValueError("local, inline, or a Dask scheduler such as dask://host:8786")
        return value

    @field_validator("binance_url")
    @classmethod
    def _http(cls, value: str) -> str:
        allowed = "an http:// or https:// address without a path, such as https://api.binance.com"
        try:
            parts = urlsplit(value)
        except ValueError:
            # What it says of the address may hold a password.
            raise ValueError(allowed) from None
        more = parts.path.strip("/") or parts.query or parts.fragment
        if parts.scheme not in ("http", "https") or not parts.netloc or more:
            raise ValueError(allowed)
        return value.rstrip("/")

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str) -> str:
        if value != "off":
            try:
                Cron.parse(value)
            except ValueError as exc:
                raise ValueError(f"{exc}; or off") from exc
        return value

    @field_validator("log_file")
    @classmethod
    def _log_file(cls, value: str) -> str:
        return "" if value == "off" else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("*", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return plain_text(value) if isinstance(value, str) else value

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Settings from `overrides`, then the environment, then `.env`, then the defaults.

        Raises InvalidSetting naming the first wrong one, BadInput for a `CLM_` name that does not exist.
        """
        _refuse_unknown(cls, os.environ)
        _refuse_unknown(cls, _dotenv_names(cls))
        try:
            made = cls(**overrides)
        except ValidationError as exc:
            name, value, allowed = _first_wrong(exc)
            raise InvalidSetting(PREFIX + name.upper(), value, allowed) from exc
        try:
            made.windows().require(INTERVALS[made.interval])
        except InvalidSetting as exc:
            raise InvalidSetting(PREFIX + exc.field.upper(), exc.value, exc.allowed) from exc
        return made

    def windows(self) -> TimelineRule:
        """What a cycle's windows are asked to be."""
        return TimelineRule(
            lookback=timedelta(days=self.training_lookback_days), holdout=timedelta(days=self.holdout_days),
            shadow=timedelta(hours=self.shadow_test_hours), purge=timedelta(hours=self.purge_hours),
        )  # fmt: skip

    def of_series(self, series: Series, models: Sequence[str] | None, overrides: Mapping[str, Any]) -> Self:
        """These, for one series alone. models None: the same ones. Raises InvalidSetting, as `load` does."""
        for name, value in overrides.items():
            if name not in PER_SERIES:
                raise InvalidSetting(f"overrides.{name}", fit_to_show(name, value), ", ".join(PER_SERIES))
        own = {"interval": series.interval, "models": models or self.models}
        if not overrides:
            return self.model_copy(update=own)
        given = {**self.model_dump(exclude={"api_key"}), "api_key": self.api_key, **own, **overrides}
        try:
            made = type(self)(**given)
        except ValidationError as exc:
            name, value, allowed = _first_wrong(exc)
            raise InvalidSetting(f"overrides.{name}", value, allowed) from exc
        return made

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
            elif default is None:
                default = ""
            lines += [f"# {field.description}", f"#{PREFIX}{name.upper()}={default}", ""]
        return "\n".join(lines)

    def masked(self) -> dict[str, Any]:
        """JSON-ready settings without secrets: passwords and keys read `***`."""
        shown: dict[str, Any] = self.model_dump(mode="json")
        shown["api_key"] = [f"{key.role}:***" for key in self.api_key]
        shown["alert_urls"] = [f"{scheme_of(url.get_secret_value())}://***" for url in self.alert_urls]
        shown["db_url"] = mask_url(self.db_url)
        shown["binance_url"] = mask_url(self.binance_url)
        return shown

    def logging(self) -> dict[str, Any]:
        """What `clm.telemetry.set_up_logging` is told."""
        return {
            "level": self.log_level, "fmt": self.log_format, "file": self.log_file, "secrets": self.secrets(),
        }  # fmt: skip

    def secrets(self) -> tuple[str, ...]:
        """What must not be read anywhere: passwords in addresses, and whom it tells of incidents."""
        addresses = (self.db_url, self.binance_url)
        passwords = [password for url in addresses if (password := _password(url))]
        decoded = [unquote(password) for password in passwords]
        return tuple(dict.fromkeys([*passwords, *decoded, *(u.get_secret_value() for u in self.alert_urls)]))

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What `repr` and `str` show; they end up in logs and tracebacks."""
        return self.masked().items()

    def for_children(self) -> str:
        """JSON for processes that work for the service, without its keys and whom it tells of incidents."""
        return self.model_copy(update={"api_key": (), "alert_urls": ()}).model_dump_json()


def scheduler_of(settings: Settings) -> str | None:
    """The Dask scheduler's own address, tcp://host:8786, where runs go to a cluster."""
    executor = settings.executor
    return f"tcp://{executor.removeprefix(DASK)}" if executor.startswith(DASK) else None


def _password(url: str) -> str | None:
    """Long enough that it is no word of a sentence."""
    try:
        found = urlsplit(url).password
    except ValueError:
        return None
    return found if found and len(found) >= _SHORTEST_SECRET else None


def _first_wrong(error: ValidationError) -> tuple[str, Any, str]:
    """The first wrong setting: its name, what was given, what is allowed."""
    first = error.errors()[0]
    name, cause = str(first["loc"][0]), first.get("ctx", {}).get("error")
    allowed = str(first["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return name, fit_to_show(name, first["input"]), cause.allowed if isinstance(cause, BadInput) else allowed


def environment_of_children(**more: str) -> dict[str, str]:
    """This process's environment without what only the service itself needs to know."""
    secret = (PREFIX + "API_KEY", PREFIX + "ALERT_URLS")
    return {**{name: value for name, value in os.environ.items() if name.upper() not in secret}, **more}


def _dotenv_names(cls: type[Settings]) -> Mapping[str, str | None]:
    file = Path(str(cls.model_config.get("env_file")))
    if not file.is_file():
        return {}
    from dotenv import dotenv_values  # only where there is a file to read
    from dotenv.parser import parse_stream

    try:
        with file.open(encoding="utf-8") as stream:
            for line in parse_stream(stream):
                # The library would leave out what it cannot read. What the line says may be a secret.
                if line.error or (line.value is None and (line.key or "").upper().startswith(PREFIX)):
                    raise BadInput(f"{file}, line {line.original.line}", "…", "NAME=value, quotes closed")
        return dotenv_values(file)
    except (OSError, UnicodeDecodeError) as exc:
        raise BadInput(str(file), type(exc).__name__, "a file that can be read, in UTF-8") from exc


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
