"""What series have bet together, as rows: each pool once, named by its hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from clm.core.book import EvidenceRow, LedgerKey
from clm.core.domain import Series
from clm.core.errors import BadData
from clm.core.pooled_bets import PooledBets, PoolSum, Stood
from clm.registry.engine import insert_new
from clm.registry.tables import evidence, pooled_bets

#: To be selected beside the evidence that names them.
POOL_COLUMNS = (pooled_bets.c.members_json, pooled_bets.c.before_json, pooled_bets.c.left_json)


def pool_of(row: Any) -> PooledBets | None:
    """The pool of a row of evidence; None where nothing is pooled. Raises BadData where it is not stored."""
    if row.pool_sha256 is None:
        return None
    if row.members_json is None:
        raise BadData(f"clm_pooled_bets has no {row.pool_sha256[:12]}, which a bet on {row.open_time} names")
    return PooledBets(
        {symbol: (bet[0], bet[1]) for symbol, bet in row.members_json.items()},
        PoolSum(**row.before_json) if row.before_json else None,
        (row.left_json[0], row.left_json[1]) if row.left_json else None,
    )


def keep_pools(connection: sa.Connection, rows: Sequence[EvidenceRow]) -> None:
    """What series have bet together is stored once, and named by each of them."""
    pools = {row.pool.sha256: row.pool for row in rows if row.pool}
    known = sa.select(pooled_bets.c.sha256).where(pooled_bets.c.sha256.in_(pools))
    for sha256 in connection.execute(known).scalars() if pools else ():
        del pools[sha256]
    if pools:
        new = [
            {
                "sha256": sha256, "members_json": dict(pool.members),
                "before_json": asdict(pool.before) if pool.before else None,
                "left_json": list(pool.left) if pool.left else None,
            }
            for sha256, pool in pools.items()
        ]  # fmt: skip
        connection.execute(insert_new(connection, pooled_bets), new)


def standing_pools(
    connection: sa.Connection, series: Series, key: LedgerKey, since: datetime
) -> dict[datetime, Stood]:
    """Candle → the newest pool on it, of bets with the recipe of `key`; with what `series` has bet in it."""
    ids = sa.select(sa.func.max(evidence.c.id)).where(
        evidence.c.model_type == key.model_type, evidence.c.interval == series.interval,
        evidence.c.kind == str(key.kind), evidence.c.recipe_id == key.recipe_id,
        evidence.c.open_time >= since, evidence.c.pool_sha256.is_not(None),
    ).group_by(evidence.c.open_time)  # fmt: skip
    newest = _by_candle(connection, ids)
    own = _by_candle(connection, ids.where(evidence.c.symbol == series.symbol)) if newest else {}
    found = {}
    for time, (_, pool) in newest.items():
        bet, named = own.get(time, (None, None))
        # Whoever joins joins the newest pool, so that those which grew out of one follow each other: an own
        # bet in an earlier one of them is in the newest too.
        there = named is not None and named.total.first == pool.total.first
        found[time] = Stood(pool, bet if there else None)
    return found


def _by_candle(
    connection: sa.Connection, ids: sa.Select[Any]
) -> Mapping[datetime, tuple[tuple[float, float], PooledBets]]:
    """Candle → ((gain, bound), pool) of the bets with these ids."""
    columns = (evidence.c.open_time, evidence.c.gain, evidence.c.bound, evidence.c.pool_sha256, *POOL_COLUMNS)
    pools = evidence.outerjoin(pooled_bets, evidence.c.pool_sha256 == pooled_bets.c.sha256)
    query = sa.select(*columns).select_from(pools).where(evidence.c.id.in_(ids))
    found = {}
    for row in connection.execute(query):
        pool = pool_of(row)
        if pool is not None:
            found[row.open_time] = ((row.gain, row.bound), pool)
    return found
