"""Dagster's own storage, where the project's settings say, with planned events written in batches. For dagster.yaml."""

from __future__ import annotations

import os
from typing import Any

import psycopg
import psycopg.sql
from dagster._core.storage.event_log import EventLogStorage
from dagster._core.storage.runs import RunStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy.engine import make_url

from analytics_assets.database import DAGSTER_SCHEMA, connect, conninfo, dagster_url, no_connection
from analytics_assets.operations.event_log_storage import BatchedPostgresEventLogStorage
from analytics_assets.operations.run_storage import PooledPostgresRunStorage
from analytics_assets.settings import Settings

_BATCH_SIZE = "1000"


class AnalyticsStorage(DagsterPostgresStorage):
    """Postgres storage without any configuration: schema ``dagster`` of the analytics database, the embedded server
    included, or ``DAGSTER_DATABASE_URL``.

    It also sets ``DAGSTER_EVENT_BATCH_SIZE`` (1000, unless it is set): without it Dagster batches nothing and says
    nothing, and dagster.yaml cannot set it.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        self._batched = BatchedPostgresEventLogStorage(postgres_url)
        self._pooled = PooledPostgresRunStorage(postgres_url)

    @classmethod
    def config_type(cls) -> Any:
        """Nothing to configure."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> AnalyticsStorage:
        """Called by Dagster; makes the schema where it is missing."""
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", _BATCH_SIZE)
        settings = Settings.load()
        if settings.dagster_database_url:
            _look_for(dagster_url(settings))
        else:
            ensure_dagster_schema(settings)
        return cls(dagster_url(settings), inst_data)

    @property
    def event_log_storage(self) -> EventLogStorage:
        """The batched one."""
        return self._batched

    @property
    def run_storage(self) -> RunStorage:
        """The one that keeps its connection."""
        return self._pooled


def _look_for(url: str) -> None:
    """Raises DatabaseError where Dagster's own database does not let in: Dagster itself tried for six seconds, and ended in
    the tracebacks of three libraries."""
    try:
        psycopg.connect(conninfo(make_url(url)), connect_timeout=15).close()
    except psycopg.Error as error:
        raise no_connection(error, "Dagster's own storage (DAGSTER_DATABASE_URL)") from None


def ensure_dagster_schema(settings: Settings) -> None:
    """Makes schema ``dagster`` where it is missing; two processes at once do no harm."""
    with connect(settings) as connection:
        found = connection.execute("select from pg_namespace where nspname = %s", (DAGSTER_SCHEMA,)).fetchone()
        if found is None:
            connection.execute("select pg_advisory_xact_lock(7301122027)")
            connection.execute(psycopg.sql.SQL("create schema if not exists {}").format(psycopg.sql.Identifier(DAGSTER_SCHEMA)))
