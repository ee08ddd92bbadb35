"""Who may do what: roles, keys as hashes, callers. Pure; where keys are kept is the registry's matter."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

#: A key of somebody's own making is at least so long; those CLM makes are much longer.
SHORTEST_KEY = 16
#: A day's work in a browser; then the key is asked for again.
SESSION_LENGTH = timedelta(hours=12)
_HASHED = "sha256:"


class Role(StrEnum):
    """Each covers those before it. READ: looks. OPERATE: runs and roll-backs. ADMIN: promotions, keys."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        """Whether who has this role may do what needs the other."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: its SHA-256, in hex, never the key itself. name: who uses it."""

    name: str
    role: Role
    sha256: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. name: of a key, `local` or `stranger`; role None: nothing is allowed; why: they are one."""

    name: str
    role: Role | None
    why: str = ""

    def may(self, needed: Role) -> bool:
        """Whether the caller has a role that covers the needed one."""
        return self.role is not None and self.role.covers(needed)


#: Whoever sits at this machine, as long as there is no key.
LOCAL = Caller("local", Role.ADMIN)


def stranger(why: str) -> Caller:
    """Everybody who has shown no valid key; why: a sentence for them."""
    return Caller("stranger", None, why)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys that open, at this moment.

    closed: a key exists or once existed. That the last one was revoked opens nothing to anybody.
    """

    keys: tuple[ApiKey, ...] = ()
    closed: bool = False

    def find(self, secret: str) -> ApiKey | None:
        """The key that was presented; None for one that is not on the ring."""
        return self.find_hash(fingerprint(secret))

    def find_hash(self, sha256: str) -> ApiKey | None:
        """The key with that hash. Takes as long whichever it is, and where it is none."""
        found = None
        for key in self.keys:
            if hmac.compare_digest(key.sha256, sha256):
                found = key
        return found


def fingerprint(secret: str) -> str:
    """SHA-256 in hex. Right for keys and tokens of high entropy; a password would need a slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def configured_keys(items: Iterable[str]) -> tuple[ApiKey, ...]:
    """Keys as settings give them: `[role:]key` or `[role:]sha256:<hex>`, role admin where none is named.

    Raises ValueError saying which one is wrong and what is allowed, never what it is.
    """
    texts = list(items)
    keys: dict[str, ApiKey] = {}
    for number, text in enumerate(texts, 1):
        which = f"key {number} of {len(texts)}"
        role, sha256 = _parsed(text, which)
        if sha256 in keys:
            raise ValueError(f"{which}: the same key was given before")
        keys[sha256] = ApiKey(f"CLM_API_KEY#{number}", role, sha256)
    return tuple(keys.values())


def _parsed(text: str, which: str) -> tuple[Role, str]:
    role, rest = Role.ADMIN, text
    before, colon, after = text.partition(":")
    if colon and before in list(Role):
        role, rest = Role(before), after
    if rest.startswith(_HASHED):
        digest = rest.removeprefix(_HASHED).lower()
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"{which}: sha256: and the 64 hexadecimal digits of the key's SHA-256")
        return role, digest
    if ":" in rest:
        raise ValueError(f"{which}: [role:]key or [role:]sha256:<hex>, the role one of {', '.join(Role)}")
    if not re.fullmatch(rf"[!-~]{{{SHORTEST_KEY},}}", rest):
        raise ValueError(f"{which}: at least {SHORTEST_KEY} printable ASCII characters, no blanks")
    return role, fingerprint(rest)
