"""Whatever a vendor sends back and a tenant enters: no secret of a source, in no spelling, is stored, logged or shown.

The vendor is ``hostile``. Searched are the whole database (also what is packed in it) and its dump, what is
logged, the database's server's own log too, what is said, and every file.
"""

import asyncio
import base64
import json
import logging
import os
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import pytest
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets.sources import engine, registry, vetting
from analytics_assets.sources.connector import Account, RawPage
from analytics_assets.sources.engine import Engine
from analytics_assets.sources.failures import Bug
from analytics_assets.sources.redactor import Redactor
from analytics_assets.sources.results import SyncReport
from analytics_assets.sources.secrets import KEYS_VARIABLE
from analytics_assets_tests.sources.hostile import Hostile, made_up
from analytics_assets_tests.sources.hostile_sources import ACCOUNTS, MARKS, REFRESH, SOURCES, given, settings_of
from analytics_assets_tests.sources.leaks import LEAST, Logged, Search, ServerLog, dump, written_dump, written_files
from analytics_assets_tests.sources.stores import NEW, add_acme
from analytics_assets_tests.sources.vendor import serving
from analytics_assets_tests.woocommerce import Connection

MODES = (
    "data", "zone", "currency", "nul", "cursor", "drain", "broken", "refusal", "truncated", "html 200", "html 503",
    *(f"error {status}" for status in (400, 401, 403, 404, 409, 429, 500)), "redirect host", "redirect path", "redirect odd",
    "token data", "token 400", "token 401", "token 500", "data",
)  # fmt: skip


def check_nowhere(hostile: Hostile, connection: Connection, server_log: ServerLog, *said: str) -> None:
    """Nothing secret stands in the database, in its dump, in its server's log, in a file, or in what was said."""
    search = Search(given() | hostile.known)
    texts = dump(connection) | written_files()
    texts |= {"pg_dump": written_dump(os.environ["DATABASE_URL"]), "the server's log": server_log.text()}
    assert len(texts["pg_dump"]) > 100_000
    places = [place for name, text in texts.items() for place in search.found(name, text)]
    places += [place for text in said for place in search.found("said", text)]
    assert not places, "\n".join(places[:20])


@pytest.fixture
def logged() -> Iterator[Logged]:
    """All loggers at DEBUG."""
    handler = Logged()
    names = ("", "httpx", "httpcore", "psycopg", "asyncio", "analytics_assets", "dagster", "tenacity", "google")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def server_log(connection: Connection) -> ServerLog:
    """From the beginning of the test."""
    return ServerLog(connection)


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def hostile(server: Any, monkeypatch: pytest.MonkeyPatch, connection: Connection) -> Hostile:
    """A vendor that has heard nothing yet, the environment pointed at it, and the organisation acme."""
    server.reset()
    monkeypatch.setattr(engine, "_LOOK_AGAIN_SECONDS", 0.02)
    hostile = Hostile(server.url, owners={REFRESH: "2"})
    server.answer = hostile.answer
    for name, value in {**hostile.environment(), KEYS_VARIABLE: NEW}.items():
        monkeypatch.setenv(name, value)
    add_acme(connection)
    return hostile


@pytest.fixture
def connected(hostile: Hostile, connection: Connection) -> Connection:
    """All sources added, without a call."""
    for name, (kind, _, secrets) in SOURCES.items():
        first = (datetime.now(UTC) - timedelta(days=20 if name == "shop bulk" else 2)).date()
        registry.add(connection, "acme", kind, name, settings_of(name, hostile), secrets, history_from=first)
    return connection


def turn(hostile: Hostile, connection: Connection, mode: str) -> None:
    """Another mode of the vendor, and every source as if it were new."""
    hostile.turn(mode)
    connection.execute("update public.data_sources set failure_kind = null, failures = 0, next_sync_at = now()")
    connection.execute("delete from public.sync_streams")
    connection.commit()


def one_pass(hostile: Hostile, connection: Connection, mode: str) -> SyncReport:
    turn(hostile, connection, mode)
    return asyncio.run(Engine(http_options={"patience": 0.0}).run())


def rows(connection: Connection, statement: str) -> list[dict[str, Any]]:
    connection.rollback()
    return connection.execute(statement).fetchall()


def test_the_search_finds_every_spelling(connection: Connection) -> None:
    secret = made_up("needle", MARKS)
    search = Search([secret])
    connection.execute("create table public.hay (a bytea, b jsonb, c text[])")
    for row in (
        (zlib.compress(f"body {secret} end".encode()), None, None),
        ("".join(f"\\u{ord(one):04x}" for one in secret).encode(), None, None),
        (None, json.dumps({secret: 1}), None),
        (None, None, [secret[:LEAST]]),
    ):
        connection.execute("truncate public.hay")
        connection.execute("insert into public.hay values (%s, %s, %s)", row)
        connection.commit()
        assert search.found("hay", dump(connection)["public.hay"]), row
    encoded = base64.b64encode(b"ab" + secret.encode()).decode()
    for form in (secret.upper(), encoded, quote(secret, ""), secret[40 : 40 + LEAST]):
        assert search.found("", f"x {form} y"), form
    assert not search.found("", f"{made_up('other', MARKS)} {secret[:11]}")


def test_nothing_that_vendors_send_back_is_kept(
    hostile: Hostile, connected: Connection, logged: Logged, server_log: ServerLog, capfd: pytest.CaptureFixture[str]
) -> None:
    """In data, names, ids, cursors, remarks, errors, headers, redirects, pages, of data and of tokens."""
    said = dict[str, str]()
    for mode in MODES:
        report = one_pass(hostile, connected, mode)
        assert {account for reached, account in hostile.reached if reached == mode} == ACCOUNTS, mode
        assert report.syncs == sum(report.outcomes.values()) >= len(SOURCES), mode
        said[mode] = f"{report.failures} {report.failed_organizations} {rows(connected, 'select * from public.data_sources')}"
        said[mode] += f"{rows(connected, 'select * from public.sync_streams')}"
    first, last = rows(connected, "select id from public.organizations"), datetime.now(UTC) + timedelta(days=1)
    connected.execute("select count(*) from public.ingest_orders(%s, %s, %s)", ([first[0]["id"]], last - timedelta(days=9), last))
    connected.commit()

    output = capfd.readouterr()
    check_nowhere(hostile, connected, server_log, *said.values(), *logged.texts, output.out, output.err)
    # It was there to be found: in pages of all, in those set aside, in names, remarks, and messages.
    for column, table, count in (
        ("source", "raw_data_backup where raw_data::text like '%[secret]%'", 4),
        ("source", "quarantine where encode(content, 'escape') like '%[secret]%'", 4),
        ("source", "quarantine where reason like '%[secret]%'", 3),
        ("source_type", "data_sources where account_name like '%[secret]%'", 3),
        ("data_source_id", "sync_logs where metadata -> 'flags' ? 'secret_removed'", len(SOURCES)),
    ):
        assert len(rows(connected, f"select distinct {column} from public.{table}")) == count, table
    kinds = rows(
        connected, "select metadata ->> 'failure_kind' as kind from public.sync_logs where error_message like '%[secret]%'"
    )
    assert {row["kind"] for row in kinds} >= {"bug", "retry", "reauthorize", "permission", "configuration"}


def test_a_cursor_that_holds_a_secret_ends_the_window(hostile: Hostile, connected: Connection) -> None:
    """Redacted, it would lead nowhere. No page of the window is kept; with other cursors the source goes on."""
    report = one_pass(hostile, connected, "cursor")
    failed = {source: (kind, message) for _, source, kind, message in report.failures}
    for name in ("ads", "ads 2", "shop", "shop refresh", "shop bulk"):
        kind, message = failed[name]
        assert kind == "bug" and "cursor for the page after 1 holds a secret of the source" in message, message
    assert failed.keys().isdisjoint({"store", "store 2"})
    for table in ("sync_streams", "raw_data_backup"):
        its = "select id from public.data_sources where source_type = 'shopify'"
        assert not rows(connected, f"select from public.{table} where data_source_id in ({its})")
    assert one_pass(hostile, connected, "drain").outcomes["bug"] == 3
    assert one_pass(hostile, connected, "data").outcomes == {"completed": len(SOURCES)}


def test_a_cursor_without_end_is_not_kept() -> None:
    """Looking through it would hold up everybody."""
    page = RawPage("orders", b"[]", 1, datetime.now(UTC), "v1", "UTC", "EUR", 0, position={"after": "x" * 100_000})
    with pytest.raises(Bug, match=r"orders: the vendor's cursor for the page after 1 has 100,0.. characters"):
        vetting.page(page, Redactor({}))
    name = vetting.account(Account("UTC", "EUR", "x" * 10_000_000), Redactor(SOURCES["key file"][2])).name
    assert name == "x" * 200


def test_what_is_wrong_with_one_account_stops_no_other(hostile: Hostile, connected: Connection) -> None:
    """A name with NUL, a zone or a currency that is none, and one that this database does not know: each once ended the
    pass of all."""
    for mode, well in (("nul", "google token"), ("zone", "shop"), ("currency", "shop")):
        report = one_pass(hostile, connected, mode)
        assert report.syncs >= len(SOURCES) and report.outcomes["bug"] >= 6, report.failures
        assert well in {name for _, name, _, _ in report.failures} or report.outcomes["completed"]
    connected.execute("alter table public.data_sources add constraint younger check (time_zone <> 'Europe/Berlin') not valid")
    connected.execute("update public.data_sources set time_zone = 'Asia/Tokyo', failure_kind = null")
    report = one_pass(hostile, connected, "data")
    assert report.syncs == len(SOURCES) and "('Europe/Berlin', 'EUR') are not kept" in report.failures[0][3]
    assert not rows(connected, "select from public.data_sources where lease_owner is not null")
    assert {row["failure_kind"] for row in rows(connected, "select failure_kind from public.data_sources")} == {"bug"}


def test_nothing_in_a_run_of_dagster(
    hostile: Hostile,
    connected: Connection,
    instance: dg.DagsterInstance,
    logged: Logged,
    server_log: ServerLog,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Its event log, its metadata and what it prints."""
    from analytics_assets.definitions import defs

    hostile.again = "3600"
    for mode in ("data", "zone", "error 401", "cursor"):
        turn(hostile, connected, mode)
        result = defs.resolve_job_def("source_sync").execute_in_process(instance=instance, raise_on_error=False)
        assert result.success
        assert {account for reached, account in hostile.reached if reached == mode} == ACCOUNTS
    output = capfd.readouterr()
    check_nowhere(hostile, connected, server_log, *logged.texts, output.out, output.err)
    events = rows(connected, "select event from dagster.event_logs where event like '%[secret]%'")
    assert len(events) > 10 and "[secret]" in output.err


def test_nothing_in_what_commands_say(
    hostile: Hostile,
    connection: Connection,
    logged: Logged,
    server_log: ServerLog,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """add, list, test and sync, of a vendor that answers and of one that does not."""
    hostile.again, said = "3600", list[str]()

    def told(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["sources", *arguments])
        said.append(result.output + repr(result.exception or ""))
        assert result.exit_code in (0, 1) and isinstance(result.exception, SystemExit | None), result.output
        return result.output

    def add(name: str, *more: str) -> str:
        kind, _, secrets = SOURCES[name]
        file = tmp_path / f"{name}.json"
        file.write_text(secrets.get("service_account") or json.dumps(secrets))
        settings = [part for key, value in settings_of(name, hostile).items() for part in ("--set", f"{key}={value}")]
        whole = [*settings, "--secret-file", str(file), "--from", f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%d}", *more]
        return told("add", "--organization", "acme", "--type", kind, *whole)

    for mode in ("zone", "currency", "error 400", "error 403", "redirect host"):
        hostile.turn(mode)
        for name in ("key file", "ads", "store", "shop bulk"):
            assert "Nothing was stored" in add(name) or mode in ("zone", "currency")
    hostile.turn("data")
    connection.execute("delete from public.data_sources")
    connection.commit()
    for name in SOURCES:
        assert "added to acme" in add(name, "--name", name)
    assert "[secret]" in "".join(said)
    for mode in ("data", "nul", "zone", "error 401", "refusal", "redirect odd", "html 503", "token 400"):
        hostile.turn(mode)
        told("test", "--organization", "acme")
        if mode in ("data", "refusal", "token 400"):
            hostile.turn(mode)
            told("sync", "--organization", "acme")
            told("list")
    output = capfd.readouterr()
    check_nowhere(hostile, connection, server_log, *said, *logged.texts, output.out, output.err)
    assert "[secret]" in said[-1] and "[secret]" in said[-2]
