"""Group commit: requests wait in a bounded queue, many share a commit, and each is answered when its own is done.

While one connection commits, what arrives makes up the next batch; a second connection begins with it as soon as it fills a
commit. One lane is enough for a processor, and more processors are used by more workers; of several lanes each has its organisations. A request whose commit does not come in time
is given up (its client sends it again, and what may have been stored meanwhile is known by its ids).
When the database is away nothing is lost: a batch is tried until it is stored or its last request is given up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

import psycopg

from analytics_assets.events.limits import (
    COMMIT_EVENTS,
    LANES,
    QUEUE_BYTES,
    RETRY_AFTER,
    RETRY_AFTER_AT_ONCE,
    WAITING_REQUESTS,
)
from analytics_assets.events.quarantine import Quarantine
from analytics_assets.events.telemetry import Telemetry
from analytics_assets.events.writer import REFUSALS, Delivery, Writer, why

_log = logging.getLogger("analytics.collector")
_SWEEP_SECONDS = 0.2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
#: After so long a batch under way does not keep the next one waiting.
_GATHER_SECONDS = 0.5
#: Connections of a lane: one copies while the other stores.
_TURNS = 2
_UNPARSED = 400  # bytes that a queued row takes beside its own


class Busy(Exception):
    """No commit in time; the client may come again after so many seconds."""

    def __init__(self, retry_after: int, reason: str) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.reason = reason


@dataclass(eq=False)
class _Waiting:
    delivery: Delivery
    until: float
    size: int
    done: asyncio.Future[None]

    @property
    def events(self) -> int:
        """Rows and rejections."""
        return len(self.delivery.rows) + len(self.delivery.rejections)


class _Lane:
    """What waits of its organisations."""

    def __init__(self) -> None:
        self._queue: deque[_Waiting] = deque()
        self._events = 0
        self._at_work = 0
        self._taken_at = 0.0
        self._changed = asyncio.Event()

    def put(self, waiting: _Waiting) -> None:
        """At the end."""
        self._queue.append(waiting)
        self._events += waiting.events
        self._changed.set()

    def given_up(self) -> list[_Waiting]:
        """Takes out those at the front that nobody waits for any more."""
        gone = []
        while self._queue and self._queue[0].done.done():
            gone.append(self._pop())
        return gone

    def _pop(self) -> _Waiting:
        waiting = self._queue.popleft()
        self._events -= waiting.events
        return waiting

    async def take(self) -> list[_Waiting]:
        """Waits for the next batch, and takes it out: as much as one commit should have, and at least one.

        While another batch is under way, what waits goes on gathering until it fills a commit: few large commits cost much less than
        many small ones, which would wait for the organisations' turn all the same. A batch that takes long (its connection hangs)
        does not keep the next one waiting. Say done() when it is stored.
        """
        while not self._queue or (pause := self._gathering()) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause if self._queue else None):
                    await self._changed.wait()
        self._taken_at = monotonic()
        self._at_work += 1
        taken: list[_Waiting] = []
        events = 0
        while self._queue and events < COMMIT_EVENTS:
            waiting = self._pop()
            taken.append(waiting)
            if not waiting.done.done():
                events += waiting.events
        return taken

    def _gathering(self) -> float:
        """For how many seconds what waits should go on doing so."""
        if not self._at_work or self._events >= COMMIT_EVENTS:
            return 0.0
        return self._taken_at + _GATHER_SECONDS - monotonic()

    def done(self) -> None:
        """A batch that was taken is no longer under way."""
        self._at_work -= 1
        self._changed.set()


class Intake:
    """The lanes and their writers. Made within a running event loop; start and stop it."""

    def __init__(self, conninfo: str, telemetry: Telemetry, *, lanes: int = LANES, queue_bytes: int = QUEUE_BYTES) -> None:
        quarantine = Quarantine()
        sources: set[UUID] = set()
        self._lanes = [_Lane() for _ in range(lanes)]
        self._writers = [(lane, Writer(conninfo, telemetry, quarantine, sources)) for lane in self._lanes for _ in range(_TURNS)]
        self._telemetry = telemetry
        self._most_bytes = queue_bytes
        self._open: set[_Waiting] = set()
        self._bytes = 0
        self._outside = 0
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        #: Why the last transaction failed; None since one was committed.
        self.problem: str | None = None
        self.committed_at = float("-inf")

    def start(self) -> None:
        """Starts the writers."""
        self._tasks = [asyncio.create_task(self._write(lane, writer)) for lane, writer in self._writers]
        self._tasks.append(asyncio.create_task(self._sweep()))

    async def stop(self) -> None:
        """Stops them; requests still open are given up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiting in list(self._open):
            self._give_up(waiting)
        for _, writer in self._writers:
            await writer.close()

    @property
    def is_full(self) -> bool:
        """Whether a request has to wait for room."""
        return self._bytes >= self._most_bytes

    async def room(self, until: float) -> None:
        """Waits until the queue has room. Raises Busy: at once where very many wait already, else at ``until`` (monotonic)."""
        if not self.is_full:
            return
        if self._outside >= WAITING_REQUESTS:
            raise Busy(RETRY_AFTER_AT_ONCE, self._reason())
        self._outside += 1
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - monotonic()):
                while self.is_full:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            raise Busy(RETRY_AFTER, self._reason()) from None
        finally:
            self._outside -= 1

    async def submit(self, delivery: Delivery, until: float) -> None:
        """Returns when all of the delivery is committed. Raises Busy."""
        size = len(delivery.body) + sum(len(row) + _UNPARSED for _, row in delivery.rows)
        size += sum(len(one.content) + _UNPARSED for one in delivery.rejections)
        waiting = _Waiting(delivery, until, size, asyncio.get_running_loop().create_future())
        self._open.add(waiting)
        self._bytes += size
        self._lanes[delivery.turn % len(self._lanes)].put(waiting)
        await waiting.done

    def _reason(self) -> str:
        return self.problem or "more arrives than the database takes"

    def _close(self, waiting: _Waiting) -> None:
        if waiting in self._open:
            self._open.discard(waiting)
            self._bytes -= waiting.size
            self._room.set()

    def _give_up(self, waiting: _Waiting) -> None:
        if not waiting.done.done():
            waiting.done.set_exception(Busy(RETRY_AFTER, self._reason()))

    async def _sweep(self) -> None:
        """Gives up what waits too long."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = monotonic()
            for waiting in [one for one in self._open if one.until <= now]:
                self._give_up(waiting)
            for lane in self._lanes:
                for waiting in lane.given_up():
                    self._close(waiting)
            self._telemetry.queued_events.set(sum(len(one.delivery.rows) for one in self._open))
            self._telemetry.queued_bytes.set(self._bytes)

    async def _write(self, lane: _Lane, writer: Writer) -> None:
        while True:
            taken = await lane.take()
            try:
                await self._store(writer, [waiting for waiting in taken if not waiting.done.done()])
            finally:
                lane.done()
                for waiting in taken:
                    self._close(waiting)

    async def _store(self, writer: Writer, taken: list[_Waiting]) -> None:
        pause = _FIRST_PAUSE
        while taken:
            try:
                await writer.store([waiting.delivery for waiting in taken])
            except psycopg.Error as error:
                self._failed(error)
                self._telemetry.failures.inc()
                await writer.close()
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                for waiting in taken:
                    if waiting.done.done():
                        self._close(waiting)
                taken = [waiting for waiting in taken if not waiting.done.done()]
                continue
            self._succeeded()
            for waiting in taken:
                if not waiting.done.done():
                    waiting.done.set_result(None)
            return

    def _failed(self, error: psycopg.Error) -> None:
        reason = why(error)
        if self.problem != reason:
            _log.error("events cannot be stored: %s. They are tried again until their clients are told to wait.", reason)
        if isinstance(error, REFUSALS):
            _log.error("the quarantine refuses a rejected event: %s", reason)
        self.problem = reason

    def _succeeded(self) -> None:
        if self.problem is not None:
            _log.warning("events are stored again")
        self.problem = None
        self.committed_at = monotonic()
