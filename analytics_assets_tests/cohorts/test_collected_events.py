"""Cohorts of events as the collector stores them: the ledger's marks alone say which hours and days are computed."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analytics_assets_tests.cohorts.model import Customer, Facts, Visitor, cells
from analytics_assets_tests.cohorts.world import World, add_sources, clear, compute, table_cells
from analytics_assets_tests.events.model import Message
from analytics_assets_tests.events.staging import store
from analytics_assets_tests.woocommerce import Connection, add_organization

_EVENTS = (
    "event_tracking visitor_sessions live_sessions visitors visitor_days event_identities event_messages metric_observations"
)


def messages(random: Random, world: World, end: datetime, count: int) -> list[Message]:
    """Events of a few people who are anonymous first, log in, or turn out to be somebody else."""
    found = []
    days = [end - timedelta(days=random.randrange(1, 60)) for _ in range(5)]
    for number in range(count):
        user = random.choice([None, "1", "2", "3"])
        anonymous = random.choice(["a", "b", "c"]) if user is None or random.random() < 0.3 else None
        kind = random.choice(["Clicked", "Clicked", "Order Completed", "Order Refunded", "Signed Up"])
        signed_up = random.choice(days) if kind == "Signed Up" and user else None
        found.append(
            Message(
                f"m{number}",
                random.choice(days) + timedelta(minutes=random.randrange(-600, 600)),
                world.id,
                user,
                anonymous,
                random.choice(["1", "2", "a"]) if user == "3" and random.random() < 0.3 else None,
                type="alias" if user == "3" and random.random() < 0.1 else "track",
                name=kind,
                email=random.choice([None, None, "a@x", "b@x"]) if user else None,
                signed_up_at=signed_up,
                value=random.randrange(1, 50) if kind.startswith("Order") else None,
                currency="EUR" if kind.startswith("Order") else None,
            )
        )
    return found


def open_buckets(connection: Connection, asset: str) -> list[datetime]:
    rows = connection.execute(
        "select bucket from public.partition_ledger where asset = %s and status <> 'done' order by 1", (asset,)
    ).fetchall()
    return [row["bucket"] for row in rows]


@settings(
    max_examples=3,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],
)
@given(seed=st.integers(0, 2**32), zone=st.sampled_from(["Europe/London", "Asia/Kolkata", "America/St_Johns"]))
def test_the_marks_of_the_collector_suffice(connection: Connection, seed: int, zone: str) -> None:
    """Late events, identities found later, aliases, sign-ups with a date long past: what is marked is enough."""
    random = Random(seed)
    clear(connection)
    for table in _EVENTS.split():
        connection.execute(f"delete from public.{table}")
    connection.execute("delete from public.organizations")
    organization = add_organization(connection, "acme", zone)
    add_sources(connection, organization)
    connection.execute("update public.organizations set created_at = '2020-01-01'")
    world = World(connection, organization, Facts(zone))
    sent = messages(random, world, datetime.now(UTC) - timedelta(hours=20), 40)
    for person in ("1", "2"):
        if random.random() < 0.5:
            at = sent[0].at
            world.put_customer("woocommerce", f"id:{person}", Customer(at, person, None))
    world.take_dirty()
    connection.commit()
    while sent:
        batch, sent = sent[:10], sent[10:]
        store(connection, batch)
        for bucket in open_buckets(connection, "event_tracking"):
            connection.execute(
                "select count(*) from public.summarize_events(%s, %s, %s)", ([organization], bucket, bucket + timedelta(hours=1))
            )
            connection.commit()
        days = open_buckets(connection, "cohort_analysis")
        random.shuffle(days)
        for day in days:
            compute(connection, [organization], day.date(), day.date())
    facts = world.facts
    rows = connection.execute("select * from public.visitors where organization_id = %s", (organization,)).fetchall()
    for row in rows:
        visits = connection.execute(
            'select "timestamp" as at from public.event_tracking where organization_id = %s and visitor_id = %s',
            (organization, row["visitor_id"]),
        ).fetchall()
        email = row["email_hash"].hex() if row["email_hash"] else None
        assert min(v["at"] for v in visits) == row["first_seen_at"]
        facts.visitors[row["visitor_id"]] = Visitor([v["at"] for v in visits], row["user_id"], row["signed_up_at"], email)
    for row in connection.execute(
        "select * from public.event_tracking where event_name like 'Order %%' and user_id is not null and organization_id = %s",
        (organization,),
    ):
        facts.purchases[str(row["id"])] = row["user_id"], row["timestamp"], row["event_name"], Decimal(row["event_value"] or 0)
    today = connection.execute("select private.cohort_today(%s) as today", (zone,)).fetchone()
    assert today is not None
    assert table_cells(connection, organization) == cells(facts, today["today"])
