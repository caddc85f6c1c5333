"""What benchmarks share on the command line: sizes, progress, figures beside their goals."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from analytics_assets.database import DatabaseError
from analytics_assets.migrations import MigrationError
from analytics_assets.settings import SettingError
from benchmarks.server import Cost, ServerError


class WrongResult(RuntimeError):
    """Two ways do not come to the same, or to what they should: the figures are worth nothing."""


#: What a benchmark that could not run, or whose figures are worth nothing, ends with.
FAILURES = (ServerError, DatabaseError, SettingError, MigrationError, WrongResult)


@dataclass(frozen=True)
class Goal:
    """A figure beside its goal; one without a goal stands there to be seen."""

    what: str
    figure: str
    goal: str
    met: bool

    def cells(self) -> tuple[str, str]:
        """Its goal and whether it is met, for a table."""
        met = "" if not self.goal else "[green]yes[/green]" if self.met else "[bold red]MISSED[/bold red]"
        return self.goal, met


class Command:
    """The command line of one benchmark: reads it, says how far it is, prints the table, writes the figures."""

    def __init__(self, name: str, doc: str | None) -> None:
        self.name = f"benchmarks.{name}"
        self.parser = argparse.ArgumentParser(prog=f"python -m {self.name}", description=(doc or "").split("\n", 1)[0])
        self._started = time.monotonic()

    def number(
        self, option: str, default: int, least: int = 1, most: int = 10**9, help: str | None = None, metavar: str = "N"
    ) -> None:
        """An option that is a whole number from least to most."""

        def whole(text: str) -> int:
            if not text.isdigit() or not least <= int(text) <= most:
                raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
            return int(text)

        self.parser.add_argument(option, type=whole, default=default, help=help, metavar=metavar)

    def parse(self, given: list[str] | None) -> argparse.Namespace:
        """Usage errors end the process with 2."""
        self.parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
        arguments = self.parser.parse_args(given)
        if arguments.json and not arguments.json.resolve().parent.is_dir():
            self.parser.error(f"--json {arguments.json}: there is no folder {arguments.json.resolve().parent}")
        return arguments

    def progress(self, text: str) -> None:
        """A line with the seconds since the start."""
        print(f"{time.monotonic() - self._started:6.1f} s  {text}", file=sys.stderr, flush=True)

    def fail(self, error: Exception) -> int:
        """Says why it could not run. Returns the exit status."""
        print(f"{self.name}: {error}", file=sys.stderr)
        return 1

    @staticmethod
    def show(table: Table, width: int = 150) -> None:
        """A table on the terminal."""
        Console(width=None if sys.stdout.isatty() else width).print(table)

    @staticmethod
    def finish(arguments: argparse.Namespace, table: Table, figures: Any, width: int = 150) -> int:
        """Returns the exit status."""
        Command.show(table, width)
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        return 0


def cost_table(
    title: str,
    caption: str,
    costs: dict[str, Cost],
    goals: Iterable[Goal],
    columns: dict[str, Callable[[Cost], str]] | None = None,
    figure: str = "figure",
) -> Table:
    """Costs with CPU and seconds, then goals, whose figures stand in the column of that name."""
    columns = columns or {}
    between = [*columns, *([] if figure in columns else [figure])]
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    table.add_column("")
    for header in ("CPU s", "wall s", *between, "goal"):
        table.add_column(header, justify="right")
    table.add_column("met")
    for name, cost in costs.items():
        cpu = "-" if cost.cpu is None else f"{cost.cpu:.2f}"
        table.add_row(name, cpu, f"{cost.wall:.2f}", *(columns[header](cost) if header in columns else "" for header in between))
    table.add_section()
    for goal in goals:
        table.add_row(goal.what, "", "", *(goal.figure if header == figure else "" for header in between), *goal.cells())
    return table
