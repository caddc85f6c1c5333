"""What materializations of event assets show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import pandas as pd

from analytics_assets.plots import plot_lines
from analytics_assets.resources import Database
from analytics_assets.sql import query

_PLOTTED_ORGANIZATIONS = 6
_MOST_POINTS = 750
_SHOWN = 30


def _table(rows: list[dict[str, Any]], names: tuple[str, ...], counts: tuple[str, ...]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [dg.TableRecord({name: row[name] if name in counts else str(row[name]) for name in names}) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, "int" if name in counts else "string") for name in names]),
    )


def describe_events(database: Database, ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
    """Metadata over a run's organisations and hours: the most frequent events, and events an hour drawn."""
    parameters = {"ids": ids, "start": start, "end": end}
    metadata: dict[str, Any] = {
        "preview": _table(
            database.rows(query("preview_events"), parameters),
            ("organization", "type", "event", "events", "visitors", "sessions"),
            ("events", "visitors", "sessions"),
        )
    }
    series = pd.DataFrame(database.rows(query("preview_events_series"), parameters | {"most": _PLOTTED_ORGANIZATIONS}))
    if not series.empty:
        series["value"] = series["value"].astype(float)
        step = max(timedelta(hours=1), (end - start) / _MOST_POINTS)
        metadata["plot"] = dg.MetadataValue.md(plot_lines(series, "events", "hourly", start, end, step))
    return metadata


def describe_live_sessions(database: Database) -> dict[str, Any]:
    """Who has active sessions, and how many were active over the last 24 hours."""
    found = database.rows(query("active_sessions"), {"most": _SHOWN})
    metadata: dict[str, Any] = {
        "active_sessions": sum(row["active_sessions"] for row in found),
        "organizations": _table(
            found,
            ("organization", "active_sessions", "visitors", "known_users", "last_activity"),
            ("active_sessions", "visitors", "known_users"),
        ),
    }
    series = pd.DataFrame(database.rows(query("active_sessions_series"), {"most": _PLOTTED_ORGANIZATIONS}))
    if not series.empty:
        series["value"] = series["value"].astype(float)
        end = datetime.now(UTC)
        metadata["plot"] = dg.MetadataValue.md(
            plot_lines(series, "active sessions", "last 24 hours, UTC", end - timedelta(days=1), end, timedelta(days=1))
        )
    return metadata
