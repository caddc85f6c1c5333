"""A throw-away database for a benchmark, and what one of its backends spends."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import psycopg.sql

from analytics_assets.database import analytics_url, connect
from analytics_assets.settings import Settings

DATABASE = "analytics_bench"
_TICKS = os.sysconf("SC_CLK_TCK")

Connection = psycopg.Connection[dict[str, Any]]


class ServerError(RuntimeError):
    """The benchmark's database cannot be made; the message says why."""


@dataclass(frozen=True)
class Cost:
    """What a piece of work cost.

    Attributes:
        cpu: seconds of the backend, user and system; None where the server's processes cannot be seen.
        wall: seconds on the clock.
        wal: bytes that the whole server wrote to its log meanwhile.
    """

    cpu: float | None
    wall: float
    wal: int

    @property
    def seconds(self) -> float:
        """CPU seconds, or what the clock said where there are none."""
        return self.wall if self.cpu is None else self.cpu


def best(costs: list[Cost]) -> Cost:
    """The least of each figure: load by others only ever adds."""
    cpu = [cost.cpu for cost in costs if cost.cpu is not None]
    return Cost(min(cpu, default=None), min(cost.wall for cost in costs), min(cost.wal for cost in costs))


class Meter:
    """Measures what one connection's backend spends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stat = Path(f"/proc/{connection.info.backend_pid}/stat")
        # Ticks of the clock, a hundredth of a second each, are as long as many a statement.
        self.is_fine = self._fine() is not None
        # Of a server elsewhere, or in a container of its own, that number is nobody's or somebody else's.
        try:
            command = self._stat.with_name("cmdline").read_bytes()
            self.sees_cpu = command.startswith(b"postgres") and self._moves()
        except OSError:
            self.sees_cpu = False

    def _moves(self) -> bool:
        before = self._cpu()
        self._connection.execute("select count(*) from generate_series(1, 1000000)")
        return self._cpu() > before

    def _cpu(self) -> float:
        milliseconds = self._fine() if self.is_fine else None
        if milliseconds is not None:
            return milliseconds / 1000
        fields = self._stat.read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _fine(self) -> float | None:
        # The kernel adds it up when a process leaves its processor: waits until the backend has, after its last answer.
        time.sleep(0.0005)
        try:
            return int(self._stat.with_name("schedstat").read_text().split()[0]) / 1e6
        except OSError:
            return None

    def idle_milliseconds(self) -> float | None:
        """CPU that the backend has spent until now; None where it cannot be seen so finely."""
        return self._fine() if self.sees_cpu else None

    def _log_position(self) -> int:
        rows = self._connection.execute("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint as at").fetchall()
        return int(rows[0]["at"])

    def measure(self, work: Callable[[], object]) -> Cost:
        """Runs it once."""
        log = self._log_position()
        cpu = self._cpu() if self.sees_cpu else 0.0
        started = time.perf_counter()
        work()
        wall = time.perf_counter() - started
        spent = self._cpu() - cpu if self.sees_cpu else None
        return Cost(spent, wall, self._log_position() - log)


def throw_away_settings() -> Settings:
    """Where throw-away databases are made: on the server of DATABASE_URL, whose role must have createdb; else on an
    embedded server in a temporary folder, which lasts as long as the process."""
    settings = Settings.load()
    if settings.database_url is None:
        home = tempfile.mkdtemp(prefix="analytics-bench-")
        # Registered before the server's own handler, and so called after it has stopped.
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        settings = replace(settings, home=Path(home))
    return settings


@contextmanager
def throw_away_database(settings: Settings | None = None) -> Iterator[Connection]:
    """A connection (autocommit) to a new, empty database of throw_away_settings, dropped at the end.

    Raises ServerError, DatabaseError, SettingError.
    """
    settings = settings or throw_away_settings()
    identifier = psycopg.sql.Identifier(DATABASE)
    with connect(settings, autocommit=True) as maintenance:
        try:
            maintenance.execute(psycopg.sql.SQL("create database {} template template0").format(identifier))
        except psycopg.errors.DuplicateDatabase:
            raise ServerError(
                f"database {DATABASE} exists on this server already: another run goes on there, or one was "
                f"killed. In the second case: drop database {DATABASE};"
            ) from None
        except psycopg.errors.InsufficientPrivilege:
            raise ServerError("the role of DATABASE_URL may not create databases: alter role ... createdb;") from None
        try:
            with connect(replace(settings, database_url=database_url(settings)), autocommit=True) as connection:
                yield connection
        finally:
            maintenance.execute(psycopg.sql.SQL("drop database if exists {} with (force)").format(identifier))


def database_url(settings: Settings) -> str:
    """URL of the throw-away database, with its password."""
    return analytics_url(settings).set(database=DATABASE).render_as_string(hide_password=False)
