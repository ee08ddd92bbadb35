"""What people should hear of is raised with what happens, whoever does it; tokens are told to nobody."""

from __future__ import annotations

from clm.core.runs import RunKind, RunRequest, RunState
from clm.registry.alerts import SQLAlerts
from clm.registry.runs import SQLRunStore
from clm.registry.sql import SQLModelRegistry
from clm.settings import Settings
from tests.support.bets import RIDGE
from tests.support.versions import candidate


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
