"""TLS to PostgreSQL: what DATABASE_URL and DAGSTER_DATABASE_URL ask for holds for every connection that the project makes.

The server lets in nobody without TLS, so who gets in has it; who trusts another authority, or reaches the server by a name
that its certificate does not have, must not get in.
"""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import psycopg
import pytest
import sqlalchemy

from analytics_assets.cli import main
from analytics_assets.database import analytics_url, connect, connect_async, conninfo, dagster_url
from analytics_assets.events import writer
from analytics_assets.migrations import migrate
from analytics_assets.resources import Database
from analytics_assets.settings import PROJECT_ROOT, Settings, make_paths_absolute
from analytics_assets_tests.browser.dagster_ui import wait_for
from analytics_assets_tests.surface.processes import started
from analytics_assets_tests.surface.tls_server import TLSServer, find_binaries, tls_server
from benchmarks.server import throw_away_database

BINARIES = find_binaries()
pytestmark = pytest.mark.skipif(
    BINARIES is None, reason="no PostgreSQL server with TLS on this machine (the embedded one has none)"
)
ASK = "select coalesce((select version from pg_stat_ssl where pid = pg_backend_pid()), 'none') as version"


@pytest.fixture(scope="module")
def server() -> Iterator[TLSServer]:
    assert BINARIES is not None
    with tls_server(BINARIES) as running:
        yield running


@pytest.fixture
def dagster_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An instance's folder, and an empty one of the project."""
    shutil.copy(PROJECT_ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("ANALYTICS_HOME", str(tmp_path / "home"))
    return tmp_path


def _connect() -> Any:
    with connect() as connection:
        return connection.execute(ASK).fetchall()[0]["version"]


def _resource() -> Any:
    return Database().rows(ASK)[0]["version"]


def _connect_async() -> Any:
    async def ask() -> Any:
        async with await connect_async() as connection:
            return (await (await connection.execute(ASK)).fetchall())[0]["version"]

    return asyncio.run(ask())


def _collector() -> Any:
    async def ask() -> Any:
        async with await writer.connect(conninfo(analytics_url())) as connection:
            return (await (await connection.execute(ASK)).fetchall())[0]["version"]

    return asyncio.run(ask())


def _by_sqlalchemy(url: Any) -> Any:
    with sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool).connect() as connection:
        return connection.execute(sqlalchemy.text(ASK)).scalar_one()


def _dagsters_own() -> Any:
    """Through an instance, as a command has it: run, event and schedule storage."""
    with dg.DagsterInstance.get() as instance:
        assert instance.get_runs_count() == 0 and instance.all_instigator_state() == [] and not instance.all_asset_keys()
    return _by_sqlalchemy(dagster_url())


def _benchmark() -> Any:
    with throw_away_database(Settings.load()) as connection:
        return connection.execute(ASK).fetchall()[0]["version"]


WAYS: dict[str, Callable[[], Any]] = {
    "psycopg": _connect,
    "the resource": _resource,
    "psycopg, async": _connect_async,
    "the collector": _collector,
    "SQLAlchemy": lambda: _by_sqlalchemy(analytics_url()),
    "Dagster": _dagsters_own,
    "a benchmark": _benchmark,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_connection_verifies_the_server(
    server: TLSServer, dagster_home: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The right authority and name: in, with TLS. Another authority, another name, no TLS: out, with the reason."""
    monkeypatch.setenv("DATABASE_URL", server.url("verify-full", server.authority))
    assert WAYS[way]() in ("TLSv1.2", "TLSv1.3")
    for url, reason in (
        (server.url("verify-full", server.other_authority), "certificate verify failed"),
        (server.url("verify-ca", server.other_authority), "certificate verify failed"),
        (server.url("verify-full", server.authority, host="127.0.0.1"), "localhost.*does not match host name.*127.0.0.1"),
        (server.url("verify-full", dagster_home / "none.pem"), "root certificate file .*none.pem.* does not exist"),
        (server.url("disable"), "no encryption"),
    ):
        monkeypatch.setenv("DATABASE_URL", url)
        with pytest.raises(Exception, match=f"(?s){reason}") as refusal:
            WAYS[way]()
        assert server.password not in f"{refusal.value!r}{refusal.value.__cause__!r}"
    for url in (server.url("require"), server.url("verify-ca", server.authority, host="127.0.0.1")):
        monkeypatch.setenv("DATABASE_URL", url)
        assert WAYS[way]() in ("TLSv1.2", "TLSv1.3")


def test_dagsters_storage_has_an_address_of_its_own(
    server: TLSServer, dagster_home: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    """With its own sslmode, whatever that of the analytics database is."""
    monkeypatch.setenv("DAGSTER_DATABASE_URL", server.url("verify-full", server.authority, database="template1"))
    assert _dagsters_own() in ("TLSv1.2", "TLSv1.3")
    monkeypatch.setenv("DAGSTER_DATABASE_URL", server.url("verify-full", server.other_authority))
    with pytest.raises(Exception, match=r"Dagster's own storage \(DAGSTER_DATABASE_URL\): .*certificate verify failed"):
        dg.DagsterInstance.get()


def test_a_command_says_what_to_do(
    server: TLSServer, dagster_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line: which check failed, and which option names the authority."""
    monkeypatch.setenv("DATABASE_URL", server.url("verify-full", server.other_authority))
    for command in (["migrate"], ["organizations", "list"], ["ui"], ["sources", "list"]):
        monkeypatch.setattr(sys, "argv", ["analytics", *command])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == 1 and not said.out
        lines = said.err.strip().splitlines()
        assert re.search(r"certificate verify failed.*sslrootcert=/path/ca\.pem", lines[0]), said.err
        assert len(lines) == 1 and server.password not in said.err


def test_a_relative_path_holds_in_every_process(
    server: TLSServer, dagster_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a command starts works in another folder: its workers found no such file, and said so for ever."""
    shutil.copy(server.authority, tmp_path / "my ca.pem")
    with psycopg.connect(server.url("require"), autocommit=True) as maintenance:
        maintenance.execute("create database relative")
    url = server.url("verify-full", "my ca.pem", database="relative")
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.chdir(tmp_path)
    with connect() as connection:
        migrate(connection)
    log = tmp_path / "collector.log"
    with started("collector", "--port", "0", log=log, PYTHONPATH=str(PROJECT_ROOT)):
        wait_for("address of the collector", lambda: "(Ctrl-C stops it)" in log.read_text(), 60)
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        assert found is not None and "warning" not in log.read_text()
        assert httpx.get(f"{found[0]}/health", trust_env=False).status_code == 200


def test_paths_that_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All options of libpq that name files, however they are written; ``system`` is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(
        "DATABASE_URL", "postgresql://u:p@h/d?sslmode=verify-full&sslrootcert=a%20b/ca.pem&sslkey=/k&sslcert=c.pem"
    )
    monkeypatch.setenv("DAGSTER_DATABASE_URL", "postgresql://u:p@h/d?sslrootcert=system")
    monkeypatch.setenv("PGSSLROOTCERT", "ca.pem")
    monkeypatch.setenv("PGPASSFILE", "")
    make_paths_absolute()
    assert analytics_url().query == {
        "sslmode": "verify-full", "sslrootcert": f"{tmp_path}/a b/ca.pem", "sslkey": "/k", "sslcert": f"{tmp_path}/c.pem",
    }  # fmt: skip
    assert os.environ["DAGSTER_DATABASE_URL"].endswith("?sslrootcert=system")
    assert os.environ["PGSSLROOTCERT"] == f"{tmp_path}/ca.pem" and os.environ["PGPASSFILE"] == ""
