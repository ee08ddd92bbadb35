"""What is wrong with this machine's surroundings is told as that, and what the exchange says in its words."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from clm.client import Client, Unreachable
from clm.core.errors import ClmError, ExchangeRejected, ExchangeUnavailable, InvalidSetting, RateLimited
from clm.market.account import Account
from clm.market.binance import BinanceDataClient
from clm.market.pace import Pace
from clm.settings import Settings
from tests.support.answering import answering
from tests.support.exchange import serving, simulated

PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
ADDRESSES = ["http://exchange.invalid", "https://exchange.invalid"]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def refusal(url: str, folder: Path, pace: Pace | None = None) -> ClmError:
    """What asking there comes to."""
    pace = pace or Pace(attempts=1, account=Account(folder / "weight.json"))
    client = BinanceDataClient(base_url=url, data_dir=folder, pace=pace)
    with pytest.raises(ClmError) as refused:
        client.server_time()
    client.close()
    return refused.value


@pytest.mark.parametrize("url", ADDRESSES)
@pytest.mark.parametrize(
    ("proxy", "kind", "said"),
    [
        (
            "socks5://127.0.0.1:9",
            ExchangeRejected,
            r"SOCKS proxy \(socks5://.*pip install pysocks",
        ),
        ("htp:/x", ExchangeRejected, "the proxy 'htp:/x' of this environment .* is no address of a proxy"),
        ("http://[::1", ExchangeRejected, "the proxy .* of this environment .* is no address of a proxy"),
        (
            "http://me:secret@127.0.0.1:9",
            ExchangeUnavailable,
            r"proxy 'http://me:\*\*\*@127.0.0.1:9' of",
        ),
    ],
)
def test_a_proxy_that_is_wrong_is_named(
    url: str, proxy: str, kind: type[ClmError], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROXIES[:3]:
        monkeypatch.setenv(name, proxy)

    error = refusal(url, tmp_path)

    assert isinstance(error, kind), error
    assert "secret" not in str(error)
    with pytest.raises(kind, match=said):
        raise error


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_that_are_not_there_are_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/no/such/bundle.pem")

    error = refusal("https://exchange.invalid", tmp_path)

    assert isinstance(error, ExchangeRejected)
    assert "there are no certificates at /no/such/bundle.pem" in str(error)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9", r"SOCKS proxy .*pip install 'httpx\[socks\]'"),
        ("ALL_PROXY", "http://[::1", "no address of one"),
        ("SSL_CERT_FILE", "/no/such", "certificates that SSL_CERT_FILE"),
    ],
)
def test_the_client_tells_of_them_too(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(Unreachable, match=said):
        Client("https://clm.invalid")


@pytest.mark.parametrize("path", ["/api", "/api/v3/", "?x=1", "#x"])
def test_an_exchange_below_a_path_is_refused_as_the_setting_promises(path: str) -> None:
    with pytest.raises(InvalidSetting, match="without a path"):
        Settings.load(binance_url=f"https://api.binance.com{path}")
    assert Settings.load(binance_url="https://api.binance.com/").binance_url == "https://api.binance.com"


PLACE = "Service unavailable from a restricted location according to 'b. Eligibility'."


@pytest.mark.parametrize(
    ("status", "body", "kind", "said", "tries"),
    [
        (451, json.dumps({"code": 0, "msg": PLACE}), ExchangeRejected, "HTTP 451: Service unavailable", 1),
        (403, "<html><title>403 Forbidden</title></html>", ExchangeRejected, "HTTP 403 and a page: 403", 1),
        (404, "not here", ExchangeRejected, "HTTP 404; CLM_BINANCE_URL may name something that is no", 1),
        (407, "", ExchangeRejected, "HTTP 407; the proxy of this environment wants a password", 1),
        (503, json.dumps({"msg": "A\u001b[2J b"}), ExchangeUnavailable, r"503: A \[2J b", 3),
        (502, "<title>Bad Gateway</title>", ExchangeUnavailable, "HTTP 502 and a page: Bad Gateway", 3),
        (400, json.dumps({"code": -1100, "msg": "Illegal."}), ExchangeRejected, "Illegal", 1),
        (400, "?", ExchangeUnavailable, "HTTP 400 and something that is not JSON", 3),
    ],
)  # fmt: skip
def test_a_refusal_is_told_in_the_exchanges_words_and_only_one_that_may_pass_is_asked_again(
    status: int, body: str, kind: type[ClmError], said: str, tries: int, tmp_path: Path
) -> None:
    pace = Pace(
        attempts=3, first_wait=0.001, account=Account(tmp_path / "w.json"), sleep=lambda seconds: None
    )
    with answering(status, body, {}) as (url, asked):
        error = refusal(url, tmp_path, pace)

    assert isinstance(error, kind), error
    with pytest.raises(kind, match=said):
        raise error
    assert len(asked) == tries


def test_a_page_of_a_firewall_that_says_when_to_come_again_is_a_limit(tmp_path: Path) -> None:
    pace = Pace(attempts=3, account=Account(tmp_path / "w.json"), longest_wait=1)
    with answering(403, "<html></html>", {"Retry-After": "300"}) as (url, asked):
        assert isinstance(refusal(url, tmp_path, pace), RateLimited)
        assert isinstance(refusal(url, tmp_path, pace), RateLimited)

    assert len(asked) == 1


def _http_date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("status", "after", "body", "least", "most"),
    [
        (429, _http_date, "{}", 280, 300),
        (418, _http_date, "{}", 280, 300),
        (503, _http_date, "busy", 280, 300),
        (503, "120", "busy", 119, 120),
        (429, "60.5", "{}", 60, 60.5),
        # What is no time closes until the minute is over, that weight is counted by; a ban for two at least.
        (429, "soon", "{}", 0.01, 60),
        (429, "-5", "{}", 0.01, 60),
        (429, "1e400", "{}", 0.01, 60),
        (429, None, "{}", 0.01, 60),
        (418, "soon", "{}", 119, 120),
        (418, None, '{"code": -1003, "msg": "Way too much; IP banned until {until}."}', 880, 900),
        (429, None, '{"code": -1003, "msg": "IP banned until {until}"}', 880, 900),
    ],
)
def test_a_time_to_wait_is_understood_however_it_is_told_and_holds_for_everybody_here(
    status: int, after: Any, body: str, least: float, most: float, tmp_path: Path
) -> None:
    said = body.replace("{until}", str(int((time.time() + 900) * 1000)))
    told = after(300) if callable(after) else after
    account = Account(tmp_path / "weight.json")
    with answering(status, said, {} if told is None else {"Retry-After": told}) as (url, asked):
        error = refusal(url, tmp_path, Pace(attempts=1, longest_wait=0, account=account))
        closed, why = account.closure(urlsplit(url).netloc, time.time())
        again = refusal(
            url, tmp_path, Pace(attempts=1, longest_wait=0, account=Account(tmp_path / "weight.json"))
        )

    assert least - 1 <= closed <= most
    assert len(asked) == 1
    assert "nobody here asks before" in str(again)
    assert ("banned" in str(error)) == ("banned" in why) == (status == 418 or "banned" in said)


def test_the_password_of_an_exchanges_address_is_told_nowhere(tmp_path: Path) -> None:
    weight = tmp_path / "weight.json"
    with answering(429, '{"code": -1003, "msg": "later"}', {"Retry-After": "30"}) as (url, _):
        secret = url.replace("http://", "http://me:s3cret@")
        errors = [
            refusal(secret, tmp_path, Pace(attempts=1, longest_wait=0, account=Account(weight)))
            for _ in range(2)
        ]
    gone = refusal(secret, tmp_path, Pace(attempts=1, account=Account(tmp_path / "other.json")))

    for told in (*map(str, (*errors, gone)), weight.read_text()):
        assert "s3cret" not in told
    assert "http://me:***@127.0.0.1" in str(gone)


def test_an_exchange_that_speaks_no_tls_is_not_said_to_have_a_bad_certificate(tmp_path: Path) -> None:
    with serving(simulated()) as exchange:
        url = exchange.url
        error = refusal(url.replace("http://", "https://"), tmp_path)

    assert f"does not speak TLS: is it {url}?" in str(error)
    assert "certificate" not in str(error)


def test_a_bundle_without_a_certificate_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("no certificate\n")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))

    with serving(simulated()) as exchange:
        error = refusal(exchange.url.replace("http://", "https://"), tmp_path)

    assert f"there is no certificate in {bundle}" in str(error)


def test_where_the_exchange_sends_us_elsewhere_that_place_is_named(tmp_path: Path) -> None:
    with answering(302, "", {"Location": "http://127.0.0.1:9/portal"}) as (url, _):
        error = refusal(url, tmp_path)

    assert (
        f"http://127.0.0.1:9, where {url} sends whoever asks, cannot be reached: Connection refused"
        in str(error)
    )


def test_what_the_system_says_of_a_port_is_said(tmp_path: Path) -> None:
    assert "cannot be reached: Connection refused" in str(refusal("http://127.0.0.1:9", tmp_path))
