"""A real shop's half year of events through the running collector: complete, once, whatever the order."""

import gzip
import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg.sql
import pytest

from analytics_assets.settings import PROJECT_ROOT
from analytics_assets_tests.events.serving import Caller, Connection, make_key, serving

FILE = PROJECT_ROOT.parent / "shared" / "data" / "shop_events" / "segment_batches.jsonl.gz"
# All columns but those that say when and as whose it came.
TABLES = {
    "event_tracking": "timestamp, id, event_value, event_type, session_id, visitor_id, user_id, anonymous_id, known_as, event_name,"
    " event_category, event_action, event_label, currency, page_url, metadata",
    "visitor_sessions": "started_at, last_activity, events, page_views, is_own, session_id, visitor_id",
    "visitors": "first_seen_at, signed_up_at, visitor_id, user_id",
    "event_messages": "id",
    "event_identities": "identified_at, known_as, user_id",
    "partition_ledger": "asset, bucket, status",
    "live_sessions": "session_id",
}


def send(base: str, key: str, bodies: Sequence[bytes]) -> None:
    """All of them, eight at once; each is answered with 200."""
    with httpx.Client(timeout=60) as client, ThreadPoolExecutor(8) as clients:
        caller = Caller(base, key, client)
        answers = list(clients.map(lambda body: caller.post("/v1/batch", content=body).text, bodies))
    assert set(answers) == {'{"success":true}'}, set(answers)


def counted(connection: Connection, slug: str) -> dict[str, Any] | None:
    """Events, sessions and users of an organisation."""
    return connection.execute(
        """select count(*) as events, count(distinct (e.visitor_id, e.session_id)) as sessions,
                  count(distinct e.session_id) as own_sessions, count(distinct e.user_id) as users
           from public.event_tracking e join public.organizations o on o.id = e.organization_id where o.slug = %s""",
        (slug,),
    ).fetchone()


@pytest.mark.skipif(not FILE.is_file(), reason="the shop's events are not there")
def test_half_a_year_of_a_shop(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """31,106 events in 3,605 sessions of 600 users; sent twice, the same; shuffled, the same tables."""
    monkeypatch.setenv("ANALYTICS_KEEP_EVENTS_DAYS", "36500")
    bodies = gzip.decompress(FILE.read_bytes()).splitlines()
    messages = [event for body in bodies for event in json.loads(body)["batch"]]
    random.Random(4).shuffle(messages)
    shuffled = [json.dumps({"batch": messages[at : at + 500]}).encode() for at in range(0, len(messages), 500)]
    acme, globex = make_key(connection), make_key(connection, "globex")
    whole = {"events": 31_106, "sessions": 3_605, "own_sessions": 3_605, "users": 600}
    with serving() as base:
        send(base, acme, bodies)
        assert counted(connection, "acme") == whole
        send(base, acme, bodies[:40] + shuffled[:20])
        assert counted(connection, "acme") == whole
        send(base, globex, shuffled)
    assert counted(connection, "globex") == whole
    statement = psycopg.sql.SQL(
        """select count(*) as differences from (
               (select {columns} from public.{table} where organization_id = {acme}
                except all select {columns} from public.{table} where organization_id = {globex})
               union all
               (select {columns} from public.{table} where organization_id = {globex}
                except all select {columns} from public.{table} where organization_id = {acme})) d"""
    )
    ids = {row["slug"]: row["id"] for row in connection.execute("select slug, id from public.organizations").fetchall()}
    for table, columns in TABLES.items():
        names = psycopg.sql.SQL(", ").join(psycopg.sql.Identifier(name) for name in columns.split(", "))
        compared = statement.format(
            columns=names, table=psycopg.sql.Identifier(table), acme=psycopg.sql.Literal(ids["acme"]),
            globex=psycopg.sql.Literal(ids["globex"]),
        )  # fmt: skip
        assert connection.execute(compared).fetchone() == {"differences": 0}, table
