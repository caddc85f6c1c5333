"""Visitors of a shop's website: seeded, as a tracking client would report them (Segment's messages), and what they add up to.

Grain: a visit is one session of one visitor, its messages seconds to minutes apart; visits of a visitor lie more than half
an hour apart. A pure function of (shop, first day, day): a range extended at its end begins with the same visits. Nobody has
visited before the first day.

A visitor is anonymous until it signs up or buys; from then on its messages carry the user id too, so that what it did before
belongs to the user as well. Instants are whole seconds since 1970 UTC, days the shop's local days; money is in the shop's
currency.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from analytics_assets.sandbox.hours import local_date
from analytics_assets.sandbox.shop_world import Dice, Product, Shop, catalogue, dice, head_counts, moment

Message = dict[str, Any]

_VISITORS_PER_ORDER = 1.1
_APART = 31 * 60
# How likely a visitor comes back so many days later.
_RETURNS = {1: 0.14, 2: 0.08, 3: 0.07, 5: 0.05, 7: 0.09, 10: 0.04, 14: 0.06, 21: 0.04, 28: 0.03, 42: 0.02, 60: 0.02}
_SIGNS_UP, _VIEWS_LIST, _ADDS, _CHECKS_OUT, _PAYS, _REFUNDED = 0.06, 0.85, 0.19, 0.58, 0.62, 0.04
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
)
_AGENT_WEIGHTS = (34, 26, 20, 9, 5, 6)
_REFERRERS = ("", "https://www.google.com/", "https://www.instagram.com/", "https://news.example/", "https://mail.example/")
_REFERRER_WEIGHTS = (38, 34, 16, 5, 7)


@dataclass
class Visit:
    """One session. visitor: its anonymous id; start, end: its first and last message."""

    visitor: str
    start: int
    end: int
    messages: list[tuple[int, Message]] = field(default_factory=list)


class _Session:
    """Puts messages down, one after the other."""

    def __init__(self, shop: Shop, roll: Dice, visitor: str, user: str | None, start: int, context: Message) -> None:
        self.shop, self.roll, self.user, self.context = shop, roll, user, context
        self.visit = Visit(visitor, start, start)
        self.site = f"https://{shop.slug}.example"

    def say(self, kind: str, path: str, **content: Any) -> None:
        visit = self.visit
        if visit.messages:
            visit.end += 3 + self.roll.below(30) + (self.roll.below(200) if self.roll.chance(0.3) else 0)
        page = {"path": path, "url": self.site + path}
        visit.messages.append(
            (
                visit.end,
                {
                    "type": kind,
                    "messageId": f"{self.shop.slug}-{visit.visitor}-{visit.start}-{len(visit.messages)}",
                    "timestamp": datetime.fromtimestamp(visit.end, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                    "anonymousId": visit.visitor,
                    **({"userId": self.user} if self.user else {}),
                    "context": self.context | {"page": page},
                    **content,
                },
            )
        )

    def page(self, name: str, path: str) -> None:
        self.say("page", path, name=name, properties={"path": path, "url": self.site + path})

    def track(self, event: str, path: str, **properties: Any) -> None:
        self.say("track", path, event=event, properties=properties)

    def log_in(self, path: str, *, is_new: bool) -> None:
        if self.user is not None:
            return
        self.user = f"user-{self.visit.visitor[2:]}"
        self.say("identify", path, traits={"email": f"{self.user}@mail.example"})
        if is_new:
            self.track("Signed Up", path, method="email")


def _item(product: Product) -> Message:
    return {"product_id": str(product.id), "sku": product.sku, "name": product.name, "price": float(product.price)}


def _browse(session: _Session) -> None:
    """From the home page as far as this visitor goes today."""
    shop, roll = session.shop, session.roll
    session.page("Home", "/")
    if roll.chance(_SIGNS_UP):
        session.log_in("/account", is_new=True)
    if not roll.chance(_VIEWS_LIST):
        return
    session.page("Products", "/products")
    session.track("Product List Viewed", "/products", category="all")
    products = catalogue(shop)
    chosen: Product | None = None
    for _ in range(1 + roll.below(4)):
        product = products[min(roll.below(len(products)), roll.below(len(products)))]
        path = f"/products/{product.id}"
        session.page("Product", path)
        session.track("Product Viewed", path, currency=shop.currency, **_item(product))
        if roll.chance(_ADDS):
            chosen = product
            session.track("Product Added", path, currency=shop.currency, quantity=1, **_item(product))
    if chosen is None or not roll.chance(_CHECKS_OUT):
        return
    session.page("Checkout", "/checkout")
    session.track("Checkout Started", "/checkout", currency=shop.currency, value=float(chosen.price))
    if not roll.chance(_PAYS):
        return
    session.log_in("/checkout", is_new=roll.chance(0.5))
    quantity = 1 + roll.weighted((80, 15, 5))
    revenue = float(chosen.price * quantity)
    order = {
        "order_id": f"W-{session.visit.start}-{session.visit.visitor[-4:]}",
        "revenue": revenue,
        "currency": shop.currency,
        "products": [_item(chosen) | {"quantity": quantity}],
    }
    session.track("Order Completed", "/thanks", **order)
    if roll.chance(_REFUNDED):
        session.track("Order Refunded", "/account", order_id=order["order_id"], revenue=revenue, currency=shop.currency)


@lru_cache(maxsize=4096)
def _visits_of_born(shop: Shop, day: date) -> tuple[Visit, ...]:
    """All visits, whenever they are, of the visitors who come for the first time on that day."""
    visits: list[Visit] = []
    for number in range(int(head_counts(shop, day)[0] * _VISITORS_PER_ORDER)):
        roll = dice(shop, "visitor", day, number)
        visitor, user, free_from = f"v-{roll.hex(12)}", None, 0
        agent = _AGENTS[roll.weighted(_AGENT_WEIGHTS)]
        context: Message = {
            "userAgent": agent,
            "ip": f"203.0.113.{1 + roll.below(250)}",
            "locale": "en",
            "library": {"name": "sandbox", "version": "1"},
        }
        days = [0, *(after for after, share in _RETURNS.items() if roll.chance(share))]
        for after in days:
            start = moment(roll, shop, day + timedelta(days=after))
            if start < free_from:
                continue
            referrer = _REFERRERS[roll.weighted(_REFERRER_WEIGHTS)]
            session = _Session(shop, roll, visitor, user, start, context | ({"referrer": {"url": referrer}} if referrer else {}))
            _browse(session)
            user, free_from = session.user, session.visit.end + _APART
            visits.append(session.visit)
    return tuple(visits)


def visits(shop: Shop, first_day: date, until: datetime) -> Iterator[Visit]:
    """The visits that have begun by an instant, of visitors who first came on first_day or later; in no order."""
    end, day = int(until.timestamp()), first_day
    while day <= local_date(shop.time_zone, until):
        yield from (visit for visit in _visits_of_born(shop, day) if visit.start <= end)
        day += timedelta(days=1)


def messages(shop: Shop, first_day: date, until: datetime, since: datetime | None = None) -> list[Message]:
    """What a client has sent by ``until`` (and after ``since``), in the order of time."""
    end, start = int(until.timestamp()), int(since.timestamp()) if since else -1
    found = [
        (at, message["messageId"], message)
        for visit in visits(shop, first_day, until)
        for at, message in visit.messages
        if start < at <= end
    ]
    return [message for _, _, message in sorted(found, key=lambda item: item[:2])]


_COUNTED = {
    "Product Viewed": "item_views",
    "Product Added": "add_to_carts",
    "Checkout Started": "checkouts",
    "Order Completed": "purchases",
}


def _local_hour(zone: ZoneInfo, at: int) -> datetime:
    """The instant at which the local hour of an instant begins."""
    offset = datetime.fromtimestamp(at, zone).utcoffset() or timedelta()
    past = int(offset.total_seconds())
    return datetime.fromtimestamp((at + past) // 3600 * 3600 - past, UTC)


def hourly_truth(shop: Shop, first_day: date, until: datetime) -> dict[tuple[str, datetime], Decimal]:
    """(metric of channel events, UTC instant at which the local hour begins) -> value, of what has happened by ``until``."""
    zone, end = ZoneInfo(shop.time_zone), int(until.timestamp())
    truth: dict[tuple[str, datetime], Decimal] = defaultdict(Decimal)
    first: dict[str, int] = {}
    for visit in visits(shop, first_day, until):
        truth["sessions", _local_hour(zone, visit.start)] += 1
        first[visit.visitor] = min(visit.start, first.get(visit.visitor, visit.start))
        for at, message in visit.messages:
            if at > end:
                break
            hour = _local_hour(zone, at)
            truth["events", hour] += 1
            if message["type"] == "page":
                truth["page_views", hour] += 1
            event = message.get("event", "")
            if event in _COUNTED:
                truth[_COUNTED[event], hour] += 1
            if event in ("Order Completed", "Order Refunded"):
                amount = Decimal(str(message["properties"]["revenue"]))
                truth["purchase_revenue", hour] += amount if event == "Order Completed" else -amount
    for start in first.values():
        truth["users_new", _local_hour(zone, start)] += 1
    return dict(truth)


def daily_users(shop: Shop, first_day: date, until: datetime) -> dict[date, int]:
    """Distinct visitors by local day."""
    zone, end = ZoneInfo(shop.time_zone), int(until.timestamp())
    seen: dict[date, set[str]] = defaultdict(set)
    for visit in visits(shop, first_day, until):
        for at, _ in visit.messages:
            if at <= end:
                seen[datetime.fromtimestamp(at, zone).date()].add(visit.visitor)
    return {day: len(found) for day, found in seen.items()}
