"""What people should hear of is raised with what happens, whoever does it; tokens are told to nobody."""

from __future__ import annotations

from clm.core.alert import Alert
from clm.core.runs import RunKind, RunRequest, RunState
from clm.registry.alerts import SQLAlerts
from clm.registry.runs import SQLRunStore
from clm.registry.sql import SQLModelRegistry
from clm.settings import Settings
from tests.support.bets import RIDGE
from tests.support.versions import ETH, candidate, small_model


def _kinds(registry: SQLModelRegistry) -> list[tuple[str, str]]:
    return [(s.alert.kind, s.alert.subject) for s in reversed(SQLAlerts(registry.database).recent())]


def test_promotions_rollbacks_and_files_set_aside_are_told(registry: SQLModelRegistry) -> None:
    a, b = (registry.save_model(candidate(day)) for day in (0, 1))
    registry.promote(RIDGE, a.version)
    registry.promote(RIDGE, b.version)
    registry.rollback(RIDGE, reason="it disappoints")
    registry.quarantine(RIDGE, b.version, "altered")
    registry.quarantine(RIDGE, b.version, "altered")

    assert _kinds(registry) == [
        ("promoted", a.version), ("promoted", b.version), ("rollback", b.version),
        ("artifact_quarantined", b.version),
    ]  # fmt: skip
    said = SQLAlerts(registry.database).recent()[1].alert.message
    assert f"{b.version} was rolled back to {a.version}" in said
    assert "it disappoints" in said


def _lasting(registry: SQLModelRegistry) -> list[tuple[str, str]]:
    return [(s.alert.kind, s.alert.subject) for s in SQLAlerts(registry.database).recent() if not s.closed_at]


def test_what_ailed_a_champion_is_over_when_another_is_promoted(registry: SQLModelRegistry) -> None:
    alerts = SQLAlerts(registry.database)
    first, second = (registry.save_model(candidate(day)) for day in (0, 1))
    registry.promote(RIDGE, first.version)
    for kind in ("champion_unfit", "parity"):
        alerts.record(Alert(kind, registry.series, RIDGE, first.version, "it fails"))
    elsewhere = Alert("parity", ETH, RIDGE, first.version, "it fails there")
    alerts.record(elsewhere)

    registry.promote(RIDGE, second.version)

    assert _lasting(registry) == [("parity", first.version)]
    assert not alerts.record(elsewhere)


def test_a_file_that_is_back_needs_nobody_any_more(registry: SQLModelRegistry) -> None:
    saved = registry.save_model(candidate())
    registry.quarantine(RIDGE, saved.version, "altered")
    assert _lasting(registry) == [("artifact_quarantined", saved.version)]

    registry.upkeep.put_back(saved, small_model(RIDGE).to_bytes())

    assert _lasting(registry) == []


def test_drift_is_over_with_the_next_training_whatever_version_it_was_of(registry: SQLModelRegistry) -> None:
    alerts = SQLAlerts(registry.database)
    for version in ("v1", "v2"):
        alerts.record(Alert("drift", registry.series, RIDGE, version, "the market moved"))
    alerts.record(Alert("drift", registry.series, "other", "v1", "the market moved"))

    alerts.settle("drift", registry.series, RIDGE)

    assert [s.alert.model_type for s in alerts.recent() if s.closed_at is None] == ["other"]


def test_a_run_that_is_interrupted_or_breaks_is_told_and_one_that_completes_mends_it(
    registry: SQLModelRegistry,
) -> None:
    runs = SQLRunStore(registry.database)

    def begun(kind: RunKind = RunKind.RETRAIN) -> str:
        run = runs.create(RunRequest(requested_by="cli", kind=kind))
        return runs.start(run.run_id, "here").run_id

    first = begun()
    runs.interrupt(first, "its worker fell silent")
    runs.finish(begun(), RunState.FAILED, error="no exchange")
    runs.interrupt(begun(RunKind.RETENTION), "its worker fell silent")
    assert _kinds(registry) == [("run_interrupted", first), ("training_failed", "retrain run")]

    runs.finish(begun(), RunState.COMPLETED, report={})
    assert SQLAlerts(registry.database).recent()[0].closed_at is not None


def test_addresses_are_told_apart_and_their_tokens_to_nobody() -> None:
    settings = Settings.load(alert_urls="slack://tok1/tok2/tok3/#a,#b, json://tok4:5/tok6")

    assert [u.get_secret_value() for u in settings.alert_urls] == [
        "slack://tok1/tok2/tok3/#a,#b",
        "json://tok4:5/tok6",
    ]
    assert settings.masked()["alert_urls"] == ["slack://***", "json://***"]
    assert "tok" not in repr(settings) + settings.for_children()
