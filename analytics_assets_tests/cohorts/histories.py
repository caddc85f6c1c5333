"""Random changes to an organisation's facts."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from random import Random
from uuid import UUID

from analytics_assets_tests.cohorts.model import Customer, Facts, Order, Visitor
from analytics_assets_tests.cohorts.world import SOURCES, World
from analytics_assets_tests.woocommerce import Connection


def changes(random: Random, world: World, moments: list[datetime], store: bool, count: int) -> Iterator[None]:
    """Random changes, one at each step: orders that come, move and are cancelled, guests who turn out to be customers,
    visitors who turn out to be users, late events, sign-ups with a date long past."""
    facts = world.facts
    emails = ["a@x", "b@x", None, None]
    people = ["1", "2", "3", "4", "5"]

    def amount() -> Decimal:
        return Decimal(random.randrange(1, 9000)).scaleb(-2)

    def visitor(name: str) -> None:
        known = facts.visitors.get(name, Visitor([]))
        user = name if name in people else None
        world.put_visitor(
            name,
            Visitor(
                [*known.visits, random.choice(moments)],
                user,
                random.choice([known.signed_up, random.choice(moments)]),
                random.choice([known.email, random.choice(emails)]),
            ),
        )

    for step in range(count):
        match random.randrange(12 if store else 6):
            case 0 | 1:
                visitor(random.choice(people))
            case 2:
                visitor(random.choice(["anon-1", "anon-2"]))
            case 3:  # an identity is found, or a user turns out to be another
                if facts.visitors:
                    old, new = random.choice(sorted(facts.visitors)), random.choice(people)
                    if old != new:
                        before, known = facts.visitors[old], facts.visitors.get(new, Visitor([]))
                        world.put_visitor(old, None)
                        world.put_visitor(
                            new, Visitor([*known.visits, *before.visits], new, known.signed_up or before.signed_up, known.email)
                        )
            case 4 | 5:
                user = random.choice(people)
                if user in facts.visitors:
                    name = random.choice(["Order Completed", "Order Completed", "Order Refunded"])
                    world.put_purchase(f"e{step}", user, random.choice(moments), name, amount())
            case 6 | 7 | 8:
                number = random.choice([f"o{step}", *facts.orders])
                source = facts.orders[number].source if number in facts.orders else random.choice(SOURCES)
                cancelled = random.choice(moments) if source == "shopify" and random.random() < 0.3 else None
                world.put_order(
                    number,
                    Order(
                        source,
                        random.choice(moments),
                        amount(),
                        random.choice([*(f"id:{p}" for p in people), "email:c", None]),
                        random.random() < 0.8,
                        cancelled,
                    ),
                )
            case 9:
                of_woocommerce = [n for n, o in facts.orders.items() if o.source == "woocommerce"]
                world.put_refund(f"r{step}", random.choice([None, "unknown", *of_woocommerce]), random.choice(moments), amount())
            case 10:
                if of_shopify := [n for n, o in facts.orders.items() if o.source == "shopify"]:
                    world.put_sale(f"s{step}", random.choice(of_shopify), random.choice(moments), amount() - 30)
            case _:
                person = random.choice([*people, None])
                world.put_customer(
                    random.choice(SOURCES),
                    f"id:{person}" if person else "email:c",
                    Customer(random.choice(moments) if person else None, person, random.choice(emails)),
                )
        yield


def worlds_of(connection: Connection, organizations: Sequence[UUID], zones: Sequence[str]) -> list[World]:
    """An empty world of each organisation, in its zone."""
    worlds = []
    for organization, zone in zip(organizations, zones, strict=True):
        connection.execute("update public.organizations set time_zone = %s where id = %s", (zone, organization))
        worlds.append(World(connection, organization, Facts(zone)))
    return worlds


def rounds(random: Random, worlds: Sequence[World], moments: list[datetime], stores: Sequence[bool]) -> Iterator[list[date]]:
    """Four rounds of eight changes to each world; after each the days that it touched, in any order. stores: who has store orders."""
    steps = [changes(random, world, moments, store, 32) for world, store in zip(worlds, stores, strict=True)]
    for _ in range(4):
        for step in steps:
            for _ in range(8):
                next(step)
        days = sorted(set().union(*(world.take_dirty() for world in worlds)))
        random.shuffle(days)
        yield days
