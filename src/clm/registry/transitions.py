"""Steps of versions from one status to the next, each inside its caller's transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from clm.core.alert import Alert
from clm.core.domain import Decision, Outcome, Series, VersionStatus
from clm.core.errors import ArtifactMissing, ChampionChanged
from clm.registry.alerts import close_alerts, raise_alert
from clm.registry.rows import decision_values, of_series
from clm.registry.tables import decisions, versions


def active(connection: sa.Connection, series: Series, model_type: str) -> sa.Row[Any] | None:
    """The champion's row."""
    query = sa.select(versions).where(
        of_series(series, model_type), versions.c.status == str(VersionStatus.ACTIVE)
    )
    return connection.execute(query).one_or_none()


def activate(
    connection: sa.Connection,
    series: Series,
    model_type: str,
    version: str,
    champion: sa.Row[Any] | None,
    decision: Decision,
    at: datetime | None,
    *,
    back: bool = False,
    run_id: str | None = None,
) -> None:
    """Retire the champion, activate `version`, write the decision and the alert.

    run_id: in whose name it is done.
    back: a rollback. The retired champion then forgets whom it replaced, so that a chain of rollbacks walks
    back and never to and fro.
    """
    now = at or datetime.now(UTC)
    if champion is not None:
        retired: dict[str, Any] = {"status": str(VersionStatus.RETIRED), "retired_at": now}
        if back:
            retired["replaced_version"] = None
        done = connection.execute(
            versions.update()
            .where(versions.c.id == champion.id, versions.c.status == str(VersionStatus.ACTIVE))
            .values(retired)
        )
        if done.rowcount != 1:
            raise ChampionChanged(
                f"another promotion of {model_type} {series} came first; {version} was not promoted"
            )
    activated: dict[str, Any] = {
        "status": str(VersionStatus.ACTIVE),
        "promoted_at": now,
        "retired_at": None,
    }
    if not back:
        activated["replaced_version"] = champion.version if champion is not None else None
    done = connection.execute(
        versions.update()
        .where(of_series(series, model_type), versions.c.version == version)
        .where(versions.c.pruned_at.is_(None), versions.c.quarantined_at.is_(None))
        .values(activated)
    )
    if done.rowcount != 1:
        raise ArtifactMissing(f"the file of {model_type} {version} of {series} went away meanwhile")
    append(connection, series, decision, now)
    # Another champion answers. One that steps in for an unfit champion is told of after this.
    close_alerts(connection, series, model_type, "champion_unfit", "parity")
    # The guard and whoever steps in for an unfit champion tell of it themselves, with more to say.
    if decision.label not in ("guard", "fallback"):
        raise_alert(connection, _told(series, model_type, version, champion, decision, run_id, back))


def _told(
    series: Series, model_type: str, version: str, champion: sa.Row[Any] | None, decision: Decision,
    run_id: str | None, back: bool,
) -> Alert:  # fmt: skip
    after = f" (by run {run_id})" if run_id else ""
    before = champion.version if champion is not None else None
    if back:
        said = f"{before} was rolled back to {version}{after}. Why: {decision.reason}"
        return Alert("rollback", series, model_type, before or version, said)
    whose = f"in place of {before}" if before else "the first to"
    said = f"{version} answers from now on, {whose}{after}. Why: {decision.reason}"
    return Alert("promoted", series, model_type, version, said)


def settle(
    connection: sa.Connection, series: Series, decision: Decision, status: VersionStatus, now: datetime
) -> bool:
    """The candidate becomes SHADOW or RETIRED; False where it is so already, or reigned meanwhile."""
    over = (str(status), str(VersionStatus.ACTIVE), str(VersionStatus.RETIRED))
    values: dict[str, Any] = {"status": str(status)}
    if status is VersionStatus.RETIRED:
        values["retired_at"] = now
    changed = connection.execute(
        versions.update()
        .where(of_series(series, decision.model_type), versions.c.version == decision.candidate_version)
        .where(versions.c.status.not_in(over))
        .values(values)
    )
    return changed.rowcount == 1


def recorded(connection: sa.Connection, series: Series, decision: Decision, now: datetime) -> bool:
    """Whether the same was decided about the same candidate at the same moment already."""
    same = sa.select(decisions.c.id).where(
        decisions.c.symbol == series.symbol, decisions.c.interval == series.interval,
        decisions.c.model_type == str(decision.model_type), decisions.c.label == decision.label,
        decisions.c.candidate_version == decision.candidate_version, decisions.c.decided_at == now,
    )  # fmt: skip
    return connection.execute(same.limit(1)).first() is not None


def append(connection: sa.Connection, series: Series, decision: Decision, now: datetime) -> None:
    """The decision's row."""
    connection.execute(decisions.insert().values(decision_values(decision, series, now)))


def by_hand(model_type: str, version: str, champion: str | None, label: str, reason: str) -> Decision:
    """What is written where a human decided."""
    return Decision(
        model_type=str(model_type),
        candidate_version=version,
        champion_version=champion,
        outcome=Outcome.PROMOTE,
        label=label,
        policy="manual",
        reason=reason,
        decided_by="user",
    )
