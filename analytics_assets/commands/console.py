"""How commands talk: tables and progress on standard output, errors on standard error, an exit status that tells.

0: done. 1: done in part, or refused; the message says what to do. 2: the command was called wrongly.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

# A pipe has no width of its own: lines of tables stay whole.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)


def fail(message: str, code: int = 1) -> NoReturn:
    """Prints an error and leaves."""
    err.print(f"[red]error:[/red] {escape(message)}", soft_wrap=True)
    raise typer.Exit(code)


def say(line: str) -> None:
    """One line as it stands: brackets are no markup, and a narrow terminal breaks it nowhere of its own."""
    out.print(line, markup=False, soft_wrap=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """A table; columns named in ``right`` hold numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else escape(str(value)) for value in row))
    out.print(table)


def print_counts(headline: str, counts: Mapping[str, int | str]) -> None:
    """Rows by table. (The headline stands apart: a title is folded to the table's width, and a folder or an id is wider.)"""
    out.print(escape(headline), soft_wrap=True)
    print_table("", ["table", "rows"], list(counts.items()), right=["rows"])


def span(time: timedelta | None) -> str:
    """A length of time in two units at most; empty where there is none."""
    if time is None:
        return ""
    minutes = int(time.total_seconds()) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    return f"{days}d {hours}h" if days else f"{hours}h {minutes % 60:02}m" if hours else f"{minutes}m"


def moment(at: datetime | None) -> str:
    """An instant to the minute; empty where there is none."""
    return f"{at:%Y-%m-%d %H:%M}" if at else ""


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on standard error where that is a terminal; elsewhere nothing is drawn."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:
        yield progress
