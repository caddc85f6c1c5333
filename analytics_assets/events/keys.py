"""Write keys: whose events a request brings. Only a hash of a key is kept; a collector holds the hashes in memory."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg

from analytics_assets.sql import query

_PREFIX = "wk_"
_HINT_LENGTH = 8
# A key that nobody knows has the keys read anew, but not for each request that brings one.
_UNKNOWN_SECONDS = 0.2


class KeyRefused(ValueError):
    """A key that cannot be made or found; the message says why and what to do."""


@dataclass(frozen=True)
class Owner:
    """Whose key it is. turn: a number; organisations of one number take turns in being stored."""

    organization_id: UUID
    is_revoked: bool
    turn: int


def create(connection: psycopg.Connection[dict[str, Any]], organization_id: UUID, name: str) -> str:
    """Makes a key and the organisation's source of events. Returns the key, which nobody can read again."""
    if not name.strip() or len(name) > 100:
        raise KeyRefused(f"name {name!r}: expected 1 to 100 characters")
    key = _PREFIX + secrets.token_urlsafe(24)
    values = {"organization_id": organization_id, "name": name.strip(), "hint": key[:_HINT_LENGTH], "key": key}
    connection.execute(query("add_event_key"), values)
    connection.execute(query("ensure_event_sources"), {"organization_ids": [organization_id]})
    connection.commit()
    return key


def listed(connection: psycopg.Connection[dict[str, Any]], slug: str | None) -> list[dict[str, Any]]:
    """The keys of one organisation, or of all."""
    return connection.execute(query("list_event_keys"), {"slug": slug}).fetchall()


def revoke(connection: psycopg.Connection[dict[str, Any]], organization_id: UUID, key: str) -> dict[str, Any]:
    """Revokes a key, named by its id, its first characters or its name. Raises KeyRefused."""
    row = connection.execute(query("revoke_event_key"), {"organization_id": organization_id, "key": key}).fetchone()
    connection.commit()
    if row is None:
        raise KeyRefused(f"no key, or more than one, that is {key!r} and not revoked; see `analytics keys list`")
    return row


class KeyRing:
    """All keys by their hash, as they were a moment ago.

    Reading them all is one small statement; it is done every few seconds (limits.KEY_SECONDS), so that a revocation holds by
    then, and at once where a request brings a key that is not among them.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Sequence[dict[str, Any]]]]) -> None:
        self._fetch = fetch
        self._owners: dict[bytes, Owner] = {}
        self._begun_at = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def refresh(self) -> None:
        """Reads the keys. Raises psycopg.Error."""
        async with self._one_at_a_time:
            await self._read()

    async def find(self, key: str) -> Owner | None:
        """Whose key it is; None where nobody has it. Raises psycopg.Error where nobody can say so now."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        owner = self._owners.get(digest)
        if owner is not None:
            return owner
        asked_at = monotonic()
        async with self._one_at_a_time:
            # Those who asked meanwhile share a reading, which began after all of them asked.
            if self._begun_at < asked_at:
                await asyncio.sleep(self._begun_at + _UNKNOWN_SECONDS - asked_at)
                await self._read()
        return self._owners.get(digest)

    async def _read(self) -> None:
        begun_at = monotonic()
        rows = await self._fetch()
        self._owners = {bytes(row["key_sha256"]): Owner(row["organization_id"], row["is_revoked"], row["turn"]) for row in rows}
        self._begun_at = begun_at
