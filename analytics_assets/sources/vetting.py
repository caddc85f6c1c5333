"""What a vendor sends, before it is stored or shown: without secrets, and text that PostgreSQL keeps.

Bodies are redacted as bytes. The rest of a page (ids, cursors, remarks) and what a vendor says of an account is text that
it chooses freely as well; one name with the character NUL, or a time zone that is none, once ended the pass of everybody.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from analytics_assets.sources.connector import Account, RawPage
from analytics_assets.sources.failures import Bug
from analytics_assets.sources.redactor import Redactor
from analytics_assets.sources.report_values import is_currency, shown
from analytics_assets.sources.report_windows import known_zone

#: The remark on a page, and on its sync, that a secret was taken out of it.
REMOVED = "secret_removed"
_LOOKED_THROUGH, _MOST_POSITION = 16 * 1024, 64 * 1024
_MOST_NAME, _MOST_FLAG, _MOST_VERSION, _MOST_ID = 200, 120, 40, 200


def plain(text: str, redactor: Redactor, most: int) -> str:
    """One line of printable text without secrets, at most so many characters."""
    # (What is cut off first cannot become part of the result; what is cut off last has been looked through.)
    text = redactor.text(" ".join(text[: most + _LOOKED_THROUGH].split()))
    return "".join(char if char.isprintable() else " " for char in text).strip()[:most]


def account(found: Account, redactor: Redactor) -> Account:
    """The account, fit to be stored and shown. Raises Bug where its time zone or currency is none."""
    if known_zone(found.time_zone) is None:
        raise Bug(f"the account's time zone {_shown(found.time_zone, redactor)} is not known")
    if not is_currency(found.currency):
        raise Bug(f"the account's currency {_shown(found.currency, redactor)} is none; expected a code such as EUR")
    notes = tuple(plain(note, redactor, _MOST_FLAG) for note in found.notes)
    return Account(found.time_zone, found.currency, plain(found.name, redactor, _MOST_NAME), notes)


def page(found: RawPage, redactor: Redactor) -> RawPage:
    """The page without secrets. Raises Bug where its position holds one: it cannot be kept, and redacted it leads nowhere."""
    if found.position is not None:
        cursor = f"{found.stream}: the vendor's cursor for the page after {found.number}"
        position = json.dumps(found.position, ensure_ascii=False)
        if len(position) > _MOST_POSITION:
            raise Bug(f"{cursor} has {len(position):,} characters, which is not kept; report it to the vendor")
        if redactor.text(position) != position:
            raise Bug(f"{cursor} holds a secret of the source, which is stored nowhere; report it to the vendor")
    body, was_redacted = redactor.body(found.body)
    flags = tuple(plain(flag, redactor, _MOST_FLAG) for flag in found.flags)
    vetted = replace(
        found,
        body=body,
        api_version=plain(found.api_version, redactor, _MOST_VERSION),
        keys=tuple(key if key.isdecimal() else plain(key, redactor, _MOST_ID) for key in found.keys),
        request=None if found.request is None else _vetted(found.request, redactor),
        flags=(*flags, REMOVED) if was_redacted else flags,
        broken=redactor.text(found.broken),
    )
    if was_redacted and found.sameness is not None:
        vetted = replace(vetted, sameness=redactor.body(found.sameness)[0])
    return vetted


def _shown(text: str, redactor: Redactor) -> str:
    return shown(plain(text, redactor, _MOST_NAME))


def _vetted(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return redactor.text(value)
    if isinstance(value, dict):
        return {redactor.text(str(name)): _vetted(inner, redactor) for name, inner in value.items()}
    if isinstance(value, list):
        return [_vetted(inner, redactor) for inner in value]
    return value
