"""What a run says of each organisation that had work: one line of name=value pairs, for people and for whoever searches logs.

All lines of an asset's step are one message: Dagster stores each message by itself, and a thousand organisations an hour would
outweigh what they tell of. They are bounded, the failing ones first, and a last line sums up the rest.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

MOST_LINES = 50
_LONGEST_ERROR = 400


@dataclass
class _Work:
    start: datetime
    end: datetime
    seconds: float = 0.0
    error: str | None = None
    figures: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def failed(self) -> int:
        return sum(value for name, value in self.figures.items() if name.startswith("failed_"))

    @property
    def is_failing(self) -> bool:
        return bool(self.failed or self.error)


class RunLog:
    """Collects the outcomes of a step's statements, and says them by organisation."""

    def __init__(self, asset: str) -> None:
        self._asset = asset
        self._work: dict[str, _Work] = {}

    def add(self, outcome: Mapping[str, Any], slugs: Mapping[UUID, str], start: datetime, end: datetime, seconds: float) -> None:
        """A row of a statement over [start, end). seconds: of the whole statement, which computes all organisations at once."""
        figures = {name: value for name, value in outcome.items() if isinstance(value, int) and not isinstance(value, bool)}
        if not any(figures.values()) and not outcome.get("error"):
            return
        slug = slugs.get(outcome["organization_id"], str(outcome["organization_id"]))
        work = self._work.setdefault(slug, _Work(start, end))
        work.start, work.end = min(work.start, start), max(work.end, end)
        work.seconds += seconds
        work.error = work.error or outcome.get("error")
        for name, value in figures.items():
            work.figures[name] += value

    def _line(self, slug: str, work: _Work) -> str:
        pairs = {
            "organization": slug,
            "asset": self._asset,
            "from": f"{work.start:%Y-%m-%dT%H:%MZ}",
            "to": f"{work.end:%Y-%m-%dT%H:%MZ}",
            **work.figures,
            "statement_seconds": f"{work.seconds:.2f}",
        }
        text = " ".join(f"{name}={value}" for name, value in pairs.items())
        if not work.is_failing:
            return text
        error = " ".join((work.error or "see partition_ledger").split())[:_LONGEST_ERROR]
        return (
            f"{text} error={json.dumps(error, ensure_ascii=False)} "
            f'done="what failed is marked so in partition_ledger and is tried again by itself; nothing of it is published, other '
            f'organisations go on" todo="analytics status --organization {slug}"'
        )

    def lines(self) -> tuple[list[str], list[str]]:
        """(lines of failing organisations, lines of the others), at most MOST_LINES in all and a summary of the rest each."""
        ordered = sorted(self._work.items(), key=lambda item: (-item[1].failed, -sum(item[1].figures.values()), item[0]))
        failing = [item for item in ordered if item[1].is_failing]
        sound = [item for item in ordered if not item[1].is_failing]
        room = max(0, MOST_LINES - len(failing))
        return self._bounded(failing, MOST_LINES), self._bounded(sound, room)

    def _bounded(self, items: list[tuple[str, _Work]], most: int) -> list[str]:
        lines = [self._line(slug, work) for slug, work in items[:most]]
        if rest := items[most:]:
            sums: dict[str, int] = defaultdict(int)
            for _, work in rest:
                for name, value in work.figures.items():
                    sums[name] += value
            figures = " ".join(f"{name}={value}" for name, value in sums.items())
            lines.append(f"organizations={len(rest)} more asset={self._asset} {figures}")
        return lines


def broken_off(asset: str, organizations: int, start: datetime, end: datetime, error: Exception) -> str:
    """What is said of a statement that the database did not finish. The error's first line: it says what, never a row."""
    what = (str(error).strip().splitlines() or [""])[0][:_LONGEST_ERROR]
    return (
        f"asset={asset} organizations={organizations} from={start:%Y-%m-%dT%H:%MZ} to={end:%Y-%m-%dT%H:%MZ} "
        f"error={json.dumps(f'{type(error).__name__}: {what}', ensure_ascii=False)} "
        'done="rolled back: nothing of this range has changed, ranges before it are stored" '
        'todo="none if the database is back: sensor stale_partitions requests what is open; analytics status says what is"'
    )
