"""Seeded organisations as the rules see them: with no effect anywhere, or with one that is put in."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import numpy as np

from analytics_assets.insights.baseline import Floats
from analytics_assets.insights.rules.evidence import WEEK, Cohort, Daily, Evidence, Organization, Step
from analytics_assets.insights.rules.testing import Hit, Rule, hits

MONDAY = date(2026, 6, 1)
_WEEKDAYS = np.array([1.1, 1.0, 0.95, 1.0, 1.2, 0.9, 0.75])


def organizations(count: int, days: int) -> list[Organization]:
    return [
        Organization(UUID(int=number + 1), f"o{number}", "EUR", "Europe/Berlin", np.ones(days, dtype=np.bool_))
        for number in range(count)
    ]


def wandering(rng: np.random.Generator, rows: int, days: int, spread: float = 0.10, memory: float = 0.5) -> Floats:
    """Levels around 1 that stay near what they were the day before, and always come back: no trend."""
    noise = rng.normal(0, spread * np.sqrt(1 - memory**2), (rows, days))
    level = np.empty((rows, days))
    level[:, 0] = rng.normal(0, spread, rows)
    for day in range(1, days):
        level[:, day] = memory * level[:, day - 1] + noise[:, day]
    out: Floats = np.exp(level)
    return out


def counts(rng: np.random.Generator, rows: int, days: int, volumes: Floats, level: Floats | None = None) -> Floats:
    """Counts of days with a week's season around a level that wanders."""
    level = wandering(rng, rows, days) if level is None else level
    mean = volumes[:, None] * _WEEKDAYS[np.arange(days) % WEEK] * level
    drawn: Floats = rng.poisson(mean).astype(float)
    return drawn


def shops(rng: np.random.Generator, count: int, days: int, slope: float = 0.0, memory: float = 0.5) -> Evidence:
    """Organisations with a store and visits: money, orders and items share their noise, sessions have their own.

    slope: of the logarithm of the store's level, a week; memory: of a day's level for that of the day before.
    """
    growth = np.exp(slope * np.arange(days) / WEEK)
    store = wandering(rng, count, days, memory=memory) * growth
    orders = counts(rng, count, days, rng.uniform(10, 200, count), store)
    sales = orders * rng.gamma(20, 2.0, (count, days))
    items = orders + rng.poisson(orders * 0.8)
    refunds = rng.binomial(orders.astype(int), 0.06).astype(float)
    sessions = counts(rng, count, days, rng.uniform(200, 4000, count), wandering(rng, count, days, memory=memory))
    users = rng.binomial(sessions.astype(int), 0.5).astype(float)
    evidence = Evidence(organizations(count, days), MONDAY, days)
    kinds = (
        ("woocommerce", "orders", "count", orders), ("woocommerce", "total_sales", "money", sales),
        ("woocommerce", "items_sold", "count", items), ("woocommerce", "refunds_count", "count", refunds),
        ("woocommerce", "refunds_amount", "money", refunds * 40.0), ("events", "sessions", "count", sessions),
        ("events", "users_new", "count", users),
    )  # fmt: skip
    for channel, metric, unit, _ in kinds:
        evidence.daily += [Daily(number, channel, metric, unit) for number in range(count)]
    evidence.values = np.concatenate([values for *_, values in kinds])
    return evidence


def funnels(rng: np.random.Generator, count: int, days: int, entrants: float = 900.0) -> Evidence:
    """Funnels of four steps, the share of each moving a little by day around its own."""
    evidence = Evidence(organizations(count, days), MONDAY, days)
    reached = rng.poisson(entrants * wandering(rng, count, days)).astype(float)
    visitors, conversions = [], []
    for order, share in enumerate((0.6, 0.45, 0.7), 1):
        moved = np.clip(share * np.exp(rng.normal(0, 0.05, (count, days))), 0, 1)
        following = rng.binomial(reached.astype(int), moved).astype(float)
        evidence.steps += [Step(number, "shop", order, f"step {order}", f"step {order + 1}") for number in range(count)]
        visitors.append(reached)
        conversions.append(following)
        reached = following
    evidence.visitors, evidence.conversions = np.concatenate(visitors), np.concatenate(conversions)
    return evidence


def cohorts(rng: np.random.Generator, count: int, weeks: int, size: float = 400.0, newest: float = 1.0) -> Evidence:
    """Weekly cohorts at ages 1 to 6, the retention of each cohort a little its own; ``newest``: times that of the last cohort."""
    evidence = Evidence(organizations(count, weeks * WEEK), MONDAY, weeks * WEEK)
    members = rng.poisson(size, (count, weeks)).astype(int) + 1
    own = np.exp(rng.normal(0, 0.06, (count, weeks)))
    for age in range(1, 7):
        began = np.arange(0, weeks - age)
        factor = np.ones(len(began))
        factor[-1] = newest
        active = rng.binomial(members[:, began], np.clip(0.3 * 0.8**age * own[:, began] * factor, 0, 1))
        for number in range(count):
            evidence.cohorts.append(Cohort(number, "first_purchase", "week", age))
            evidence.cells.append((began * WEEK, active[number].astype(float), members[number, began].astype(float)))
    return evidence


def ads(
    rng: np.random.Generator, count: int, days: int, returns: tuple[float, ...], shares: tuple[float, ...], **more: Any
) -> Evidence:
    """Organisations with channels of ads: spend by its share of 1,000 a day, what comes back with a slope of 1, sales thrice of it.

    rise: times the first channel's return in the last 28 days.
    """
    rise, slope, sold, order_value = (
        more.get("rise", 1.05),
        more.get("slope", 1.0),
        more.get("sold", 3.0),
        more.get("order_value", 50.0),
    )
    evidence = Evidence(organizations(count, days), MONDAY, days)
    names = ("meta_ads", "google_ads", "tiktok_ads")[: len(returns)]
    parts: list[tuple[str, str, str, Floats]] = []
    total = np.zeros((count, days))
    for place, (name, returned, share) in enumerate(zip(names, returns, shares, strict=True)):
        usual = 1000 * share
        spend = usual * np.exp(rng.normal(0, 0.25, (count, days)))
        factor = np.ones(days)
        if place == 0:
            factor[-28:] = rise
        value = returned * usual * (spend / usual) ** slope * factor
        # So many orders of a day, each of its own value.
        purchases = rng.poisson(value / order_value).astype(float)
        worth = (
            purchases
            * order_value
            * np.where(purchases > 0, rng.gamma(np.maximum(4 * purchases, 1)) / np.maximum(4 * purchases, 1), 0)
        )
        parts += [
            (name, "ad_spend", "money", spend),
            (name, "ad_purchase_value", "money", worth),
            (name, "ad_purchases", "count", purchases),
        ]
        total += worth
    parts.append(("woocommerce", "total_sales", "money", total * sold))
    for channel, metric, unit, _ in parts:
        evidence.daily += [Daily(number, channel, metric, unit) for number in range(count)]
    evidence.values = np.concatenate([values for *_, values in parts])
    return evidence


def found_on(rule: Rule, evidence: Evidence, day: int | None = None) -> list[Hit]:
    """What a rule tells of one day, or of any."""
    return [hit for hit in hits(rule, evidence, rule.test(evidence)) if day is None or hit.day == day]


def on(day: int) -> str:
    return str(MONDAY + timedelta(days=day))
