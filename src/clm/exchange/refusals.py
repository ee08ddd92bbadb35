"""What Binance answers to a request it refuses, and the checks of parameters that lead there.

Codes and messages follow Binance's "Error codes" page for spot; where one request breaks several rules, which
of them is named first is our guess.
"""

from __future__ import annotations

import json
import re

from starlette.datastructures import QueryParams

#: As it is told, and as it is looked for: since 2025 some are called in Chinese.
_LEGAL_SYMBOL = r"[\w\-._&&[^a-z]]{1,50}"
_SYMBOL = r"(?:[^\Wa-z]|[-.]){1,50}"
_NUMBER = "[0-9]{1,20}"
_LARGEST = 2**63 - 1


class Refused(Exception):
    """An error answer: HTTP status, Binance's code and message. retry_after: seconds, as a header."""

    def __init__(self, status: int, code: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


def check_names(params: QueryParams, known: tuple[str, ...]) -> None:
    """Raises Refused for a parameter sent twice, one that does not exist here, and an empty one."""
    sent = params.multi_items()
    if len(sent) > len(params):
        raise Refused(400, -1101, "Duplicate values for a parameter detected.")
    read = sum(name in known for name in params)
    if len(sent) > len(known):
        raise Refused(400, -1101, f"Too many parameters; expected '{len(known)}' and received '{len(sent)}'.")
    if read < len(sent):
        message = f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(sent)}'."
        raise Refused(400, -1104, message)
    for name, value in sent:
        if not value:
            raise Refused(400, -1105, f"Parameter '{name}' was empty.")


def mandatory(params: QueryParams, name: str) -> str:
    """The parameter's value. Raises Refused where it was not sent."""
    if name not in params:
        message = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        raise Refused(400, -1102, message)
    return params[name]


def symbol(params: QueryParams) -> str:
    """The mandatory symbol, well formed. Raises Refused."""
    value = mandatory(params, "symbol")
    if not re.fullmatch(_SYMBOL, value):
        raise _illegal("symbol", f"^{_LEGAL_SYMBOL}$")
    return value


def symbols(params: QueryParams) -> list[str]:
    """The parameter `symbols`, a JSON list of different symbols. Raises Refused."""
    value = params["symbols"]
    if not re.fullmatch(rf'\[("{_SYMBOL}"(,"{_SYMBOL}"){{0,}}){{0,1}}\]', value):
        raise _illegal("symbols", f'^\\[("{_LEGAL_SYMBOL}"(,"{_LEGAL_SYMBOL}"){{0,}}){{0,1}}\\]$')
    names: list[str] = json.loads(value)
    if len(set(names)) < len(names):
        raise Refused(400, -1151, "Symbol is present multiple times in the list.")
    return names


def number(params: QueryParams, name: str) -> int | None:
    """An optional whole number. Raises Refused."""
    value = params.get(name)
    if value is None:
        return None
    if not re.fullmatch(_NUMBER, value):
        raise _illegal(name, f"^{_NUMBER}$")
    if int(value) > _LARGEST:
        raise Refused(400, -1108, f"Parameter '{name}' overflowed.")
    return int(value)


def _illegal(name: str, legal: str) -> Refused:
    return Refused(400, -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
