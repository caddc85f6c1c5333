"""How much room the tables take, how fast they grow, and where that ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from analytics_assets.settings import Settings
from analytics_assets.sql import query

MONTH = 30
_FORECAST_MONTHS = 12


@dataclass(frozen=True)
class TableSize:
    """A table with its partitions, in bytes.

    Attributes:
        total: with indexes and TOAST.
        per_month: what 30 days add, by the partitions that closed in the last 90 days; None where it has none of them.
        in_a_year: total after twelve such months, less what its retention drops until then; None as above.
    """

    table: str
    partitions: int
    total: int
    heap: int
    indexes: int
    toast: int
    per_month: int | None
    in_a_year: int | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


_LAYERS = {
    "public.raw_data_backup": "raw",
    "public.hourly_facts": "hourly",
    "public.metric_observations": "hourly",
    "public.daily_facts": "daily",
    "public.daily_observations": "daily",
    "public.event_tracking": "events",
    "public.visitor_sessions": "events",
}


def forecast(total: int, per_month: int | None, keep_days: int | None, months: int = _FORECAST_MONTHS) -> int | None:
    """Bytes after so many months at the present pace: a table with a retention grows up to what its retention holds."""
    if per_month is None:
        return None
    grown = total + per_month * months
    return grown if keep_days is None else max(min(grown, per_month * keep_days // MONTH), min(total, per_month))


def table_sizes(connection: psycopg.Connection[dict[str, Any]], settings: Settings) -> list[TableSize]:
    """Every table of the project and, where it lies in this database, of Dagster; the largest first."""
    keep = {table: settings.keep_days[layer] for table, layer in _LAYERS.items()}
    return [
        TableSize(
            table=row["table"],
            partitions=row["pieces"],
            total=row["total"],
            heap=row["heap"],
            indexes=row["indexes"],
            toast=row["toast"],
            per_month=(per_month := None if row["per_month"] is None else int(row["per_month"])),
            in_a_year=forecast(row["total"], per_month, keep.get(row["table"])),
        )
        for row in connection.execute(query("table_sizes")).fetchall()
    ]


def organization_sizes(connection: psycopg.Connection[dict[str, Any]], slug: str | None = None) -> list[dict[str, Any]]:
    """Estimated bytes of each organisation, the largest first (see private.organization_sizes)."""
    return connection.execute(query("organization_sizes"), {"slug": slug}).fetchall()
