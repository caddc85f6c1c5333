"""Rejected events into quarantine, in the transaction of those that go in.

Bounded: of each organisation at most limits.QUARANTINE_EVENTS rejected events and limits.QUARANTINE_BYTES bytes of them wait for an
operator. Those beyond are counted (metric analytics_collector_rejected_not_kept) and logged, not kept, until some are discarded.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg

from analytics_assets.events.limits import QUARANTINE_BYTES, QUARANTINE_EVENTS
from analytics_assets.events.protocol import Rejection
from analytics_assets.sql import query

_COUNT_SECONDS = 30.0
_log = logging.getLogger("analytics.collector")

Connection = psycopg.AsyncConnection[dict[str, Any]]


class Quarantine:
    """What of it is taken up, by organisation, counted anew from time to time."""

    def __init__(self) -> None:
        self._taken: dict[UUID, tuple[float, int, int]] = {}

    async def store(self, connection: Connection, rejections: Sequence[tuple[UUID, Rejection]]) -> int:
        """Stores rejected events, each once; returns how many found no room. Raises psycopg.Error."""
        kept: list[tuple[UUID, Rejection]] = []
        for organization_id, rejected in rejections:
            at, events, size = self._taken.get(organization_id, (float("-inf"), 0, 0))
            if monotonic() - at > _COUNT_SECONDS:
                events, size = await self._count(connection, organization_id)
                at = monotonic()
            if events < QUARANTINE_EVENTS and size + len(rejected.content) <= QUARANTINE_BYTES:
                kept.append((organization_id, rejected))
                events, size = events + 1, size + len(rejected.content)
            self._taken[organization_id] = (at, events, size)
        if kept:
            values = {
                "organization_ids": [organization_id for organization_id, _ in kept],
                "streams": [one.stream for _, one in kept],
                "record_keys": [one.message_id for _, one in kept],
                "fields": [one.field_name.replace("\x00", "") for _, one in kept],
                "reasons": [one.reason.replace("\x00", "") for _, one in kept],
                "contents": [one.content for _, one in kept],
            }
            await connection.execute(query("quarantine_events"), values)
        lost = len(rejections) - len(kept)
        if lost:
            _log.warning(
                "%d rejected events are not kept: the quarantine holds as many of their organisation as it takes. See and discard "
                "them with `analytics quarantine`; the last one: %s", lost, rejections[-1][1].reason,
            )  # fmt: skip
        return lost

    async def _count(self, connection: Connection, organization_id: UUID) -> tuple[int, int]:
        cursor = await connection.execute(query("count_quarantined_events"), {"organization_id": organization_id})
        row = await cursor.fetchone()
        return (int(row["events"]), int(row["bytes"])) if row else (0, 0)
