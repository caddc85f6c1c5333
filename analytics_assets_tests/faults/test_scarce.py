"""A server that has no room left, or no connection: what fails says so, nothing is lost or half done, and all goes on when there is."""

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from analytics_assets.database import DatabaseError, connect
from analytics_assets.migrations import migrate
from analytics_assets_tests.rehearsals.own_server import OwnServer, own_server, server_user
from analytics_assets_tests.sources.live import Live, live

_DISK = "96m"
_ROOM = 64 * 1024


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    """Its database ``made`` is migrated, and nobody's."""
    with own_server(max_connections="20", autovacuum="off") as found, pytest.MonkeyPatch.context() as patch:
        with psycopg.connect(found.url, autocommit=True) as connection:
            connection.execute("create database made")
        patch.setenv("DATABASE_URL", _url(found, "made"))
        with connect() as connection:
            migrate(connection)
        yield found


def _url(server: OwnServer, database: str) -> str:
    return server.url.rpartition("/")[0] + f"/{database}"


@contextmanager
def _world(server: OwnServer, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **options: str) -> Iterator[Live]:
    with psycopg.connect(server.url, autocommit=True) as making:
        making.execute(f"create database {name} template made {' '.join(f'{key} {value}' for key, value in options.items())}")
    monkeypatch.setenv("DATABASE_URL", _url(server, name))
    monkeypatch.setenv("ANALYTICS_HOME", str(tmp_path / "home"))
    with connect() as connection, live(connection, monkeypatch, 2, 2, orders_per_day=10) as world:
        yield world
        connection.rollback()


class _Disk:
    """A small file system that can be filled to the last page but a few."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.balloon = folder, folder / "balloon"

    def fill(self) -> None:
        free = shutil.disk_usage(self.folder).free
        with self.balloon.open("wb") as file, suppress(OSError):
            for _ in range((free - _ROOM) // 65536):
                file.write(b"0" * 65536)

    def empty(self) -> None:
        self.balloon.unlink()


@pytest.fixture
def disk(server: OwnServer) -> Iterator[_Disk]:
    folder = server.folder / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        folder.rmdir()
        pytest.skip(
            f"no file system can be mounted here ({done.stderr.strip() or 'not permitted'}): run as root of a Linux machine"
        )
    try:
        place = folder / "tables"
        place.mkdir()
        if user := server_user():
            shutil.chown(place, user)
        yield _Disk(folder)
    finally:
        # The server holds files open in it until it ends: lazily.
        subprocess.run(["umount", "-l", folder], check=True)


def _said(world: Live) -> str:
    """What a pass says of its trouble: of its own, or of its sources'."""
    try:
        report = world.sync()
    except (psycopg.Error, DatabaseError) as error:
        return str(error)
    assert report.failures
    return " ".join(map(str, report.failures))


def _later(world: Live) -> None:
    """Three minutes later no dead pass holds a source, and all is due."""
    world.rows(
        "update public.data_sources set lease_until = now() - interval '1 second' where lease_owner is not null returning 1"
    )
    world.due()


def _holds(world: Live) -> None:
    """It goes on by itself, and in the end everything is there once."""
    _later(world)
    assert world.sync().outcomes == {"completed": 8}
    assert world.rows(
        "select count(*) as n from public.data_sources where failure_kind is not null or lease_owner is not null"
    ) == [{"n": 0}]
    world.compute()
    assert not world.compare(channels=["google_analytics", "woocommerce", "shopify"]).differences[:5]


def test_a_disk_that_fills(server: OwnServer, disk: _Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"create tablespace small location '{disk.folder / 'tables'}'")
    with _world(server, "filled", monkeypatch, tmp_path, tablespace="small") as world:
        assert world.sync().outcomes == {"completed": 8}
        before = world.state()
        disk.fill()
        with pytest.raises(psycopg.errors.DiskFull, match="No space left on device"):
            world.compute()
        world.connection.rollback()
        disk.empty()
        assert world.state() == before, "rows and ledger together, or neither"
        world.compute()
        assert not world.compare().differences[:5]

        world.sandbox.clock.set(world.now + timedelta(hours=2))
        world.due()
        disk.fill()
        assert "No space left on device" in _said(world)
        disk.empty()
        _holds(world)


def test_connections_that_run_out(server: OwnServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def take_all() -> list[psycopg.Connection[tuple[object, ...]]]:
        found = []
        with suppress(psycopg.OperationalError):
            while True:
                found.append(psycopg.connect(os.environ["DATABASE_URL"], autocommit=True))
        return found

    with _world(server, "crowded", monkeypatch, tmp_path) as world:
        taken = take_all()
        with pytest.raises(DatabaseError, match=r"too many clients already.*max_connections"):
            connect()
        assert "too many clients already" in _said(world)
        for one in taken:
            one.close()
        _later(world)

        # In the midst of a pass: its connections break, and there are no others.
        said: list[str] = []
        world.fault("slow", seconds=0.3)
        pass_ = threading.Thread(target=lambda: said.append(_run(world)))
        pass_.start()
        asked = sum(world.sandbox.counts.values())
        while sum(world.sandbox.counts.values()) < asked + 10:
            assert pass_.is_alive()
        taken = take_all()
        taken[0].execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            " and application_name = 'analytics' and pid <> %s",
            (world.connection.info.backend_pid,),
        )
        taken += take_all()
        pass_.join(60)
        assert "too many clients already" in said[0]
        for one in taken:
            one.close()
        world.sandbox.faults.clear()
        _holds(world)


def _run(world: Live) -> str:
    try:
        report = asyncio.run(world.engine().run())
    except (psycopg.Error, DatabaseError) as error:
        return str(error)
    return " ".join(map(str, report.failures))
