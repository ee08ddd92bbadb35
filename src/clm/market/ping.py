"""Does the exchange answer at all? One small question, one try, no patience."""

from __future__ import annotations

import requests

from clm.core.errors import ExchangeUnavailable, RateLimited
from clm.core.text import mask_url
from clm.market.pace import Pace, retry_after


def ping(base_url: str, seconds: float, pace: Pace) -> None:
    """Returns when it does. Raises ExchangeUnavailable; RateLimited, unasked where that was said before."""
    pace.require_open(base_url)
    shown = mask_url(base_url)
    try:
        answer = requests.get(f"{base_url}/api/v3/ping", timeout=seconds)
    except requests.RequestException as exc:
        raise ExchangeUnavailable(f"the exchange at {shown} cannot be reached") from exc
    if answer.status_code in (418, 429):
        said = f"the exchange at {shown} asks us to slow down (HTTP {answer.status_code})"
        error = RateLimited(said, retry_after(answer.headers))
        pace.refused(base_url, error)
        raise error
    if answer.status_code != 200:
        raise ExchangeUnavailable(f"the exchange at {shown} answers with HTTP {answer.status_code}")
