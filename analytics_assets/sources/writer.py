"""Pages of many syncs at once into the database: those that wait together share a commit.

A sync asks for its next page only when the page before it is stored, so no more pages are in memory than syncs are under
way, and a crash loses none.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from analytics_assets.database import DatabaseError
from analytics_assets.sources.connector import RawPage
from analytics_assets.sources.planning import Step
from analytics_assets.sql import query

AsyncConnection = psycopg.AsyncConnection[dict[str, Any]]

_MOST_PAGES = 128
_MOST_BYTES = 16 * 1024 * 1024
_RETRIES = 5
# JSON that PostgreSQL cannot keep: NUL, half a surrogate pair, a number out of range, nested too deeply, too large.
_REFUSED = (psycopg.DataError, psycopg.errors.StatementTooComplex, psycopg.errors.ProgramLimitExceeded)
_TYPES = (
    "int4", "uuid", "uuid", "uuid", "text", "text", "text", "text", "bool", "uuid", "int4", "bool", "timestamptz", "timestamptz",
    "timestamptz", "timestamptz", "timestamptz", "text", "text", "text", "bytea", "int4", "timestamptz[]", "text[]",
    "jsonb", "jsonb", "jsonb",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A page of a source, and of which window it is. lease_owner: the worker that holds the source."""

    organization_id: UUID
    data_source_id: UUID
    lease_owner: UUID
    source_type: str
    step: Step
    fetch_id: UUID
    page: RawPage


@dataclass(frozen=True)
class Outcome:
    """What became of a page.

    Attributes:
        kind: stored; known: it said nothing new; lost: another worker holds the source; refused: PostgreSQL cannot keep it,
            and it was set aside with ``reason``.
    """

    kind: str
    created: int = 0
    updated: int = 0
    reason: str = ""


def _as_is(text: Any) -> Any:
    return text


def _row(slot: int, entry: Entry) -> tuple[Any, ...]:
    page, task = entry.page, entry.step.task
    body = page.body.removeprefix(b"\xef\xbb\xbf")
    return (
        slot,
        entry.organization_id,
        entry.data_source_id,
        entry.lease_owner,
        entry.source_type,
        page.stream,
        task.stream,
        task.purpose,
        entry.step.policy.kind == "report",
        entry.fetch_id,
        page.number,
        page.position is None,
        task.start,
        task.end,
        page.window_start,
        page.window_end,
        page.fetched_at,
        page.api_version,
        page.time_zone,
        page.currency,
        hashlib.sha256(page.sameness if page.sameness is not None else page.body).digest(),
        page.records,
        list(page.instants),
        list(page.keys),
        None if page.position is None else Jsonb(page.position),
        None if page.request is None else Jsonb(page.request),
        Jsonb(body, dumps=_as_is),
    )


class PageWriter:
    """Stores pages through a few connections, so that one batch is sent while the server works on another. Use as an
    asynchronous context manager.

    The pages of one source come one after the other, since a sync waits for each; those of different sources in any order.
    """

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection]], *, connections: int = 2) -> None:
        self._connect = connect
        self._queue: asyncio.Queue[tuple[Entry, asyncio.Future[Outcome]]] = asyncio.Queue()
        self._lanes = [_Lane(connect) for _ in range(connections)]
        self._workers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> PageWriter:
        for lane in self._lanes:
            await lane.open()
        self._workers = [asyncio.create_task(self._work(lane)) for lane in self._lanes]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for lane in self._lanes:
            await lane.close()

    async def store(self, entry: Entry) -> Outcome:
        """Returns when the page is committed."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        await self._queue.put((entry, future))
        return await future

    async def set_aside(self, entry: Entry, reason: str) -> None:
        """Keeps a page that cannot be read, byte by byte, in quarantine."""
        async with await self._connect() as connection:
            await set_aside(connection, entry, reason)

    async def _work(self, lane: _Lane) -> None:
        while True:
            batch = [await self._queue.get()]
            size = len(batch[0][0].page.body)
            while not self._queue.empty() and len(batch) < _MOST_PAGES and size < _MOST_BYTES:
                batch.append(self._queue.get_nowait())
                size += len(batch[-1][0].page.body)
            try:
                outcomes = await lane.write([entry for entry, _ in batch])
            except asyncio.CancelledError:
                for _, future in batch:
                    future.cancel()
                raise
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)


class _Lane:
    """One connection, and what is done when it breaks."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection]]) -> None:
        self._connect = connect
        self._connection: AsyncConnection | None = None

    async def open(self) -> AsyncConnection:
        connection = await self._connect()
        await connection.execute("set client_min_messages = warning")
        await connection.execute(query("stage_source_pages"))
        await connection.commit()
        self._connection = connection
        return connection

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def write(self, entries: list[Entry]) -> list[Outcome]:
        """One transaction. Done again where the server went away or broke a deadlock: what was stored is then known."""
        for attempt in range(_RETRIES + 1):
            try:
                return await self._store(entries)
            except _REFUSED as error:
                if len(entries) == 1:
                    reason = f"PostgreSQL refuses it: {error.diag.message_primary}"
                    await self._set_aside(entries[0], reason)
                    return [Outcome("refused", reason=reason)]
                return [outcome for entry in entries for outcome in await self.write([entry])]
            except (psycopg.OperationalError, psycopg.InterfaceError):
                if attempt == _RETRIES:
                    raise
                await asyncio.sleep(0.1 * 2**attempt)
                if self._connection is None or self._connection.closed:
                    await self._reopen(attempt)
        raise AssertionError("unreachable")

    async def _reopen(self, attempt: int) -> None:
        try:
            await self.open()
        except (DatabaseError, psycopg.OperationalError, OSError):
            if attempt == _RETRIES - 1:
                raise

    async def _store(self, entries: list[Entry]) -> list[Outcome]:
        connection = self._connection
        if connection is None or connection.closed:
            connection = await self.open()
        async with connection.transaction(), connection.cursor() as cursor:
            async with cursor.copy("copy pg_temp.source_pages from stdin (format binary)") as copy:
                copy.set_types(_TYPES)
                for slot, entry in enumerate(entries):
                    await copy.write_row(_row(slot, entry))
            await cursor.execute("select * from private.store_source_pages()")
            rows = {row["slot"]: row for row in await cursor.fetchall()}
        return [Outcome(rows[slot]["outcome"], rows[slot]["created"], rows[slot]["updated"]) for slot, _ in enumerate(entries)]

    async def _set_aside(self, entry: Entry, reason: str) -> None:
        connection = self._connection
        assert connection is not None
        async with connection.transaction():
            await set_aside(connection, entry, reason)


async def set_aside(connection: AsyncConnection, entry: Entry, reason: str) -> None:
    """Keeps a page that cannot be taken in, byte by byte, in quarantine."""
    window = f"{entry.step.task.stream} {entry.step.task.start:%Y-%m-%d %H:%M} to {entry.step.task.end:%Y-%m-%d %H:%M} UTC"
    await connection.execute(
        query("quarantine_page"),
        {
            "organization_id": entry.organization_id,
            "source": entry.source_type,
            "stream": entry.page.stream,
            "data_source_id": entry.data_source_id,
            "reason": reason,
            "file_name": window,
            "line_number": entry.page.number,
            "content": entry.page.body,
        },
    )
