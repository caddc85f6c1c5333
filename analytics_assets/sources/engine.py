"""Many sources synced side by side on one event loop, each by one worker at a time, none at the expense of another.

A fixed number of places; a source that failed last time may take only some of them, and none longer than its share of time
at once, so that slow and broken stores delay nobody else. What waits (for a vendor's word, or its turn) waits in the
database, not here: memory does not grow with the number of organisations.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from analytics_assets.database import DatabaseError, connect_async
from analytics_assets.sources.connector import JSON, Source
from analytics_assets.sources.connectors import CONNECTORS
from analytics_assets.sources.failures import Bug, SourceFailure, WrongConfiguration
from analytics_assets.sources.http import Http
from analytics_assets.sources.planning import StreamState
from analytics_assets.sources.redactor import Redactor
from analytics_assets.sources.results import Claim, Range, Result, SyncReport, Tally
from analytics_assets.sources.secrets import SecretBox, SecretError
from analytics_assets.sources.sync import SourceSync, utc_now
from analytics_assets.sources.vendors import Vendors
from analytics_assets.sources.writer import AsyncConnection, PageWriter
from analytics_assets.sql import query

_log = logging.getLogger("analytics_assets.sources")
_HEARTBEAT_SECONDS = 45.0
_LOOK_AGAIN_SECONDS = 1.0


class Engine:
    """Syncs what is due, or what it is told to.

    Args:
        places: sources synced at once.
        struggling_places: of them, those whose last sync failed.
        slice_seconds: after so long a source gives its place up between two pages, and goes on at its next turn.
        page_size: records asked for at once, for tests.
    """

    def __init__(
        self,
        *,
        places: int = 64,
        struggling_places: int = 16,
        slice_seconds: float = 120.0,
        clock: Callable[[], datetime] = utc_now,
        vendors: Vendors | None = None,
        box: SecretBox | None = None,
        page_size: int | None = None,
        connect: Callable[[], Awaitable[AsyncConnection]] = connect_async,
        http_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.places, self.struggling_places, self.slice_seconds = places, struggling_places, slice_seconds
        self.clock, self.page_size, self.connect = clock, page_size, connect
        self.vendors = vendors or Vendors.load()
        self.box = box or SecretBox.load()
        self.http_options = {"allowed_hosts": self.vendors.store_hosts, **(http_options or {})}
        self.owner = uuid4()
        self._control: AsyncConnection | None = None
        self._lock = asyncio.Lock()
        self._ended: list[tuple[Result, asyncio.Future[None]]] = []
        self._has_ended = asyncio.Event()

    async def run(
        self,
        *,
        budget_seconds: float | None = None,
        source_ids: Collection[UUID] | None = None,
        forced: bool = False,
        wanted: Range | None = None,
        on_result: Callable[[Result], None] = lambda _: None,
    ) -> SyncReport:
        """Syncs until nothing is due, or the budget is used up (what is under way then is finished).

        Args:
            source_ids: only these; with ``forced`` also where they are not due or wait for an operator.
            wanted: a backfill of this range, instead of what is new.
            on_result: hears of each sync that ended.
        """
        started = time.monotonic()
        report = SyncReport()
        remaining = set(source_ids) if source_ids is not None else None

        def ended(result: Result) -> None:
            report.add(result)
            on_result(result)
            if remaining is not None and forced and not result.is_partial:
                remaining.discard(result.claim.id)

        async with Http(**self.http_options) as http, PageWriter(self.connect) as writer:
            helpers = [asyncio.create_task(self._prolong()), asyncio.create_task(self._close())]
            try:
                await self._execute("select private.release_dead_leases()")
                await self._loop(started, budget_seconds, remaining, forced, wanted, http, writer, ended)
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
                if self._control is not None:
                    await self._control.close()
                    self._control = None
        report.seconds = time.monotonic() - started
        report.left = remaining if remaining is not None and forced else set()
        return report

    async def _loop(
        self,
        started: float,
        budget: float | None,
        remaining: set[UUID] | None,
        forced: bool,
        wanted: Range | None,
        http: Http,
        writer: PageWriter,
        ended: Callable[[Result], None],
    ) -> None:
        running: dict[asyncio.Task[Result], Claim] = {}
        look_at = 0.0
        try:
            while True:
                is_open = budget is None or time.monotonic() - started < budget
                free = self.places - len(running)
                found_none = False
                if is_open and free >= max(1, self.places // 8) and time.monotonic() >= look_at:
                    struggling = sum(1 for claim in running.values() if claim.failures > 0)
                    claims = await self._claim(
                        free,
                        free if forced else max(0, min(free, self.struggling_places - struggling)),
                        remaining,
                        forced,
                        wanted,
                    )
                    busy = {claim.id for claim in running.values()}
                    states = await self._states([claim for claim in claims if claim.id not in busy])
                    for claim in claims:
                        task = asyncio.create_task(self._sync(claim, states.get(claim.id, []), http, writer, wanted))
                        running[task] = claim
                    found_none = not claims
                    look_at = time.monotonic() + (_LOOK_AGAIN_SECONDS if len(claims) < free else 0.0)
                if not running:
                    if found_none or not is_open:
                        return
                    await asyncio.sleep(max(0.0, look_at - time.monotonic()))
                    continue
                done, _ = await asyncio.wait(running, timeout=_LOOK_AGAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    running.pop(task)
                    ended(task.result())
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.gather(*running, return_exceptions=True)

    async def _sync(
        self, claim: Claim, states: list[StreamState], http: Http, writer: PageWriter, wanted: Range | None
    ) -> Result:
        try:
            source = self._open(claim)
            connector = CONNECTORS[claim.source_type](source, http, self.vendors, page_size=self.page_size)
        except SourceFailure as failure:
            result = Result(claim, Tally(), failure, error=str(failure))
        else:
            sync = SourceSync(
                claim,
                source,
                connector,
                writer,
                Redactor(source.secrets),
                states=states,
                clock=self.clock,
                slice_seconds=self.slice_seconds,
                wanted=wanted,
            )
            result = await sync.run()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended.append((result, future))
        self._has_ended.set()
        await future
        return result

    def _open(self, claim: Claim) -> Source:
        """The source with its secrets. Raises WrongConfiguration."""
        config = dict(claim.connection_config)
        sealed = config.pop("$secrets", None)
        if claim.source_type not in CONNECTORS or sealed is None:
            raise WrongConfiguration(f"a source of type {claim.source_type} cannot be synced live")
        try:
            secrets = self.box.open(claim.organization_id, claim.id, sealed)
        except SecretError as error:
            raise WrongConfiguration(str(error)) from None

        async def save(change: Callable[[Mapping[str, Any]], Awaitable[JSON | None]]) -> Mapping[str, Any]:
            return await self._save_secrets(claim, change)

        return Source(claim.organization_id, claim.id, claim.source_type, config, claim.time_zone, claim.currency, secrets, save)

    async def _save_secrets(
        self, claim: Claim, change: Callable[[Mapping[str, Any]], Awaitable[JSON | None]]
    ) -> Mapping[str, Any]:
        """Under a lock of the source's row: reads its secrets, lets them be changed, stores them, and only then returns."""
        key = {"organization_id": claim.organization_id, "id": claim.id}
        async with await self.connect() as connection, connection.transaction():
            row = await (await connection.execute(query("lock_source_config"), key)).fetchone()
            if row is None or "$secrets" not in row["connection_config"]:
                raise WrongConfiguration("the source was removed meanwhile")
            current: Mapping[str, Any] = self.box.open(claim.organization_id, claim.id, row["connection_config"]["$secrets"])
            changed = await change(current)
            if changed is None:
                return current
            sealed = self.box.seal(claim.organization_id, claim.id, changed)
            await connection.execute(query("store_sealed_secrets"), {**key, "sealed": Jsonb(sealed)})
            return changed

    async def _execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """One statement in a transaction of its own; done again where the server went away or broke a deadlock."""
        async with self._lock:
            for attempt in range(6):
                try:
                    if self._control is None or self._control.closed:
                        self._control = await self.connect()
                    async with self._control.transaction():
                        cursor = await self._control.execute(statement, parameters)
                        return await cursor.fetchall()
                except (DatabaseError, psycopg.OperationalError, psycopg.InterfaceError):
                    if attempt == 5:
                        raise
                    await asyncio.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    async def _claim(
        self, most: int, struggling_most: int, remaining: set[UUID] | None, forced: bool, wanted: Range | None
    ) -> list[Claim]:
        if remaining is not None and not remaining:
            return []
        rows = await self._execute(
            query("claim_sources"),
            {
                "owner": self.owner,
                "most": most,
                "struggling_most": struggling_most,
                "source_ids": sorted(remaining) if remaining is not None else None,
                "forced": forced,
                "kind": "backfill" if wanted is not None else None,
            },
        )
        return [Claim(**row, lease_owner=self.owner) for row in rows]

    async def _states(self, claims: list[Claim]) -> dict[UUID, list[StreamState]]:
        if not claims:
            return {}
        rows = await self._execute(
            query("stream_states"),
            {"source_ids": [claim.id for claim in claims], "organization_ids": list({claim.organization_id for claim in claims})},
        )
        states: dict[UUID, list[StreamState]] = {}
        for row in rows:
            states.setdefault(row["data_source_id"], []).append(StreamState.of(row))
        return states

    async def _prolong(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            with suppress(psycopg.Error):
                await self._execute("select private.prolong_leases(%(owner)s)", {"owner": self.owner})

    async def _finish(self, results: list[Result]) -> None:
        try:
            await self._execute("select private.finish_syncs(%(results)s)", {"results": Jsonb([one.row() for one in results])})
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            # What is not kept is a vendor's word on its account (a time zone that is younger than the server's list). It
            # concerns this source alone: it ended the pass of all.
            if len(results) > 1:
                for one in results:
                    await self._finish([one])
                return
            (result,) = results
            if result.account is None:
                raise
            said = f"{result.account.time_zone!r}, {result.account.currency!r}"
            result.failure = Bug(f"the account's time zone and currency ({said}) are not kept: {error.diag.message_primary}")
            result.account, result.error = None, str(result.failure)
            await self._finish(results)

    async def _close(self) -> None:
        """Writes the ends of syncs into the database; those that end together share a commit."""
        while True:
            await self._has_ended.wait()
            await asyncio.sleep(0.01)
            self._has_ended.clear()
            batch, self._ended = self._ended, []
            try:
                await self._finish([result for result, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for result, future in batch:
                _say(result)
                if not future.done():
                    future.set_result(None)


def _say(result: Result) -> None:
    """One line a sync: what it did, or what went wrong and what happens next."""
    claim, tally = result.claim, result.tally
    if result.failure is None:
        _log.debug("%s: %s pages, %s records", claim.label, tally.pages, tally.processed)
        return
    again = result.failure.kind in ("retry", "throttled")
    _log.warning(
        "%s (%s) %s after %s pages: %s. %s",
        claim.label,
        claim.source_type,
        result.failure.kind,
        tally.pages,
        result.error,
        "It is tried again by itself." if again else "It waits for an operator: `analytics sources test`, then `resume`.",
    )
