"""Live sessions: what they say, when they end, and how they are shown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets.commands.live import bars
from analytics_assets.database import connect
from analytics_assets_tests.events.model import Message
from analytics_assets_tests.events.staging import Connection, add_organization, store

MINUTE = timedelta(minutes=1)


def minutes_ago(minutes: float) -> datetime:
    return datetime.now(UTC) - minutes * MINUTE


def visit(organization: UUID, who: str, at: datetime, page: str, **live: str) -> Message:
    return Message(
        f"{who}{at}{page}", at, organization, anonymous=who, type="page", name="Page Viewed", page=page, live=live
    )  # fmt: skip


def realtime(connection: Connection, *columns: str) -> list[tuple[Any, ...]]:
    names = ", ".join(columns)
    found = connection.execute(f"select {names} from public.realtime_sessions order by started_at, visitor_id").fetchall()
    connection.commit()
    return [tuple(row.values()) for row in found]


def test_a_session_is_active_at_any_moment_of_reading(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    first = minutes_ago(31)
    store(
        connection, [visit(acme, "gone", first, "/"), visit(acme, "here", first, "/"), visit(acme, "here", minutes_ago(3), "/b")]
    )
    assert realtime(connection, "visitor_id", "is_active", "duration_seconds", "page_url") == [
        ("gone", False, 0, "/"),
        ("here", True, 28 * 60, "/b"),
    ]
    # Nobody closed it, and yet it is over when its time has passed.
    connection.execute("update live_sessions set last_activity = started_at, is_active = true")
    assert realtime(connection, "is_active") == [(False,), (False,)]


def test_the_user_outlives_the_anonymous_session(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    at = minutes_ago(20)
    store(
        connection,
        [visit(acme, "a1", at, "/start", referrer="https://search.example/", user_agent="UA", country="DE", city="Bonn")],
    )
    login = Message("login", at + 2 * MINUTE, acme, user="u1", anonymous="a1", type="identify", live={"ip_address": "10.1.2.0"})
    store(connection, [login])
    assert realtime(
        connection,
        "visitor_id",
        "user_id",
        "page_url",
        "referrer",
        "user_agent",
        "country",
        "city",
        "host(ip_address)",
        "started_at",
    ) == [("u1", "u1", "/start", "https://search.example/", "UA", "DE", "Bonn", "10.1.2.0", at)]


def test_only_the_last_24_hours_live(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    old = minutes_ago(60 * 30)
    store(connection, [visit(acme, "old", old, "/"), visit(acme, "long", old, "/a")])
    assert realtime(connection, "visitor_id") == []
    assert connection.execute("select count(*) as n from visitor_sessions").fetchall() == [{"n": 2}]
    # One that began before and still goes on lives.
    store(connection, [visit(acme, "own", old, "/a") for _ in range(1)])
    long_one = [Message(f"l{n}", old + n * 25 * MINUTE, acme, user="walker", page=f"/{n}") for n in range(72)]
    store(connection, long_one[:10])
    store(connection, long_one[10:])
    assert realtime(connection, "visitor_id", "page_url", "started_at") == [("walker", "/71", old)]


def test_closing_and_dropping(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    ended, begun = minutes_ago(60 * 27), minutes_ago(60 * 26)
    connection.execute("select private.ensure_partitions('live_sessions', %s, %s)", (minutes_ago(60 * 28), minutes_ago(60 * 24)))
    for who, at, until in (
        ("ended", ended, ended),
        ("goes on", begun, minutes_ago(1)),
        ("closed", minutes_ago(50), minutes_ago(40)),
    ):
        connection.execute("select private.ensure_partitions('live_sessions', %s, %s + interval '1 second')", (at, at))
        connection.execute(
            "insert into live_sessions (organization_id, started_at, last_activity, session_id, visitor_id, page_url)"
            " values (%s, %s, %s, 's', %s, '/')",
            (acme, at, until, who),
        )
    connection.commit()

    # A writer at work on a session of its own stops neither, nor is it stopped.
    with connect() as writer:
        writer.execute("select * from live_sessions where visitor_id = 'closed' for update")
        done = connection.execute("select * from private.close_live_sessions()").fetchall()
        connection.commit()
        assert done == [{"closed": 1, "dropped": 0}]
        writer.rollback()
    done = connection.execute("select * from private.close_live_sessions()").fetchall()
    connection.commit()
    assert done[0]["closed"] == 1 and done[0]["dropped"] >= 1
    found = connection.execute("select visitor_id, is_active from live_sessions order by 1").fetchall()
    assert [tuple(row.values()) for row in found] == [("closed", False), ("goes on", True)]


def test_the_view_for_dashboards(connection: Connection) -> None:
    acme, bolt = add_organization(connection, "acme"), add_organization(connection, "bolt")
    now = datetime.now(UTC)
    store(connection, [
        visit(acme, "a", now - 2 * MINUTE, "https://shop.example/x?q=1", country="DE", device_type="mobile", browser="Safari",
              referrer="https://search.example/find?q=shop"),
        visit(acme, "b", now - 2 * MINUTE, "https://shop.example/x#top", country="DE", device_type="desktop", browser="Firefox"),
        visit(acme, "b", now - 1 * MINUTE, "https://shop.example/y"),
        visit(acme, "gone", now - 45 * MINUTE, "https://shop.example/z"),
        visit(bolt, "a", now - 1 * MINUTE, "https://other.example/"),
    ])  # fmt: skip
    found = connection.execute(
        "select facet, value, visitors, sessions, events from live_activity where organization_id = %s", (acme,)
    ).fetchall()
    assert {(row["facet"], row["value"]): (row["visitors"], row["sessions"], row["events"]) for row in found} == {
        ("total", ""): (2, 2, 3),
        ("page", "https://shop.example/x"): (1, 1, 1),
        ("page", "https://shop.example/y"): (1, 1, 2),
        ("country", "DE"): (2, 2, 3),
        ("device", "mobile"): (1, 1, 1),
        ("device", "desktop"): (1, 1, 2),
        ("browser", "Safari"): (1, 1, 1),
        ("browser", "Firefox"): (1, 1, 2),
        ("referrer", "search.example"): (1, 1, 1),
        ("referrer", "(direct)"): (1, 1, 2),
        ("minute", f"{now - 2 * MINUTE:%Y-%m-%d %H:%M}"): (2, 2, 2),
        ("minute", f"{now - 1 * MINUTE:%Y-%m-%d %H:%M}"): (1, 1, 1),
    }


def test_the_view_reads_an_index_of_active_sessions(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    store(connection, [visit(acme, f"v{n}", minutes_ago(n % 600), f"/{n}") for n in range(3000)])
    connection.execute("select * from private.close_live_sessions()")
    connection.execute("analyze live_sessions")
    plan = connection.execute(
        "explain (costs off) select * from live_activity where organization_id = %s and facet = 'total'", (acme,)
    ).fetchall()
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "organization_id_idx" in text or "live_sessions_active_idx" in text, text


def test_bars() -> None:
    assert bars([0, 1, 8, 16], rows=2) == ["         ██", "   ▁▁ ██ ██"]
    assert bars([0, 0], rows=1) == [""]
    # Little among much is still seen.
    assert bars([1, 100_000], rows=1) == ["▁▁ ██"]


def test_the_command_prints_once(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = add_organization(connection, "acme")
    shown = CliRunner().invoke(app, ["live", "--organization", "acme", "--once"])
    assert shown.exit_code == 0 and "nobody is there: no event in the last 30 minutes" in shown.output
    store(connection, [
        visit(acme, "a", minutes_ago(2), "https://shop.example/[red]sale[/red]\x1b[31m", country="DE", device_type="mobile"),
        visit(acme, "b", minutes_ago(1), "https://shop.example/x", country="FR"),
    ])  # fmt: skip
    shown = CliRunner().invoke(app, ["live", "--organization", "acme", "--once"])
    assert shown.exit_code == 0
    for words in ("2 active visitors, 2 sessions with 2 events", "https://shop.example/x", "mobile", "DE", "FR", "in 30 minutes"):
        assert words in shown.output
    # What a client sends is text, neither markup nor a command to the terminal.
    assert "[red]sale[/red]�[31m" in shown.output and "\x1b" not in shown.output
    missing = CliRunner().invoke(app, ["live", "--organization", "nope", "--once"])
    assert missing.exit_code == 1
    assert CliRunner().invoke(app, ["live", "--organization", "acme", "--interval", "0"]).exit_code == 2


def test_the_command_refreshes_until_it_is_interrupted(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    process = subprocess.Popen(
        [sys.executable, "-u", "-c",
         "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
         "import sys; sys.argv = ['analytics', 'live', '--organization', 'acme', '--interval', '0.2']\n"
         "from rich.console import Console; from analytics_assets.commands import live; live.out = Console(force_terminal=True)\n"
         "from analytics_assets.cli import main; main()"],
        env=os.environ | {"COLUMNS": "160", "LINES": "50"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    seen = b""

    def wait_for(words: bytes) -> None:
        nonlocal seen
        until = time.monotonic() + 60
        while words not in seen:
            assert time.monotonic() < until and process.poll() is None, seen[-2000:]
            seen += process.stdout.read() or b"" if process.stdout else b""
            time.sleep(0.05)

    try:
        wait_for(b"nobody is there")
        store(connection, [visit(acme, "a", minutes_ago(1), "/new")])
        wait_for(b"1 active visitors")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
