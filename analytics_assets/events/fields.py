"""The fields of a message: ids, name, amount, person. Pure; what every event needs and lacks is Rejected."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from analytics_assets.events.emails import email_hash, whole_email
from analytics_assets.events.limits import ID_LENGTH, NAME_LENGTH
from analytics_assets.events.values import amount, moment, shown

NAMES = {
    "page": "Page Viewed",
    "screen": "Screen Viewed",
    "identify": "User Identified",
    "group": "Group Identified",
    "alias": "User Aliased",
}
TYPES = frozenset({"track", *NAMES})
_SIGN_UPS = frozenset({"Signed Up", "Account Created"})
_ORDERS = frozenset({"Order Completed", "Order Refunded"})
EMPTY: dict[str, Any] = {}
_1970 = datetime(1970, 1, 1, tzinfo=UTC)


class Rejected(Exception):
    """An event that is left out: because of which field, and why."""

    def __init__(self, field_name: str, reason: str, is_too_large: bool = False) -> None:
        super().__init__(reason)
        self.field_name = field_name
        self.reason = reason
        self.is_too_large = is_too_large


def object_of(value: Any) -> dict[str, Any]:
    """The value where it is a JSON object; else an empty one."""
    return value if isinstance(value, dict) else EMPTY


def identifier(name: str, value: Any) -> str | None:
    """An id as text; a number is taken at its word. Raises Rejected."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        text = value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        text = str(value)
    else:
        raise Rejected(name, f"{name}: {shown(value)} is no text")
    if len(text) > ID_LENGTH:
        raise Rejected(name, f"{name}: {shown(text)} has {len(text)} characters, at most {ID_LENGTH} are kept")
    return text


def name_of(kind: str, event: Any) -> str:
    """The event's name. Raises Rejected."""
    if kind != "track":
        return NAMES[kind]
    if not isinstance(event, str) or not event.strip():
        what = "is missing" if event is None else f"{shown(event)} is no name"
        raise Rejected("event", f"event: {what}; a track call names its event")
    if len(event) > NAME_LENGTH:
        raise Rejected("event", f"event: {shown(event)} has {len(event)} characters, a name has at most {NAME_LENGTH}")
    return event


def money(kind: str, name: str, properties: Mapping[str, Any]) -> tuple[Decimal | None, str | None]:
    """(event_value, currency). An order whose amount or currency cannot be read would be missing in the revenue: rejected."""
    if not properties:
        return None, None
    for where in ("revenue", "total", "value"):
        if properties.get(where) not in (None, ""):
            break
    else:
        return None, None
    value = amount(properties[where])
    is_order = kind == "track" and name in _ORDERS
    if value is None:
        if is_order:
            raise Rejected(f"properties.{where}", f"properties.{where}: {shown(properties[where])} is no amount")
        return None, None
    given = properties.get("currency")
    code = given.strip().upper() if isinstance(given, str) else ""
    if len(code) == 3 and code.isascii() and code.isalpha():
        return value, code
    if is_order and given not in (None, ""):
        raise Rejected("properties.currency", f"properties.currency: {shown(given)} is no ISO 4217 code such as EUR")
    return value, None


def person(organization: str, kind: str, user_id: str | None, traits: Any, context: Any, properties: Any) -> bytes | None:
    """The hash of the person's e-mail address, where the message tells it; last of all by a user id that is one."""
    found = email_hash(organization, traits.get("email")) if kind != "group" else None
    if found is None:
        found = email_hash(organization, object_of(context.get("traits")).get("email"))
    if found is None and kind == "track":
        found = email_hash(organization, properties.get("email"))
    if found is None and user_id is not None:
        found = whole_email(organization, user_id)
    return found


def signed_up(received_at: datetime, kind: str, name: str, traits: Any, context: Any, at: datetime) -> datetime | None:
    """Since when the person is signed up. A createdAt that is no time, or later than now, is not believed."""
    for people in (traits if kind != "group" else EMPTY, object_of(context.get("traits"))):
        if not people:
            continue
        since = moment(people.get("createdAt", people.get("created_at")))
        if since is not None and _1970 <= since <= received_at:
            return since
    return at if kind == "track" and name in _SIGN_UPS else None
