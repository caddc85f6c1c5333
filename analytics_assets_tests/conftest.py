"""A real PostgreSQL for every test: the server of DATABASE_URL, or one embedded server for the whole session.

Each test that asks for ``database`` gets a database of its own, copied from a migrated template, and an instance home of
its own; DATABASE_URL and DAGSTER_HOME point at them while it runs.
"""

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import psycopg.sql
import pytest
from sqlalchemy.engine import make_url

from analytics_assets.settings import PROJECT_ROOT, Settings

_GIVEN_URL = os.environ.get("DATABASE_URL", "").strip()
for _name in [name for name in os.environ if name.startswith("ANALYTICS_") or name in ("DAGSTER_HOME", "DAGSTER_DATABASE_URL")]:
    del os.environ[_name]
os.environ["ANALYTICS_HOME"] = _HOME = tempfile.mkdtemp(prefix="analytics-tests-")

Connection = psycopg.Connection[dict[str, Any]]


def pytest_sessionfinish() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def server_url() -> str:
    """URL of a server on which databases can be made."""
    from analytics_assets.database import analytics_url, conninfo

    if _GIVEN_URL:
        return _GIVEN_URL
    url = conninfo(analytics_url(Settings.load()))
    # It outlives no power cut: waiting for the disk was nine tenths of making and dropping a database for each test.
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"alter system set {setting} = off")
        connection.execute("select pg_reload_conf()")
    return url


def _url_of(server_url: str, database: str) -> str:
    return make_url(server_url).set(database=database).render_as_string(hide_password=False)


def _make_database(server_url: str, name: str, template: str | None = None) -> str:
    statement = psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name))
    if template:
        statement += psycopg.sql.SQL(" template {}").format(psycopg.sql.Identifier(template))
    with psycopg.connect(server_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement)
    return _url_of(server_url, name)


def _drop_database(server_url: str, name: str) -> None:
    """Drops a database. Its server's own cleaning may just be at work in it, which a role without superuser cannot end."""
    statement = psycopg.sql.SQL("drop database if exists {} with (force)").format(psycopg.sql.Identifier(name))
    for attempt in range(40):
        try:
            with psycopg.connect(server_url.replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute(statement)
            return
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectInUse):
            if attempt == 39:
                raise
            time.sleep(0.5)


@pytest.fixture(scope="session")
def template_database(server_url: str) -> Iterator[str]:
    """Name of a migrated, empty database."""
    from analytics_assets.database import connect
    from analytics_assets.migrations import migrate

    name = f"analytics_template_{uuid.uuid4().hex[:8]}"
    url = _make_database(server_url, name)
    before = os.environ.get("DATABASE_URL")
    os.environ["DATABASE_URL"] = url
    try:
        with connect() as connection:
            migrate(connection)
    finally:
        if before is None:
            del os.environ["DATABASE_URL"]
        else:
            os.environ["DATABASE_URL"] = before
    yield name
    _drop_database(server_url, name)


@pytest.fixture
def empty_database(server_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database, in DATABASE_URL."""
    name = f"analytics_test_{uuid.uuid4().hex[:12]}"
    url = _make_database(server_url, name)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("ANALYTICS_HOME", str(tmp_path / "home"))
    yield url
    _drop_database(server_url, name)


@pytest.fixture
def database(server_url: str, template_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """URL of a migrated database, in DATABASE_URL."""
    name = f"analytics_test_{uuid.uuid4().hex[:12]}"
    url = _make_database(server_url, name, template_database)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("ANALYTICS_HOME", str(tmp_path / "home"))
    yield url
    _drop_database(server_url, name)


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    """A connection to the test's database."""
    from analytics_assets.database import connect

    with connect() as opened:
        yield opened


@pytest.fixture
def instance(database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A real Dagster instance on the test's database, with the project's own dagster.yaml."""
    import dagster as dg

    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(PROJECT_ROOT / "dagster.yaml", home / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as opened:
        yield opened
