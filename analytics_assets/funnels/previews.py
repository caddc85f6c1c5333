"""What a materialization of funnel_analysis shows: a table of the steps, and the funnels with most entries as bars."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import dagster as dg
import pandas as pd

from analytics_assets.markdown import table
from analytics_assets.plots import picture, prepare
from analytics_assets.resources import Database
from analytics_assets.sql import query

_DRAWN_FUNNELS = 4
_MOST_ROWS = 60


def _bars(frame: pd.DataFrame) -> str:
    """Markdown with a picture (PNG): a panel a funnel, a bar a step, with visitors and the share of the entries."""
    prepare()
    from matplotlib.figure import Figure

    groups = list(frame.groupby(["organization", "funnel", "version"], sort=False))[:_DRAWN_FUNNELS]
    heights = [len(group) for _, group in groups]
    figure = Figure(figsize=(9, sum(0.6 + 0.32 * height for height in heights)), dpi=80, layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": [height + 1 for height in heights]})
    for axes, ((organization, funnel, version), group) in zip(panels[:, 0], groups, strict=True):
        places = list(range(len(group)))
        entries = max(int(group["visitors"].iloc[0]), 1)
        axes.barh(places, group["visitors"], color="#4c72b0", height=0.72)
        for place, visitors in zip(places, group["visitors"], strict=True):
            axes.text(visitors, place, f" {visitors:,} ({100 * visitors / entries:.1f} %)", va="center", fontsize=8)
        axes.set_yticks(places, [f"{step}. {name[:40]}" for step, name in zip(group["step"], group["name"], strict=True)])
        axes.invert_yaxis()
        axes.set_xlim(0, entries * 1.18)
        axes.set_title(f"{organization}: {funnel}, version {version}", loc="left", fontsize=10)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(labelsize=8, bottom=False, labelbottom=False)
    return picture(figure, "funnels")


def describe_funnels(database: Database, ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
    """Metadata over a run's organisations and days (midnights UTC of the dates): steps pooled, and drawn."""
    found = database.rows(query("preview_funnels"), {"ids": ids, "start": start, "end": end, "most": _MOST_ROWS})
    if not found:
        return {"preview": dg.MetadataValue.md("no run of a funnel was entered in this range")}
    frame = pd.DataFrame(found)
    return {
        "preview": dg.MetadataValue.md(table(frame)),
        "plot": dg.MetadataValue.md(_bars(frame)),
    }
