"""What a materialization of aggregates shows: a table of totals and a plot over the range of the run."""

from __future__ import annotations

import base64
import io
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import pandas as pd

from analytics_assets.database import Database
from analytics_assets.sql import query

_PLOTTED_ORGANIZATIONS = 6
_MOST_POINTS = 750


def _plot(frame: pd.DataFrame, metric: str, unit: str, start: datetime, end: datetime, step: timedelta) -> str:
    """Markdown with a picture (PNG) of a metric from start to end, one line an organisation; what has no row is 0."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.8), dpi=80, layout="constrained")
    axes = figure.subplots()
    wide = frame.pivot(index="at", columns="organization", values="value")
    wide = wide.reindex(wide.index.union(pd.date_range(start, end, freq=step))).fillna(0).sort_index()
    marker = "o" if len(wide) < 4 else None
    for name in wide.columns:
        axes.plot(wide.index, wide[name], label=str(name), linewidth=1.2, marker=marker, markersize=4)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlim(start - step, end + step)  # type: ignore[arg-type]
    axes.set_title(f"{metric}, {unit}", loc="left", fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return f"![{metric}](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"


def describe_aggregates(grain: str, database: Database, ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
    """Metadata over a run's organisations and range: totals by organisation and metric, and total_sales drawn.

    Args:
        grain: ``hourly`` or ``daily``; daily instants are midnights UTC of the dates.
    """
    parameters = {"ids": ids, "start": start, "end": end}
    totals = database.rows(query(f"preview_{grain}_totals"), parameters)
    metadata: dict[str, Any] = {
        "preview": dg.MetadataValue.md(pd.DataFrame(totals).to_markdown(index=False) if totals else "no rows in this range")
    }
    series = pd.DataFrame(database.rows(query(f"preview_{grain}_series"), parameters | {"most": _PLOTTED_ORGANIZATIONS}))
    if not series.empty:
        series["value"] = series["value"].astype(float)
        step = timedelta(hours=1) if grain == "hourly" else timedelta(days=1)
        if grain == "daily":
            series["at"] = pd.to_datetime(series["at"], utc=True)
        step = max(step, (end - start) / _MOST_POINTS)
        metadata["plot"] = dg.MetadataValue.md(
            _plot(series, "total_sales", f"{grain}, in each organisation's currency", start, end, step)
        )
    return metadata
