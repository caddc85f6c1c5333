"""Dagster's event log on Postgres, with planned events written in batches.

A run over a thousand partitions of two assets plans two thousand materializations, and Dagster
records each as an event of its own. It hands them over as a batch when `DAGSTER_EVENT_BATCH_SIZE`
(events per batch; 1000 here) is set in the process that creates the run: daemon, webserver, command
line. `PostgresEventLogStorage` writes batches of materializations and of observations, but takes a
batch of planned events apart again: per event two connections, an INSERT, a NOTIFY and an upsert of
the asset's row. Creating the run of one hour for 1,000 organisations and two assets took 15
to 22 seconds, before its first step began; in batches it takes 0.2.

Named in dagster.yaml, because Dagster has no other place for it:

    event_log_storage:
      module: analytics_assets.operations.event_log_storage
      class: BatchedPostgresEventLogStorage
      config:
        postgres_url:
          env: DAGSTER_POSTGRES_URL
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from dagster import DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.utils import (
    create_pg_connection,
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
)

if TYPE_CHECKING:
    from dagster_postgres.auth import PgTokenProvider

PLANNED_EVENTS = frozenset(
    {
        DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        # Every run with checks has these in the same batch.
        DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
    }
)


class BatchedPostgresEventLogStorage(PostgresEventLogStorage):
    """`PostgresEventLogStorage` that writes a batch of planned events in one transaction.

    The rows are those that the stock class writes, and no reader sees a difference. What differs:

    - A batch of planned events is one INSERT per 1,000 events, one upsert per asset, and one INSERT
      per planned check, committed together. Batches of any other kind, and single events, take the
      stock path.
    - No NOTIFY for the events of a batch, as in the stock class's own batches. Nothing in Dagster
      listens any more: the webserver follows a run's log by polling.
    - Which tables and columns Dagster's own migrations have made is asked once, not at every event.
    - One idle connection per instance is kept, instead of a new connection for every statement
      block. More are opened when threads need them at the same time, without limit, and closed
      afterwards, so that no thread waits for another.

    Errors: the constructor raises `ValueError` for a URL whose driver is not psycopg2.
    `store_event_batch` raises what the database raised and leaves nothing behind, so that
    Dagster's fallback, which then stores the same events one by one, makes no duplicates.
    """

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: "PgTokenProvider | None" = None,
    ) -> None:
        url = sa.make_url(postgres_url)
        if url.get_dialect().driver != "psycopg2":
            # SQLAlchemy 2.1 reads `postgresql://` as psycopg 3, and the stock class then fails at
            # its first event, far from the cause: `syntax error at or near "$1"`, in a NOTIFY.
            raise ValueError(
                f"Dagster's storage needs the driver psycopg2, and {url.drivername}:// chooses "
                f"{url.get_dialect().driver}. Write postgresql+psycopg2:// in dagster.yaml."
            )
        self._batch = threading.local()
        self._tables: set[str] = set()
        self._has_asset_columns: set[str] = set()
        self._engine_pid = os.getpid()
        super().__init__(
            postgres_url,
            should_autocreate_tables=should_autocreate_tables,
            inst_data=inst_data,
            token_provider=token_provider,
        )
        self._engine = create_pg_engine(
            postgres_url,
            token_provider,
            isolation_level="AUTOCOMMIT",
            poolclass=sa.QueuePool,
            pool_size=1,
            max_overflow=-1,
            # A step may compute for an hour, and servers and firewalls drop idle connections.
            pool_pre_ping=True,
        )

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """The storage that dagster.yaml describes.

        Repeated here because the stock method names its own class: inherited, it would return a
        plain `PostgresEventLogStorage`, and nothing would be batched, without a word.
        """
        return cls(
            inst_data=inst_data,
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            token_provider=get_token_provider_from_config(config_value),
        )

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store the events; a batch of planned events in one transaction, any other as stock.

        Events get ascending ids in the order given. As with any batch INSERT, a reader that
        remembers the highest id it saw can pass over a batch that commits a moment later than an
        event with a higher id. So the transaction does no more than it must; it lasts about 0.05 s
        for 1,000 events. Materializations keep the stock class's two steps for the same reason:
        their tags would about double it.
        """
        if not events or not {e.get_dagster_event().event_type for e in events} <= PLANNED_EVENTS:
            super().store_event_batch(events)
            return

        table = SqlEventLogStorageTable
        insert = table.insert().returning(table.c.id, sort_by_parameter_order=True)
        rows = [self._event_to_row(event) for event in events]
        with self._batch_transaction() as conn:
            event_ids = conn.scalars(insert, rows).all()

            last_of_asset: dict[str, tuple[EventLogEntry, int]] = {}
            for event, event_id in zip(events, event_ids, strict=True):
                asset_key = event.get_dagster_event().asset_key
                if event.dagster_event_type != DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
                    self.store_asset_check_event(event, event_id)
                elif asset_key is not None:
                    last_of_asset[asset_key.to_string()] = (event, event_id)
            # Sorted, so that two runs planned at the same time lock the assets' rows in the same
            # order, and cannot deadlock.
            for _, (event, event_id) in sorted(last_of_asset.items()):
                self._store_asset_event(conn, event, event_id)

    def has_table(self, table_name: str) -> bool:
        """Asked of the catalogue until it is there: tables come with a migration of Dagster's, and stay."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_col_on_connection(self, conn: sa.Connection, column_name: str) -> bool:
        """The same for columns: stock, every materialization asked for all of its table's."""
        if column_name not in self._has_asset_columns and super()._has_asset_key_col_on_connection(conn, column_name):
            self._has_asset_columns.add(column_name)
        return column_name in self._has_asset_columns

    @contextmanager
    def _batch_transaction(self) -> Iterator[sa.Connection]:
        """A transaction in which everything that this thread stores through `self` takes part.

        Without that, inherited methods such as `store_asset_check_event` would open a connection
        of their own, and their rows would outlive a rollback.
        """
        with self.index_transaction() as conn:
            self._batch.connection = conn
            try:
                yield conn
            finally:
                self._batch.connection = None

    def _connect(self) -> AbstractContextManager[sa.Connection]:
        """The connection of this thread's batch, or one from the pool in autocommit mode."""
        in_batch: sa.Connection | None = getattr(self._batch, "connection", None)
        if in_batch is not None:
            return nullcontext(in_batch)
        if self._engine_pid != os.getpid():
            # Forked (a Celery worker, say): the parent's connections are not ours to use or close.
            self._engine.dispose(close=False)
            self._engine_pid = os.getpid()
        return create_pg_connection(self._engine)

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """Change to the stock class's pool for the webserver, and close the one used so far."""
        replaced = self._engine
        super().optimize_for_webserver(statement_timeout, pool_recycle, max_overflow)
        replaced.dispose()

    def dispose(self) -> None:
        """Stop watching runs and close the idle connection; the storage remains usable."""
        super().dispose()
        if self._engine_pid == os.getpid():
            self._engine.dispose()
