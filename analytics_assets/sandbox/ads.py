"""What Meta reports of an ad account: delivery by local hour of the account's zone, people and conversions by day.

Grain: ad account x local hour (delivery) or local day (reach, conversions); whole numbers, money in hundredths of the ad
account's currency. A pure function of (organisation, day) and of age: delivery appears an hour after its hour, grows for
two days, and a few hours turn out to be invalid and are taken out after 30 hours; conversions are attributed for 28
days. In a world that is not late an hour is final when it ends. What is zero is left out, not reported as 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache

from analytics_assets.sandbox.hours import QUARTER, LocalHour, days_between, local_date, local_hours
from analytics_assets.sandbox.shop_world import Dice
from analytics_assets.sandbox.world import SandboxOrganization, World

#: An hour's values, in this order. spend is in hundredths.
DELIVERY = ("spend", "impressions", "clicks", "inline_link_clicks", "outbound_clicks", "video_view")
#: A day's values, in this order. purchase_value is in hundredths; those by the click within a day, and by the view alone,
#: are parts of purchase.
CONVERSIONS = ("landing_page_view", "add_to_cart", "initiate_checkout", "purchase", "purchase_value")

#: Names in the metric catalogue, in the order of the values.
HOURLY_NAMES = ("ad_spend", "impressions", "clicks_all", "link_clicks", "outbound_clicks", "video_views")
DAILY_NAMES = ("landing_page_views", "ad_add_to_carts", "ad_checkouts", "ad_purchases", "ad_purchase_value")
#: An hour that has a row has these, also where they are 0; the others are left out then.
_ALWAYS = frozenset({"ad_spend", "impressions", "clicks_all"})

# Share of the day's budget that an hour gets: budgets sleep at night and run out in the evening.
_HOURS = (3, 0, 0, 0, 0, 1, 4, 8, 12, 14, 15, 15, 16, 15, 14, 14, 15, 17, 19, 21, 20, 15, 9, 5)
_GROWTH_BASE = date(2026, 1, 5)
_APPEARS, _FINAL, _INVALID_FOUND = 3600, 48 * 3600, 30 * 3600
_FIRST_SHARE = 0.88
_DAY, _ATTRIBUTED = 86_400, 28
_FIRST_CONVERSIONS = 0.55
_DOLLAR_LEVEL = Decimal("1.1")

Values = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AdDay:
    """What is reported of a local day at some moment.

    Attributes:
        hours: the hours with delivery, in the order of DELIVERY.
        delivery: their sum.
        reach: distinct people; 0 where nothing was delivered.
        conversions: in the order of CONVERSIONS.
        by_click_in_a_day, by_view: parts (hundredths) of what was converted: the rest is by a click within seven days.
    """

    hours: tuple[tuple[LocalHour, Values], ...]
    delivery: Values
    reach: int
    conversions: Values
    by_click_in_a_day: int
    by_view: int


_NOTHING = AdDay((), (0,) * len(DELIVERY), 0, (0,) * len(CONVERSIONS), 0, 0)


@dataclass(frozen=True, slots=True)
class _Settled:
    hours: tuple[tuple[LocalHour, bool, Values], ...]
    reach_share: int
    conversions: Values
    by_click_in_a_day: int
    by_view: int


def _level(one: SandboxOrganization) -> float:
    return float(one.price_level if one.ad_currency == one.currency else _DOLLAR_LEVEL)


def _hour(dice: Dice, budget: float, level: float) -> Values:
    spend = int(budget * (0.6 + 0.8 * dice.random()))
    # A cost per thousand of 5 to 11 euro, in hundredths as spend is.
    impressions = int(spend * 1000 / (level * 100 * (5 + 6 * dice.random())))
    if not spend or not impressions:
        return ()
    clicks = min(impressions, int(impressions * (0.01 + 0.02 * dice.random()) + dice.random()))
    links = int(clicks * (0.5 + 0.4 * dice.random()) + dice.random() * 0.5)
    links = min(clicks, links)
    outbound = min(links, int(links * (0.75 + 0.25 * dice.random()) + 0.5))
    views = int(impressions * (0.1 + 0.25 * dice.random())) if dice.chance(0.9) else 0
    return spend, impressions, clicks, links, outbound, views


@lru_cache(maxsize=2048)
def _settled(one: SandboxOrganization, day: date) -> _Settled:
    dice, level = Dice(f"{one.seed}:{one.slug}:ads:{day}"), _level(one)
    growth = min(3.0, max(0.5, 1 + 0.003 * (day - _GROWTH_BASE).days / 7))
    budget = 100 * level * one.orders_per_day * 3 * growth * (0.8 + 0.4 * dice.random())
    # A day in fifty without any ad.
    pause = dice.chance(0.02)
    hours = []
    for hour in local_hours(one.ad_zone, day):
        values = _hour(dice, budget * _HOURS[hour.hour] / sum(_HOURS) * hour.length / 3600, level)
        gap, invalid = dice.chance(0.05), dice.chance(0.015)
        if values and not gap and not pause:
            hours.append((hour, invalid, values))
    links = sum(values[3] for _, invalid, values in hours if not invalid)
    landings = int(links * (0.6 + 0.3 * dice.random()))
    carts = int(landings * (0.08 + 0.1 * dice.random()) + dice.random())
    checkouts = int(carts * (0.4 + 0.4 * dice.random()) + dice.random() * 0.5)
    purchases = min(checkouts, int(checkouts * (0.3 + 0.5 * dice.random()) + 0.5))
    value = sum(int(level * (1500 + dice.below(9000))) for _ in range(purchases))
    return _Settled(
        tuple(hours), 45 + dice.below(40), (landings, carts, checkouts, purchases, value), 40 + dice.below(25), dice.below(20)
    )


def _share(values: Values, thousandths: int) -> Values:
    # Rounded up: what is there in the end is there from the start, and parts stay no more than what they are part of.
    return tuple(-(-value * thousandths // 1000) for value in values)


def _visible_hours(hours: Sequence[tuple[LocalHour, bool, Values]], late: bool, at: int) -> Iterator[tuple[LocalHour, Values]]:
    for hour, invalid, values in hours:
        age = at - hour.end
        if age < (_APPEARS if late else 0) or (invalid and (age >= _INVALID_FOUND or not late)):
            continue
        grown = 1000 if age >= _FINAL or not late else round(1000 * (_FIRST_SHARE + (1 - _FIRST_SHARE) * age / _FINAL))
        yield hour, _share(values, grown)


@lru_cache(maxsize=2048)
def _visible(one: SandboxOrganization, day: date, late: bool, at: int) -> AdDay:
    settled = _settled(one, day)
    hours = tuple(_visible_hours(settled.hours, late, at))
    if not hours:
        return _NOTHING
    delivery = tuple(map(sum, zip(*(values for _, values in hours), strict=True)))
    start, end = local_hours(one.ad_zone, day)[0].start, local_hours(one.ad_zone, day)[-1].end
    # While the day runs, as much as has passed of it; from then on by whole days of age.
    passed = min(1.0, (at - start) / (end - start))
    age = min(_ATTRIBUTED, max(0, (at - end) // _DAY))
    attributed = _FIRST_CONVERSIONS + (1 - _FIRST_CONVERSIONS) * age / _ATTRIBUTED if late else 1.0
    reach = -(-delivery[1] * settled.reach_share // 100)
    conversions = _share(settled.conversions, round(1000 * passed * attributed))
    return AdDay(hours, delivery, reach, conversions, settled.by_click_in_a_day, settled.by_view)


def state_of_day(one: SandboxOrganization, day: date, late: bool, now: datetime) -> int:
    """The moment (seconds since 1970) whose state of a day is in force at an instant: it moves by quarters of an hour,
    two days after the day's end by whole days, and after 28 no more."""
    end = local_hours(one.ad_zone, day)[-1].end
    at = int(now.timestamp()) // QUARTER * QUARTER
    if at >= end + _FINAL:
        at = end + min(_ATTRIBUTED, (at - end) // _DAY) * _DAY
    return at if late else min(at, end)


def ad_day(one: SandboxOrganization, day: date, late: bool, now: datetime) -> AdDay:
    """What is reported of a local day of the ad account at an instant."""
    return _visible(one, day, late, state_of_day(one, day, late, now))


def money(hundredths: int) -> Decimal:
    """An amount with two decimals."""
    return Decimal(hundredths).scaleb(-2)


def _days(world: World, one: SandboxOrganization, now: datetime) -> Iterator[tuple[date, AdDay]]:
    for day in days_between(world.first_day, local_date(one.ad_zone, now)):
        yield day, ad_day(one, day, world.late, now)


def hourly_truth(world: World, one: SandboxOrganization, now: datetime) -> dict[tuple[str, datetime], Decimal]:
    """(metric of the catalogue, UTC instant at which the account's local hour begins) -> value, in the ad account's
    currency, as Meta has it at ``now``. Hours without delivery, and zero link clicks, outbound clicks and video views are
    not there."""
    return {
        (name, datetime.fromtimestamp(hour.start, UTC)): money(value) if name == "ad_spend" else Decimal(value)
        for _, reported in _days(world, one, now)
        for hour, values in reported.hours
        for name, value in zip(HOURLY_NAMES, values, strict=True)
        if value or name in _ALWAYS
    }


def daily_truth(world: World, one: SandboxOrganization, now: datetime) -> dict[tuple[str, date], Decimal]:
    """(metric that is known by the day only, local date of the ad account) -> value, in the ad account's currency; days
    without delivery and zero conversions are not there."""
    truth: dict[tuple[str, date], Decimal] = {}
    for day, reported in _days(world, one, now):
        if reported.reach:
            truth["reach", day] = Decimal(reported.reach)
        for name, value in zip(DAILY_NAMES, reported.conversions, strict=True):
            if value:
                truth[name, day] = money(value) if name == "ad_purchase_value" else Decimal(value)
    return truth
