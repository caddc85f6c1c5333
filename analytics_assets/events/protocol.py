"""From a parsed request to rows and rejections. Pure: no clock, no network, no database.

The protocol is Segment's HTTP Tracking API (batch, track, identify, page, screen, group, alias), with what RudderStack's
clients do otherwise: originalTimestamp beside or instead of timestamp, sentAt in each event, traits of a person in
context.traits, a number as context.sessionId.

- **Id.** A row's id is made of the first 16 bytes of sha256(messageId). A message without one gets an id of its organisation
  and its content (without sentAt), so that it is known when it is sent again.
- **Time.** timestamp = receivedAt - (sentAt - timestamp), with the event's sentAt, else the batch's: what the client's clock
  is wrong by drops out. Where the client names both timestamp and originalTimestamp, timestamp is its user's word. Without
  sentAt, and in /v1/import (history is as it was), the time counts as it is; without a time, receivedAt. Never later
  than receivedAt.
- **Amount.** event_value: properties.revenue, else total, else value; exact.
- **People.** An e-mail address is kept as its hash alone, wherever it stands; an id that is one is kept as email:<hash>. The
  person's address is traits.email, else context.traits.email, in a track call properties.email, else the userId; signed_up_at
  is the trait createdAt, else the time of Signed Up or Account Created.
- **Rejected** is an event that lacks what every event needs, or that PostgreSQL could not keep: with field, value and reason.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

from analytics_assets.events.addresses import Address, AddressRules, country_code, read_address
from analytics_assets.events.agents import UNKNOWN, describe
from analytics_assets.events.emails import hidden_id, hide_emails, json_may_hold_email, without_emails
from analytics_assets.events.fields import TYPES, Rejected, identifier, money, name_of, object_of, person, signed_up
from analytics_assets.events.limits import EVENT_BYTES, NAME_LENGTH
from analytics_assets.events.values import instant, is_by_a_clock, shown, unkeepable
from analytics_assets.events.wire import Place, StagedEvent

# What has a column of its own, or belongs to the sending; all else goes to metadata.
_COLUMNS = frozenset(
    {"messageId", "type", "event", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "userId", "anonymousId", "writeKey"}
)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


class BadRequest(ValueError):
    """The request as a whole is none of the protocol; the message says what was expected."""


@dataclass(frozen=True)
class Sender:
    """What is known of a request beside its body.

    Attributes:
        organization: id as text, whose the write key is.
        received_at: UTC.
        keep_from: events before this instant are past their retention.
        is_history: whether times count as they are.
        is_visitor: whether the peer is the visitor (a browser, a telephone), not a server that speaks for visitors.
        user_agent, address, country, city: of the peer.
    """

    organization: str
    organization_id: bytes
    received_at: datetime
    keep_from: datetime
    is_history: bool = False
    is_visitor: bool = False
    user_agent: str | None = None
    address: Address | None = None
    country: str | None = None
    city: str | None = None
    rules: AddressRules = field(default_factory=AddressRules)


@dataclass(frozen=True)
class Rejection:
    """An event that is not taken in. stream: its type. content: its JSON. number: its place in the batch, from 0."""

    number: int
    stream: str
    field_name: str
    reason: str
    message_id: str | None
    content: bytes
    is_too_large: bool = False


@dataclass
class Messages:
    """What a request holds. rows: with each its place in the batch."""

    rows: list[tuple[int, StagedEvent]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)


def events_of(body: Any, kind: str | None) -> tuple[list[Any], Any]:
    """The events of a parsed body, and the sentAt of them all. kind: the type of a single call, None for a batch.

    Raises BadRequest.
    """
    if not isinstance(body, dict):
        raise BadRequest("expected a JSON object")
    if kind is not None:
        return [{**body, "type": kind}], None
    batch = body.get("batch")
    if not isinstance(batch, list):
        raise BadRequest('expected an object with an array "batch" of events')
    return batch, body.get("sentAt")


def read(events: list[Any], sent_at: Any, sender: Sender, *, is_suspect: bool = True, may_be_large: bool = True) -> Messages:
    """The rows and rejections of the events. is_suspect: whether a text may hold what PostgreSQL's cannot; may_be_large: whether
    an event may; both False where the body's bytes say that it cannot be."""
    messages = Messages()
    reader = _Reader(sender, instant(sent_at), is_suspect, may_be_large)
    for number, event in enumerate(events):
        try:
            messages.rows.append((number, reader.read(event)))
        except Rejected as error:
            why = (error.field_name, error.reason, error.is_too_large)
            messages.rejections.append(rejection(sender.organization, number, event, *why))
    return messages


def rejection(organization: str, number: int, event: Any, field_name: str, reason: str, is_large: bool = False) -> Rejection:
    """An event with the reason for which it is left out; e-mail addresses in all of it as their hash."""
    kind = event.get("type") if isinstance(event, dict) else None
    message_id = event.get("messageId") if isinstance(event, dict) else None
    name = shown(hide_emails(organization, message_id))[1:-1] if isinstance(message_id, str) and message_id else None
    stream = kind if isinstance(kind, str) and kind in TYPES else "unknown"
    content = content_of(event)
    if json_may_hold_email(content):
        try:
            content = content_of(without_emails(organization, event))
        except RecursionError:
            raise BadRequest("the body is nested too deeply") from None
    field_name, reason = hide_emails(organization, field_name), hide_emails(organization, reason)
    return Rejection(number, stream, field_name, reason, name, content, is_large)


def content_of(event: Any) -> bytes:
    """The JSON of an event, also of one that holds what JSON in PostgreSQL cannot. Raises BadRequest where it is too deep."""
    try:
        return orjson.dumps(event)
    except TypeError:
        pass
    try:
        return json.dumps(event, default=repr).encode()
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None


class _Reader:
    def __init__(self, sender: Sender, sent_at: datetime | None, is_suspect: bool, may_be_large: bool) -> None:
        self._sender = sender
        self._clock_error = self._error_of(sent_at)
        self._is_suspect = is_suspect
        self._may_be_large = may_be_large

    def read(self, event: Any) -> StagedEvent:
        sender = self._sender
        if not isinstance(event, dict):
            raise Rejected("event", f"an event is a JSON object, not {shown(event)}")
        if self._is_suspect:
            for path, why in unkeepable(event):
                raise Rejected(path, f"{path}: {why}")
        tenant, kind = sender.organization, event.get("type")
        if not isinstance(kind, str) or kind not in TYPES:
            raise Rejected("type", f"type: {shown(kind)} is none of {', '.join(sorted(TYPES))}")
        get = event.get
        user_id = identifier("userId", get("userId"))
        anonymous_id = identifier("anonymousId", get("anonymousId"))
        if user_id is None and anonymous_id is None:
            raise Rejected("userId", "userId, anonymousId: both are missing; one of them says whose event it is")
        properties = object_of(get("properties"))
        context = object_of(get("context"))
        traits = object_of(get("traits"))
        name = name_of(kind, get("event"))
        previous_id = None
        if kind == "alias":
            previous_id = identifier("previousId", get("previousId"))
            if previous_id is None or user_id is None:
                raise Rejected("previousId", "previousId, userId: an alias names both, the id given up and the user's")
        page = object_of(context.get("page"))
        at = self._time(event)
        metadata = self._metadata(event, context)
        category = properties.get("category") or get("category")
        label = properties.get("label") or get("name")
        place, referrer = self._place(context), properties.get("referrer") or page.get("referrer")
        value, currency = money(kind, name, properties)
        return StagedEvent(
            sender.organization_id, self._id(event), at, sender.received_at,
            signed_up(sender.received_at, kind, name, traits, context, at), kind, hide_emails(tenant, name)[:NAME_LENGTH], self._text(category, 50), self._text(properties.get("action"), 50),
            self._text(label, 100), currency, self._text(properties.get("url") or page.get("url")),
            hidden_id(tenant, user_id), hidden_id(tenant, anonymous_id), hidden_id(tenant, previous_id),
            hidden_id(tenant, identifier("context.sessionId", context.get("sessionId"))), value, self._text(referrer), place,
            person(tenant, kind, user_id, traits, context, properties), metadata,
        )  # fmt: skip

    def _id(self, event: dict[str, Any]) -> bytes:
        message_id = identifier("messageId", event.get("messageId"))
        if message_id is None:
            content = {key: value for key, value in event.items() if key not in ("sentAt", "writeKey", "messageId")}
            text = orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
            message_id = hashlib.sha256(self._sender.organization_id + text).hexdigest()
        return hashlib.sha256(message_id.encode()).digest()[:16]

    def _error_of(self, sent_at: datetime | None) -> timedelta | None:
        """By how much the client's clock is behind; None where sentAt does not tell."""
        received_at = self._sender.received_at
        return received_at - sent_at if sent_at is not None and is_by_a_clock(sent_at, received_at) else None

    def _time(self, event: dict[str, Any]) -> datetime:
        sender = self._sender
        given = event.get("timestamp")
        where = "timestamp"
        if given is None:
            where, given = "originalTimestamp", event.get("originalTimestamp")
        if given is None:
            return sender.received_at
        at = instant(given)
        if at is None:
            raise Rejected(where, f"{where}: {shown(given)} is no ISO 8601 date and time")
        try:
            if not sender.is_history:
                sent_at = instant(event.get("sentAt"))
                error = self._clock_error if sent_at is None else self._error_of(sent_at)
                if error is not None:
                    at += error
            late = at - sender.received_at
        except OverflowError:
            raise Rejected(where, f"{where}: {shown(given)} is out of range") from None
        if at < _EARLIEST:
            raise Rejected(where, f"{where}: {shown(given)} is before 2000")
        if late > _DAY:
            raise Rejected(where, f"{where}: {shown(given)} is more than a day in the future")
        if at < sender.keep_from:
            raise Rejected(
                where,
                f"{where}: {shown(given)} is past the retention of events, which reaches back to {sender.keep_from:%Y-%m-%d}",
            )
        return min(at, sender.received_at)

    def _metadata(self, event: dict[str, Any], context: dict[str, Any]) -> bytes:
        kept = {key: value for key, value in event.items() if value and key not in _COLUMNS}
        if "ip" in context or "userAgent" in context:
            kept["context"] = {key: value for key, value in context.items() if key not in ("ip", "userAgent")}
        try:
            text = orjson.dumps(kept, option=orjson.OPT_NON_STR_KEYS)
        except TypeError:
            path, why = next(unkeepable(event), ("event", "cannot be kept as JSON"))
            raise Rejected(path, f"{path}: {why}") from None
        # An event is larger than what of it goes to metadata: by its ids, its name, its times.
        if self._may_be_large and len(text) > EVENT_BYTES - 8192 and (size := len(orjson.dumps(event))) > EVENT_BYTES:
            raise Rejected("size", f"size: {size:,} bytes; an event has at most {EVENT_BYTES:,}", is_too_large=True)
        # Most events hold none, and one look at their bytes says so.
        if json_may_hold_email(text):
            hidden = without_emails(self._sender.organization, kept)
            if isinstance(given := kept.get("previousId"), str):
                hidden["previousId"] = hidden_id(self._sender.organization, given)
            if hidden != kept:
                text = orjson.dumps(hidden, option=orjson.OPT_NON_STR_KEYS)
        return text

    def _place(self, context: dict[str, Any]) -> Place:
        sender = self._sender
        user_agent = context.get("userAgent")
        if not isinstance(user_agent, str) or not user_agent:
            user_agent = sender.user_agent if sender.is_visitor else None
        ip = context.get("ip")
        user_agent = self._text(user_agent, 1000)
        place = _spoken_for(sender.rules, user_agent, ip[:64] if isinstance(ip, str) else None)
        if "location" in context or "os" in context or sender.is_visitor:
            return self._refined(place, context, isinstance(ip, str) and read_address(ip[:64]) is not None)
        return place

    def _refined(self, place: Place, context: dict[str, Any], names_address: bool) -> Place:
        """With what the context says of the place, and the connection of a visitor who says nothing of an address."""
        sender = self._sender
        location = object_of(context.get("location"))
        country, city = country_code(location.get("country")), self._text(location.get("city"), 100)
        address = place.ip_address
        if sender.is_visitor and not names_address:
            address, country, city = sender.rules.kept(sender.address), country or sender.country, city or sender.city
        os = place.os or self._text(object_of(context.get("os")).get("name"), 50)
        return place._replace(ip_address=address, country=country, city=city, os=os)

    def _text(self, value: Any, length: int | None = None) -> str | None:
        """So many characters of a text; cut when its addresses are hidden, since half of one would not be known as such."""
        return hide_emails(self._sender.organization, value)[:length] if isinstance(value, str) and value else None


@lru_cache(maxsize=20_000)
def _spoken_for(rules: AddressRules, user_agent: str | None, ip: str | None) -> Place:
    """The place of whom a client names by user agent and address."""
    agent = describe(user_agent) if user_agent else UNKNOWN
    address = rules.kept(read_address(ip)) if ip else None
    return Place(user_agent, address, None, None, agent.device_type, agent.browser, agent.os)
