"""The protocol as a table: what a message becomes, and what is rejected with which reason."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import orjson
import pytest

from analytics_assets.events.addresses import AddressRules
from analytics_assets.events.bodies import parse
from analytics_assets.events.limits import EVENT_BYTES
from analytics_assets.events.protocol import BadRequest, Messages, Rejection, Sender, events_of, read
from analytics_assets.events.wire import StagedEvent, encoded

ORG = UUID("11111111-2222-3333-4444-555555555555")
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SENDER = Sender(str(ORG), ORG.bytes, NOW, NOW - timedelta(days=1096))
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1"


def take(*events: Any, sender: Sender = SENDER, **batch: Any) -> Messages:
    """What a batch of these events holds."""
    body = orjson.dumps({"batch": list(events), **batch})
    return taken(body, sender)


def taken(body: bytes, sender: Sender = SENDER) -> Messages:
    """What a body holds, read as the collector reads it."""
    parsed, is_suspect = parse(body)
    return read(*events_of(parsed, None), sender, is_suspect=is_suspect, may_be_large=len(body) > EVENT_BYTES)


def row(event: dict[str, Any], sender: Sender = SENDER, **batch: Any) -> StagedEvent:
    """The one row of an event; it can be encoded."""
    found = take({"type": "track", "userId": "u", "event": "E", **event}, sender=sender, **batch)
    assert not found.rejections, found.rejections
    assert encoded(found.rows[0][1], 1)
    return found.rows[0][1]


def rejected(event: Any, **batch: Any) -> Rejection:
    """The one rejection of an event."""
    found = take({"type": "track", "userId": "u", "event": "E", **event} if isinstance(event, dict) else event, **batch)
    assert not found.rows and len(found.rejections) == 1
    return found.rejections[0]


def hashed(email: str) -> bytes:
    return hashlib.sha256(f"{ORG}:{email}".encode()).digest()


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"messageId": "m-1"}, {"id": hashlib.sha256(b"m-1").digest()[:16], "event_name": "E", "event_type": "track"}),
        ({"userId": 17}, {"user_id": "17"}),
        ({"userId": "", "anonymousId": "a"}, {"user_id": None, "anonymous_id": "a"}),
        ({"type": "page", "name": "Home", "properties": {"url": "https://s.example/x"}},
         {"event_name": "Page Viewed", "event_label": "Home", "page_url": "https://s.example/x"}),
        ({"type": "screen", "name": "Cart"}, {"event_name": "Screen Viewed", "event_label": "Cart", "page_url": None}),
        ({"type": "identify", "traits": {"email": " Ann@Example.com "}},
         {"event_name": "User Identified", "email_hash": hashed("ann@example.com")}),
        ({"type": "identify", "context": {"traits": {"email": "b@example.com"}}}, {"email_hash": hashed("b@example.com")}),
        ({"type": "group", "groupId": "g", "traits": {"email": "office@example.com", "createdAt": "2020-01-01"}},
         {"event_name": "Group Identified", "email_hash": None, "signed_up_at": None}),
        ({"type": "alias", "previousId": "old"}, {"event_name": "User Aliased", "previous_id": "old", "user_id": "u"}),
        ({"event": "Signed Up", "timestamp": "2026-11-25T11:00:00Z"}, {"signed_up_at": datetime(2026, 11, 25, 11, tzinfo=UTC)}),
        ({"type": "identify", "traits": {"createdAt": 1700000000}}, {"signed_up_at": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)}),
        ({"type": "identify", "traits": {"createdAt": 1700000000000}}, {"signed_up_at": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)}),
        ({"type": "identify", "traits": {"createdAt": "2099-01-01"}}, {"signed_up_at": None}),
        ({"properties": {"revenue": 19.99, "currency": "eur"}}, {"event_value": Decimal("19.99"), "currency": "EUR"}),
        ({"properties": {"revenue": 0.1}}, {"event_value": Decimal("0.1"), "currency": None}),
        ({"properties": {"total": "21.50", "value": 3}}, {"event_value": Decimal("21.50")}),
        ({"properties": {"revenue": "", "value": -7}}, {"event_value": Decimal(-7)}),
        ({"properties": {"value": "blue", "currency": "€"}}, {"event_value": None, "currency": None}),
        ({"properties": {"value": True}}, {"event_value": None}),
        ({"properties": {"category": "c" * 60, "action": "a", "label": "l" * 120}},
         {"event_category": "c" * 50, "event_action": "a", "event_label": "l" * 100}),
        ({"category": "Shop", "type": "page"}, {"event_category": "Shop"}),
        ({"context": {"sessionId": 1795393388049}}, {"own_session_id": "1795393388049"}),
        ({"context": {"page": {"url": "https://s.example/p?mail=x@y.example", "referrer": "https://r.example/"}}},
         {"page_url": f"https://s.example/p?mail={hashed('x@y.example').hex()}", "referrer": "https://r.example/"}),
        ({"properties": [1, 2], "context": "none", "traits": 5}, {"event_value": None}),
        ({"event": "x" * 100}, {"event_name": "x" * 100}),
        ({"event": "Robert'); drop table event_tracking;--"}, {"event_name": "Robert'); drop table event_tracking;--"}),
    ],
)  # fmt: skip
def test_rows(event: dict[str, Any], expected: dict[str, Any]) -> None:
    """What becomes of a message, column by column."""
    found = row(event)._asdict()
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("event", "sent_at", "expected"),
    [
        # The client's clock is an hour behind, and five seconds passed before it sent.
        ({"timestamp": "2026-11-25T10:59:55Z"}, "2026-11-25T11:00:00Z", NOW - timedelta(seconds=5)),
        # An hour ahead.
        ({"originalTimestamp": "2026-11-25T12:59:55Z"}, "2026-11-25T13:00:00Z", NOW - timedelta(seconds=5)),
        # The event's own sentAt comes first.
        ({"timestamp": "2026-11-25T10:00:00Z", "sentAt": "2026-11-25T10:00:01Z"}, "2026-11-25T11:00:00Z", NOW - timedelta(seconds=1)),
        # The user's word comes before the moment of the call.
        ({"timestamp": "2026-01-01T00:00:00Z", "originalTimestamp": "2026-11-25T12:00:00Z"}, "2026-11-25T12:00:00Z",
         datetime(2026, 1, 1, tzinfo=UTC)),
        ({"timestamp": "2026-11-25T11:00:00+02:00"}, None, datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ({"timestamp": "2026-11-25T11:00:00"}, None, datetime(2026, 11, 25, 11, tzinfo=UTC)),
        ({"timestamp": "2026-11-25T11:00:00Z"}, "yesterday", datetime(2026, 11, 25, 11, tzinfo=UTC)),
        # Never later than it was received.
        ({"timestamp": "2026-11-25T20:00:00Z"}, None, NOW),
        ({"timestamp": "2026-11-25T13:00:00Z"}, "2026-11-25T12:59:00Z", NOW),
        ({}, "2026-11-25T11:00:00Z", NOW),
        ({"timestamp": None}, None, NOW),
        # A clock that stands in 1970 is wrong by as much.
        ({"timestamp": "1970-01-01T00:00:10Z"}, "1970-01-01T00:00:40Z", NOW - timedelta(seconds=30)),
        # So is one of 2100, and one that is four weeks behind.
        ({"timestamp": "2100-01-01T00:00:10Z"}, "2100-01-01T00:00:40Z", NOW - timedelta(seconds=30)),
        ({"timestamp": "2026-10-28T11:59:30Z"}, "2026-10-28T12:00:00Z", NOW - timedelta(seconds=30)),
        # A batch that was sent long ago, and is sent again, is history.
        ({"timestamp": "2024-01-04T11:45:38Z"}, "2024-01-16T08:54:42Z", datetime(2024, 1, 4, 11, 45, 38, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_times(event: dict[str, Any], sent_at: str | None, expected: datetime) -> None:
    """The clock of the client is corrected by what it says of the time of sending."""
    assert row(event, sentAt=sent_at).timestamp == expected


def test_history_counts_as_it_was() -> None:
    """An import is not corrected, however new it is."""
    history = replace(SENDER, is_history=True)
    at = "2026-11-24T11:45:38.000Z"
    assert row({"timestamp": at}, history, sentAt="2026-11-25T08:54:42.000Z").timestamp == datetime.fromisoformat(at)


@pytest.mark.parametrize(
    ("event", "field", "reason"),
    [
        ("text", "event", 'an event is a JSON object, not "text"'),
        ({"type": "click"}, "type", 'type: "click" is none of alias, group, identify, page, screen, track'),
        ({"type": ["track"]}, "type", "type: \"['track']\" is none of"),
        ({"userId": None}, "userId", "userId, anonymousId: both are missing"),
        ({"userId": {"a": 1}}, "userId", "userId: \"{'a': 1}\" is no text"),
        ({"userId": True}, "userId", 'userId: "True" is no text'),
        ({"userId": "x" * 256}, "userId", "has 256 characters, at most 255"),
        ({"anonymousId": "x" * 256}, "anonymousId", "has 256 characters"),
        ({"messageId": "x" * 256}, "messageId", "has 256 characters"),
        ({"context": {"sessionId": "x" * 256}}, "context.sessionId", "has 256 characters"),
        ({"type": "alias"}, "previousId", "an alias names both"),
        ({"event": None}, "event", "event: is missing; a track call names its event"),
        ({"event": "  "}, "event", "is no name"),
        ({"event": 5}, "event", 'event: "5" is no name'),
        ({"event": "x" * 101}, "event", "has 101 characters, a name has at most 100"),
        ({"timestamp": "soon"}, "timestamp", 'timestamp: "soon" is no ISO 8601 date and time'),
        ({"timestamp": 1700000000}, "timestamp", 'timestamp: "1700000000" is no ISO 8601'),
        ({"originalTimestamp": "never"}, "originalTimestamp", 'originalTimestamp: "never"'),
        ({"timestamp": "1970-01-01T00:00:00Z"}, "timestamp", 'timestamp: "1970-01-01T00:00:00Z" is before 2000'),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp", "is before 2000"),
        ({"timestamp": "2100-01-01T00:00:00Z"}, "timestamp", "is more than a day in the future"),
        ({"timestamp": "9999-12-31T23:59:59-14:00"}, "timestamp", ""),
        ({"timestamp": "2020-06-01T00:00:00Z"}, "timestamp", "is past the retention of events, which reaches back to 2023-11-25"),
        ({"event": "a\x00b"}, "event", 'event: "a\\u0000b" holds a NUL character'),
        ({"properties": {"deep": [{"x": "\x00"}]}}, "properties.deep[0].x", "holds a NUL character"),
        ({"size": "\x00"}, "size", "holds a NUL character"),
        ({"properties": {"a\x00": 1}}, 'properties."a\\u0000"', "(the name itself)"),
        ({"event": "Order Completed", "properties": {"revenue": "1.299,00"}}, "properties.revenue", '"1.299,00" is no amount'),
        ({"event": "Order Refunded", "properties": {"total": 5, "currency": "euro"}}, "properties.currency", "is no ISO 4217 code"),
        ({"properties": {"text": "x" * 33_000}}, "size", "bytes; an event has at most 32,768"),
    ],
)  # fmt: skip
def test_rejections(event: Any, field: str, reason: str) -> None:
    """Whatever lacks what every event needs is left out with field, value and reason; its JSON is kept."""
    found = rejected(event)
    assert found.field_name == field and reason in found.reason
    assert found.is_too_large == ("an event has at most" in reason)
    assert json.loads(found.content) == (
        {"type": "track", "userId": "u", "event": "E", **event} if isinstance(event, dict) else event
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": NaN}', "properties.a: NaN is no number that can be kept"),
        ('{"a": [1, -Infinity]}', "properties.a[1]: -Infinity is no number"),
        ('{"a": 1e400}', "properties.a: 1e400 is no number"),
        ('{"a": "\\ud800"}', "holds half of a surrogate pair"),
        ("[" * 300 + "]" * 300, "is nested deeper than 254 levels"),
    ],
)
def test_one_value_that_cannot_be_kept_costs_its_event_alone(text: str, reason: str) -> None:
    """Python's clients send NaN, which is no JSON: the other events of the batch go in."""
    good = '{"type": "page", "userId": "u"}'
    body = f'{{"batch": [{good}, {{"type": "track", "userId": "u", "event": "E", "properties": {text}}}, {good}]}}'
    found = taken(body.encode())
    assert [number for number, _ in found.rows] == [0, 2]
    assert found.rejections[0].number == 1 and reason in found.rejections[0].reason
    assert found.rejections[0].content.startswith(b"{")


def test_a_long_integer_is_read_as_others_are() -> None:
    """Beyond 64 bits a number is a float, whichever reader meets it."""
    for other in ("1", "NaN"):
        body = f'{{"batch": [{{"type": "page", "userId": "u", "properties": {{"n": 123456789012345678901234567890}}}}, {other}]}}'
        found = taken(body.encode())
        assert orjson.loads(found.rows[0][1].metadata)["properties"]["n"] == 1.2345678901234568e29


def test_metadata() -> None:
    """All that has no column, without address, user agent and e-mail addresses in clear."""
    event = {
        "messageId": "m", "integrations": {}, "channel": "server", "_metadata": {"nodeVersion": "20"},
        "properties": {"email": "A@b.example", "note": "mail a@b.example, or c@d.example.", "list": [{"x": "a@b.example"}]},
        "traits": {"a@b.example": 1, "handle": "@ann", "package": "@segment/analytics-node"},
        "context": {"ip": "203.0.113.77", "userAgent": PHONE, "locale": "en", "os": {"name": "iOS"}},
    }  # fmt: skip
    found = row(event)
    ab, cd = hashed("a@b.example").hex(), hashed("c@d.example.").hex()
    assert orjson.loads(found.metadata) == {
        "channel": "server", "_metadata": {"nodeVersion": "20"}, "context": {"locale": "en", "os": {"name": "iOS"}},
        "properties": {"email": ab, "note": f"mail {ab}, or {cd}", "list": [{"x": ab}]},
        "traits": {ab: 1, "handle": "@ann", "package": "@segment/analytics-node"},
    }  # fmt: skip
    assert str(found.place.ip_address) == "203.0.113.0"
    assert (found.place.device_type, found.place.browser, found.place.os) == ("mobile", "Mobile Safari", "iOS")


def test_a_message_without_an_id_is_known_again() -> None:
    """Its id comes of its content and its organisation, not of the time of sending."""
    event = {"properties": {"b": 1, "a": [2]}, "timestamp": "2026-11-25T11:00:00Z"}
    first = row({**event, "sentAt": "2026-11-25T11:00:01Z"}).id
    assert row({"sentAt": "2026-11-25T11:00:09Z", "timestamp": event["timestamp"], "properties": {"a": [2], "b": 1}}).id == first
    assert row({**event, "properties": {"b": 2, "a": [2]}}).id != first
    other = UUID(int=1)
    assert row(event, replace(SENDER, organization=str(other), organization_id=other.bytes)).id != first


def test_whose_address_and_agent() -> None:
    """A browser's are those of its connection; a server speaks for others, and its own are nobody's."""
    browser = replace(SENDER, is_visitor=True, user_agent=PHONE, address=ip_address("198.51.100.9"), country="DE", city="Berlin")
    place = row({}, browser).place
    assert (str(place.ip_address), place.country, place.city, place.device_type) == ("198.51.100.0", "DE", "Berlin", "mobile")
    assert row({"context": {"ip": "0.0.0.0"}}, browser).place.country == "DE"
    spoken_for = row({"context": {"ip": "2001:db8:1:2::3", "location": {"country": "fr", "city": "Paris"}}}).place
    assert (str(spoken_for.ip_address), spoken_for.country, spoken_for.city) == ("2001:db8:1::", "FR", "Paris")
    assert row({}).place == row({"context": {"ip": "no address", "location": {"country": "France"}}}).place
    assert row({}, replace(browser, rules=AddressRules("none"))).place.ip_address is None
    assert str(row({}, replace(browser, rules=AddressRules("full"))).place.ip_address) == "198.51.100.9"


@pytest.mark.parametrize(
    "body", [b"[]", b'"text"', b"{}", b'{"batch": {}}', b'{"batch": null}', b"5", b"", b"{", b"\xff\xfe", b"[" * 3000]
)
def test_no_batch(body: bytes) -> None:
    """What is no batch at all is refused as a whole."""
    with pytest.raises(BadRequest):
        events_of(parse(body).value, None)
