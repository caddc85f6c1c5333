"""Pictures for the metadata of materializations."""

from __future__ import annotations

import base64
import io
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from analytics_assets.markdown import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def prepare() -> None:
    """Before a picture is drawn: into a file, and its texts as they are.

    Between two dollars matplotlib reads a formula: a funnel called ``$$`` failed the run of a day, of all its organisations.
    """
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["text.parse_math"] = False


def picture(figure: Figure, title: str) -> str:
    """Markdown with the figure as a picture (PNG)."""
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return f"![{plain(title)}](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})"


def plot_lines(frame: pd.DataFrame, metric: str, unit: str, start: datetime, end: datetime, step: timedelta) -> str:
    """Markdown with a picture (PNG) of a metric from start to end, one line an organisation; what has no row is 0."""
    prepare()
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
    return picture(figure, metric)
