"""Reading single values of a message: instants, amounts, ids, e-mail addresses. Pure; null where it is not what it should be."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

_AMOUNT = re.compile(r"\s*[+-]?[0-9]{1,30}(\.[0-9]{0,30})?\s*", re.ASCII)
_LARGEST = Decimal(10) ** 30
# Bounded, so that no text makes the search slow. What follows the @ is looked at in code.
_EMAIL = re.compile(r"""[^\s@<>()\[\]"',;:/?=&#]{1,64}@([^\s@<>()\[\]"',;:/?=&#]{1,190})""")


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
    """A value within a message to an operator: short, and without what text in PostgreSQL cannot hold."""
    text = value if isinstance(value, str) else repr(value)
    if len(text) > 80:
        text = text[:80] + "…"
    return '"' + text.replace("\x00", "\\u0000").encode("utf-8", "backslashreplace").decode() + '"'


def email_hash(organization: str, email: Any) -> bytes | None:
    """As private.email_hash: salted with the organisation (its id as text), of the address in lower case."""
    if not isinstance(email, str) or email.find("@") < 1:
        return None
    return hashlib.sha256(f"{organization}:{email.strip(' ').lower()}".encode()).digest()


def without_emails(organization: str, value: Any) -> Any:
    """The same value; in its texts every e-mail address is replaced by its hash (hex)."""
    if isinstance(value, str):
        return hide_emails(organization, value)
    if isinstance(value, dict):
        return {
            hide_emails(organization, key) if isinstance(key, str) else key: without_emails(organization, one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [without_emails(organization, one) for one in value]
    return value


def hide_emails(organization: str, text: str) -> str:
    """Every e-mail address within a text replaced by its hash (hex)."""
    if "@" not in text:
        return text

    def hashed(found: re.Match[str]) -> str:
        if "." not in found[1].strip("."):
            return found[0]
        return hashlib.sha256(f"{organization}:{found[0].lower()}".encode()).hexdigest()

    return _EMAIL.sub(hashed, text)


def unkeepable(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """(path, why) of each value that neither text nor jsonb in PostgreSQL can keep, nesting beyond DEPTH among them."""
    from analytics_assets.events.limits import DEPTH

    if depth > DEPTH:
        yield path[:200], f"is nested deeper than {DEPTH} levels"
    elif isinstance(value, str):
        if "\x00" in value:
            yield path, f"{shown(value)} holds a NUL character"
        elif any("\ud800" <= one <= "\udfff" for one in value):
            yield path, f"{shown(value)} holds half of a surrogate pair"
    elif isinstance(value, Unkeepable):
        yield path, f"{value!r} is no number that can be kept"
    elif isinstance(value, dict):
        for key, one in value.items():
            for _, why in unkeepable(key):
                yield f"{path}.{shown(key)}".lstrip("."), f"(the name itself) {why}"
            yield from unkeepable(one, f"{path}.{key}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from unkeepable(one, f"{path}[{number}]", depth + 1)
