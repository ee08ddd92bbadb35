"""Any sequence of saves, promotions, rollbacks and retirements agrees with a model of ten lines."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from clm.core.errors import VersionNotFound
from clm.registry.sql import SQLModelRegistry
from tests.support.versions import BTC, candidate

RIDGE = "sklearn_ridge"


class RegistryMachine(RuleBasedStateMachine):
    saved: Bundle[str] = Bundle("saved")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.registry = SQLModelRegistry(f"sqlite:///{self.folder}/clm.db", self.folder / "m", series=BTC)
        self.champion: str | None = None
        self.replaced: dict[str, str | None] = {}
        self.changes = 0

    def teardown(self) -> None:
        self.registry.close()
        shutil.rmtree(self.folder)

    @rule(target=saved, day=st.integers(0, 3))
    def save(self, day: int) -> str:
        return self.registry.save_model(candidate(day)).version

    @rule(version=saved)
    def promote(self, version: str) -> None:
        self.registry.promote(RIDGE, version, expected_active=self.champion, check_expected=True)
        if version != self.champion:
            self.replaced[version], self.champion = self.champion, version
            self.changes += 1

    @rule(version=saved)
    def retire(self, version: str) -> None:
        before = {v.version: v.status for v in self.registry.get_model_history(RIDGE, 1000)}[version]
        self.registry.retire(RIDGE, version)
        self.changes += before != "RETIRED"
        if version == self.champion:
            self.champion = None

    @rule()
    def rollback(self) -> None:
        back_to = self.replaced.get(self.champion) if self.champion is not None else None
        if back_to is None:
            with pytest.raises(VersionNotFound):
                self.registry.rollback(RIDGE)
            return
        assert self.registry.rollback(RIDGE).version == back_to
        assert self.champion is not None
        self.replaced[self.champion] = None
        self.champion = back_to
        self.changes += 1

    @invariant()
    def the_registry_agrees(self) -> None:
        active = self.registry.get_active(RIDGE)
        assert (active.version if active else None) == self.champion
        assert len(self.registry.get_decisions(limit=1000)) == self.changes
        assert self.registry.verify() == []


RegistryMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestRegistryMachine = RegistryMachine.TestCase
