"""Layers computed again from raw pages, beside the live ones, and swapped in by a commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from analytics_assets.organizations.registry import Organization
from analytics_assets.sql import query

LAYERS = ("orders", "hourly", "daily", "cohorts", "funnels")
_ORGANIZATIONS_AT_ONCE = 20


class RebuildError(ValueError):
    """What was asked for cannot be rebuilt; the message says why, and what can."""


@dataclass(frozen=True)
class Compared:
    """A table of an organisation, after and before.

    Attributes:
        rows: rows that the raw pages make.
        missing: those of them that were not there as they are now.
        wrong: rows that were there and are none of them.
        error: what could not be computed, and keeps the rows that it had.
    """

    table: str
    organization: str
    rows: int
    missing: int
    wrong: int
    error: str | None


def rebuild(
    connection: psycopg.Connection[dict[str, Any]],
    organizations: Sequence[Organization],
    start: date,
    end: date,
    layers: Sequence[str] = LAYERS,
    check: bool = False,
    on_slice: Callable[[int], None] = lambda count: None,
) -> list[Compared]:
    """Rebuilds days [start, end) of organisations; some twenty of them are one transaction, which swaps all their layers.

    Readers see the old rows until then. With ``check`` nothing is swapped. Interrupted, what is committed stays; run again it
    finds nothing to do there. Raises RebuildError.
    """
    if unknown := set(layers) - set(LAYERS):
        raise RebuildError(f"layer {sorted(unknown)[0]!r}: expected {', '.join(LAYERS)}")
    if start >= end:
        raise RebuildError(f"{start}..{end}: the day after the last must come after the first")
    found: list[Compared] = []
    for first in range(0, len(organizations), _ORGANIZATIONS_AT_ONCE):
        some = organizations[first : first + _ORGANIZATIONS_AT_ONCE]
        connection.commit()
        try:
            rows = connection.execute(
                query("rebuild"),
                {"layers": list(layers), "organization_ids": [item.id for item in some], "from_date": start, "to_date": end},
            ).fetchall()
        except psycopg.errors.InvalidParameterValue as error:
            connection.rollback()
            raise RebuildError(f"{error.diag.message_primary}. {error.diag.message_hint or ''}".strip()) from None
        if check:
            connection.rollback()
        else:
            connection.commit()
        found += [
            Compared(row["table"], row["organization"], row["row_count"], row["missing"], row["wrong"], row["error"])
            for row in rows
        ]
        on_slice(len(some))
    return found
