"""What a materialization of ai_insights shows: its insights in a table, and the gravest ones drawn with the expected band."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import numpy as np
import pandas as pd

from analytics_assets.insights.baseline import DAY, Scores, score_series
from analytics_assets.insights.finding import Window, window_of
from analytics_assets.insights.incidents import ALARM
from analytics_assets.insights.series import read_all
from analytics_assets.markdown import table
from analytics_assets.resources import Database
from analytics_assets.sql import query

_DRAWN = 4
_MOST_ROWS = 40
_DRAWN_DAYS = 7
# What lies before the run's range and still goes on is shown too.
_SHOWN_BEFORE = timedelta(days=2)


def _picture(drawn: list[tuple[dict[str, Any], Any, Scores]], window: Window) -> str:
    """Markdown with a picture (PNG): a panel an insight, with the series, the band of the hour, and the incident's hours."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.3 * len(drawn)), dpi=80, layout="constrained")
    panels = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
    for axes, (row, values, scores) in zip(panels, drawn, strict=True):
        last = min(window.hour(row["period_end"]) + DAY, len(values))
        first = max(last - _DRAWN_DAYS * DAY, 0)
        at = pd.date_range(window.history_from, periods=len(values), freq="h")[first:last]
        part = slice(first, last)
        axes.fill_between(at, scores.low[0, part], scores.high[0, part], color="#4c72b0", alpha=0.18, linewidth=0, label="band")
        axes.plot(at, scores.expected[0, part], color="#4c72b0", linewidth=0.9, linestyle="--", label="expected")
        axes.plot(at, values[part], color="#222222", linewidth=1.1, label="actual")
        inside = (at >= row["period_start"]) & (at < row["period_end"])
        axes.scatter(at[inside], values[part][inside], color="#c44e52", s=14, zorder=3, label="flagged")
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axes.set_title(f"{row['organization']}: {row['metric']} of {row['channel']}, {row['severity']}", loc="left", fontsize=10)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    panels[0].legend(fontsize=8, frameon=False, loc="upper left", ncols=4)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return f"![insights](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"


def describe_insights(database: Database, ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
    """Metadata over a run's organisations and hours (first and last): what began in them or shortly before."""
    end += timedelta(hours=1)
    rows = database.rows(query("preview_insights"), {"ids": ids, "start": start - _SHOWN_BEFORE, "end": end, "most": _MOST_ROWS})
    if not rows:
        return {"preview": dg.MetadataValue.md("nothing departs from its usual course")}
    window = window_of(rows[0]["starts_at"], max(row["period_end"] for row in rows[:_DRAWN]), datetime.now(UTC))
    batch = read_all(database, [row["organization_id"] for row in rows[:_DRAWN]], window.history_from, window.until, window.size)
    drawn = []
    for row in rows[:_DRAWN]:
        place = next(
            (
                place
                for place, one in enumerate(batch.series)
                if (one.organization.slug, one.channel, one.metric) == (row["organization"], row["channel"], row["metric"])
            ),
            None,
        )
        if place is not None:
            one = slice(place, place + 1)
            drawn.append((row, batch.rows[place], score_series(np.vstack(batch.rows[one]), batch.is_count[one], ALARM)))
    shown_columns = ["organization", "severity", "confidence", "title", "starts_at"]
    # Written after the run that finds an insight: a later one shows it.
    if any(row["narrative"] for row in rows):
        shown_columns.append("narrative")
    shown: dict[str, Any] = {"preview": dg.MetadataValue.md(table(pd.DataFrame(rows)[shown_columns].fillna("")))}
    if drawn:
        shown["plot"] = dg.MetadataValue.md(_picture(drawn, window))
    return shown
