"""What a materialization of rule_insights shows: its insights in a table, and the trends drawn."""

from __future__ import annotations

import base64
import io
from datetime import datetime
from typing import Any
from uuid import UUID

import dagster as dg
import pandas as pd

from analytics_assets.markdown import table
from analytics_assets.plots import prepare
from analytics_assets.resources import Database
from analytics_assets.sql import query

_MOST_ROWS = 40
_DRAWN = 4


def _picture(rows: list[dict[str, Any]]) -> str:
    """Markdown with a picture (PNG): a panel a trend, with its eight weeks and the slope through them."""
    prepare()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.0 * len(rows)), dpi=80, layout="constrained")
    panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, row in zip(panels, rows, strict=True):
        points = row["data_points"]
        weeks, slope = points["weeks"], 1 + points["percent_a_week"] / 100
        places = range(1, len(weeks) + 1)
        middle = float(pd.Series([value / slope**place for place, value in zip(places, weeks, strict=True)]).median())
        axes.bar(places, weeks, color="#4c72b0", alpha=0.5, label="week")
        axes.plot(places, [middle * slope**place for place in places], color="#c44e52", linewidth=1.2, label="slope")
        axes.set_title(f"{row['organization']}: {points['metric']} of {points['channel']}", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    panels[0].legend(fontsize=8, frameon=False, loc="upper left", ncols=2)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return f"![trends](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"


def describe_rules(database: Database, ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
    """Metadata over a run's organisations and days: what holds in them."""
    rows = database.rows(query("preview_rule_insights"), {"ids": ids, "start": start, "end": end, "most": _MOST_ROWS})
    if not rows:
        return {"preview": dg.MetadataValue.md("no rule finds anything")}
    shown: dict[str, Any] = {
        "preview": dg.MetadataValue.md(
            table(pd.DataFrame(rows)[["organization", "severity", "confidence", "title", "starts_at"]])
        )
    }
    trends = [row for row in rows if row["data_points"].get("rule") == "trend"][:_DRAWN]
    if trends:
        shown["plot"] = dg.MetadataValue.md(_picture(trends))
    return shown
