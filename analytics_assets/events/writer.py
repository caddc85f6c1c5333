"""One connection that stores deliveries: COPY, one call of private.collect_events(), commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from analytics_assets.database import COLLECTOR_ROLE
from analytics_assets.events.bodies import parse
from analytics_assets.events.protocol import Rejection, events_of, rejection
from analytics_assets.events.quarantine import Quarantine
from analytics_assets.events.telemetry import Telemetry
from analytics_assets.events.wire import COPY_STATEMENT, HEADER, TRAILER
from analytics_assets.sql import query

Connection = psycopg.AsyncConnection[dict[str, Any]]

#: What PostgreSQL says of rows that it will never take; all else is tried again.
REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded, psycopg.errors.RaiseException)


async def connect(conninfo: str) -> Connection:
    """A connection as the collector's are. Raises psycopg.Error.

    A server that vanished without a word is noticed after some seconds. It has the collector's rights, which are to
    store events.
    """
    connection = await psycopg.AsyncConnection.connect(
        conninfo, row_factory=dict_row, application_name="analytics collector", connect_timeout=5,
        keepalives_idle=5, keepalives_interval=2, keepalives_count=3, tcp_user_timeout=10_000,
    )  # fmt: skip
    await connection.execute("select set_config('timezone', 'UTC', false)")
    await connection.execute(query("take_role"), {"role": COLLECTOR_ROLE})
    await connection.commit()
    return connection


@dataclass
class Delivery:
    """What one request brings.

    Attributes:
        rows: with the place of each event in the request, its form for COPY.
        body, kind: the request's JSON and the type of a single call, to find an event's content again.
        turn: of its organisation.
        refused: what PostgreSQL did not take.
    """

    organization_id: UUID
    rows: list[tuple[int, bytes]]
    rejections: list[Rejection]
    body: bytes = b""
    kind: str | None = None
    turn: int = 0
    refused: list[Rejection] = field(default_factory=list)

    def refuse(self, number: int, reason: str) -> Rejection:
        """The rejection of an event that PostgreSQL does not take."""
        events, _ = events_of(parse(self.body).value, self.kind)
        rejected = rejection(str(self.organization_id), number, events[number], "event", reason)
        self.refused.append(rejected)
        return rejected


Row = tuple[Delivery, int, bytes]


class Writer:
    """Stores deliveries over one connection, which it opens when it needs it."""

    def __init__(self, conninfo: str, telemetry: Telemetry, quarantine: Quarantine, sources: set[UUID]) -> None:
        self._conninfo = conninfo
        self._telemetry = telemetry
        self._quarantine = quarantine
        self._sources = sources
        self._connection: Connection | None = None

    async def store(self, deliveries: Sequence[Delivery]) -> None:
        """All of them, in one commit where PostgreSQL takes it; else in as many as it needs to find the events that it refuses,
        which go to quarantine. Raises psycopg.Error where the database cannot take commits; then nothing or a part is stored,
        and the same call later stores the rest."""
        rows = [(delivery, number, row) for delivery in deliveries for number, row in delivery.rows]
        rejections = [(delivery.organization_id, one) for delivery in deliveries for one in delivery.rejections]
        await self._store(rows, rejections)

    async def close(self) -> None:
        """Closes the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _store(self, rows: list[Row], rejections: list[tuple[UUID, Rejection]]) -> None:
        try:
            await self._commit(rows, rejections)
        except REFUSALS as error:
            if not rows:
                raise
            if len(rows) > 1:
                half = len(rows) // 2
                await self._store(rows[:half], rejections)
                await self._store(rows[half:], [])
                return
            delivery, number, _ = rows[0]
            reason = f"PostgreSQL refuses it: {error.diag.message_primary or error}"
            await self._store([], [*rejections, (delivery.organization_id, delivery.refuse(number, reason))])

    async def _commit(self, rows: list[Row], rejections: list[tuple[UUID, Rejection]]) -> None:
        started = perf_counter()
        connection = await self._ready()
        new = {delivery.organization_id for delivery, _, _ in rows} - self._sources
        stored = duplicates = lost = 0
        try:
            if new:
                await connection.execute(query("ensure_event_sources"), {"organization_ids": list(new)})
            if rejections:
                lost = await self._quarantine.store(connection, rejections)
            if rows:
                cursor = connection.cursor()
                async with cursor.copy(COPY_STATEMENT) as copy:
                    await copy.write(b"".join([HEADER, *[row for _, _, row in rows], TRAILER]))
                # In one message: no organisation's turn is held while an answer waits for its turn in this process.
                await cursor.execute("select stored, duplicates from private.collect_events(); commit")
                counted = await cursor.fetchone()
                if counted is not None:
                    stored, duplicates = counted["stored"], counted["duplicates"]
            await connection.commit()
        except psycopg.Error:
            if not connection.closed:
                await connection.rollback()
            raise
        self._sources |= new
        telemetry = self._telemetry
        telemetry.commit_seconds.observe(perf_counter() - started)
        telemetry.commit_events.observe(len(rows))
        telemetry.events.labels("stored").inc(stored)
        telemetry.events.labels("duplicate").inc(duplicates)
        telemetry.events.labels("rejected").inc(len(rejections))
        telemetry.dropped.inc(lost)

    async def _ready(self) -> Connection:
        if self._connection is None or self._connection.closed:
            connection = await connect(self._conninfo)
            await connection.execute(query("open_event_stage"))
            await connection.commit()
            self._connection = connection
        return self._connection


class Reader:
    """A connection for what is asked beside storing: the keys, and whether the database takes commits."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: Connection | None = None
        self._asked_at = float("-inf")
        self._problem: str | None = None

    async def _rows(self, statement: str) -> list[dict[str, Any]]:
        if self._connection is None or self._connection.closed:
            self._connection = await connect(self._conninfo)
        connection = self._connection
        try:
            cursor = await connection.execute(statement)
            rows = await cursor.fetchall()
            await connection.commit()
        except psycopg.Error:
            if not connection.closed:
                await connection.rollback()
            raise
        return rows

    async def keys(self) -> list[dict[str, Any]]:
        """All write keys. Raises psycopg.Error."""
        return await self._rows(query("read_event_keys"))

    async def problem(self) -> str | None:
        """Why the database takes no commits now; None where it does. Asked anew once a second at most."""
        if monotonic() - self._asked_at > 1:
            self._asked_at = monotonic()
            try:
                # With a transaction's number the commit goes to the log on disk, which a server that cannot write refuses.
                await self._rows("select pg_current_xact_id()")
                self._problem = None
            except psycopg.Error as error:
                self._problem = why(error)
        return self._problem

    async def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            await self._connection.close()


def why(error: BaseException) -> str:
    """An error of the database in one line, without address and user."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return str(error.diag.message_primary)
    if isinstance(error, (psycopg.OperationalError, TimeoutError)):
        return "no connection to PostgreSQL"
    return type(error).__name__
