"""What a materialization of aggregates shows: a table of totals and a plot over the range of the run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import pandas as pd

from analytics_assets.markdown import table
from analytics_assets.plots import plot_lines
from analytics_assets.resources import Database
from analytics_assets.sql import query

_PLOTTED_ORGANIZATIONS = 6
_MOST_POINTS = 750


def describe_aggregates(grain: str, database: Database, ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
    """Metadata over a run's organisations and range: totals by organisation and metric, and total_sales drawn.

    Args:
        grain: ``hourly`` or ``daily``; daily instants are midnights UTC of the dates.
    """
    parameters = {"ids": ids, "start": start, "end": end}
    totals = database.rows(query(f"preview_{grain}_totals"), parameters)
    metadata: dict[str, Any] = {"preview": dg.MetadataValue.md(table(totals) if totals else "no rows in this range")}
    series = pd.DataFrame(database.rows(query(f"preview_{grain}_series"), parameters | {"most": _PLOTTED_ORGANIZATIONS}))
    if not series.empty:
        series["value"] = series["value"].astype(float)
        step = timedelta(hours=1) if grain == "hourly" else timedelta(days=1)
        if grain == "daily":
            series["at"] = pd.to_datetime(series["at"], utc=True)
        step = max(step, (end - start) / _MOST_POINTS)
        metadata["plot"] = dg.MetadataValue.md(
            plot_lines(series, "total_sales", f"{grain}, in each organisation's currency", start, end, step)
        )
    return metadata
