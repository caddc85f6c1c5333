"""A simulated quarter of organisations for the accuracy of insights: thirty hourly series each, with incidents of known kind and time.

Half of the organisations have some two incidents a week, as many have none. One stream of visits feeds the series of an organisation,
so that they move together as those of one shop do: a shop's orders follow from visits, two trackers count the same visits each with
losses of its own, advertising runs by itself. Noise is more than that of counts: by the hour, by the day, by a level that wanders; a
fifth of the organisations come in bursts. Volumes reach from a few visits an hour to some thousand.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY, WEEK = 24, 168
#: Before the quarter, so that its first hour has a history.
LEAD = 28 * DAY
QUARTER = 91 * DAY
HOURS = LEAD + QUARTER
#: (channel, metric, unit, of the same visits by hand down to the payment: visits, carts, checkouts, orders, ads)
SERIES: tuple[tuple[str, str, str, str], ...] = (
    ("woocommerce", "total_sales", "money", "orders"), ("woocommerce", "orders", "count", "orders"),
    ("woocommerce", "gross_sales", "money", "orders"), ("woocommerce", "items_sold", "count", "orders"),
    ("woocommerce", "discounts", "money", "orders"), ("woocommerce", "refunds_amount", "money", "refunds"),
    ("woocommerce", "refunds_count", "count", "refunds"), ("woocommerce", "customers_new", "count", "orders"),
    ("woocommerce", "cancelled_orders", "count", "refunds"),
    ("google_analytics", "sessions", "count", "visits"), ("google_analytics", "page_views", "count", "visits"),
    ("google_analytics", "engaged_sessions", "count", "visits"), ("google_analytics", "users_new", "count", "visits"),
    ("google_analytics", "key_events", "count", "carts"), ("google_analytics", "item_views", "count", "visits"),
    ("google_analytics", "add_to_carts", "count", "carts"), ("google_analytics", "checkouts", "count", "checkouts"),
    ("google_analytics", "purchases", "count", "orders"), ("google_analytics", "purchase_revenue", "money", "orders"),
    ("events", "sessions", "count", "visits"), ("events", "page_views", "count", "visits"), ("events", "item_views", "count", "visits"),
    ("events", "add_to_carts", "count", "carts"), ("events", "checkouts", "count", "checkouts"),
    ("events", "purchases", "count", "orders"), ("events", "purchase_revenue", "money", "orders"),
    ("meta_ads", "ad_spend", "money", "ads"), ("meta_ads", "impressions", "count", "ads"),
    ("meta_ads", "clicks_all", "count", "ads"), ("meta_ads", "link_clicks", "count", "ads"),
)  # fmt: skip
ROWS = len(SERIES)
#: How many of a series come of a visit, an order, a click ...
_RATES = {
    "page_views": 4.0, "engaged_sessions": 0.6, "users_new": 0.55, "item_views": 1.6, "key_events": 0.9, "add_to_carts": 0.9,
    "items_sold": 1.8, "customers_new": 0.6, "discounts": 0.1, "gross_sales": 1.1, "refunds_amount": 0.8, "cancelled_orders": 0.5,
    "clicks_all": 0.02, "link_clicks": 0.012, "ad_spend": 0.008,
}  # fmt: skip
_SEEN = {"google_analytics": 0.8, "events": 0.93}
_FUNNEL = ("visits", "carts", "checkouts", "orders")
#: Which series an incident reaches: what happens to visits happens to orders.
_SCOPES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "traffic": (_FUNNEL, ("woocommerce", "google_analytics", "events")),
    "shop": (("orders",), ("woocommerce", "google_analytics", "events")),
    "tracking": (_FUNNEL, ("google_analytics",)),
    "events": (_FUNNEL, ("events",)),
    "orders": (("orders",), ("woocommerce",)),
    "ads": (("ads",), ("meta_ads",)),
}


@dataclass(frozen=True)
class Kind:
    """factors: what it leaves or makes of the usual; hours: how long it lasts; found: for how long after its start it may be told."""

    factors: tuple[tuple[float, float], ...]
    hours: tuple[int, int]
    scopes: tuple[str, ...]
    lasts: bool = False


KINDS = {
    "spike": Kind(((2.2, 4.0),), (2, 8), ("traffic", "shop", "ads")),
    "drop": Kind(((0.1, 0.45),), (6, 18), ("traffic", "shop", "tracking", "ads")),
    "outage": Kind(((0.0, 0.0),), (4, 14), ("shop", "tracking", "events", "ads")),
    "level shift": Kind(((1.5, 2.0), (0.4, 0.65)), (WEEK, WEEK), ("traffic", "shop", "ads"), lasts=True),
    "slow drift": Kind(((1.8, 2.5), (0.3, 0.55)), (240, 336), ("traffic", "shop", "ads"), lasts=True),
    "season change": Kind(((3, 6), (-6, -3)), (WEEK, WEEK), ("traffic",), lasts=True),
    "double counting": Kind(((2.0, 2.0),), (8, 30), ("orders", "tracking", "events")),
    "campaign": Kind(((1.5, 2.5),), (48, 96), ("traffic",)),
    "holiday": Kind(((0.35, 0.65), (1.5, 2.2)), (DAY, DAY), ("traffic",)),
}
_A_WEEK = 2.3
#: Material: so much of a usual day, and so many events of a series that it reaches.
_SHARE, _EVENTS = 0.05, 12.0


@dataclass(frozen=True)
class Incident:
    """Hours are indices, the end excluded. up: None where it goes both ways. material: large enough that it has to be told."""

    organization: int
    kind: str
    start: int
    end: int
    up: bool | None
    rows: tuple[int, ...]
    material: bool


@dataclass
class World:
    """values: series x hours, ROWS rows an organisation; the first half of the organisations has incidents."""

    values: Floats
    incidents: list[Incident] = field(default_factory=list)

    @property
    def organizations(self) -> int:
        return len(self.values) // ROWS


def _rows(scope: str) -> tuple[int, ...]:
    stages, channels = _SCOPES[scope]
    return tuple(row for row, (channel, _, _, stage) in enumerate(SERIES) if stage in stages and channel in channels)


@dataclass
class _Plan:
    """One organisation's incidents: what becomes of each row's mean, by how many hours the day is moved, what is counted twice."""

    factor: Floats
    moved: NDArray[np.int64]
    double: Floats
    drawn: list[tuple[str, int, int, bool | None, tuple[int, ...]]]


def _plan(rng: np.random.Generator, quiet: bool) -> _Plan:
    plan = _Plan(np.ones((ROWS, HOURS)), np.zeros(HOURS, dtype=np.int64), np.ones((ROWS, HOURS)), [])
    if quiet:
        return plan
    busy = np.zeros((ROWS, HOURS), dtype=np.bool_)
    level = dict.fromkeys(_SCOPES, 1.0)
    names = list(KINDS)
    wanted = rng.poisson(_A_WEEK * QUARTER / WEEK)
    for _ in range(4 * wanted):
        if len(plan.drawn) >= wanted:
            break
        name = names[rng.integers(len(names))]
        kind = KINDS[name]
        scope = kind.scopes[rng.integers(len(kind.scopes))]
        rows = _rows(scope)
        length = int(rng.integers(kind.hours[0], kind.hours[1] + 1))
        day = int(rng.integers(LEAD // DAY, HOURS // DAY - 1))
        start = day * DAY + (0 if name == "holiday" else int(rng.integers(7, 21)))
        end = min(start + length, HOURS)
        if busy[list(rows), max(start - DAY, 0) : end + DAY].any():
            continue
        busy[list(rows), start:end] = True
        # What has gone up comes down: a level that wandered off would leave nothing to be found.
        sign = int(rng.integers(len(kind.factors)))
        if kind.lasts and name != "season change":
            sign = 1 if level[scope] > 1 else 0 if level[scope] < 1 else sign
        low, high = kind.factors[sign]
        size = float(rng.uniform(low, high))
        up: bool | None = size > 1
        if name == "season change":
            plan.moved[start:] = 0 if plan.moved[start] else round(size)
            up = None
        elif name == "double counting":
            plan.double[list(rows), start:end] = 2.0
        else:
            course = np.full(HOURS - start, size) if kind.lasts else np.full(end - start, size)
            if name == "slow drift":
                course[: end - start] = np.exp(np.linspace(0, np.log(size), end - start))
            if name == "campaign":
                course = 1 + (size - 1) * np.exp(-np.arange(end - start) / (end - start))
            plan.factor[list(rows), start : start + len(course)] *= course
            if kind.lasts:
                level[scope] *= size
        plan.drawn.append((name, start, end, up, rows))
    return plan


def _means(rng: np.random.Generator, moved: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Visits, orders and impressions expected of each hour; noise that all of a stage share is in it."""
    hours = np.arange(HOURS)
    volume = float(np.exp(rng.uniform(np.log(6), np.log(1500))))
    conversion = rng.uniform(0.015, 0.05)
    peak, depth = rng.uniform(11, 20), rng.uniform(0.7, 1.5)
    by_hour = np.exp(depth * np.cos(2 * np.pi * ((hours - moved) % DAY - peak) / DAY))
    weekdays = np.exp(rng.normal(0, 0.12, 7))
    weekdays[5:] *= rng.choice([0.6, 0.8, 1.0, 1.3])
    season = by_hour / by_hour.mean() * weekdays[(hours // DAY) % 7]
    days = HOURS // DAY
    daily = np.exp(rng.normal(0, rng.uniform(0.03, 0.08), days) + np.cumsum(rng.normal(0, 0.012, days)))
    spread = rng.uniform(0.1, 0.3) if rng.random() < 0.2 else rng.uniform(0.005, 0.04)
    noise = rng.gamma(1 / spread, spread, HOURS)
    visits = volume * season * np.repeat(daily, DAY) * noise
    orders = visits * conversion * np.repeat(np.exp(rng.normal(0, 0.05, days)), DAY)
    ads = volume * rng.uniform(5, 20) * (0.5 + season / 2) * np.repeat(np.exp(rng.normal(0, 0.06, days)), DAY)
    return visits, orders, ads * rng.gamma(50, 1 / 50, HOURS)


def _organization(rng: np.random.Generator, number: int, quiet: bool) -> tuple[Floats, list[Incident]]:
    plan = _plan(rng, quiet)
    visits, orders, ads = _means(rng, plan.moved)
    of_stage = {
        "visits": visits,
        "carts": visits * 0.08,
        "checkouts": orders * 1.8,
        "orders": orders,
        "refunds": orders * 0.06,
        "ads": ads,
    }
    basket = float(np.exp(rng.normal(4, 0.6)))
    usual = np.empty((ROWS, HOURS))
    values = np.empty((ROWS, HOURS))
    for row, (channel, metric, unit, stage) in enumerate(SERIES):
        usual[row] = of_stage[stage] * _RATES.get(metric, 1.0) * _SEEN.get(channel, 1.0)
        counts = rng.poisson(usual[row] * plan.factor[row]).astype(np.float64)
        # A sum of so many baskets; advertising is billed by the thousand impressions, so its money is no sum of baskets.
        shape = 40.0 if stage == "ads" else 2.0
        money = rng.gamma(np.maximum(counts, 1e-9) * shape) / shape * (1.0 if stage == "ads" else basket)
        values[row] = np.where(counts > 0, np.round(money, 2), 0.0) if unit == "money" else counts
    values *= plan.double
    found = []
    for name, start, end, up, rows in plan.drawn:
        until = min(start + DAY, end) if name == "season change" else end
        material = False
        for row in rows:
            was = float(usual[row, start - WEEK : start].sum() / 7)
            now = usual[row, start:until]
            if name == "season change":
                gone = float(np.abs(now - usual[row, start - WEEK : start - WEEK + len(now)]).sum())
            else:
                gone = float(
                    (
                        now
                        * np.abs(plan.factor[row, start:until] * plan.double[row, start:until] / plan.factor[row, start - 1] - 1)
                    ).sum()
                )
            material |= gone >= _SHARE * was and gone * plan.factor[row, start - 1] >= _EVENTS
        found.append(Incident(number, name, start, end, up, rows, material))
    return values, found


def build(seed: int, organizations: int) -> World:
    """A world of so many organisations with incidents, and as many without."""
    rng = np.random.default_rng(seed)
    world = World(np.empty((2 * organizations * ROWS, HOURS)))
    for number in range(2 * organizations):
        values, found = _organization(rng, number, quiet=number >= organizations)
        world.values[number * ROWS : (number + 1) * ROWS] = values
        world.incidents.extend(found)
    return world
