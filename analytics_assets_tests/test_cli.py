"""The command line as an operator meets it: its exit status, what it says; and that a process of its own says the same."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets.database import connect
from analytics_assets_tests.command_line import analytics
from analytics_assets_tests.woocommerce import Connection, add_organization, order, take_in

Result = subprocess.CompletedProcess[str]
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
FROM, TO = f"{DAY:%Y-%m-%d}", f"{DAY + timedelta(days=1):%Y-%m-%d}"


def process(*arguments: str, **variables: str) -> Result:
    """`analytics ARGUMENTS` as a process of its own, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "analytics_assets.cli", *arguments],
        env=os.environ | variables, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def done(*arguments: str, **variables: str) -> str:
    """Its output; it ends with 0."""
    result = analytics(*arguments, **variables)
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def refused(words: str, *arguments: str) -> None:
    """It ends with 1 and says why in one line, without a traceback."""
    result = analytics(*arguments)
    assert result.returncode == 1, result.stderr + result.stdout
    assert re.search(words, result.stderr) and result.stderr.startswith("error: "), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def misused(words: str, *arguments: str) -> None:
    """It ends with 2 and says what was wrong. (In this process: the same commands, without a start for each.)"""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert re.search(words, result.output), result.output


def pages(folder: Path, name: str, *lines: object) -> str:
    """A file of pages, one a line; text goes in as it is."""
    file = folder / name
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return str(file)


def test_organizations(connection: Connection) -> None:
    """Added once, listed, spread over cells and back, taken out."""
    assert "acme added: Europe/London, GBP, partition key acme" in done(
        "organizations", "add", "acme", "--name", "[b]Acme[/b] [/x]", "--time-zone", "Europe/London", "--currency", "gbp"
    )
    assert "acme is there already" in done("organizations", "add", "acme", "--timezone", "Europe/London", "--currency", "GBP")
    for number in range(8):
        connection.execute("insert into public.organizations (slug) values (%s)", (f"org-{number}",))
    connection.commit()
    assert "9 organisations over 2 partition keys" in done("organizations", "spread", "--cells", "2")
    keys = {row["partition_key"] for row in connection.execute("select partition_key from public.organizations").fetchall()}
    assert keys == {"cell-01", "cell-02"}
    assert "9 organisations over 9 partition keys, 1 to 1 in each" in done("organizations", "spread", "--cells", "0")
    assert "acme is not active" in done("organizations", "deactivate", "acme")
    listed = done("organizations", "list")
    assert "9 organisations" in listed
    # (A name in square brackets was read as formatting, and vanished or ended the command.)
    assert re.search(r"^acme +\[b\]Acme\[/b\] \[/x\] +Europe/London +GBP +acme +no ", listed, re.MULTILINE), listed


def test_a_process_of_its_own_says_the_same(database: str, tmp_path: Path) -> None:
    """What is done, refused, called wrongly, and without a database: status and every word, on the same streams."""
    assert process("organizations", "add", "acme", "--name", "[b]Ä").returncode == 0
    nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    cases: list[tuple[int, list[str], dict[str, str]]] = [
        (0, ["organizations", "list"], {}),
        (1, ["organizations", "deactivate", "nobody"], {}),
        (2, ["organizations", "spread"], {}),
        (1, ["organizations", "list"], nowhere),
    ]
    for status, arguments, variables in cases:
        real, here = process(*arguments, **variables), analytics(*arguments, **variables)
        assert (real.returncode, real.stdout) == (here.returncode, here.stdout) == (status, real.stdout), arguments
        # Usage names the program, which here is pytest's.
        assert real.stderr.splitlines()[-2:] == here.stderr.splitlines()[-2:] and bool(real.stdout) != bool(real.stderr)


def test_commands_and_workers_start_without_dagster() -> None:
    """It took half of their start, and of a worker's memory, for the sake of a class that neither uses."""
    code = "import sys, analytics_assets.cli, analytics_assets.events.worker; sys.exit('dagster' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def test_a_warning_before_dagsters_limit(database: str) -> None:
    """Keys x hours of the window, from 90 % of 100,000 on; it names the number of cells that stays below."""
    result = analytics("organizations", "add", "acme", ANALYTICS_HOURLY_START="2010-01-01")
    assert result.returncode == 0 and "warning: 1 partition keys x" in result.stderr and "spread --cells 1`" in result.stderr
    assert analytics("organizations", "spread", "--cells", "1").stderr == ""


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (r"slug 'Not \[/a\] slug'", ["add", "Not [/a] slug"]),
        ("time zone 'Mars/Base'", ["add", "new", "--time-zone", "Mars/Base"]),
        ("currency 'EURO'", ["add", "new", "--currency", "euro"]),
        ("partition key 'A'", ["add", "new", "--partition-key", "A"]),
        ("exists with time zone UTC, not Asia/Tokyo", ["add", "there", "--time-zone", "Asia/Tokyo"]),
        ("exists with name There, not Elsewhere", ["add", "there", "--name", "Elsewhere"]),
        ("no organisation 'nobody'", ["deactivate", "nobody"]),
    ],
)
def test_what_an_organisation_cannot_be(connection: Connection, words: str, arguments: list[str]) -> None:
    """One line, and nothing is changed."""
    connection.execute("insert into public.organizations (slug, name) values ('there', 'There')")
    connection.commit()
    refused(words, "organizations", *arguments)
    rows = connection.execute("select slug, name, time_zone, is_active from public.organizations").fetchall()
    assert [tuple(row.values()) for row in rows] == [("there", "There", "UTC", True)]


def test_a_command_called_wrongly(database: str, tmp_path: Path) -> None:
    """Exit status 2, and the word that was wrong."""
    misused("No such command", "organisations")
    misused("Missing option '--cells'", "organizations", "spread")
    misused("-1 cells: expected", "organizations", "spread", "--cells", "-1")
    misused("'x' is no id", "quarantine", "discard", "x")
    misused("expected a date such as", "rates", "add", "USD", "EUR", "monday", "0.9")
    misused("(?s)does.*not.*exist", "rates", "import", str(tmp_path / "none.csv"))
    misused("line_number|expected the columns", "rates", "import", pages(tmp_path, "a.csv", "from,to", "USD,EUR"))
    misused("b.csv:2: expected a date", "rates", "import", pages(tmp_path, "b.csv", "from_currency,to_currency,date,rate", "USD"))


def test_without_tables_it_says_what_to_do_first(empty_database: str) -> None:
    """(`organizations add` asks a function first; only missing tables were known, and it ended in a traceback.)"""
    for command in (["organizations", "list"], ["organizations", "add", "acme"], ["quarantine", "discard", f"{'0' * 32}"]):
        refused("run `analytics migrate` first", *command)


def test_help_of_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command and each of a group's has a help of its own; without a database."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    found: list[str] = []

    def look(*command: str) -> None:
        result = CliRunner().invoke(app, [*command, "--help"])
        assert result.exit_code == 0 and f"Usage: root {' '.join(command)}".strip() in result.output, result.output
        for name in re.findall(r"^│ ([a-z]+) ", result.output.partition("Commands")[2], re.MULTILINE):
            found.append(" ".join([*command, name]))
            look(*command, name)

    look()
    groups = {
        "organizations": ["add", "list", "spread", "deactivate"],
        "quarantine": ["list", "discard"],
        "rates": ["add", "import"],
    }
    wanted = {f"{group} {name}" for group, names in groups.items() for name in names}
    assert {"migrate", "import", "backfill", "maintain", "ui", "stop", "demo", *wanted} <= set(found)


def test_rates(connection: Connection, tmp_path: Path) -> None:
    """Added one by one or from a file, corrected, refused. NaN is greater than 0 to PostgreSQL: it was taken in, and
    would have made every sum NaN."""
    assert "1 rates, 1 of them new or changed" in done("rates", "add", "usd", "eur", "2026-03-02", "0.9")
    file = pages(tmp_path, "r.csv", "rate,date,to_currency,from_currency", "0.9,2026-03-02,EUR,USD", "0.8,2026-03-03,EUR,USD")
    assert "2 rates, 1 of them new or changed" in done("rates", "import", file)
    for rate in ("0", "NaN", "Infinity", "1e999999"):
        refused("a rate is not allowed", "rates", "add", "GBP", "EUR", "2026-03-02", rate)
    refused("a rate is not allowed", "rates", "add", "EURO", "USD", "2026-03-02", "1")
    rows = connection.execute("select rate::float as rate from public.exchange_rates order by rate_date").fetchall()
    assert [row["rate"] for row in rows] == [0.9, 0.8]


def test_import_and_quarantine(connection: Connection, tmp_path: Path) -> None:
    """Good pages go in, bad ones are set aside with their place and can be discarded."""
    connection.execute("insert into public.organizations (slug) values ('acme')")
    connection.commit()
    to_acme = ["import", "--organization", "acme", "--source", "woocommerce", "--stream", "orders"]
    good = [order(1, DAY + timedelta(hours=9)), order(2, DAY + timedelta(hours=10))]
    bad = "[/b] no page"
    mixed = done(*to_acme, pages(tmp_path, "mixed.jsonl", good, bad))
    assert "2 pages: 1 stored with 2 records, 0 known already, 1 in quarantine" in mixed and f"--from {FROM}" in mixed
    assert "1 known already" in done(*to_acme, pages(tmp_path, "again.jsonl", good))
    only_bad = analytics(*to_acme, pages(tmp_path, "bad.jsonl", "<html>"))
    assert only_bad.returncode == 1 and "HTML or XML" in only_bad.stdout and "Traceback" not in only_bad.stderr
    refused("no organisation 'nobody'", *to_acme[:2], "nobody", *to_acme[3:], pages(tmp_path, "c.jsonl", good))
    refused("no stream woocommerce fax", *to_acme[:-1], "fax", pages(tmp_path, "c.jsonl", good))
    listed = done("quarantine", "list", "--organization", "acme")
    assert "2 in quarantine" in listed and "mixed.jsonl:2" in listed and "bad.jsonl:1" in listed
    key = re.findall(r"^([0-9a-f-]{36}) ", listed, re.MULTILINE)[0]
    assert "discarded: " in done("quarantine", "discard", key)
    refused("nothing open in quarantine", "quarantine", "discard", key)
    assert "1 in quarantine" in done("quarantine", "list")
    assert "discarded" in done("quarantine", "list", "--all")


def test_backfill(connection: Connection, tmp_path: Path) -> None:
    """One organisation whole: its figures stand in the reader's view. One with a broken order: status 1 and its name."""
    extra: dict[str, str] = {}
    for slug in ("whole", "broken"):
        add_organization(connection, slug)
        good = [order(number, DAY + timedelta(hours=9), "10.50") for number in (1, 2)]
        take_in(connection, tmp_path, slug, "orders", [*good, order(3, DAY + timedelta(hours=11)) | extra])
        extra = {"total": "much"}
    result = process("backfill", "--organization", "whole", "--from", FROM, "--to", TO)
    assert result.returncode == 0 and re.search(r"\b0 not done", result.stdout), result.stderr + result.stdout
    rows = connection.execute(
        "select o.slug, extract(hour from a.timestamp at time zone 'UTC')::int as hour, a.value::text from public.hourly_aggregates a"
        " join public.organizations o on o.id = a.organization_id where a.metric = 'total_sales' order by 2"
    ).fetchall()
    assert [tuple(row.values()) for row in rows] == [("whole", 9, "21.00"), ("whole", 11, "10.00")]
    days = connection.execute(
        "select value::text, date::text from public.daily_aggregates where metric = 'total_sales'"
    ).fetchall()
    assert [tuple(row.values()) for row in days] == [("31.00", FROM)]
    result = analytics("backfill", "--organization", "broken", "--from", FROM, "--to", TO)
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    assert re.search(
        rf"^broken +hourly_aggregates +{FROM} 11:00 +failed +order 3: total is \"much\"", result.stdout, re.MULTILINE
    ), result.stdout
    connection.rollback()
    sold = "select count(*) as hours from public.hourly_aggregates a join public.organizations o on o.id = a.organization_id"
    assert connection.execute(sold + " where o.slug = 'broken' and a.metric = 'orders'").fetchone() == {"hours": 1}


def test_a_backfill_that_cannot_be(database: str) -> None:
    """Refused before anything runs."""
    with connect() as opened:
        opened.execute("insert into public.organizations (slug, is_active) values ('acme', true), ('asleep', false)")
    refused("no organisation 'nobody'", "backfill", "--organization", "nobody", "--from", FROM, "--to", TO)
    refused("asleep is not active", "backfill", "--organization", "asleep", "--from", FROM, "--to", TO)
    misused("--from monday", "backfill", "--organization", "acme", "--from", "monday", "--to", TO)
    misused("is not before", "backfill", "--organization", "acme", "--from", TO, "--to", FROM)
    misused("no asset fancy", "backfill", "--organization", "acme", "--from", FROM, "--to", TO, "--assets", "fancy")


def test_definitions_load_with_nothing(tmp_path: Path) -> None:
    """No database, no environment: code locations load in CI and in Dagster's own processes."""
    home = tmp_path / "home"
    home.mkdir()
    code = "from analytics_assets.definitions import defs; print(len(list(defs.resolve_asset_graph().get_all_asset_keys())))"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ANALYTICS_HOME": str(home)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 5
    assert list(home.iterdir()) == []
