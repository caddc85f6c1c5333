"""The sandbox's website visitors: the same on every machine, sessions as they are defined, a truth that adds up."""

import itertools
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from analytics_assets.sandbox.shop_world import SAMPLE_SHOPS, Shop
from analytics_assets.sandbox.visitors import Message, daily_users, hourly_truth, messages, visits

FIRST = date(2026, 10, 12)
# Over the Sunday on which clocks go back in Europe.
UNTIL = datetime(2026, 10, 27, 13, 20, 31, tzinfo=UTC)


def at(message: Message) -> datetime:
    return datetime.fromisoformat(message["timestamp"])


@pytest.fixture(scope="module", params=SAMPLE_SHOPS, ids=lambda shop: shop.slug)
def shop(request: pytest.FixtureRequest) -> Shop:
    chosen: Shop = request.param
    return chosen


def test_a_longer_range_begins_with_the_same_messages(shop: Shop) -> None:
    whole = messages(shop, FIRST, UNTIL)
    earlier = UNTIL - timedelta(hours=7)
    assert len(whole) > 2_000
    assert messages(shop, FIRST, earlier) == [one for one in whole if at(one) <= earlier]
    assert messages(shop, FIRST, UNTIL, since=earlier) == [one for one in whole if at(one) > earlier]
    assert len({one["messageId"] for one in whole}) == len(whole)


def test_half_an_hour_without_a_message_is_what_parts_two_visits(shop: Shop) -> None:
    by_visitor: dict[str, list[datetime]] = defaultdict(list)
    for message in messages(shop, FIRST, UNTIL):
        by_visitor[message["anonymousId"]].append(at(message))
    gaps = [later - earlier for moments in by_visitor.values() for earlier, later in itertools.pairwise(moments)]
    ended = sum(gap > timedelta(minutes=30) for gap in gaps)
    assert ended + len(by_visitor) == len(list(visits(shop, FIRST, UNTIL)))
    assert ended > 50


def test_a_known_visitor_stays_known(shop: Shop) -> None:
    users: dict[str, str | None] = {}
    for message in messages(shop, FIRST, UNTIL):
        known = users.setdefault(message["anonymousId"], message.get("userId"))
        if known is not None:
            assert message["userId"] == known
        elif message.get("userId"):
            users[message["anonymousId"]] = message["userId"]
    named = [user for user in users.values() if user]
    assert len(named) == len(set(named)) > 20


def test_the_truth_is_what_the_messages_say(shop: Shop) -> None:
    truth = hourly_truth(shop, FIRST, UNTIL)
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for (metric, hour), value in truth.items():
        sums[metric] += value
        assert hour.minute == (30 if shop.time_zone == "Asia/Kolkata" else 0)
    sent = messages(shop, FIRST, UNTIL)
    assert sums["events"] == len(sent)
    assert sums["page_views"] == sum(one["type"] == "page" for one in sent)
    assert sums["purchases"] == sum(one.get("event") == "Order Completed" for one in sent) > 30
    assert sums["users_new"] == len({one["anonymousId"] for one in sent})
    assert sums["sessions"] == len(list(visits(shop, FIRST, UNTIL)))
    people = daily_users(shop, FIRST, UNTIL)
    assert sum(people.values()) >= sums["users_new"] and min(people) == FIRST
