"""What a response page of a stream looks like, as far as it has to be known to take it in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo


class PageError(ValueError):
    """The bytes are no page of the stream; the message says what they are instead."""


@dataclass(frozen=True)
class Stream:
    """A stream of a source.

    Attributes:
        marks: fields of which a record of this stream has at least one beside ``id``, and other streams have none.
        foreign: fields that a record of this stream never has: it has a mark by chance.
        instants: fields with the times at which the record counts: (UTC field, local field).
    """

    source: str
    name: str
    marks: tuple[str, ...]
    instants: tuple[tuple[str, str], ...]
    foreign: tuple[str, ...] = ()


_CREATED = ("date_created_gmt", "date_created")
STREAMS: dict[tuple[str, str], Stream] = {
    (stream.source, stream.name): stream
    for stream in (
        # Refunds have line_items too, and coupons an amount.
        Stream(
            "woocommerce",
            "orders",
            ("order_key", "discount_total", "shipping_total", "date_paid", "date_paid_gmt"),
            (_CREATED, ("date_paid_gmt", "date_paid")),
        ),
        Stream("woocommerce", "refunds", ("amount",), (_CREATED,), foreign=("discount_type",)),
        Stream("woocommerce", "customers", ("is_paying_customer", "username", "email"), (_CREATED,)),
    )
}


@dataclass(frozen=True)
class Page:
    """A page that can be stored.

    Attributes:
        text: the JSON as received.
        records: number of records.
        instants: when they count, UTC, to the quarter of an hour, without repetition, ascending.
    """

    text: str
    records: int
    instants: list[datetime]


def _refuse_constant(name: str) -> float:
    raise PageError(f"{name} is not JSON")


def _number(text: str) -> float:
    exponent = re.search(r"[eE]([+-]?\d+)$", text)
    if exponent is not None and abs(int(exponent[1])) > 1_000:
        raise PageError(f"the number {text[:40]} is out of range")
    return float(text)


def _decode(content: bytes) -> tuple[str, Any]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PageError(f"not UTF-8 at byte {error.start}") from None
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_number)
    except json.JSONDecodeError as error:
        looks_like_html = text.lstrip()[:1] == "<"
        what = "HTML or XML, not JSON" if looks_like_html else f"no JSON: {error.msg} at character {error.pos}"
        raise PageError(what) from None
    except RecursionError:
        raise PageError("JSON nested too deeply") from None
    except PageError:
        raise
    except ValueError as error:
        raise PageError(f"no JSON that can be kept: {error}") from None
    # jsonb holds neither: PostgreSQL would refuse the whole batch. (A backslash may be escaped itself.)
    if "\\u0000" in text and re.search(r"(?<!\\)(?:\\\\)*\\u0000", text):
        raise PageError("holds the character NUL (\\u0000), which PostgreSQL cannot keep")
    if re.search(r"\\u[dD][89a-fA-F]", text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise PageError("holds half of a surrogate pair, which is no character") from None
    return text, value


# As the functions that take records in: what lies outside is a broken date, and no hour is made for it.
_FIRST = datetime(1990, 1, 1, tzinfo=UTC)


def _instant(record: dict[str, Any], utc_field: str, local_field: str, zone: ZoneInfo) -> datetime | None:
    for name, time_zone in ((utc_field, UTC), (local_field, zone)):
        text = record.get(name)
        if isinstance(text, str) and text:
            try:
                moment = datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=time_zone).astimezone(UTC)
            except (ValueError, OverflowError):
                continue
            if _FIRST <= moment <= datetime.now(UTC) + timedelta(days=1):
                return moment
    return None


def quarter_of(moment: datetime) -> datetime:
    """The quarter of an hour in which a moment lies."""
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def read_page(content: bytes, stream: Stream, time_zone: str) -> Page:
    """Reads one page. ``time_zone`` is the store's, for records that tell local time only.

    A page is a list of records, or one record. A list in which some records are broken is a page: the records are told
    apart when they are taken in, so that one of them does not hold back the others. Raises PageError.
    """
    text, value = _decode(content)
    if isinstance(value, dict) and "code" in value and "message" in value and "id" not in value:
        raise PageError(f"an error response: {str(value['code'])[:80]}: {str(value['message'])[:200]}")
    records = value if isinstance(value, list) else [value]
    fits: Callable[[Any], bool] = lambda record: (  # noqa: E731
        isinstance(record, dict)
        and "id" in record
        and any(mark in record for mark in stream.marks)
        and not any(field in record for field in stream.foreign)
    )
    if records and not any(fits(record) for record in records):
        kind = {dict: "an object", list: "a list", str: "text", type(None): "null"}.get(type(records[0]), "a value")
        fields = f" with {', '.join(sorted(map(str, records[0]))[:6])}" if isinstance(records[0], dict) else ""
        raise PageError(
            f"no page of {stream.source} {stream.name}: a record has id and {' or '.join(stream.marks)}, this is {kind}{fields}"
        )
    zone = ZoneInfo(time_zone)
    instants = {
        quarter_of(moment)
        for record in records
        if isinstance(record, dict)
        for utc_field, local_field in stream.instants
        if (moment := _instant(record, utc_field, local_field, zone)) is not None
    }
    return Page(text=text, records=len(records), instants=sorted(instants))
