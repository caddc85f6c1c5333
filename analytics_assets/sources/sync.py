"""One source brought up to date: its windows read one after the other, each page stored before the next is asked for."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import uuid4

import psycopg

from analytics_assets.database import OUR_DATABASE_AWAY
from analytics_assets.sources import vetting
from analytics_assets.sources.connector import Account, Connector, RawPage, Source
from analytics_assets.sources.failures import (
    AskForLess,
    Bug,
    PermissionDenied,
    RetryLater,
    SourceFailure,
    WindowMoved,
    WrongConfiguration,
)
from analytics_assets.sources.planning import Step, StreamState, plan_range, plan_sync
from analytics_assets.sources.redactor import Redactor
from analytics_assets.sources.results import Claim, Range, Result, Tally
from analytics_assets.sources.writer import Entry, Outcome

_log = logging.getLogger("analytics_assets.sources")
_MOST_RESTARTS = 5
_MOST_ERROR = 1000


class Writer(Protocol):
    """What a sync needs of ``writer.PageWriter``."""

    async def store(self, entry: Entry) -> Outcome: ...
    async def set_aside(self, entry: Entry, reason: str) -> None: ...


class _LeaseLost(Exception):
    """Another worker holds the source by now."""


class _TimeUp(Exception):
    """The sync has had its share of time; how far it came is stored."""


class SourceSync:
    """One sync of one source. Holds no page longer than it takes to store it."""

    def __init__(
        self,
        claim: Claim,
        source: Source,
        connector: Connector,
        writer: Writer,
        redactor: Redactor,
        *,
        states: list[StreamState],
        clock: Callable[[], datetime],
        slice_seconds: float,
        wanted: Range | None = None,
    ) -> None:
        self.claim, self.source, self.connector, self.writer, self.redactor = claim, source, connector, writer, redactor
        self.states, self.clock, self.wanted = states, clock, wanted
        self.deadline = time.monotonic() + slice_seconds
        self.tally = Tally()

    async def run(self) -> Result:
        """Reads what is due. Never raises for what the vendor or the tenant did: the result says it."""
        result = Result(self.claim, self.tally)
        try:
            await self._run(result)
        except AskForLess as failure:
            # Of the shortest window there is: it waited for an operator, who could only have it tried again.
            result.failure = RetryLater(f"{failure} It was asked for as little as can be", status=failure.status)
        except SourceFailure as failure:
            result.failure = failure
        except _TimeUp:
            result.is_partial = True
        except _LeaseLost:
            result.is_lost = True
        except OUR_DATABASE_AWAY as error:
            # No fault of the source: as a bug of ours it waited for an operator after the server had been down for some seconds.
            _log.error("%s: %s", self.claim.label, _where(error))
            result.failure = RetryLater(f"our own database could not be reached, or could not take it: {_said(error)}")
        except Exception as error:
            # One source's trouble is never another's; where it happened stands in the log, without values.
            _log.error("%s: %s", self.claim.label, _where(error))
            result.failure = Bug(f"an error of ours: {_where(error)}")
        if result.failure is not None:
            result.error = vetting.plain(str(result.failure), self._redactor(), _MOST_ERROR)
        return result

    async def _run(self, result: Result) -> None:
        account = await self._account()
        result.account = account
        time_zone = account.time_zone if account else self.claim.time_zone
        moved = account is not None and account.time_zone != self.claim.time_zone and self.claim.sync_type != "full"
        if moved:
            self.tally.flags.add(f"time_zone_changed:{self.claim.time_zone}")
        now = self.clock()
        if self.wanted is not None:
            steps = plan_range(
                self.connector.policies, self.states, start=self.wanted.start, end=self.wanted.end, now=now, time_zone=time_zone
            )
        else:
            steps = plan_sync(
                self.connector.policies,
                self.states,
                now=now,
                time_zone=time_zone,
                history_from=self.claim.history_from or (now - timedelta(days=31)).date(),
                # Hours of a report stand where the account's zone puts them: another zone, and all that is read is read anew.
                is_reread=self.claim.is_reread or moved,
            )
        failures: list[SourceFailure] = []
        refused: set[str] = set()
        queue = deque(steps)
        while queue:
            step = queue.popleft()
            if step.task.stream in refused:
                continue
            try:
                await self._read(step, queue, result)
            except (PermissionDenied, WrongConfiguration, Bug, AskForLess) as failure:
                # Of one stream; the others may well be read.
                failures.append(failure)
                refused.add(step.task.stream)
        if failures:
            raise failures[0]
        result.reread_done = self.claim.is_reread and self.wanted is None

    async def _account(self) -> Account | None:
        """Asked for before the first pages, and once a night: zones and currencies change rarely."""
        if not (self.claim.sync_type == "full" or self.claim.is_reread):
            return None
        account = vetting.account(await self.connector.account(), self._redactor())
        self.connector.source = self.source = replace(self.source, time_zone=account.time_zone, currency=account.currency)
        self.tally.flags.update(account.notes)
        return account

    async def _read(self, step: Step, queue: deque[Step], result: Result) -> None:
        why = ""
        for _ in range(_MOST_RESTARTS):
            try:
                await self._read_window(step, result)
                return
            except WindowMoved as moved:
                why = str(moved) or "its records changed between pages"
                # What is stored stays: records are versions, and a report counts only when it is whole.
                self.tally.restarts += 1
                step = replace(step, position=None, fetch_id=None)
            except AskForLess:
                halves = step.halves(self.source.time_zone)
                if halves is None:
                    raise
                queue.extendleft(reversed(halves))
                return
        raise RetryLater(f"{step.task.stream}: begun anew {_MOST_RESTARTS} times ({why}); it is read again at the next sync")

    async def _read_window(self, step: Step, result: Result) -> None:
        fetch_id = step.fetch_id or uuid4()
        async for page in self.connector.pages(step.task, step.position):
            page = vetting.page(page, self._redactor())
            entry = Entry(
                self.claim.organization_id, self.claim.id, self.claim.lease_owner, self.claim.source_type, step, fetch_id, page
            )
            if page.broken:
                await self.writer.set_aside(entry, page.broken)
                self.tally.failed += page.records
                self.tally.flags.update(page.flags)
                raise Bug(f"{step.task.stream}: {page.broken}; the page is in quarantine (`analytics quarantine list`)")
            outcome = await self.writer.store(entry)
            if outcome.kind == "lost":
                raise _LeaseLost
            if outcome.kind == "refused":
                self.tally.failed += page.records
                raise Bug(f"{step.task.stream}: {outcome.reason}; the page is in quarantine (`analytics quarantine list`)")
            self.tally.add(page, outcome)
            self._follow_account(page, result)
            if page.position is not None and time.monotonic() > self.deadline:
                raise _TimeUp

    def _redactor(self) -> Redactor:
        """It knows by now what the connector has been given since."""
        self.redactor.learn(self.connector.secrets())
        return self.redactor

    def _follow_account(self, page: RawPage, result: Result) -> None:
        """A report says itself what zone and currency the account has now."""
        if (page.time_zone, page.currency) != (self.source.time_zone, self.source.currency):
            result.account = Account(page.time_zone, page.currency, result.account.name if result.account else "")
            if page.time_zone != self.source.time_zone:
                self.tally.flags.add(f"time_zone_changed:{self.source.time_zone}")
                result.reread_wanted = not self.claim.is_reread
            self.connector.source = self.source = replace(self.source, time_zone=page.time_zone, currency=page.currency)


def _said(error: BaseException) -> str:
    """What our own database says; of its messages the first line, which never quotes a row."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return (primary or str(error).strip().partition("\n")[0])[:300].rstrip(" ?.") or type(error).__name__


def _where(error: BaseException) -> str:
    """Type and place of an unforeseen error; never its message, which may hold what a vendor sent."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else "unknown place"
    return f"{type(error).__name__} at {place}"


def utc_now() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)
