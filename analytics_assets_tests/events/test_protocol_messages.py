"""The protocol with whatever JSON there is, and with what real clients sent."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_assets.events.protocol import events_of, read
from analytics_assets.events.wire import encoded
from analytics_assets.settings import PROJECT_ROOT
from analytics_assets_tests.events.test_protocol import SENDER, taken

PAYLOADS = PROJECT_ROOT.parent / "shared" / "data" / "payloads" / "segment"
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_keys = (
    "type",
    "event",
    "userId",
    "anonymousId",
    "previousId",
    "messageId",
    "timestamp",
    "sentAt",
    "context",
    "properties",
    "traits",
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(_keys), _json, max_size=8) | _json, max_size=4))
def test_any_json_is_a_row_or_a_rejection(events: list[Any]) -> None:
    """Whatever comes: each event is one row, which can be encoded, or one rejection with a reason."""
    sound = [{"type": "track", "userId": "u", "event": "E", **event} if isinstance(event, dict) else event for event in events]
    body = json.dumps({"batch": [*events, *sound]}).encode()
    found = taken(body)
    numbers = [number for number, _ in found.rows] + [one.number for one in found.rejections]
    assert sorted(numbers) == list(range(2 * len(events)))
    for _, one in found.rows:
        encoded(one, 0)
        orjson.loads(one.metadata)
    assert all(one.reason and one.content for one in found.rejections)


@pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the captured payloads are not there")
def test_what_real_clients_sent() -> None:
    """Lines that Segment's and RudderStack's clients sent: their events, times and amounts."""
    lines = [json.loads(line) for file in sorted(PAYLOADS.glob("*.jsonl")) for line in file.read_text().splitlines()]
    ours = [line for line in lines if line["path"] == "/v1/batch"]
    assert len(ours) == 5
    rows = []
    for line in ours:
        sent_at = datetime.fromisoformat(line["body"]["sentAt"])
        found = read(*events_of(line["body"], None), replace(SENDER, received_at=sent_at + timedelta(seconds=1)))
        assert not found.rejections
        rows += [one for _, one in found.rows]
    assert [(one.event_type, one.event_name, one.user_id, one.anonymous_id, one.event_value, one.currency) for one in rows] == [
        ("identify", "User Identified", "u1", None, None, None),
        ("page", "Page Viewed", "u1", None, None, None),
        ("track", "Product Viewed", None, "anon-1", None, None),
        ("track", "Order Completed", "u1", None, Decimal(19), None),
        ("track", "Order Completed", "u1", None, Decimal(19), None),
        ("identify", "User Identified", "user-1", None, None, None),
        ("page", "Page Viewed", "user-1", None, None, None),
        ("track", "Product Viewed", "user-1", None, None, None),
        ("track", "Product Added", "user-1", None, None, None),
        ("track", "Order Completed", "user-1", None, Decimal("19.0"), "EUR"),
        ("track", "Order Completed", "user-1", None, Decimal("19.0"), None),
    ]
    # Received a second after it was sent: the time of the call, a second later; but for what its user dated himself.
    assert rows[0].timestamp == datetime(2026, 11, 23, 0, 23, 9, 49_000, tzinfo=UTC)
    assert rows[9].timestamp == datetime(2026, 11, 1, 10, 0, 1, tzinfo=UTC)
    assert rows[6].event_category == "Shop" and rows[6].event_label == "Home" and rows[6].page_url == "https://shop.example/"
    assert all(one.place.user_agent is None for one in rows)
