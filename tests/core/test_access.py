"""Roles cover one another in order; keys are known by their hashes; what is kept for ever holds no secret."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from clm.core.access import ApiKey, Caller, KeyRing, Role, configured_keys, fingerprint
from clm.core.audit import fit_to_keep

SECRET = "a-secret-of-mine-0001"
HASHED = hashlib.sha256(SECRET.encode()).hexdigest()


def test_each_role_covers_those_before_it() -> None:
    assert [[role.covers(needed) for needed in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    assert not any(Caller("stranger", None).may(needed) for needed in Role)


@pytest.mark.parametrize(
    ("text", "role"),
    [
        (SECRET, Role.ADMIN),
        (f"read:{SECRET}", Role.READ),
        (f"operate:sha256:{HASHED}", Role.OPERATE),
        (f"sha256:{HASHED.upper()}", Role.ADMIN),
    ],
)
def test_a_configured_key_is_kept_as_its_hash(text: str, role: Role) -> None:
    (key,) = configured_keys([text])

    assert (key.role, key.sha256) == (role, HASHED)
    assert KeyRing((key,)).find(SECRET) == key
    assert HASHED not in repr(key)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["short"], "key 1 of 1: at least 16 printable ASCII characters"),
        ([SECRET, "read:short"], "key 2 of 2: at least 16"),
        ([f"opreate:{SECRET}"], "the role one of read, operate, admin"),
        (["sha256:abc"], "the 64 hexadecimal digits"),
        ([SECRET, f"read:sha256:{HASHED}"], "key 2 of 2: the same key was given before"),
        (["sixteen letters with blanks"], "no blanks"),
        ([""], "at least 16"),
    ],
)
def test_a_wrong_one_is_said_by_its_place_and_never_shown(texts: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        configured_keys(texts)

    assert SECRET not in str(refused.value)
    assert "short" not in str(refused.value)


def test_a_ring_finds_its_keys_and_no_others() -> None:
    keys = tuple(ApiKey(name, Role.READ, fingerprint(name)) for name in ("one", "two", "three"))
    ring = KeyRing(keys)

    assert [ring.find(name) for name in ("one", "two", "three")] == list(keys)
    assert ring.find("four") is ring.find("") is ring.find("\udcff") is None


@pytest.mark.parametrize(
    ("detail", "kept"),
    [
        ({"body": {"force": True, "models": ["xgboost"]}}, {"body": {"force": True, "models": ["xgboost"]}}),
        ({"query": {"api_key": SECRET}}, {"query": {"api_key": "***"}}),
        ({"body": {"Password": 7, "token": None, "a": [{"secret": "x"}]}},
         {"body": {"Password": "***", "token": None, "a": [{"secret": "***"}]}}),
        ({"at": f"postgresql://clm:{SECRET}@db/clm"}, {"at": "postgresql://***@db/clm"}),
        ({"said": "it was clm_0123456789abcdefghijABCDEFGHIJ"}, {"said": "it was ***"}),
        ({"clm_0123456789abcdefghijABCDEFGHIJ": 1}, {"***": 1}),
        ({"n": float("nan"), "m": float("inf")}, {"n": "nan", "m": "inf"}),
    ],
)  # fmt: skip
def test_what_is_kept_holds_no_secret_and_is_json(detail: dict[str, Any], kept: dict[str, Any]) -> None:
    assert fit_to_keep(detail) == kept
    assert json.loads(json.dumps(fit_to_keep(detail), allow_nan=False)) == kept


def test_what_is_too_long_or_too_deep_to_keep_says_so() -> None:
    deep: Any = {}
    for _ in range(5000):
        deep = {"a": deep}

    long = fit_to_keep({"text": "x" * 10_000})

    assert len(json.dumps(long)) < 5000
    assert long["characters"] > 10_000
    assert "…" in str(fit_to_keep(deep))
