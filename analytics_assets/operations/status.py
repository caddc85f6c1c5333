"""What is late: organisations x sources, and what is open of each organisation in the ledger. One query for all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg

from analytics_assets.operations.stale import DAY_ASSETS
from analytics_assets.sql import query

if TYPE_CHECKING:
    import dagster as dg

Row = Mapping[str, Any]
OPEN = ("hours_stale", "hours_failed", "hours_waiting", "days_stale", "days_failed", "days_waiting")
_SOURCE = (
    "source_type", "source_name", "status", "sync_frequency_minutes", "last_success_at", "is_late", "late_by", "failures",
    "failure_kind", "last_error", "next_try_at", "what_to_do",
)  # fmt: skip


@dataclass(frozen=True)
class Status:
    """rows: one an organisation and source, the latest first (an organisation without sources has one, of empty columns)."""

    rows: list[dict[str, Any]]

    @property
    def sources(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["source_type"] is not None]

    @property
    def late(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["is_late"]]

    @property
    def organizations(self) -> list[dict[str, Any]]:
        """One row an organisation, those with most failed first."""
        found = {row["organization"]: row for row in self.rows}
        return sorted(found.values(), key=lambda row: (-row["hours_failed"] - row["days_failed"], *(-row[name] for name in OPEN)))

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Organisations with failed hours or days."""
        return [row for row in self.organizations if row["hours_failed"] + row["days_failed"]]

    def as_json(self) -> list[dict[str, Any]]:
        """Organisations with their sources and open buckets; instants in ISO 8601 (UTC), late_by in seconds."""
        sources: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.sources:
            sources[row["organization"]].append({name: _plain(row[name]) for name in _SOURCE})
        return [
            {
                "organization": one["organization"],
                "open": {name: one[name] for name in OPEN},
                "first_error": one["first_error"],
                "sources": sources[one["organization"]],
            }
            for one in sorted(self.organizations, key=lambda row: row["organization"])
        ]


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return int(value.total_seconds())
    return value.isoformat() if isinstance(value, datetime) else value


def read_status(
    connection: psycopg.Connection[dict[str, Any]],
    organization: str | None = None,
    *,
    late: bool = False,
    most: int | None = None,
) -> Status:
    """The state of all active organisations, or of one (by slug). late: only what is late or failed. most: rows at most."""
    parameters = {"organization": organization, "late": late, "day_assets": list(DAY_ASSETS), "most": most}
    return Status(connection.execute(query("status"), parameters).fetchall())


_TABLE = {
    "organization": "string",
    "source_type": "string",
    "source_name": "string",
    "status": "string",
    "last_success": "string",
    "late_minutes": "int",
    "failures": "int",
    "next_try": "string",
    "what_to_do": "string",
    **dict.fromkeys(OPEN, "int"),
    "error": "string",
}


def status_table(rows: Iterable[Row]) -> dg.TableMetadataValue:
    """The same as a table for Dagster's interface."""
    import dagster as dg

    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "organization": row["organization"],
                    "source_type": row["source_type"],
                    "source_name": row["source_name"],
                    "status": row["failure_kind"] or row["status"],
                    "last_success": f"{row['last_success_at']:%Y-%m-%d %H:%M}" if row["last_success_at"] else "never",
                    "late_minutes": int(row["late_by"].total_seconds() // 60),
                    "failures": row["failures"],
                    "next_try": f"{row['next_try_at']:%Y-%m-%d %H:%M}" if row["next_try_at"] else "",
                    "what_to_do": row["what_to_do"],
                    **{name: row[name] for name in OPEN},
                    "error": (row["last_error"] or row["first_error"] or "")[:200],
                }
            )
            for row in rows
        ],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in _TABLE.items()]),
    )
