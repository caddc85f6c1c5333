"""The analytics database as Dagster's assets, checks and sensors are given it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import dagster as dg
import psycopg

from analytics_assets.database import PIPELINE_ROLE, connect


class Rows(Protocol):
    """What answers a statement with its rows."""

    def rows(self, statement: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of one statement, in a transaction of its own."""


@dataclass(frozen=True)
class Held:
    """A connection that several statements share."""

    connection: psycopg.Connection[dict[str, Any]]

    def rows(self, statement: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of one statement, in a transaction of its own."""
        return self.connection.execute(statement, parameters).fetchall()


class Database(dg.ConfigurableResource[None]):
    """The analytics database as a Dagster resource, with the pipeline's rights (PIPELINE_ROLE).

    It connects when it is used, not when definitions load.
    """

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """One transaction: committed at the end, rolled back on an error."""
        with connect(role=PIPELINE_ROLE) as connection:
            yield connection

    def rows(self, statement: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of one statement, in a transaction of its own."""
        with self.connection() as connection:
            return connection.execute(statement, parameters).fetchall()

    @contextmanager
    def held(self) -> Iterator[Held]:
        """The same for several statements over one connection: each on a connection of its own took the server 10 ms more, and of
        checks of a hundred organisations that was more than the checks."""
        with connect(role=PIPELINE_ROLE, autocommit=True) as connection:
            yield Held(connection)
