"""Cohorts of one organisation in plain Python, from the definitions alone: no SQL, no increments."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

MOST = {"week": 104, "month": 36}


@dataclass
class Order:
    """An order of a store. Of Shopify the money comes with its sales."""

    source: str
    at: datetime
    total: Decimal
    customer: str | None
    counted: bool = True
    cancelled: datetime | None = None
    currency: str = "EUR"


@dataclass
class Customer:
    """A store's record of a customer."""

    registered: datetime | None
    customer_id: str | None
    email: str | None


@dataclass
class Visitor:
    """Somebody tracked: known where user is set."""

    visits: list[datetime]
    user: str | None = None
    signed_up: datetime | None = None
    email: str | None = None


@dataclass
class Facts:
    """Everything that is known of one organisation.

    refunds: (order or None, when, amount); sales likewise, signed. purchases: (user, when, name, amount).
    """

    zone: str
    currency: str = "EUR"
    orders: dict[str, Order] = field(default_factory=dict)
    refunds: dict[str, tuple[str | None, datetime, Decimal]] = field(default_factory=dict)
    sales: dict[str, tuple[str, datetime, Decimal]] = field(default_factory=dict)
    customers: dict[tuple[str, str], Customer] = field(default_factory=dict)
    visitors: dict[str, Visitor] = field(default_factory=dict)
    purchases: dict[str, tuple[str, datetime, str, Decimal]] = field(default_factory=dict)

    def day(self, at: datetime) -> date:
        """The organisation's day of an instant."""
        return at.astimezone(ZoneInfo(self.zone)).date()


@dataclass(frozen=True)
class Cell:
    """One row of cohort_analysis."""

    size: int
    active: int
    rate: Decimal
    revenue: Decimal
    complete: bool


def period_of(period: str, day: date) -> date:
    """Monday, or the first of the month."""
    return day - timedelta(days=day.weekday()) if period == "week" else day.replace(day=1)


def number_of(period: str, cohort: date, start: date) -> int:
    """How many period starts lie between."""
    return (start - cohort).days // 7 if period == "week" else 12 * (start.year - cohort.year) + start.month - cohort.month


def start_of(period: str, cohort: date, number: int) -> date:
    """The start of the period with that number."""
    if period == "week":
        return cohort + timedelta(weeks=number)
    months = cohort.year * 12 + cohort.month - 1 + number
    return date(months // 12, months % 12 + 1, 1)


Day = tuple[str, date]


def _persons(facts: Facts) -> dict[tuple[str, str], str]:
    """Which user a store's customer is."""
    users = {v.user: v for v in facts.visitors.values() if v.user}
    found = {}
    for key, customer in facts.customers.items():
        if customer.customer_id in users:
            found[key] = customer.customer_id
        elif customer.email and (same := [u for u, v in users.items() if v.email == customer.email]):
            found[key] = min(same)
    return {key: str(user) for key, user in found.items()}


def _purchases(
    facts: Facts, rate: dict[str, Decimal]
) -> tuple[set[tuple[tuple[str, str], date]], list[tuple[tuple[str, str], date, Decimal]]]:
    """Days on which a customer bought, and what they paid when."""
    bought, paid = set(), []
    money = [(o, r[1], -r[2]) for r in facts.refunds.values() if r[0] and (o := facts.orders.get(r[0]))]
    money += [(o, s[1], s[2]) for s in facts.sales.values() if (o := facts.orders.get(s[0]))]
    money += [(o, o.at, o.total) for o in facts.orders.values() if o.source != "shopify"]
    for o in facts.orders.values():
        if o.counted and o.cancelled is None and o.customer:
            bought.add(((o.source, o.customer), facts.day(o.at)))
    for o, at, amount in money:
        if o.counted and o.cancelled is None and o.customer:
            paid.append(((o.source, o.customer), facts.day(max(at, o.at)), amount * rate[o.currency]))
    return bought, paid


def cells(facts: Facts, today: date, rate: dict[str, Decimal] | None = None) -> dict[tuple[str, str, date, int], Cell]:
    """Every row by (cohort type, period type, cohort date, period number)."""
    users = {v.user: v for v in facts.visitors.values() if v.user}
    persons = _persons(facts)
    bought, paid = _purchases(facts, rate or {"EUR": Decimal(1)})
    tracked_paid = [
        (user, facts.day(at), amount if name == "Order Completed" else -amount)
        for user, at, name, amount in facts.purchases.values()
    ]
    visits = [(f"user {u}", facts.day(at)) for u, v in users.items() for at in v.visits]

    anchors: dict[str, dict[str, date]] = {"signup": {}, "first_purchase": {}, "first_visit": {}}
    activity: dict[str, list[Day]] = {"signup": visits, "first_visit": visits, "first_purchase": []}
    money: dict[str, list[tuple[str, date, Decimal]]] = {}

    def name(key: tuple[str, str]) -> str:
        return f"{key[0]} {key[1]}"

    if facts.orders:
        activity["first_purchase"] = [(name(key), day) for key, day in bought]
        money["first_purchase"] = [(name(key), day, amount) for key, day, amount in paid]
    else:
        activity["first_purchase"] = [
            (f"user {u}", facts.day(at)) for u, at, what, _ in facts.purchases.values() if what == "Order Completed"
        ]
        money["first_purchase"] = [(f"user {u}", day, amount) for u, day, amount in tracked_paid]
    for who, day in activity["first_purchase"]:
        anchors["first_purchase"][who] = min(day, anchors["first_purchase"].get(who, day))
    for u, v in users.items():
        anchors["first_visit"][f"user {u}"] = min(facts.day(at) for at in v.visits)
    signups = [(f"user {u}", v.signed_up) for u, v in users.items()]
    signups += [
        (f"user {persons[key]}" if key in persons else name(key), customer.registered)
        for key, customer in facts.customers.items()
    ]
    for who, at in signups:
        if at is not None:
            anchors["signup"][who] = min(facts.day(at), anchors["signup"].get(who, date.max))
    linked = set(persons.values())
    of_persons = [(f"user {persons[key]}" if key in persons else name(key), day, amount) for key, day, amount in paid]
    of_persons += [(f"user {u}", day, amount) for u, day, amount in tracked_paid if u not in linked]
    money["signup"] = money["first_visit"] = of_persons

    rows: dict[tuple[str, str, date, int], Cell] = {}
    for kind, dates in anchors.items():
        for period, most in MOST.items():
            members: dict[date, set[str]] = defaultdict(set)
            for who, day in dates.items():
                members[period_of(period, day)].add(who)
            active: dict[date, set[str]] = defaultdict(set)
            for who, day in activity[kind]:
                active[period_of(period, day)].add(who)
            earned: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
            for who, day, amount in money[kind]:
                earned[who, period_of(period, day)] += amount
            for cohort, found in members.items():
                for k in range(most + 1):
                    start = start_of(period, cohort, k)
                    if start > today:
                        break
                    count = len(found) if k == 0 else len(found & active[start])
                    rows[kind, period, cohort, k] = Cell(
                        len(found),
                        count,
                        (Decimal(count) / len(found)).quantize(Decimal("0.0001"), ROUND_HALF_UP),
                        sum((earned[who, start] for who in found), Decimal(0)),
                        start_of(period, cohort, k + 1) <= today,
                    )
    return rows
