"""A bot on paper: at each candle close it asks for a forecast and trades only when that is usable.

    make serve                                # in another terminal, after a first `clm retrain`
    python examples/bot_loop.py               # stops at Ctrl-C; --rounds 3 after three candles

It holds one unit of the asset while the forecast is above what a trade costs, and nothing otherwise. No order
is sent anywhere: this shows how to use a forecast, not how to earn money by it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp
from pathlib import Path

from clm.client import AccessRefused, Client, ClientError, Forecast, WrongInput

#: What buying or selling costs, as a share of the price: 0.0005 = 0.05 %.
FEE = 0.0005
#: Seconds between two looks for a new candle; the service needs a moment after the close to fetch it.
LOOK = 5.0


@dataclass
class Paper:
    """An account on paper. worth: 1.0 at the beginning; price: of the asset when last looked at."""

    worth: float = 1.0
    holding: bool = False
    price: float | None = None

    def mark(self, price: float) -> None:
        """What is held has moved with the price."""
        if self.holding and self.price is not None:
            self.worth *= price / self.price
        self.price = price

    def hold(self, wanted: bool) -> str:
        """Buy, sell, or leave things as they are; says which."""
        if wanted == self.holding:
            return "holds" if wanted else "stays out"
        self.worth *= 1 - FEE
        self.holding = wanted
        return "buys" if wanted else "sells"


def act(account: Paper, found: Forecast) -> str:
    """One candle: what was done and why, in a line."""
    if found.close is not None:
        account.mark(found.close)
    if not found.usable or found.forecast is None:
        # Not to trade is to keep what one has; a stricter bot would sell here.
        return f"does nothing: {', '.join(found.reasons) or 'no forecast'}"
    done = account.hold(exp(found.forecast) - 1 > FEE)
    lower, upper = found.interval_lower, found.interval_upper
    sure = (
        ""
        if lower is None or upper is None
        else f", {found.interval_level:.0%} within {lower:+.4%} to {upper:+.4%}"
    )
    return f"{done} at {found.close:,.2f}: {found.forecast:+.4%} by {found.model} {found.version}{sure}"


def run(client: Client, symbol: str | None, rounds: int | None, look: float = LOOK) -> Paper:
    """Candle by candle, `rounds` of them, None: for ever. look: seconds between two looks."""
    account, seen, done = Paper(), None, 0
    while rounds is None or done < rounds:
        try:
            found = client.predict(symbol=symbol, caller="paper-bot")
        except (AccessRefused, WrongInput):
            raise  # waiting would not mend it
        except ClientError as error:
            print(f"{datetime.now(UTC):%H:%M:%S}  does nothing: {error}", flush=True)
            time.sleep(error.retry_after or look)
            continue
        # One forecast per candle; without any candle there is still a reason to hear, once a look.
        if found.candle_close_time is None or found.candle_close_time != seen:
            seen, done = found.candle_close_time, done + 1
            close = "no candle yet" if seen is None else f"{seen:%Y-%m-%d %H:%M}"
            print(f"{close}  {found.symbol} {act(account, found)}; worth {account.worth:.4f}", flush=True)
        if rounds is None or done < rounds:
            time.sleep(look)
    return account


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument(
        "--key-file", type=Path, help="holds a key with the role read; not needed on the service's machine"
    )
    parser.add_argument("--symbol", help="default: the first the service is configured for")
    parser.add_argument("--rounds", type=int, help="candles until it stops; default: never")
    parser.add_argument("--look", type=float, default=LOOK, help="seconds between two looks for a new candle")
    given = parser.parse_args()
    key = given.key_file.read_text() if given.key_file else None
    try:
        with Client(given.url, key, timeout=10) as client:
            run(client, given.symbol, given.rounds, given.look)
    except ClientError as error:
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(0)


if __name__ == "__main__":
    main()
