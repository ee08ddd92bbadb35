"""A service without a key behind real proxies: what they pass on is not taken for this machine's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.exchange import serving, simulated
from tests.support.nginx import plain_nginx
from tests.support.shell import Shell, serving_clm, shell_in
from tests.support.waiting import LIMIT

pytestmark = pytest.mark.rehearse


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with serving(simulated()) as exchange:
        shell = shell_in(tmp_path, exchange)
        shell.environment |= {"CLM_LIVE_SHADOW": "false", "CLM_SCHEDULE": "off"}
        yield shell


def _status(base: str) -> int:
    return httpx.get(f"{base}/api/clm/status", timeout=LIMIT).status_code


def test_outsiders_that_nginx_lets_through_are_refused_while_plain_curl_is_served(shell: Shell) -> None:
    with serving_clm(shell, shell.folder / "log") as (_, service):
        with plain_nginx(service) as by_default:
            assert _status(by_default) == 401
        with plain_nginx(
            service, "proxy_http_version 1.1; proxy_set_header X-Real-IP $remote_addr;"
        ) as named:
            assert _status(named) == 401

        assert _status(service) == 200


def test_a_proxy_without_any_sign_is_shut_out_where_a_key_is_required(shell: Shell) -> None:
    with serving_clm(shell, shell.folder / "log", CLM_REQUIRE_KEY="true") as (_, service):
        with plain_nginx(service, 'proxy_http_version 1.1; proxy_set_header Connection "";') as url:
            assert _status(url) == 401

        assert _status(service) == 401
        assert httpx.get(f"{service}/health/live", timeout=LIMIT).status_code == 200
