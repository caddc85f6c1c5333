"""Applies sql/: numbered migrations once, functions, views and policies whenever their text changed.

Why not a kept tool: none of those tried refuses an applied file that was edited afterwards, and a schema that is not
what its files say is found out too late.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import psycopg.sql

from analytics_assets.sql import SQL_ROOT

_FILE_NAME = re.compile(r"^(\d{14})_[a-z0-9_]+\.sql$")
_LOCK_KEY = 7_301_122_026
# Order matters: views use functions, policies close what both have made.
_REPLACEABLE = ("functions", "views", "policies")


class MigrationError(RuntimeError):
    """The database was left as it was; the message names the file and what to do."""


@dataclass
class MigrationReport:
    """What a call of migrate did. Files are relative to sql/."""

    applied: list[str] = field(default_factory=list)
    seconds: float = 0.0
    server_version: int = 0


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _migration_files(root: Path) -> list[Path]:
    files = sorted((root / "migrations").glob("*.sql"))
    numbers: dict[str, Path] = {}
    for file in files:
        match = _FILE_NAME.match(file.name)
        if match is None:
            raise MigrationError(f"{file.name}: a migration is named YYYYMMDDHHMMSS_name.sql")
        if match[1] in numbers:
            raise MigrationError(f"{file.name} and {numbers[match[1]].name} have the same number")
        numbers[match[1]] = file
    return files


def _check_history(files: list[Path], applied: dict[str, str]) -> list[Path]:
    """The files still to apply. Raises MigrationError where the history is not what the files say."""
    by_name = {file.name: file for file in files}
    for name, checksum in applied.items():
        if name not in by_name:
            raise MigrationError(
                f"migrations/{name} was applied to this database, but the file is gone. "
                "Put it back, or run the version of the project that has it."
            )
        if _checksum(by_name[name]) != checksum:
            raise MigrationError(
                f"migrations/{name} was edited after it was applied to this database. "
                "Put its text back, and write the change as a new migration."
            )
    pending = [file for file in files if file.name not in applied]
    newest = max(applied, default="")
    for file in pending:
        if file.name < newest:
            raise MigrationError(
                f"migrations/{file.name} is older than migrations/{newest}, which is applied already. "
                "Migrations go forward only: give it a newer number."
            )
    return pending


def migrate(
    connection: psycopg.Connection[Any],
    root: Path = SQL_ROOT,
    on_file: Callable[[str], None] = lambda _: None,
) -> MigrationReport:
    """Brings the database to what sql/ says; a second call does nothing.

    All in one transaction under an advisory lock: of two processes at once the second waits and finds nothing to do,
    and a failure leaves nothing behind. Needs no superuser: ownership of what is adopted, and the right to create
    schemas in the database and tables in schema public.

    Raises MigrationError.
    """
    started = time.monotonic()
    report = MigrationReport(server_version=connection.info.server_version)
    files = _migration_files(root)
    current = ""
    try:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("select pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
            cursor.execute(
                "select set_config('search_path', 'public', true), set_config('check_function_bodies', 'off', true),"
                " set_config('client_min_messages', 'warning', true), set_config('lock_timeout', '30s', true)"
            )
            cursor.execute("create schema if not exists migrations")
            cursor.execute("revoke all on schema migrations from public")
            cursor.execute(
                "create table if not exists migrations.applied ("
                " file text primary key, sha256 text not null, applied_at timestamptz not null default now(),"
                " replaced boolean not null default false)"
            )
            cursor.execute("alter table migrations.applied enable row level security")
            cursor.execute("select file, sha256 from migrations.applied")
            applied = {row["file"]: row["sha256"] for row in _dicts(cursor)}

            once = {name.removeprefix("migrations/"): sha for name, sha in applied.items() if name.startswith("migrations/")}
            for file in _check_history(files, once):
                current = f"migrations/{file.name}"
                on_file(current)
                cursor.execute(psycopg.sql.SQL(file.read_text(encoding="utf-8")))
                cursor.execute("insert into migrations.applied (file, sha256) values (%s, %s)", (current, _checksum(file)))
                report.applied.append(current)

            for folder in _REPLACEABLE:
                for file in sorted((root / folder).glob("*.sql")):
                    current = f"{folder}/{file.name}"
                    checksum = _checksum(file)
                    # Policies look at what is there: they are applied again when anything before them was.
                    if applied.get(current) == checksum and not (folder == "policies" and report.applied):
                        continue
                    on_file(current)
                    cursor.execute(psycopg.sql.SQL(file.read_text(encoding="utf-8")))
                    cursor.execute(
                        "insert into migrations.applied (file, sha256, replaced) values (%s, %s, true)"
                        " on conflict (file) do update set sha256 = excluded.sha256, applied_at = now()",
                        (current, checksum),
                    )
                    report.applied.append(current)
            current = ""
            cursor.execute("select count(*) from public.make_partitions_ahead()")
    except psycopg.Error as error:
        where = f"sql/{current}: " if current else ""
        diagnostics = error.diag
        detail = " ".join(
            filter(
                None, [diagnostics.message_primary or str(error).strip(), diagnostics.message_detail, diagnostics.message_hint]
            )
        )
        raise MigrationError(f"{where}{detail} Nothing was changed.") from error
    report.seconds = time.monotonic() - started
    return report


def _dicts(cursor: psycopg.Cursor[Any]) -> list[dict[str, Any]]:
    names = [column.name for column in cursor.description or []]
    return [row if isinstance(row, dict) else dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
