"""The registry of live sources: connected, listed, paused, given new credentials, removed.

Secrets go in checked and sealed, and come out only by ``open_source``. Every function that changes something commits it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from analytics_assets.organizations import registry as organizations
from analytics_assets.sources.connector import JSON, Account, Source
from analytics_assets.sources.connectors import check, connector_of
from analytics_assets.sources.redactor import Redactor, looks_secret
from analytics_assets.sources.secrets import SecretBox, SecretError
from analytics_assets.sources.vendors import Vendors
from analytics_assets.sql import query

SEALED = "$secrets"
#: A store may move to another address; any other account is another source.
_MAY_MOVE = frozenset({"store_url"})

Connection = psycopg.Connection[dict[str, Any]]
Row = Mapping[str, Any]
SaveSecrets = Callable[[Callable[[Mapping[str, Any]], Awaitable[JSON | None]]], Awaitable[Mapping[str, Any]]]


class SourceError(ValueError):
    """A source that cannot be as asked; the message names the field and its value, and what to do."""


@dataclass(frozen=True)
class Rotation:
    """What rotate_keys did. rotated: sealed anew; current: were so already; unreadable: one message for each source that
    no key opens; left: written by somebody else just then, or by a process that does not know the new key yet."""

    rotated: int
    current: int
    unreadable: tuple[str, ...]
    left: int


def _label(row: Row) -> str:
    return f"{row['source_type']} {row['source_name']!r} of {row['organization']}"


def clear_settings(row: Row) -> JSON:
    """The settings of a row of data_sources, without what is sealed."""
    return {name: value for name, value in row["connection_config"].items() if name != SEALED}


def identity(source_type: str, settings: Mapping[str, Any]) -> JSON:
    """The settings that say which account it is. Raises WrongConfiguration for an unknown type."""
    return {name: settings.get(name) for name in connector_of(source_type).required_settings}


def default_name(source_type: str, settings: Mapping[str, Any]) -> str:
    """The account's own id or address."""
    return " ".join(
        str(value).removeprefix("https://").removeprefix("http://") for value in identity(source_type, settings).values()
    )


def find(
    connection: Connection, organization: str | None = None, source_type: str | None = None, name: str | None = None
) -> list[dict[str, Any]]:
    """Rows of data_sources with the slug of their organisation; connection_config as it is stored."""
    return connection.execute(
        query("find_sources"), {"organization": organization, "source_type": source_type, "name": name}
    ).fetchall()


def get(connection: Connection, organization: str, source_type: str | None = None, name: str | None = None) -> dict[str, Any]:
    """The one source of an organisation that is of this type and name. Raises SourceError, OrganizationError."""
    organizations.get(connection, organization)
    rows = find(connection, organization, source_type, name)
    if len(rows) == 1:
        return rows[0]
    asked = " ".join(filter(None, [source_type, name and repr(name)])) or "source"
    if not rows:
        raise SourceError(f"{organization} has no {asked}; see `analytics sources list --organization {organization}`")
    there = ", ".join(f"{row['source_type']} {row['source_name']!r}" for row in rows)
    raise SourceError(f"{organization} has {len(rows)} sources that fit: {there}. Say which with --type and --name")


def listed(connection: Connection, organization: str | None = None) -> list[dict[str, Any]]:
    """All sources, or one organisation's, with how they fare. Raises OrganizationError."""
    if organization is not None:
        organizations.get(connection, organization)
    return connection.execute(query("list_sources"), {"organization": organization}).fetchall()


def free_place(
    connection: Connection, organization: str, source_type: str, name: str, settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The row that a source of this name and account takes up again: removed, or made for files. None: a new one.

    Raises SourceError where the name belongs to another account, or the account is there already: read by two sources, it
    would be counted twice.
    """
    place = None
    account = identity(source_type, settings)
    for row in find(connection, organization, source_type):
        stored = clear_settings(row)
        is_same = bool(stored) and identity(source_type, stored) == account
        if row["source_name"] == name:
            if row["is_connected"]:
                raise SourceError(f"{_label(row)} is there already; new credentials go in with `analytics sources authorize`")
            if stored and not is_same:
                raise SourceError(f"{_label(row)} was another account, whose data is kept; choose another name with --name")
            place = row
        elif is_same:
            what = "is connected as" if row["is_connected"] else "was removed, and its data kept, as"
            raise SourceError(f"this account {what} {_label(row)}; its figures would count twice. Name that one with --name")
    return place


def add(
    connection: Connection,
    organization_slug: str,
    source_type: str,
    name: str | None,
    settings: Mapping[str, Any],
    secrets: Mapping[str, Any],
    *,
    account: Account | None = None,
    frequency_minutes: int = 15,
    history_from: date | None = None,
    box: SecretBox | None = None,
    vendors: Vendors | None = None,
) -> UUID:
    """Connects a source; it is due at once. Returns its id.

    Args:
        name: among the organisation's sources of this type; by default the account's own id or address.
        account: what the vendor's answer said; without it, zone and currency are the organisation's until the first sync.
        frequency_minutes: between two syncs, 1 to 44640.
        history_from: first day (account's zone) that is read; None: as far back as a new source is read.

    Raises SourceError, OrganizationError, WrongConfiguration, SettingError. No message shows a secret.
    """
    settings, secrets = check(source_type, settings, secrets, vendors or Vendors.load())
    name = (name or default_name(source_type, settings)).strip()
    if Redactor(secrets).text(name) != name:
        raise SourceError("the name holds one of the secrets; choose another with --name")
    if looks_secret(name):
        raise SourceError("the name has the form of a secret; choose another with --name")
    if not name.isprintable() or not 1 <= len(name) <= 255:
        raise SourceError(f"name {name[:80]!r}: expected 1 to 255 printable characters")
    if not 1 <= frequency_minutes <= 44640:
        raise SourceError(f"frequency {frequency_minutes}: expected minutes from 1 to 44640")
    if history_from is not None and not date(1990, 1, 1) <= history_from <= datetime.now(UTC).date():
        raise SourceError(f"history from {history_from}: expected a date from 1990-01-01 to today")
    box = box or SecretBox.load()
    organization = organizations.get(connection, organization_slug)
    try:
        # One at a time: two that add the same account under two names would not see each other.
        connection.execute("select from public.organizations where id = %s for no key update", (organization.id,))
        place = free_place(connection, organization_slug, source_type, name, settings)
        zone, currency = (account.time_zone, account.currency) if account else (organization.time_zone, organization.currency)
        if place and account and not clear_settings(place) and (place["time_zone"], place["currency"]) != (zone, currency):
            raise SourceError(
                f"{_label(place)} holds data from files, read as {place['time_zone']}, {place['currency']}, but the account has "
                f"{zone}, {currency}; choose another name with --name"
            )
        source_id: UUID = place["id"] if place else uuid4()
        connection.execute(
            query("add_source"),
            {
                "organization_id": organization.id,
                "id": source_id,
                "source_type": source_type,
                "source_name": name,
                "config": Jsonb({**settings, SEALED: box.seal(organization.id, source_id, secrets)}),
                "time_zone": zone,
                "currency": currency,
                "account_name": account.name if account else None,
                "frequency_minutes": frequency_minutes,
                "history_from": history_from,
            },
        )
        connection.commit()
    except psycopg.errors.CheckViolation as error:
        # (Its own text shows the whole row.)
        connection.rollback()
        raise _refused(error, source_type, account) from None
    except BaseException:
        connection.rollback()
        raise
    return source_id


def _refused(error: psycopg.errors.CheckViolation, source_type: str, account: Account | None) -> SourceError:
    if error.diag.constraint_name == "data_sources_secrets_sealed":
        return SourceError("a setting has the name or the form of a secret; secrets are given apart from settings")
    said = f"time zone {account.time_zone!r}, currency {account.currency!r}" if account else "its settings"
    return SourceError(f"the database refuses this {source_type} source ({error.diag.constraint_name}): {said}")


def _change(connection: Connection, statement: str, row: Row, **values: Any) -> psycopg.Cursor[dict[str, Any]]:
    cursor = connection.execute(query(statement), {"organization_id": row["organization_id"], "id": row["id"], **values})
    if cursor.rowcount == 0:
        connection.rollback()
        raise SourceError(f"{_label(row)} has no credentials: connect it with `analytics sources add`")
    return cursor


def pause(connection: Connection, row: Row) -> None:
    """No sync of it begins any more; one that is under way ends by itself. Raises SourceError."""
    _change(connection, "set_source_active", row, is_active=False)
    connection.commit()


def resume(connection: Connection, row: Row) -> None:
    """Due at once, whatever had stopped it. Raises SourceError."""
    _change(connection, "set_source_active", row, is_active=True)
    connection.commit()


def remove(connection: Connection, row: Row) -> None:
    """Takes its credentials away, and what a sync needs to go on. The row and its facts stay; ``add`` connects it again."""
    _change(connection, "remove_source", row)
    connection.commit()


def check_move(row: Row, settings: Mapping[str, Any]) -> None:
    """Raises SourceError where the settings are another account's."""
    before, after = identity(row["source_type"], clear_settings(row)), identity(row["source_type"], settings)
    for name in before.keys() - _MAY_MOVE:
        if before[name] != after[name]:
            raise SourceError(
                f"{_label(row)}: {name} {after[name]!r} is another account than {before[name]!r}; add it as a new source"
            )


def authorize(
    connection: Connection,
    row: Row,
    secrets: Mapping[str, Any],
    *,
    settings: Mapping[str, Any] | None = None,
    box: SecretBox | None = None,
    vendors: Vendors | None = None,
) -> None:
    """Gives a source other secrets, and settings where they are given. It is due at once.

    Raises SourceError, WrongConfiguration, SettingError. No message shows a secret.
    """
    wanted = clear_settings(row) if settings is None else settings
    settings, secrets = check(row["source_type"], wanted, secrets, vendors or Vendors.load())
    check_move(row, settings)
    sealed = (box or SecretBox.load()).seal(row["organization_id"], row["id"], secrets)
    try:
        _change(connection, "authorize_source", row, config=Jsonb({**settings, SEALED: sealed}))
    except psycopg.errors.CheckViolation as error:
        connection.rollback()
        raise _refused(error, row["source_type"], None) from None
    connection.commit()


def answers(connection: Connection, row: Row, account: Account) -> bool:
    """Notes that the vendor has answered. Returns whether the source had been stopped by a failure and goes on now."""
    noted = _change(
        connection, "note_source_answers", row,
        account_name=account.name, time_zone=account.time_zone, currency=account.currency,
    ).fetchone()  # fmt: skip
    connection.commit()
    return bool(noted and noted["was_blocked"])


def open_source(row: Row, box: SecretBox, save_secrets: SaveSecrets | None = None) -> Source:
    """A row of data_sources with its secrets opened. Raises SecretError, SourceError where it has none."""
    sealed = row["connection_config"].get(SEALED)
    if sealed is None:
        raise SourceError(f"source {row['source_name']!r} has no credentials: connect it with `analytics sources add`")
    return Source(
        row["organization_id"], row["id"], row["source_type"], clear_settings(row), row["time_zone"], row["currency"],
        box.open(row["organization_id"], row["id"], sealed), save_secrets,
    )  # fmt: skip


def saver(connection: Connection, row: Row, box: SecretBox) -> SaveSecrets:
    """``Source.save_secrets`` over a connection of one's own; it commits."""
    key = {"organization_id": row["organization_id"], "id": row["id"]}

    async def save(change: Callable[[Mapping[str, Any]], Awaitable[JSON | None]]) -> Mapping[str, Any]:
        try:
            found = await asyncio.to_thread(lambda: connection.execute(query("lock_source_config"), key).fetchone())
            if found is None or SEALED not in found["connection_config"]:
                raise SourceError(f"source {row['source_name']!r} was removed meanwhile")
            current: Mapping[str, Any] = box.open(row["organization_id"], row["id"], found["connection_config"][SEALED])
            changed = await change(current)
            if changed is not None:
                sealed = Jsonb(box.seal(row["organization_id"], row["id"], changed))
                connection.execute(query("store_sealed_secrets"), {**key, "sealed": sealed})
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        return current if changed is None else changed

    return save


def rotate_keys(connection: Connection, box: SecretBox, batch: int = 500) -> Rotation:
    """Seals everything with the first key, a transaction each batch; broken off, it is simply run again."""
    counted = connection.execute(query("count_sealed_sources"), {"key_id": box.key_id}).fetchone()
    current = counted["current"] if counted else 0
    after = (UUID(int=0), UUID(int=0))
    rotated, unreadable = 0, list[str]()
    while True:
        rows = connection.execute(
            query("sources_sealed_with_old_keys"),
            {"key_id": box.key_id, "after_organization": after[0], "after_id": after[1], "batch": batch},
        ).fetchall()
        if not rows:
            break
        done: list[tuple[UUID, UUID, Jsonb]] = []
        for row in rows:
            after = (row["organization_id"], row["id"])
            try:
                done.append((*after, Jsonb(box.rotate(*after, row["sealed"]))))
            except SecretError as error:
                unreadable.append(str(error))
        connection.execute(
            query("store_rotated_secrets"),
            {
                "organization_ids": [one[0] for one in done],
                "ids": [one[1] for one in done],
                "sealed": [one[2] for one in done],
            },
        )
        connection.commit()
        rotated += len(done)
    counted = connection.execute(query("count_sealed_sources"), {"key_id": box.key_id}).fetchone()
    connection.rollback()
    left = counted["sealed"] - counted["current"] - len(unreadable) if counted else 0
    return Rotation(rotated, current, tuple(unreadable), max(0, left))
