"""Whatever is asked over HTTP: an answer that the OpenAPI document tells of, and never a 500.

The long form is `make bench-fuzz`; here are some two thousand requests, always drawn from the same seed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.examiner import Findings, Plan, examine
from benchmarks.fuzz import Examined, examined
from clm.core.access import Role
from tests.support.fuzzing import SCALE

pytestmark = pytest.mark.rehearse

FEW = Plan(examples=SCALE, rounds=0, edges=False)
CHAINS = Plan(examples=1, rounds=SCALE, chains=6, steps=15, edges=False)
PROBES = {"GET /health/live", "GET /health/ready"}
CHANGES = ("POST", "DELETE")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examined]:
    """A `clm serve` process, which nobody has made a key to."""
    with examined(tmp_path_factory.mktemp("fuzz")) as service:
        yield service


@pytest.fixture(scope="module")
def without_keys(service: Examined) -> Findings:
    """What is found before there is a key: from the first one on there is no way back."""
    return examine(service.url, None, FEW, closed=False)


@pytest.fixture(scope="module")
def keys(service: Examined, without_keys: Findings) -> dict[str, str]:
    return {role: service.key(role) for role in Role}


def _nothing_is_wrong(found: Findings) -> None:
    assert found.failures == []
    assert found.answers.keys() == found.operations
    assert [status for status in found.statuses if status >= 500 or not status] == []


def test_a_service_without_keys_keeps_to_its_document(without_keys: Findings) -> None:
    _nothing_is_wrong(without_keys)
    assert not without_keys.statuses.keys() & {401, 403}


def test_an_admin_meets_the_edges_of_every_schema_and_no_500(service: Examined, keys: dict[str, str]) -> None:
    found = examine(service.url, keys["admin"], Plan(examples=SCALE, rounds=0))

    _nothing_is_wrong(found)
    assert 403 not in found.statuses


def test_chains_along_the_links_keep_to_the_document_whatever_was_changed_before(
    service: Examined, keys: dict[str, str]
) -> None:
    """Runs begun and cancelled, versions promoted and taken back, experiments begun and stopped."""
    found = examine(service.url, keys["admin"], CHAINS)

    _nothing_is_wrong(found)
    assert {"GET /api/clm/runs/{run_id}", "GET /api/clm/history/{model_type}"} <= found.succeeded


@pytest.mark.parametrize("role", [Role.OPERATE, Role.READ])
def test_whose_key_covers_less_is_told_403_and_gets_the_rest(
    service: Examined, keys: dict[str, str], role: Role
) -> None:
    found = examine(service.url, keys[role], FEW)

    _nothing_is_wrong(found)
    assert found.statuses[403] > 0
    changed = {name for name in found.succeeded if name.startswith(CHANGES)}
    assert role is not Role.READ or changed == {"POST /api/clm/predict"}


def test_a_stranger_gets_nothing_but_probes(service: Examined, keys: dict[str, str]) -> None:
    found = examine(service.url, "nobody-knows-this-key", FEW, document=keys["read"])

    _nothing_is_wrong(found)
    assert found.succeeded == PROBES
    assert found.statuses.keys() == {200, 401}
