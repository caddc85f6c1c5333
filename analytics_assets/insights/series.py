"""Hourly series of organisations as rows of a matrix, read as a stream: one statement, few series in memory at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

from analytics_assets.insights.baseline import Bools, Floats
from analytics_assets.resources import Database
from analytics_assets.sql import query

# In the order in which one of them stands for those that move with it.
METRICS = (
    "total_sales", "orders", "gross_sales", "items_sold", "purchase_revenue", "purchases", "sessions", "page_views",
    "engaged_sessions", "users_new", "key_events", "checkouts", "add_to_carts", "item_views", "ad_spend", "clicks_all",
    "impressions", "link_clicks", "discounts", "refunds_amount", "refunds_count", "customers_new", "cancelled_orders",
)  # fmt: skip
# The collector takes in what comes: there is nobody who would have to read it first.
_DELIVERED_AT_ONCE = "events"
_ROWS_AT_ONCE = 800

NDArrayInt = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Organization:
    """What the insights of an organisation need to know of it. computed: which of the window's hours are."""

    id: UUID
    slug: str
    currency: str
    time_zone: str
    state: str
    computed: Bools
    dismissed: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Series:
    """Whose and what a row of the matrix is."""

    organization: Organization
    channel: str
    metric: str
    unit: str


@dataclass
class Batch:
    """Series of whole organisations: rows of ``values`` (NaN: not computed, or not delivered yet) in the order of ``series``."""

    series: list[Series] = field(default_factory=list)
    rows: list[Floats] = field(default_factory=list)

    @property
    def values(self) -> Floats:
        return np.vstack(self.rows)

    @property
    def is_count(self) -> Bools:
        return np.array([one.unit != "money" for one in self.series], dtype=np.bool_)


def _unpacked(hours: bytes) -> NDArrayInt:
    return np.frombuffer(hours, dtype=">i4").astype(np.int64)


def read_organizations(
    connection: psycopg.Connection[dict[str, Any]],
    window: Mapping[str, Any],
    size: int,
    statement: str = "read_insight_organizations",
) -> dict[UUID, Organization]:
    """Organisations of a run that have something open, by id."""
    found: dict[UUID, Organization] = {}
    for row in connection.execute(query(statement), window, binary=True):
        computed = np.zeros(size, dtype=np.bool_)
        computed[_unpacked(row["hours"] or b"")] = True
        dismissed = tuple((one["key"], float(one["at"])) for one in row["dismissed"] or ())
        found[row["organization_id"]] = Organization(
            row["organization_id"], row["slug"], row["currency"], row["time_zone"], row["state"], computed, dismissed
        )
    return found


def _rows_of(organization: Organization, rows: list[dict[str, Any]], start: datetime, size: int) -> Batch:
    """The series of one channel. What its source has not delivered yet is missing, and no zero."""
    batch = Batch()
    unpacked = [(row, _unpacked(row["hours"])) for row in rows]
    delivered_to = rows[0]["delivered_to"]
    if delivered_to is not None:
        end = int((delivered_to - start).total_seconds() // 3600)
    else:
        # Files that somebody imports end where they end.
        end = max((int(hours.max()) + 1 for _, hours in unpacked if len(hours)), default=0)
    if rows[0]["channel"] == _DELIVERED_AT_ONCE:
        end = size
    usable = organization.computed & (np.arange(size) < end)
    for row, hours in unpacked:
        values = np.zeros(size)
        # (Hours of half-hour zones begin in one hour of UTC each; where clocks change two may begin in the same.)
        np.add.at(values, hours, np.frombuffer(row["values"], dtype=">f8").astype(np.float64))
        batch.series.append(Series(organization, row["channel"], row["metric"], row["unit"]))
        batch.rows.append(np.where(usable, values, np.nan))
    return batch


def read_batches(
    connection: psycopg.Connection[dict[str, Any]],
    organizations: Mapping[UUID, Organization],
    window: Mapping[str, Any],
    size: int,
) -> Iterator[Batch]:
    """Batches of whole organisations, as they come from the server."""
    batch = Batch()
    with connection.cursor("insight_series", binary=True) as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(query("read_insight_series"), {**window, "ids": list(organizations), "metrics": list(METRICS)})
        for organization_id, mine in groupby(cursor, key=lambda row: row["organization_id"]):
            for _, rows in groupby(mine, key=lambda row: row["channel"]):
                part = _rows_of(organizations[organization_id], list(rows), window["history_from"], size)
                batch.series.extend(part.series)
                batch.rows.extend(part.rows)
            if len(batch.rows) >= _ROWS_AT_ONCE:
                yield batch
                batch = Batch()
    if batch.rows:
        yield batch


def read_all(database: Database, ids: list[UUID], history_from: datetime, until: datetime, size: int) -> Batch:
    """All series of a few organisations at once, to be looked at."""
    window = {"ids": ids, "history_from": history_from, "until": until}
    whole = Batch()
    with database.connection() as connection:
        organizations = read_organizations(connection, window, size, "read_computed_hours")
        for batch in read_batches(connection, organizations, window, size):
            whole.series.extend(batch.series)
            whole.rows.extend(batch.rows)
    return whole
