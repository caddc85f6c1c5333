"""One person erased: nothing of her is left in any table, everybody else is as before, and so is everything that was counted."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets.database import connect
from analytics_assets.personal_data.erasure import erase
from analytics_assets_tests.browser.dagster_ui import wait_for
from analytics_assets_tests.events.serving import Caller, make_key, serving
from analytics_assets_tests.personal_data import people
from analytics_assets_tests.woocommerce import Connection, add_organization, order, take_in


def run(*arguments: str) -> Any:
    """The command, as an operator calls it."""
    return CliRunner().invoke(app, ["erase", *arguments])


def rows_of_others(rows: list[tuple[str, str]], words: list[str]) -> set[tuple[str, str]]:
    """Rows that name nobody of these, byte for byte, without those that tell of the erasure or are on her pages."""
    return {(t, r) for t, r in rows if not people.mentions([(t, r)], words) and "erasure" not in t and "erased" not in t}


def test_nothing_of_her_is_left_and_everything_else_is_as_before(connection: Connection, tmp_path: Path) -> None:
    """By one address: her ids, devices, customers of two stores and other address are found. Aggregates are the same rows after it,
    after everything was marked and computed again, and after it was made anew from pages and events."""
    acme, bolt = (people.fill(connection, tmp_path, slug) for slug in ("acme", "bolt"))
    # What a store answered when a sync failed, as an operator was told of it.
    connection.execute(
        "insert into public.operator_alerts (organization_id, data_source_id, failures, reason, message, what_to_do)"
        " select s.organization_id, s.id, 3, 'failing', 'unknown: ' || encode(private.email_hash(s.organization_id, %s), 'hex'), 'wait'"
        " from public.data_sources s where s.organization_id = %s",
        (people.EMAIL, acme),
    )
    words, elsewhere = people.needles(acme), people.every_row(connection, bolt)
    before = people.every_row(connection, acme)
    counted, complaints = people.aggregates(connection, acme), people.complaints(connection, "acme")
    assert all(counted.values())
    found = people.mentions(before, words)
    assert any(place.endswith("operator_alerts") for place, _, _ in found)
    assert {word for _, word, _ in found} == set(words)
    connection.commit()

    shown = run("--organization", "acme", "--email", people.EMAIL, "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert people.every_row(connection, acme) == before
    result = run("--organization", "acme", "--email", people.EMAIL)
    assert result.exit_code == 0, result.output
    assert [line for line in shown.output.splitlines() if re.search(r"\d$", line)] == [
        line for line in result.output.splitlines() if re.search(r"\d$", line)
    ]

    after = people.every_row(connection, acme)
    left = people.mentions(after, words)
    assert left == [], "\n".join(map(str, left))
    assert rows_of_others(before, words) - rows_of_others(after, words) == set()
    assert people.every_row(connection, bolt) == elsewhere
    assert any("Bert moved" in row and "Hauptstrasse 1" not in row for _, row in after)
    assert people.aggregates(connection, acme) == counted
    connection.commit()

    assert people.complaints(connection, "acme") == complaints
    people.mark_everything(connection, acme)
    people.compute(connection, acme)
    assert people.aggregates(connection, acme) == counted
    unnamed = ("id", "created_at", "updated_at")
    same = people.aggregates(connection, acme, *unnamed)
    people.forget_derived(connection, acme)
    people.compute(connection, acme)
    assert people.aggregates(connection, acme, *unnamed) == same

    again = run("--organization", "acme", "--email", people.EMAIL)
    assert again.exit_code == 0 and "was erased before" in again.output


_KILLED = """
import sys, time
from analytics_assets.database import connect
from analytics_assets.personal_data.erasure import erase
def halt(table, done, of):
    if table == sys.argv[1]:
        print("there", flush=True)
        time.sleep(60)
with connect() as connection:
    erase(connection, "acme", [sys.argv[2]], [], on_piece=halt)
"""


def test_killed_at_any_point_it_is_completed_by_the_next_call(connection: Connection, tmp_path: Path) -> None:
    """While it waits for a writer's turn: nothing is done. Between two tables: what is left is done first, whoever is asked for."""
    acme = people.fill(connection, tmp_path, "acme")
    words, before = people.needles(acme), people.every_row(connection, acme)
    counted = people.aggregates(connection, acme)
    connection.commit()

    def killed(table: str, until: str | None) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", _KILLED, table, people.USER], env=os.environ.copy(), stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        if until is None:
            assert process.stdout.readline() == b"there\n"
        else:
            with connect(autocommit=True) as watching:
                wait_for("lock that is waited for", lambda: watching.execute(until).fetchall(), 60)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()

    connection.execute("select private.lock_organizations('hourly', array[%s]::uuid[])", (acme,))
    killed("-", "select from pg_locks where locktype = 'advisory' and not granted")
    connection.rollback()
    assert people.every_row(connection, acme) == before

    killed("quarantine", None)
    left = {table for table, _, _ in people.mentions(people.every_row(connection, acme), words)}
    assert "erased_ids" in left and "orders" not in left and any(table.startswith("partitions.raw_data") for table in left)
    # What comes meanwhile comes as nobody's.
    people.send(connection, "acme", *people.events("meanwhile-"))
    result = run("--organization", "acme", "--user-id", "bert-9")
    assert result.exit_code == 0 and "interrupted was completed first" in result.output
    assert people.mentions(people.every_row(connection, acme), [*words, "bert-9", "bert@else.example"]) == []
    told = connection.execute(
        "select finished_at is not null as done, counts from public.erasures where organization_id = %s", (acme,)
    ).fetchall()
    assert [row["done"] for row in told] == [True, True]
    assert set(told[0]["counts"]) >= {"orders", "visitors", "raw_data_backup", "quarantine"}
    connection.commit()
    assert people.aggregates(connection, acme) == counted


def test_it_goes_on_while_others_write(connection: Connection, tmp_path: Path) -> None:
    """Events of hers and pages come in, and hours are computed, while she is erased, and erased again: nobody is refused, nothing of hers
    stays, every event is there."""
    acme = people.fill(connection, tmp_path, "acme")
    key = make_key(connection, "acme", "Europe/Berlin", "EUR")
    failed, batches = list[BaseException](), 8

    def send() -> None:
        with serving() as base, httpx.Client(timeout=30) as client:
            for number in range(batches):
                answer = Caller(base, key, client).send(*people.events(f"while-{number}-"))
                assert answer.status_code == 200, answer.text

    def take() -> None:
        with connect() as own:
            for number in range(100, 103):
                page = [
                    order(number, people.NOON, customer=7, billing=people.HERS),
                    order(1, people.NOON, customer=7, billing=people.HERS),
                ]
                take_in(own, tmp_path, "acme", "orders", page)
                people.compute(own, acme)

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (send, take)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            erase(connection, "acme", [people.USER], [people.EMAIL])
    finally:
        for thread in threads:
            thread.join(60)
    assert failed == []
    left = people.mentions(people.every_row(connection, acme), people.needles(acme))
    assert left == [], "\n".join(map(str, left))
    stored = connection.execute("select count(*) as n from public.event_tracking where organization_id = %s", (acme,)).fetchone()
    assert stored == {"n": (len(list(people.events())) - 1) * (batches + 1)}


def test_what_is_wrong_is_said(connection: Connection) -> None:
    """No organisation, nobody, nothing given, no address."""
    add_organization(connection)
    for arguments, code, said in (
        (("--organization", "nobody", "--user-id", "x"), 1, "no organisation 'nobody'"),
        (("--organization", "acme", "--user-id", "x"), 1, "nothing is known of that person in acme"),
        (("--organization", "acme", "--email", "x"), 1, "'x' is no e-mail address"),
        (
            (
                "--organization",
                "acme",
            ),
            2,
            "Give --user-id or --email",
        ),
    ):
        result = run(*arguments)
        assert result.exit_code == code and said in " ".join(result.output.split()), result.output
    for table in ("erasures", "erased_ids"):
        assert connection.execute(f"select from public.{table}").fetchall() == []
