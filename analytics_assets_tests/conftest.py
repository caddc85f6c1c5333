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

import psutil
import psycopg
import psycopg.sql
import pytest
from sqlalchemy.engine import make_url

from analytics_assets.settings import PROJECT_ROOT, Settings

_GIVEN_URL = os.environ.get("DATABASE_URL", "").strip()
for _name in [name for name in os.environ if name.startswith("ANALYTICS_") or name in ("DAGSTER_HOME", "DAGSTER_DATABASE_URL")]:
    del os.environ[_name]


def _folder_in_memory() -> str | None:
    """A file system in memory, where there is one with room to spare.

    A test's database is 800 small files: on a disk the kernel needs half a second of a processor to make them, in memory
    a thirtieth.
    """
    memory = "/dev/shm"
    room = shutil.disk_usage(memory).free if os.access(memory, os.W_OK) else 0
    if min(room, psutil.virtual_memory().available) < _ROOM:
        return None
    for left in Path(memory).glob(f"{_PREFIX}*"):
        # Of a run that was killed.
        if not psutil.pid_exists(int(left.name.removeprefix(_PREFIX).partition("-")[0])):
            shutil.rmtree(left, ignore_errors=True)
    return memory


_ROOM = 8 * 2**30
_PREFIX = "analytics-tests-"
MEMORY = _folder_in_memory()
os.environ["ANALYTICS_HOME"] = HOME = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=MEMORY)

Connection = psycopg.Connection[dict[str, Any]]


# Files that take longest, the longest first: side by side in two processes, one that came last kept one of them waiting.
_FIRST = (
    "browser/test_ui.py", "sources/test_faults.py", "surface/test_interface.py", "graph/test_scheduling.py",
    "test_online_retail.py", "graph/test_crash.py", "cohorts/test_definitions_hold.py", "events/test_clients.py",
    "sources/test_crashes.py", "graph/test_runs.py", "surface/test_secrets_said.py", "operations/test_event_log_storage.py",
    "sources/test_live_sync.py", "test_cli.py", "graph/test_checks.py", "test_database.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole files change their place, tests within a file do not."""
    places = {f"analytics_assets_tests/{name}": place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: places.get(item.location[0], len(_FIRST)))


def pytest_sessionfinish() -> None:
    from analytics_assets.database import stop_embedded

    # Else it goes on in a folder that is gone, until it notices after a minute.
    stop_embedded(Path(HOME))
    shutil.rmtree(HOME, ignore_errors=True)


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
        # Four thousand rounds of hashing a connection, of which tests make tens of thousands; the password stays as long.
        connection.execute("set scram_iterations = 1")
        password = psycopg.sql.Literal(make_url(url).password)
        connection.execute(psycopg.sql.SQL("alter role current_user password {}").format(password))
        if MEMORY:
            connection.execute("alter system set max_wal_size = '256MB'")
        connection.execute("select pg_reload_conf()")
    return url


def _url_of(server_url: str, database: str) -> str:
    return make_url(server_url).set(database=database).render_as_string(hide_password=False)


def _make_database(server_url: str, name: str, template: str | None = None) -> str:
    statement = psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name))
    if template:
        statement += psycopg.sql.SQL(" template {}").format(psycopg.sql.Identifier(template))
        if MEMORY and not _GIVEN_URL:
            # Files as they are: 24 ms of a processor instead of 43 (on a disk that is waited for, its checkpoints cost more).
            statement += psycopg.sql.SQL(" strategy file_copy")
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", _make_database(server_url, name))
        with connect() as connection:
            migrate(connection)
    yield name
    _drop_database(server_url, name)


@pytest.fixture(scope="session")
def instance_template(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same, with Dagster's tables, which an instance took a second to make for each test."""
    import dagster as dg

    name = f"{template_database}_dagster"
    home = tmp_path_factory.mktemp("dagster")
    shutil.copy(PROJECT_ROOT / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", _make_database(server_url, name, template_database))
        patch.setenv("DAGSTER_HOME", str(home))
        with dg.DagsterInstance.get() as instance:
            assert instance.get_runs_count() == 0 and not instance.all_asset_keys() and not instance.all_instigator_state()
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
def database(
    request: pytest.FixtureRequest, server_url: str, template_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """URL of a migrated database, in DATABASE_URL; with Dagster's tables where the test has an instance."""
    template = request.getfixturevalue("instance_template") if "instance" in request.fixturenames else template_database
    name = f"analytics_test_{uuid.uuid4().hex[:12]}"
    url = _make_database(server_url, name, template)
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
