"""Dagster's runs on Postgres, over a connection that is kept."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

import sqlalchemy as sa
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.utils import create_pg_connection, create_pg_engine


class PooledPostgresRunStorage(PostgresRunStorage):
    """`PostgresRunStorage` that keeps one idle connection per instance, as the event log does, and asks once for what the
    tables have.

    Stock, every statement block opens a connection of its own, and every reading of runs asks the catalogue for the columns
    of their table: of the connections of a run over a few partitions half were these.
    """

    def __init__(self, postgres_url: str) -> None:
        self._has_stats = self._has_backfill = False
        self._engine_pid = os.getpid()
        super().__init__(postgres_url)
        self._engine = create_pg_engine(
            postgres_url,
            isolation_level="AUTOCOMMIT",
            poolclass=sa.QueuePool,
            pool_size=1,
            # No thread waits for another.
            max_overflow=-1,
            pool_pre_ping=True,
        )

    def connect(self) -> AbstractContextManager[sa.Connection]:
        """One from the pool, in autocommit mode."""
        if self._engine_pid != os.getpid():
            # Forked: the parent's connections are not ours to use or close.
            self._engine.dispose(close=False)
            self._engine_pid = os.getpid()
        return create_pg_connection(self._engine)

    def has_run_stats_index_cols(self) -> bool:
        """What is there stays: it came with a migration of Dagster's."""
        self._has_stats = self._has_stats or super().has_run_stats_index_cols()
        return self._has_stats

    def has_backfill_id_column(self) -> bool:
        """The same."""
        self._has_backfill = self._has_backfill or super().has_backfill_id_column()
        return self._has_backfill

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """Change to the stock class's pool for the webserver, and close the one used so far."""
        replaced = self._engine
        super().optimize_for_webserver(statement_timeout, pool_recycle, max_overflow)
        replaced.dispose()

    def dispose(self) -> None:
        """Close the idle connection; the storage remains usable."""
        super().dispose()
        if self._engine_pid == os.getpid():
            self._engine.dispose()
