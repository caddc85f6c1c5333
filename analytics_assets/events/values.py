"""Reading single values of a message: instants, amounts, ids. Pure; null where it is not what it should be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from analytics_assets.events.emails import masked

_AMOUNT = re.compile(r"\s*[+-]?[0-9]{1,30}(\.[0-9]{0,30})?\s*", re.ASCII)
_LARGEST = Decimal(10) ** 30
# Batches older than that are history; clocks that say an earlier year than any client was made in are wrong.
_KEPT, _LOST = timedelta(days=30), datetime(2010, 1, 1, tzinfo=UTC)


class Unkeepable:
    """What Python's JSON reader takes and jsonb does not: NaN, Infinity, a number out of range."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text[:40]

    def __repr__(self) -> str:
        return self.text


def instant(value: Any) -> datetime | None:
    """An ISO 8601 date, or date and time; UTC where it names no zone."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def moment(value: Any) -> datetime | None:
    """An instant, or seconds or milliseconds since 1970, as traits hold them."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value / 1000 if abs(value) >= 1e11 else value, UTC)
        except (OverflowError, ValueError, OSError):
            return None
    return instant(value)


def is_by_a_clock(sent_at: datetime, received_at: datetime) -> bool:
    """Whether sentAt is the client's clock at the moment of sending, however wrong: then it tells by how much.

    A batch of more than 30 days ago is one that was kept and is sent now, and its times are what they say: corrected, a year of
    history moved into today, and each batch by another step. A clock of before 2010 has lost its time, and one of the future
    cannot be a memory.
    """
    return sent_at > received_at - _KEPT or sent_at < _LOST


def amount(value: Any) -> Decimal | None:
    """An exact number: of a float its shortest form, which is what the JSON text said."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        read = Decimal(repr(value))
    elif isinstance(value, int):
        read = Decimal(value)
    elif isinstance(value, str) and _AMOUNT.fullmatch(value):
        read = Decimal(value.strip())
    else:
        return None
    return read if read.is_finite() and -_LARGEST < read < _LARGEST else None


def shown(value: Any) -> str:
    """A value within a message to an operator: short, without e-mail addresses and what text in PostgreSQL cannot hold."""
    text = masked(value if isinstance(value, str) else repr(value))
    if len(text) > 80:
        text = text[:80] + "…"
    return '"' + text.replace("\x00", "\\u0000").encode("utf-8", "backslashreplace").decode() + '"'


def unkeepable(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """(path, why) of each value that neither text nor jsonb in PostgreSQL can keep, nesting beyond DEPTH among them."""
    from analytics_assets.events.limits import DEPTH

    if depth > DEPTH:
        yield masked(path)[:200], f"is nested deeper than {DEPTH} levels"
    elif isinstance(value, str):
        if "\x00" in value:
            yield path, f"{shown(value)} holds a NUL character"
        elif not value.isascii() and any("\ud800" <= one <= "\udfff" for one in value):
            yield path, f"{shown(value)} holds half of a surrogate pair"
    elif isinstance(value, Unkeepable):
        yield path, f"{value!r} is no number that can be kept"
    elif isinstance(value, dict):
        for key, one in value.items():
            for _, why in unkeepable(key):
                yield f"{path}.{shown(key)}".lstrip("."), f"(the name itself) {why}"
            yield from unkeepable(one, f"{path}.{masked(str(key))}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from unkeepable(one, f"{path}[{number}]", depth + 1)
