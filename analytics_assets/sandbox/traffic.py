"""What Google Analytics counts of an organisation: visits by local hour of the property's zone, restated for two days.

Grain: organisation x local hour x metric, whole numbers, money in hundredths. A pure function of (organisation, day) and
of how old the hour is: it appears two hours after its end with some 70 per cent, and is whole at 48 hours; a few hours
turn out to be robots after a day, and are taken out again. In a world that is not late an hour is final when it ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache

from analytics_assets.sandbox.hours import QUARTER, LocalHour, days_between, local_date, local_hours
from analytics_assets.sandbox.shop_world import Dice
from analytics_assets.sandbox.world import SandboxOrganization, World

#: Metrics that add up over hours, days and channels, in the order of an hour's values.
ADDITIVE = (
    "sessions", "engagedSessions", "newUsers", "screenPageViews", "eventCount", "keyEvents", "ecommercePurchases",
    "addToCarts", "checkouts", "totalRevenue", "userEngagementDuration", "itemsViewed", "purchaseRevenue", "sessionSeconds",
)  # fmt: skip
#: Metrics made of an hour's or a day's values; they do not add up.
DERIVED = ("activeUsers", "totalUsers", "averageSessionDuration")
MONEY = frozenset({"totalRevenue", "purchaseRevenue"})
#: Seconds of all sessions: what averageSessionDuration is made of; no metric of the vendor's.
_INTERNAL = "sessionSeconds"
METRICS = (*(name for name in ADDITIVE if name != _INTERNAL), *DERIVED)

#: Names in the metric catalogue.
HOURLY_NAMES = {
    "sessions": "sessions", "engagedSessions": "engaged_sessions", "newUsers": "users_new", "screenPageViews": "page_views",
    "eventCount": "events", "keyEvents": "key_events", "ecommercePurchases": "purchases", "addToCarts": "add_to_carts",
    "checkouts": "checkouts", "totalRevenue": "total_revenue", "userEngagementDuration": "engagement_seconds",
    "itemsViewed": "item_views", "purchaseRevenue": "purchase_revenue",
}  # fmt: skip
DAILY_NAMES = {"activeUsers": "users_active", "totalUsers": "users_total", "averageSessionDuration": "avg_session_duration"}

CHANNELS = (("Organic Search", 34), ("Direct", 27), ("Paid Social", 22), ("Email", 11), ("Referral", 6))

_VISITS_PER_ORDER = 36
_WEEKDAYS = (1.04, 0.98, 0.96, 0.99, 0.94, 0.97, 1.12)
_HOURS = (9, 5, 2, 1, 1, 3, 10, 20, 30, 38, 44, 47, 50, 47, 43, 41, 42, 46, 52, 60, 64, 58, 40, 21)
_GROWTH_BASE = date(2026, 1, 5)

_APPEARS, _FINAL, _ROBOTS_FOUND = 2 * 3600, 48 * 3600, 24 * 3600
_FIRST_SHARE = 0.70

Values = tuple[int, ...]


def _whole(dice: Dice, mean: float, most: int) -> int:
    """A whole number whose mean is near ``mean``, and not above ``most``."""
    return min(most, int(mean * (0.6 + 0.8 * dice.random()) + dice.random()))


def _visits(one: SandboxOrganization, day: date, dice: Dice) -> float:
    growth = min(3.0, max(0.5, 1 + 0.005 * (day - _GROWTH_BASE).days / 7))
    return one.orders_per_day * _VISITS_PER_ORDER * _WEEKDAYS[day.weekday()] * growth * (0.85 + 0.3 * dice.random())


def _values(dice: Dice, mean: float, price: float) -> Values:
    sessions = int(mean * (0.7 + 0.6 * dice.random()) + dice.random())
    if not sessions:
        return ()
    engaged = _whole(dice, sessions * 0.62, sessions)
    new = _whole(dice, sessions * 0.55, sessions)
    views = sessions + _whole(dice, sessions * 2.1, sessions * 6)
    items = _whole(dice, views * 0.45, views)
    carts = _whole(dice, sessions * 0.09, sessions)
    checkouts = _whole(dice, carts * 0.6, carts)
    purchases = _whole(dice, checkouts * 0.55, checkouts)
    revenue = sum(int(price * (1500 + dice.below(9000))) for _ in range(purchases))
    other = int(price * dice.below(3000)) if dice.chance(0.05) else 0
    events = views + items + carts + checkouts + purchases + 2 * sessions
    # At least a second: an hour that has a session has a row in every report.
    engagement = 1 + int(engaged * (25 + 90 * dice.random()))
    seconds = engagement + int(sessions * (5 + 60 * dice.random()))
    key_events = purchases + _whole(dice, sessions * 0.02, sessions)
    return (sessions, engaged, new, views, events, key_events, purchases, carts, checkouts, revenue + other, engagement, items,
            revenue, seconds)  # fmt: skip


@lru_cache(maxsize=2048)
def _settled(one: SandboxOrganization, day: date) -> tuple[tuple[LocalHour, bool, Values], ...]:
    """The hours of a day in the end: (hour, whether it was robots, values); hours without a visit are left out."""
    dice = Dice(f"{one.seed}:{one.slug}:traffic:{day}")
    visits, price, total = _visits(one, day, dice), float(one.price_level), sum(_HOURS)
    hours = []
    for hour in local_hours(one.property_zone, day):
        values = _values(dice, visits * _HOURS[hour.hour] * hour.length / 3600 / total, price)
        robots = dice.chance(0.02)
        if values:
            hours.append((hour, robots, values))
    return tuple(hours)


def _at_age(values: Values, seconds: int) -> Values:
    share = round(1000 * (_FIRST_SHARE + (1 - _FIRST_SHARE) * (seconds - _APPEARS) / (_FINAL - _APPEARS)))
    # Rounded up: what is there in the end is there from the start, and carts stay as many as checkouts at least.
    return tuple(-(-value * share // 1000) for value in values)


@lru_cache(maxsize=2048)
def _visible(one: SandboxOrganization, day: date, late: bool, quarter: int) -> tuple[tuple[LocalHour, Values], ...]:
    hours = []
    for hour, robots, values in _settled(one, day):
        age = quarter * QUARTER - hour.end
        if age < (_APPEARS if late else 0) or (robots and (age >= _ROBOTS_FOUND or not late)):
            continue
        hours.append((hour, values if age >= _FINAL or not late else _at_age(values, age)))
    return tuple(hours)


def quarter_of_day(one: SandboxOrganization, day: date, late: bool, now: datetime) -> int:
    """The quarter of an hour (since 1970) whose state of a day is in force at an instant: from some moment on the last."""
    last = local_hours(one.property_zone, day)[-1].end + (_FINAL if late else 0)
    return min(int(now.timestamp()) // QUARTER, -(-last // QUARTER))


def visible_hours(one: SandboxOrganization, day: date, late: bool, now: datetime) -> tuple[tuple[LocalHour, Values], ...]:
    """The hours of a local day with what is reported of them at an instant; values in the order of ADDITIVE."""
    return _visible(one, day, late, quarter_of_day(one, day, late, now))


def added(rows: Sequence[Values]) -> Values:
    """The sum of rows, metric by metric."""
    return tuple(map(sum, zip(*rows, strict=True)))


def users(values: Values, *, hour: bool) -> tuple[int, int]:
    """(active, total) users of an hour, or of a day or more: people who come back within the day count once."""
    new = values[2]
    total = new + -(-(values[0] - new) * (90 if hour else 55) // 100)
    return -(-total * 96 // 100), total


def session_duration(values: Values) -> Decimal:
    """Mean seconds of a session, to the hundredth. A part of an hour by channel may lack a session."""
    return (Decimal(values[-1]) / max(1, values[0])).quantize(Decimal("0.01"))


def value_of(metric: str, values: Values, *, hour: bool) -> Decimal:
    """A metric of an hour's values, or of the sum of several."""
    if metric == "activeUsers":
        return Decimal(users(values, hour=hour)[0])
    if metric == "totalUsers":
        return Decimal(users(values, hour=hour)[1])
    if metric == "averageSessionDuration":
        return session_duration(values)
    value = Decimal(values[ADDITIVE.index(metric)])
    return value.scaleb(-2) if metric in MONEY else value


def _days(world: World, one: SandboxOrganization, now: datetime) -> Iterator[date]:
    return days_between(world.first_day, local_date(one.property_zone, now))


def hourly_truth(world: World, one: SandboxOrganization, now: datetime) -> dict[tuple[str, datetime], Decimal]:
    """(metric of the catalogue, UTC instant at which the property's local hour begins) -> value, in the organisation's
    currency, as Google Analytics has it at ``now``. An hour without a row is not there; 0 in a row is."""
    return {
        (name, datetime.fromtimestamp(hour.start, UTC)): value_of(metric, values, hour=True)
        for day in _days(world, one, now)
        for hour, values in visible_hours(one, day, world.late, now)
        for metric, name in HOURLY_NAMES.items()
    }


def daily_truth(world: World, one: SandboxOrganization, now: datetime) -> dict[tuple[str, date], Decimal]:
    """(metric that hours do not make up, local date of the property) -> value."""
    truth: dict[tuple[str, date], Decimal] = {}
    for day in _days(world, one, now):
        if hours := visible_hours(one, day, world.late, now):
            values = added([row for _, row in hours])
            truth |= {(name, day): value_of(metric, values, hour=False) for metric, name in DAILY_NAMES.items()}
    return truth
