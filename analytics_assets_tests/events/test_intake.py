"""When the database is away, slow or refuses: requests are held, then told to come again; nothing is lost, nothing twice."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import psycopg
import psycopg.sql
import pytest

from analytics_assets.database import analytics_url, conninfo
from analytics_assets.events.intake import Busy, Intake
from analytics_assets.events.protocol import rejection
from analytics_assets.events.quarantine import Quarantine
from analytics_assets.events.telemetry import Telemetry
from analytics_assets.events.writer import Delivery, Writer
from analytics_assets_tests.browser.dagster_ui import wait_for
from analytics_assets_tests.events.serving import Caller, Connection, make_key, serving
from analytics_assets_tests.events.test_collector import PAGE, events, quarantined


@contextmanager
def away(database: str, server_url: str) -> Iterator[None]:
    """The database takes no connections, and those that it had are ended."""
    name = psycopg.sql.Identifier(database.rsplit("/", 1)[1].partition("?")[0])
    with psycopg.connect(server_url.replace("+psycopg", ""), autocommit=True) as server:
        server.execute(psycopg.sql.SQL("alter database {} with allow_connections false").format(name))
        server.execute(
            psycopg.sql.SQL("select pg_terminate_backend(pid) from pg_stat_activity where datname = {}").format(
                psycopg.sql.Literal(name._obj[0])
            )
        )
        try:
            yield
        finally:
            server.execute(psycopg.sql.SQL("alter database {} with allow_connections true").format(name))


def comes_again(caller: Caller, event: dict[str, Any]) -> None:
    """A client that does as it is told: on a busy machine a commit may take longer than a short hold."""
    wait_for("stored event", lambda: caller.send(event).status_code == 200, 30)


def test_while_the_database_is_away(connection: Connection, database: str, server_url: str) -> None:
    """A request is held; told to come again when its time is over; stored when the database is back before that."""
    key = make_key(connection)
    # The second is for what is held until the database is back: on a busy machine that may take longer than two seconds.
    with (
        serving(hold=2.0) as base,
        serving(hold=25.0) as patient_base,
        httpx.Client(timeout=30) as client,
        ThreadPoolExecutor(4) as others,
    ):
        caller, patient = Caller(base, key, client), Caller(patient_base, key, client)
        comes_again(caller, PAGE)
        health = f"{base}/health"
        assert client.get(health).status_code == 200
        with away(database, server_url):
            started = time.monotonic()
            answer = caller.send(dict(PAGE, messageId="p-2"))
            assert 1.5 < time.monotonic() - started < 25
            assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (429, "15", "later")
            sick = client.get(health)
            assert sick.status_code == 503 and sick.json()["reason"] in answer.json()["message"]
            # A key that is not known yet cannot be called unknown.
            assert caller.send(PAGE, path="/v1/batch").status_code == 429
            unknown = caller.post("/v1/page", PAGE, auth=("wk_unknown", ""))
            assert unknown.status_code == 429 and "cannot be looked up now" in unknown.json()["message"]
            held = [others.submit(patient.send, dict(PAGE, messageId=f"held-{number}")) for number in range(3)]
            time.sleep(0.5)
        assert [one.result().status_code for one in held] == [200, 200, 200]
        comes_again(caller, dict(PAGE, messageId="p-2"))
        assert client.get(health).status_code == 200
        from analytics_assets.database import connect

        with connect() as again:
            assert len(events(again)) == 5


def test_a_commit_that_takes_long(connection: Connection) -> None:
    """While somebody holds the organisation's turn nothing is stored; what was given up may be, and is known when it comes again."""
    key = make_key(connection)
    row = connection.execute("select id from public.organizations").fetchone()
    assert row is not None
    with serving(hold=1.0) as base, httpx.Client(timeout=30) as client:
        caller = Caller(base, key, client)
        comes_again(caller, PAGE)
        connection.execute("select private.lock_organizations('events', %s)", ([row["id"]],))
        late = caller.send(dict(PAGE, messageId="p-2"))
        assert late.status_code == 429 and "more arrives than the database takes" in late.json()["message"]
        connection.rollback()
        comes_again(caller, dict(PAGE, messageId="p-2"))
        assert len(events(connection)) == 2


def test_many_small_requests_share_commits(connection: Connection) -> None:
    """Forty clients at once: far fewer commits than requests."""
    key = make_key(connection)
    with serving() as base:
        start = threading.Barrier(40)

        def send(number: int) -> int:
            # Of a pool that they share one now and then closed a connection that another had just taken.
            with httpx.Client(timeout=60) as client:
                caller = Caller(base, key, client)
                start.wait(60)
                return sum(caller.post("/v1/page", dict(PAGE, messageId=f"m-{number}-{n}")).status_code == 200 for n in range(5))

        with ThreadPoolExecutor(40) as clients:
            assert sum(clients.map(send, range(40))) == 200
        metrics = httpx.get(f"{base}/metrics").text
        commits = next(
            float(line.split()[1]) for line in metrics.splitlines() if line.startswith("analytics_collector_commit_seconds_count")
        )
        assert commits < 100
        assert len(events(connection)) == 200


def test_a_full_queue(connection: Connection, database: str, server_url: str) -> None:
    """Beyond its bytes nobody gets in; who waits in vain is told to come again."""
    organization = UUID(int=1)

    async def fill() -> list[str]:
        intake = Intake(conninfo(analytics_url()), Telemetry(), queue_bytes=5000)
        intake.start()
        try:
            until = time.monotonic() + 1.0
            waiting = [asyncio.create_task(intake.submit(Delivery(organization, [], [], b"x" * 3000), until)) for _ in range(2)]
            await asyncio.sleep(0)
            assert intake.is_full
            answers = []
            for task in [asyncio.create_task(intake.room(until)), *waiting]:
                try:
                    await task
                    answers.append("done")
                except Busy as error:
                    answers.append(str(error.retry_after))
            # The writer lets go of them when it tries the next time.
            await intake.room(time.monotonic() + 5)
            return answers
        finally:
            await intake.stop()

    with away(database, server_url):
        assert asyncio.run(fill()) == ["15", "15", "15"]


def test_the_quarantine_is_bounded(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one organisation so many rejected events wait; those of others find room, and so do more when some are discarded."""
    monkeypatch.setattr("analytics_assets.events.quarantine.QUARANTINE_EVENTS", 5)
    make_key(connection)
    make_key(connection, "globex")
    acme, globex = (row["id"] for row in connection.execute("select id from public.organizations order by slug").fetchall())
    connection.commit()

    async def store(organization_id: UUID, numbers: range) -> float:
        telemetry = Telemetry()
        writer = Writer(conninfo(analytics_url()), telemetry, Quarantine(), set())
        rejections = [rejection(str(organization_id), 0, {"type": "page", "n": n}, "userId", "userId: missing") for n in numbers]
        await writer.store([Delivery(organization_id, [], rejections)])
        await writer.close()
        return float(telemetry.dropped._value.get())

    assert asyncio.run(store(acme, range(4))) == 0
    assert asyncio.run(store(acme, range(4, 8))) == 3
    assert asyncio.run(store(globex, range(2))) == 0
    assert len(quarantined(connection)) == 7
    connection.execute("select public.discard_quarantined(id) from public.quarantine where organization_id = %s", (acme,))
    connection.commit()
    assert asyncio.run(store(acme, range(8, 10))) == 0
    contents = [json.loads(bytes(row["content"]))["n"] for row in quarantined(connection) if row["organization_id"] == acme]
    assert sorted(contents) == [0, 1, 2, 3, 4, 8, 9]
