"""No secret of the environment is in what any command says, logs or stores, whatever goes wrong.

Every command of the command line, taken from itself so that none is forgotten, with a secret in every setting that takes one:
on a database that works, and with URLs that lead to a wrong password, to nobody, and to nothing that is a URL.
"""

import json
import logging
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import typer.main
from sqlalchemy.engine import make_url

from analytics_assets.backfill import materialize_registry
from analytics_assets.cli import app, main
from analytics_assets_tests.browser.dagster_ui import wait_for
from analytics_assets_tests.sources.hostile import made_up
from analytics_assets_tests.sources.leaks import Logged, Search, dump, written_files
from analytics_assets_tests.surface.processes import command_lines, started
from analytics_assets_tests.surface.secret_settings import search_for, secret_environment
from analytics_assets_tests.woocommerce import Connection, order

TO_ACME = ("--organization", "acme")
DAY = datetime.now(UTC).date() - timedelta(days=3)
DAYS = ("--from", f"{DAY}", "--to", f"{DAY + timedelta(days=1)}")
USER = "6f1f7c36-0e0b-4a53-8a34-0f2b7f3c9d10"
FUNNEL = (*TO_ACME, "--name", "checkout")
GOOGLE = (*TO_ACME, "--type", "google_analytics")
# In an order in which each has what it needs; {page} and {rates} are files, {export} is an empty folder.
COMMANDS: dict[str, tuple[str, ...]] = {
    "migrate": (),
    "organizations add": ("acme", "--time-zone", "Europe/London", "--currency", "GBP"),
    "organizations list": (),
    "organizations spread": ("--cells", "2"),
    "organizations deactivate": ("acme",),
    "organizations activate": ("acme",),
    "organizations members add": ("acme", USER, "--role", "owner"),
    "organizations members list": ("acme",),
    "organizations members remove": ("acme", USER, "--force"),
    "import": (*TO_ACME, "--source", "woocommerce", "--stream", "orders", "{page}"),
    "quarantine list": (),
    "quarantine discard": ("0" * 32,),
    "rates add": ("USD", "GBP", "2026-03-02", "0.7"),
    "rates import": ("{rates}",),
    "sources add": (*GOOGLE, "--set", "property_id=1234", "--secret-env", "refresh_token=SOURCE_SECRET", "--no-test"),
    "sources list": (),
    "status": (),
    "sources test": GOOGLE,
    "sources pause": GOOGLE,
    "sources resume": GOOGLE,
    "sources authorize": (*GOOGLE, "--secret-env", "refresh_token=SOURCE_SECRET", "--no-test"),
    "sources rotate-keys": (),
    "sources sync": TO_ACME,
    "sources backfill": (*TO_ACME, *DAYS),
    "sources remove": GOOGLE,
    "keys create": TO_ACME,
    "keys list": (),
    "keys revoke": ("default", *TO_ACME),
    "funnels add": (*FUNNEL, "--step", "Product Viewed", "--step", "Order Completed"),
    "funnels list": (),
    "funnels show": FUNNEL,
    "funnels remove": FUNNEL,
    "erase": (*TO_ACME, "--email", "ann@shop.example"),
    "insights": (*TO_ACME, "--all"),
    "live": (*TO_ACME, "--once"),
    "backfill": (*TO_ACME, *DAYS),
    "retention set": (*TO_ACME, "--layer", "raw", "--days", "20"),
    "retention list": (),
    "retention reset": (*TO_ACME, "--layer", "raw"),
    "rebuild": (*TO_ACME, "--range", f"{DAY}..{DAY + timedelta(days=1)}", "--check"),
    "raw archive": ("--older-than", "30"),
    "raw restore": DAYS,
    "raw forget": ("0" * 32, "--yes"),
    "maintain": (),
    "storage": (),
    "organizations export": ("acme", "--output", "{export}"),
    "organizations delete": ("acme", "--yes"),
    "organizations import": ("{export}",),
    "stop": (),
    "ui": (),
    "sandbox": ("--register", "--port", "0", "--organizations", "1", "--days", "1"),
    "demo": (),
    "collector": ("--port", "0", "--quiet"),
}
# They go on until they are stopped: `ui` and `collector` are started in test_interface.py, with the same secrets.
UNTIL_STOPPED = {"ui", "sandbox", "demo", "collector"}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that does something, by its words."""
    if isinstance(group := getattr(command, "commands", None), dict):
        for name, one in group.items():
            yield from leaves(one, (*path, name))
    else:
        yield " ".join(path)


KNOWN = set(leaves(typer.main.get_command(app)))


@dataclass
class Said:
    """What commands said."""

    capture: pytest.CaptureFixture[str]
    logged: Logged
    files: dict[str, str]

    def run(self, name: str) -> tuple[int | str | None, str]:
        """One command, as the program; its exit status, and everything that it said and logged."""
        self.capture.readouterr()
        self.logged.texts.clear()
        sys.argv = ["analytics", *name.split(), *(part.format(**self.files) for part in COMMANDS[name])]
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        status: int | str | None = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        told = self.capture.readouterr()
        return status, "\n".join([told.out, told.err, *self.logged.texts])


@pytest.fixture
def secrets(database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The environment: a secret wherever one goes; vendors that nobody plays; an instance's folder."""
    environment = {**secret_environment(database), "SOURCE_SECRET": made_up("refresh token", "-_.~")}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in ("GOOGLE_URL", "GOOGLE_TOKEN_URL", "META_URL"):
        monkeypatch.setenv(f"ANALYTICS_{name}", "http://127.0.0.1:1")
    monkeypatch.setenv("ANALYTICS_GOOGLE_CLIENT_ID", "deployment")
    monkeypatch.setenv("ANALYTICS_RAW_ARCHIVE", "local")
    monkeypatch.setattr(sys, "argv", sys.argv)
    return environment


@pytest.fixture
def said(
    secrets: dict[str, str], capfd: pytest.CaptureFixture[str], tmp_path: Path, instance: dg.DagsterInstance
) -> Iterator[Said]:
    """Commands of this process, every logger at DEBUG."""
    page, rates = tmp_path / "page.jsonl", tmp_path / "rates.csv"
    at = datetime.combine(DAY, datetime.min.time(), UTC)
    page.write_text(json.dumps([order(1, at, email="ann@shop.example", currency="GBP")]) + "\n")
    rates.write_text("from_currency,to_currency,date,rate\nUSD,GBP,2026-03-03,0.7\n")
    logged, root = Logged(), logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(logged)
    (tmp_path / "export").mkdir()
    yield Said(capfd, logged, {"page": str(page), "rates": str(rates), "export": str(tmp_path / "export")})
    root.removeHandler(logged)
    root.setLevel(before)


def test_no_command_is_forgotten() -> None:
    """A new one has to be tried here."""
    assert len(KNOWN) > 30 and not KNOWN - set(COMMANDS)


def test_commands_that_work(said: Said, secrets: dict[str, str], connection: Connection) -> None:
    """Neither what they say nor what they leave in the database, Dagster's runs and events there, and in files."""
    search = Search([secrets["SOURCE_SECRET"]]), search_for(secrets)
    places = []
    for name in COMMANDS:
        if name in UNTIL_STOPPED or name not in KNOWN:
            continue
        status, text = said.run(name)
        # A vendor that is not there, and an id that nothing has.
        assert status == (1 if name in ("sources test", "sources sync", "sources backfill", "quarantine discard") else 0), (
            name,
            text,
        )
        places += [f"{name}: {place}" for one in search for place in one.found("said", text)]
    texts = dump(connection) | written_files()
    assert "PIPELINE_SUCCESS" in texts["dagster.event_logs"]
    places += [place for one in search for where, text in texts.items() for place in one.found(where, text)]
    assert not places, "\n".join(places[:20])


HIDDEN = made_up("a password in a URL", "-_.~")
URLS = {
    "a wrong password": "{scheme}://{user}:{hidden}@{place}",
    "nobody there": "postgresql://user:{hidden}@127.0.0.1:1/nothing",
    "an unknown option": "postgresql://user:{hidden}@127.0.0.1:1/nothing?sslmodus=on",
    "a mark in the password": "postgresql://user:p@{hidden}@127.0.0.1:1/nothing",
    "no port": "postgresql://user:{hidden}@127.0.0.1:none/nothing",
    "another kind": "mysql://user:{hidden}@127.0.0.1/nothing",
    "no URL": "user:{hidden}@127.0.0.1",
}


def wrong_url(kind: str, database: str) -> str:
    """The URL of that kind."""
    url = make_url(database)
    place = database.rpartition("@")[2]
    return URLS[kind].format(scheme="postgresql", user=f"{url.username}", hidden=HIDDEN, place=place)


def test_commands_that_cannot_connect(
    said: Said, secrets: dict[str, str], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each says why in one line of its own, without a traceback."""
    search = Search([HIDDEN, secrets["SOURCE_SECRET"]]), search_for(secrets)
    for kind in URLS:
        if kind == "a wrong password" and make_url(database).password is None:
            continue  # this server asks for none
        monkeypatch.setenv("DATABASE_URL", wrong_url(kind, database))
        for name in COMMANDS:
            if name in ("collector", "stop", "raw forget") or name not in KNOWN:
                continue  # one waits for a database that comes later, one has none to stop, one asks none
            status, text = said.run(name)
            assert status == 1 and "error: " in text and "Traceback" not in text, (kind, name, text)
            assert not [place for one in search for place in one.found(f"{kind}, {name}", text)]


def test_dagsters_own_database_lets_nobody_in(
    said: Said, secrets: dict[str, str], database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that need Dagster's runs say so in one line. (It took six seconds, and three tracebacks.)"""
    for name in ("organizations add", "import"):
        assert said.run(name)[0] == 0
    monkeypatch.setenv("DAGSTER_DATABASE_URL", wrong_url("nobody there", database))
    for name in ("backfill", "ui"):
        status, text = said.run(name)
        assert status == 1 and "error: no connection to Dagster's own storage" in text and "Traceback" not in text, text
        assert not [place for one in (Search([HIDDEN]), search_for(secrets)) for place in one.found(name, text)]


def test_a_run_that_cannot_connect(
    said: Said, secrets: dict[str, str], database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step's failure is stored with its whole stack; on Dagster's pages everybody reads it."""
    own = make_url(database).update_query_dict({"options": "-csearch_path=dagster"}).render_as_string(hide_password=False)
    monkeypatch.setenv("DAGSTER_DATABASE_URL", own)
    monkeypatch.setenv("DATABASE_URL", wrong_url("nobody there", database))
    with dg.DagsterInstance.get() as opened:
        materialize_registry(opened)
        (run,) = opened.get_runs()
        assert run.status == dg.DagsterRunStatus.FAILURE
    texts = dump(connection) | written_files() | {"logged": "\n".join(said.logged.texts)}
    assert "no connection to PostgreSQL" in texts["dagster.event_logs"]
    search = Search([HIDDEN]), search_for({**secrets, "DATABASE_URL": database})
    assert not [place for one in search for where, text in texts.items() for place in one.found(where, text)]


def test_a_collector_without_a_database(secrets: dict[str, str], database: str, tmp_path: Path) -> None:
    """It goes on, and says so: neither it nor its workers name the password, nor show it to who lists processes."""
    log = tmp_path / "collector.log"
    with started("collector", "--port", "0", log=log, DATABASE_URL=wrong_url("nobody there", database)) as process:
        wait_for("warning of the collector", lambda: "cannot store events now" in log.read_text(), 60)
        lines = command_lines(process.pid)
        assert "analytics_assets.events.worker" in lines
    for one in (Search([HIDDEN]), search_for(secrets)):
        assert not one.found("said", log.read_text()) and not one.found("command lines", lines)
