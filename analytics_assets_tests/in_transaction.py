"""Checks within the transaction of a test: they see a fault before it is taken back."""

from __future__ import annotations

from typing import Any

import psycopg

from analytics_assets.resources import Database


class InTransaction(Database):
    """Reads over the test's own connection."""

    _connection: Any = None

    @staticmethod
    def of(connection: psycopg.Connection[dict[str, Any]]) -> InTransaction:
        """One that reads over this connection."""
        database = InTransaction()
        database._connection = connection
        return database

    def rows(self, statement: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._connection.execute(statement, parameters).fetchall()
        return found
