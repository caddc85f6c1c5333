"""Storing: once, in turn, in its months, with the person that was meant; and the end of retention."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from analytics_assets.database import connect
from analytics_assets.sql import query
from analytics_assets_tests.events.model import Message, tables
from analytics_assets_tests.events.staging import Connection, add_organization, read, stage, store
from analytics_assets_tests.events.test_summaries import compute

AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def rows(connection: Connection, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    found = connection.execute(statement, parameters or None).fetchall()
    connection.commit()
    return [tuple(row.values()) for row in found]


def traffic(organization: UUID, count: int, visitors: int, span: timedelta, seed: int) -> list[Message]:
    """Messages of visitors who log in now and then."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        who = chance.randrange(visitors)
        known = chance.random() < 0.2
        found.append(
            Message(
                f"{seed}-{number}",
                AT + span * chance.random(),
                organization,
                user=f"u{who}" if known else None,
                anonymous=f"a{who}",
                own=f"tab{who}" if chance.random() < 0.1 else None,
                type=chance.choice(["track", "page"]),
            )
        )
    return found


def test_a_message_counts_once_whatever_it_says_when_it_comes_again(connection: Connection) -> None:
    acme, bolt = add_organization(connection, "acme"), add_organization(connection, "bolt")
    first = Message("m", AT, acme, user="u")
    assert store(connection, [first, first]) == (1, 1)
    assert store(connection, [replace(first, at=AT + timedelta(days=40)), replace(first, user="other", name="Else")]) == (0, 2)
    assert store(connection, [replace(first, organization=bolt), Message("n", AT, acme, user="u")]) == (2, 0)
    assert store(connection, []) == (0, 0)
    assert read(connection, [acme, bolt]) == tables([first, replace(first, organization=bolt), Message("n", AT, acme, user="u")])


def test_two_batches_of_one_transaction(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    messages = [Message(f"m{n}", AT + n * MINUTE, acme, user="u") for n in range(4)]
    connection.execute(query("stage_events"))
    for batch in (messages[:2], messages[2:]):
        connection.execute("delete from pg_temp.staged_events")
        stage(connection, batch)
        assert connection.execute("select * from private.store_events()").fetchall() == [{"stored": 2, "duplicates": 0}]
    connection.commit()
    assert read(connection, [acme]) == tables(messages)


def test_history_of_half_a_year_makes_its_months(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    history = [
        Message(f"m{n}", datetime(2019, 7, 3, tzinfo=UTC) + timedelta(hours=37 * n), acme, user=f"u{n % 7}") for n in range(120)
    ]
    assert store(connection, history) == (120, 0)
    assert read(connection, [acme]) == tables(history)
    months = rows(connection, "select child from private.list_partitions('event_tracking') where period_start < '2020-03-01'")
    assert [month for (month,) in months] == [
        f"event_tracking_{month}" for month in (201907, 201908, 201909, 201910, 201911, 201912, 202001)
    ]
    assert rows(connection, "select count(*) from live_sessions") == [(0,)]


def test_a_session_of_more_than_a_month_is_found(connection: Connection) -> None:
    """Its start lies before the partitions that are looked at first."""
    acme = add_organization(connection, "acme")
    heartbeat = [Message(f"m{n}", AT + n * 29 * MINUTE, acme, user="monitor") for n in range(50 * 34)]
    own = [Message(f"o{n}", AT + timedelta(days=20 * n), acme, user="tab", own="forever") for n in range(5)]
    for begin in range(0, len(heartbeat), 100):
        store(connection, heartbeat[begin : begin + 100])
    for message in [*own[3:], *own[:3]]:
        store(connection, [message])
    assert len(tables(heartbeat).sessions) == 1
    assert read(connection, [acme]) == tables(heartbeat + own)


def test_an_own_id_that_looks_like_ours_meets_no_session_of_ours(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    store(connection, [Message("m", AT, acme, user="u")])
    ((name,),) = rows(connection, "select session_id from visitor_sessions")
    store(connection, [Message("n", AT + 5 * HOUR, acme, user="u", own=name)])
    assert rows(connection, "select session_id, is_own, events from visitor_sessions order by 2") == [
        (name, False, 1),
        (f"own_{name}", True, 1),
    ]


def test_an_earlier_identity_that_comes_later_wins(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    messages = [
        Message("visit", AT, acme, anonymous="a", type="page"),
        Message("login2", AT + 20 * MINUTE, acme, user="u2", anonymous="a", type="identify", email="two@example.org"),
        Message("visit2", AT + 25 * MINUTE, acme, anonymous="a"),
        Message("login1", AT + 10 * MINUTE, acme, user="u1", anonymous="a", type="identify", email="one@example.org"),
        Message("alias", AT + 40 * MINUTE, acme, user="u3", previous="u1", type="alias"),
    ]
    for number, message in enumerate(messages, 1):
        store(connection, [message])
        assert read(connection, [acme]) == tables(messages[:number])
    assert rows(connection, "select visitor_id, user_id, known_as from event_tracking order by timestamp") == [
        ("u3", "u3", "a"),
        ("u3", "u3", "u1"),
        ("u2", "u2", None),
        ("u3", "u3", "a"),
        ("u3", "u3", None),
    ]


def test_chains_and_circles_end(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    chain = [Message(f"c{n}", AT + n * MINUTE, acme, user=f"u{n + 1}", previous=f"u{n}", type="alias") for n in range(12)]
    circle = [Message("close", AT + HOUR, acme, user="u0", previous="u12", type="alias")]
    store(connection, [Message("first", AT - MINUTE, acme, user="u0"), *reversed(chain)])
    assert rows(connection, "select distinct visitor_id from event_tracking") == [("u12",)]
    store(connection, circle)
    # The link that closed the circle is not followed.
    assert rows(connection, "select distinct visitor_id from event_tracking") == [("u12",)]
    assert read(connection, [acme]) == tables([Message("first", AT - MINUTE, acme, user="u0"), *chain, *circle])


def test_a_chain_longer_than_any_person_has_is_cut(connection: Connection) -> None:
    """Somebody who sends thousands of links holds nobody up, and leaves the tables sound."""
    acme = add_organization(connection, "acme")
    chain = [
        Message(
            f"c{n}",
            AT + n * MINUTE,
            acme,
            user=f"u{n + 1:04}",
            previous=f"u{n:04}",
            type="alias",
            own="tab" if n % 9 == 0 else None,
        )
        for n in range(160)
    ]
    store(connection, [Message("first", AT - MINUTE, acme, user="u0000"), *chain[1::2]])
    store(connection, chain[0::2])
    assert rows(
        connection, "select private.visitor_of(%s, 'u0000') as first, private.visitor_of(%s, 'u0159') as last", acme, acme
    ) == [("u0064", "u0160")]
    for name in ("no_orphan_sessions", "identity_coverage", "sessions_hold_their_definition"):
        parameters = {"keys": None, "start": AT - HOUR, "end": AT + 9 * HOUR, "most": 5}
        assert connection.execute(query(f"check_event_tracking_{name}"), parameters).fetchall() == []


def _at_once(*work: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive()
    assert [str(failure) for failure in failures] == []


@pytest.mark.parametrize("seed", [1, 2])
def test_two_connections_at_once_neither_wait_for_ever_nor_split_sessions(connection: Connection, seed: int) -> None:
    acme, bolt = add_organization(connection, "acme"), add_organization(connection, "bolt")
    messages = [*traffic(acme, 240, 6, 8 * HOUR, seed), *traffic(bolt, 240, 6, 8 * HOUR, seed + 10)]
    random.Random(seed).shuffle(messages)
    start = threading.Barrier(3)

    def collector(mine: list[Message]) -> Callable[[], None]:
        def work() -> None:
            with connect() as own:
                start.wait(30)
                for begin in range(0, len(mine), 20):
                    store(own, mine[begin : begin + 20])

        return work

    def others() -> None:
        """The asset's hours and the live sessions' end at the same time."""
        with connect() as own:
            start.wait(30)
            for _ in range(6):
                own.execute("select count(*) from public.summarize_events(%s, %s, %s)", ([acme, bolt], AT, AT + 9 * HOUR))
                own.commit()
                own.execute("select * from private.close_live_sessions()")
                own.commit()

    # Half of each one's messages are the other's too: what both send counts once.
    third = len(messages) // 3
    _at_once(collector(messages[: 2 * third]), collector(list(reversed(messages[third:]))), others)
    assert read(connection, [acme, bolt]) == tables(messages)


def test_a_batch_that_fails_leaves_nothing(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    bad = Message("bad", AT + MINUTE, acme, user="u", name="x" * 101)
    with pytest.raises(Exception, match="too long"):
        store(connection, [Message("good", AT, acme, user="u"), bad])
    connection.rollback()
    assert read(connection, [acme]) == tables([])
    assert rows(connection, "select count(*) from event_messages") == [(0,)]
    assert store(connection, [Message("good", AT, acme, user="u")]) == (1, 0)


def test_another_organisation_with_the_same_ids_changes_nothing(connection: Connection) -> None:
    acme, bolt = add_organization(connection, "acme"), add_organization(connection, "bolt")
    mine = traffic(acme, 60, 4, 3 * HOUR, 5)
    store(connection, mine)
    before = read(connection, [acme])
    store(connection, [replace(message, organization=bolt, at=message.at + MINUTE) for message in mine])
    assert read(connection, [acme]) == before == tables(mine)


def test_months_past_retention_leave_when_they_are_summed_up(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    months = [datetime(2022, 1, 15, 10, tzinfo=UTC), datetime(2022, 2, 15, 10, tzinfo=UTC), datetime(2026, 3, 2, 10, tzinfo=UTC)]
    messages = [Message(f"m{n}", at, acme, user="u") for n, at in enumerate(months)]
    store(connection, messages)
    compute(connection, [acme], months[0].replace(hour=0), months[0].replace(hour=0) + timedelta(days=1))
    keep_from = datetime(2023, 5, 20, tzinfo=UTC)

    def cleanup() -> list[tuple[Any, ...]]:
        return rows(
            connection,
            "select partition, dropped, reason from public.cleanup_events(%s) where partition !~ '2019|202[01]'",
            keep_from,
        )

    assert cleanup() == [
        ("event_tracking_202201", True, None),
        (
            "event_tracking_202202",
            False,
            "1 hours are not summed up, e.g. acme 2022-02-15 10:00 UTC: backfill event_tracking over them",
        ),
        ("visitor_sessions_202201", True, None),
        ("visitor_days_202201", True, None),
    ]
    # What is known of messages leaves with them, the others' stay.
    assert {row[0] for row in rows(connection, "select id from event_messages")} == {message.id for message in messages[1:]}
    connection.execute("select count(*) from public.summarize_events(%s, %s, %s)", ([acme], months[1], months[1] + HOUR))
    connection.commit()
    assert cleanup()[0][2] == "1 days are not rolled up, e.g. acme 2022-02-15: backfill daily_aggregates over them"
    compute(connection, [acme], months[1].replace(hour=0), months[1].replace(hour=0) + timedelta(days=1))
    assert cleanup() == [
        ("event_tracking_202202", True, None),
        ("visitor_sessions_202202", True, None),
        ("visitor_days_202202", True, None),
    ]
    assert rows(connection, "select visitor_id, first_seen_at from visitors") == [("u", months[0])]
    assert rows(connection, "select count(*) from event_tracking") == [(1,)]


def test_visitors_days_are_kept_longer_than_events(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    at = (datetime.now(UTC) - timedelta(days=200)).replace(hour=10, minute=0, second=0, microsecond=0)
    store(connection, [Message("m", at, acme, user="u")])
    compute(connection, [acme], at.replace(hour=0), at.replace(hour=0) + timedelta(days=1))
    done = rows(connection, "select partition from public.cleanup_events(%s)", datetime.now(UTC) - timedelta(days=100))
    assert (f"event_tracking_{at:%Y%m}",) in done and (f"visitor_sessions_{at:%Y%m}",) in done
    assert rows(connection, "select date, visitor_id from visitor_days") == [(at.date(), "u")]
