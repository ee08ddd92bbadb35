"""Keys and sessions as rows: only their hashes, so that a copy of the database opens nothing."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from clm.core.access import SESSION_LENGTH, ApiKey, KeyRing, Role, fingerprint
from clm.core.errors import BadInput, KeyExists, KeyNotFound
from clm.registry.database import Database
from clm.registry.tables import api_keys, sessions


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key and its life; revoked_at None: it opens."""

    key: ApiKey
    created_at: datetime
    revoked_at: datetime | None


class SQLKeys:
    """The keys to the service. configured: those of the settings, which no table holds."""

    def __init__(self, database: Database, configured: tuple[ApiKey, ...] = ()) -> None:
        self._database, self._configured = database, configured

    def ring(self) -> KeyRing:
        """Every key that opens now, read anew: a revocation holds at once, in all processes."""
        stored = self.stored()
        open_ones = (entry.key for entry in stored if entry.revoked_at is None)
        return KeyRing((*self._configured, *open_ones), closed=bool(self._configured or stored))

    def stored(self) -> list[StoredKey]:
        """Keys of the database, revoked ones too, oldest first."""
        with self._database.reading() as connection:
            return [_key(row) for row in connection.execute(sa.select(api_keys).order_by(api_keys.c.id))]

    def add(self, name: str, role: Role) -> tuple[ApiKey, str]:
        """A new key, and its text, which is kept nowhere. Raises BadInput, KeyExists.

        A name is given once, also when its key was revoked: the audit trail says who by it.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,49}", name) or name in ("local", "stranger"):
            raise BadInput("name", name, "1 to 50 letters, digits, _ . @ and -, but not local or stranger")
        # 256 random bits: nobody can guess it, so a plain SHA-256 keeps it.
        secret = f"clm_{secrets.token_urlsafe(32)}"
        key = ApiKey(name, role, fingerprint(secret))
        try:
            with self._database.writing(fenced=False) as connection:
                values = {
                    "name": name, "role": str(role), "key_sha256": key.sha256,
                    "created_at": self._database.now(connection),
                }  # fmt: skip
                connection.execute(api_keys.insert().values(values))
        except IntegrityError as exc:
            raise KeyExists(f"there is, or was, a key named {name!r}: take another name") from exc
        return key, secret

    def revoke(self, name: str) -> ApiKey:
        """The key opens nothing from here on, and its sessions are over. Raises KeyNotFound."""
        mine = sa.and_(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
        with self._database.writing(fenced=False) as connection:
            row = connection.execute(sa.select(api_keys).where(mine).with_for_update()).one_or_none()
            if row is None:
                raise KeyNotFound(f"no key in force is named {name!r}")
            revoked = api_keys.update().where(api_keys.c.id == row.id)
            connection.execute(revoked.values(revoked_at=self._database.now(connection)))
            connection.execute(sessions.delete().where(sessions.c.key_sha256 == row.key_sha256))
        return _key(row).key


class SQLSessions:
    """Browsers that have shown a key: a random token each, good for twelve hours."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, key: ApiKey) -> str:
        """A session of that key; its token, which is kept nowhere. Old sessions are swept out."""
        token = secrets.token_urlsafe(32)
        with self._database.writing(fenced=False) as connection:
            now = self._database.now(connection)
            values = {
                "token_sha256": fingerprint(token), "key_sha256": key.sha256, "created_at": now,
                "expires_at": now + SESSION_LENGTH,
            }  # fmt: skip
            connection.execute(sessions.delete().where(sessions.c.expires_at <= now))
            connection.execute(sessions.insert().values(values))
        return token

    def key_of(self, token: str) -> str | None:
        """The hash of the key a session was begun with; None when there is none, or it is over."""
        query = sa.select(sessions.c.key_sha256, sessions.c.expires_at)
        with self._database.reading() as connection:
            row = connection.execute(query.where(sessions.c.token_sha256 == fingerprint(token))).one_or_none()
            if row is None or row.expires_at <= self._database.now(connection):
                return None
        sha256: str = row.key_sha256
        return sha256

    def end(self, token: str) -> None:
        """Logged out; nothing where there is no such session."""
        with self._database.writing(fenced=False) as connection:
            connection.execute(sessions.delete().where(sessions.c.token_sha256 == fingerprint(token)))


def _key(row: sa.Row[Any]) -> StoredKey:
    return StoredKey(ApiKey(row.name, Role(row.role), row.key_sha256), row.created_at, row.revoked_at)
