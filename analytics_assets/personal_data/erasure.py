"""One person of an organisation erased: their rows renamed, their records on raw pages redacted, the aggregates left as they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from analytics_assets.events.emails import email_hash, hidden_id
from analytics_assets.organizations.registry import get
from analytics_assets.sql import query

Connection = psycopg.Connection[dict[str, Any]]
OnPiece = Callable[[str, int, int], None]


class ErasureError(ValueError):
    """Nothing was erased; the message names what is wrong."""


@dataclass
class Erased:
    """What an erasure did.

    Attributes:
        counts: rows changed or deleted, by table; none where nothing is known of the person.
        known_before: somebody of that id or address was erased before.
        resumed: counts of an earlier erasure that had been interrupted, and was completed first.
    """

    counts: dict[str, int] = field(default_factory=dict)
    known_before: bool = False
    resumed: dict[str, int] | None = None


def erase(
    connection: Connection,
    organization: str,
    user_ids: list[str],
    emails: list[str],
    dry_run: bool = False,
    on_piece: OnPiece = lambda table, done, of: None,
) -> Erased:
    """Erases the person behind ids (as a site sends them, or a store has them) and addresses of an organisation (a slug).

    The rows of the person are renamed in one transaction; then what may mention them follows in small pieces, each a transaction in the
    turns that writers take. Killed at any point and called again, whoever is asked for, it completes what was begun first. A dry run
    does the same in one transaction, and takes it back. on_piece hears the table, how many pieces are done, and of how many.
    Raises OrganizationError where there is no such organisation, ErasureError where an address is none.
    """
    tenant = get(connection, organization)
    hashes = [(email, email_hash(str(tenant.id), email)) for email in emails]
    for email, hashed in hashes:
        if hashed is None:
            raise ErasureError(f"{email!r} is no e-mail address; for another id use --user-id")
    # An id that is an address is kept as its hash: the address is the person's.
    hashes += [(one, email_hash(str(tenant.id), one)) for one in user_ids if hidden_id(str(tenant.id), one) != one]
    person = {
        "organization_id": tenant.id,
        # Before ids were looked at, one that is an address was kept in clear.
        "user_ids": [*user_ids, *(hidden_id(str(tenant.id), one) for one in user_ids), *emails, *(one.lower() for one in emails)],
        "email_hashes": [hashed for _, hashed in hashes if hashed is not None],
    }
    connection.commit()
    connection.execute(query("await_erasures"), person)
    connection.commit()
    work = _Work(connection, tenant.id, dry_run, on_piece)
    try:
        interrupted = work.one("find_interrupted_erasure", {})
        resumed = None if interrupted is None else work.complete(interrupted["erasure"])
        known = work.one("was_erased", person)
        begun = work.seized("begin_erasure", person)
        return Erased(work.complete(begun["erasure"]), bool(known and known["was_erased"]), resumed)
    finally:
        connection.rollback()
        connection.execute(query("release_erasures"), person)
        connection.commit()


class _Work:
    def __init__(self, connection: Connection, organization: UUID, dry_run: bool, on_piece: OnPiece) -> None:
        self.connection, self.organization, self.dry_run, self.on_piece = connection, organization, dry_run, on_piece

    def one(self, name: str, values: dict[str, Any]) -> dict[str, Any] | None:
        return self.connection.execute(query(name), {**values, "organization_id": self.organization}).fetchone()

    def seized(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        """One transaction, or a part of a dry run's. It gives way to who holds a row of the organisation."""
        while True:
            try:
                with self.connection.transaction():
                    row = self.one(name, values)
                    assert row is not None
                if not self.dry_run:
                    self.connection.commit()
                return row
            except psycopg.errors.LockNotAvailable:
                if not self.dry_run:
                    self.connection.rollback()
                time.sleep(0.1)

    def complete(self, erasure: UUID) -> dict[str, int]:
        """What follows the person's own rows; returns the rows by table."""
        values = {"organization_id": self.organization, "erasure": erasure}
        pieces = self.connection.execute(query("erasure_pieces"), values).fetchall()
        for number, piece in enumerate(pieces, 1):
            self.seized("erase_in_piece", values | piece)
            self.on_piece(piece["table_name"], number, len(pieces))
        rows = self.connection.execute(query("finish_erasure"), values).fetchall()
        if not self.dry_run:
            self.connection.commit()
        return {row["place"]: row["changed"] for row in rows}
