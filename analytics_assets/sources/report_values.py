"""What figures and currencies of a report may look like."""

from __future__ import annotations

import re

# As private.parse_number reads them: what it cannot read would be left out in silence.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
_LONGEST = 100
_CURRENCY = re.compile(r"[A-Z]{3}")


def is_number(value: object) -> bool:
    """Whether it is the text of a finite decimal number; reports hold no others."""
    return isinstance(value, str) and len(value) <= _LONGEST and _NUMBER.fullmatch(value) is not None


def is_currency(value: object) -> bool:
    """Whether it has the form of an ISO 4217 code."""
    return isinstance(value, str) and _CURRENCY.fullmatch(value) is not None


def shown(value: object) -> str:
    """A value for a message, on one line and not long."""
    return ascii(value) if len(ascii(value)) <= 60 else ascii(value)[:57] + "..."
