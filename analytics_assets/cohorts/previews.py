"""What a materialization of cohorts shows: their rows in a table, and the cohort triangle as a picture."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any
from uuid import UUID

import dagster as dg
import pandas as pd

from analytics_assets.markdown import table
from analytics_assets.plots import picture, prepare
from analytics_assets.resources import Database
from analytics_assets.sql import query

_PLOTTED_ORGANIZATIONS = 2
_MOST_COHORTS = 14
_MOST_PERIODS = 13


def triangle(frame: pd.DataFrame, title: str) -> str:
    """Markdown with a picture (PNG) of monthly cohorts: months in rows, periods in columns, the retention rate in each.

    Args:
        frame: cohort_date, period_number, cohort_size, retention_rate, is_complete; one row a cell.

    The running period's cells stand in brackets, on hatched ground: they are not over. Period 0 is 100 % of everybody and
    keeps the colours' scale from telling anything else apart, so that it is left without one.
    """
    prepare()
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    rates = frame.pivot(index="cohort_date", columns="period_number", values="retention_rate").astype(float)
    complete = frame.pivot(index="cohort_date", columns="period_number", values="is_complete")
    sizes = frame.groupby("cohort_date")["cohort_size"].first()
    # The title takes four inches, whatever stands below it.
    size = (max(4.4, 2.2 + 0.62 * len(rates.columns)), max(1.7, 1.3 + 0.3 * len(rates)))
    figure = Figure(figsize=size, dpi=80, layout="constrained")
    axes = figure.subplots()
    later = rates.copy()
    later[0] = float("nan")
    top = max((float(rate) for rate in later.to_numpy().ravel() if not math.isnan(rate)), default=1.0)
    axes.imshow(later, cmap="Blues", vmin=0, vmax=max(top, 0.01) * 1.25, aspect="auto")
    for row, month in enumerate(rates.index):
        for column, number in enumerate(int(name) for name in rates.columns):
            rate = float(rates.loc[month, number])
            if math.isnan(rate):
                continue
            over = bool(complete.loc[month, number])
            text = f"{rate:.0%}" if over else f"({rate:.0%})"
            color = "white" if number > 0 and rate > top * 0.8 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
            if not over:
                axes.add_patch(
                    Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="///", edgecolor="#9aa7b5", linewidth=0)
                )
    axes.set_xticks(range(len(rates.columns)), [str(number) for number in rates.columns], fontsize=8)
    axes.set_yticks(range(len(rates)), [f"{month:%Y-%m}  ({sizes[month]:,})" for month in rates.index], fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.suptitle(f"{title}\n% active n months later, (running)", x=0.01, ha="left", fontsize=9)
    return picture(figure, title)


def describe_cohorts(database: Database, ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
    """Metadata of a run: pooled retention by type and period, and the triangle of the largest organisations of the run.

    The newest months are drawn, of the cohort type that has most members.
    """
    pooled = database.rows(query("preview_cohort_retention"), {"ids": ids})
    metadata: dict[str, Any] = {"preview": dg.MetadataValue.md(table(pooled) if pooled else "no cohorts yet")}
    cells = pd.DataFrame(
        database.rows(
            query("preview_cohort_triangle"),
            {"ids": ids, "most": _PLOTTED_ORGANIZATIONS, "cohorts": _MOST_COHORTS, "periods": _MOST_PERIODS},
        )
    )
    if not cells.empty:
        pictures = [
            triangle(found, f"{slug}: {kind} cohorts by month (members)")
            for (slug, kind), found in cells.groupby(["organization", "cohort_type"], sort=False)
        ]
        metadata["triangle"] = dg.MetadataValue.md("\n\n".join(pictures))
    return metadata
