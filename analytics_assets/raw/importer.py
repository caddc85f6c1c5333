"""Response pages from files into raw_data_backup: verbatim, once, at COPY speed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from analytics_assets.raw.files import Chunk, read_chunks
from analytics_assets.raw.shapes import STREAMS, Page, PageError, Stream, quarter_of, read_page
from analytics_assets.sql import query

# JSON that PostgreSQL cannot keep: a number out of range, nested too deeply, too large.
_REFUSED = (psycopg.DataError, psycopg.errors.StatementTooComplex, psycopg.errors.ProgramLimitExceeded)
_BATCH_PAGES = 256
_BATCH_BYTES = 32 * 1024 * 1024


class ImportRefused(ValueError):
    """The import cannot begin; the message says why."""


@dataclass(frozen=True)
class Target:
    """Whose pages they are. time_zone and currency are the store's account settings."""

    organization_id: UUID
    data_source_id: UUID
    stream: Stream
    time_zone: str


@dataclass
class ImportReport:
    """What an import did. Hours are UTC; quarantined lists (file, line, reason), the first hundred of them."""

    files: int = 0
    pages: int = 0
    stored: int = 0
    records: int = 0
    quarantined_pages: int = 0
    first_hour: datetime | None = None
    last_hour: datetime | None = None
    quarantined: list[tuple[str, int, str]] = field(default_factory=list)

    @property
    def known(self) -> int:
        """Pages whose content was stored before."""
        return self.pages - self.stored - self.quarantined_pages

    def extend_hours(self, first: datetime | None, last: datetime | None) -> None:
        """Widens the range of hours that the stored pages speak of."""
        if first is not None and last is not None:
            self.first_hour = min(filter(None, [self.first_hour, first]))
            self.last_hour = max(filter(None, [self.last_hour, last]))


def open_target(
    connection: psycopg.Connection[dict[str, Any]],
    organization: str,
    source: str,
    stream: str,
    source_name: str | None = None,
    time_zone: str | None = None,
    currency: str | None = None,
) -> Target:
    """The source of an organisation (a slug), made where it does not exist; zone and currency default to the
    organisation's. Raises ImportRefused."""
    known = STREAMS.get((source, stream))
    if known is None:
        choices = ", ".join(f"{s} {n}" for s, n in sorted(STREAMS))
        raise ImportRefused(f"no stream {source} {stream}; there are: {choices}")
    tenant = connection.execute(
        "select id, time_zone, currency from public.organizations where slug = %s", (organization,)
    ).fetchone()
    if tenant is None:
        raise ImportRefused(f"no organisation {organization!r}; see `analytics organizations list`")
    try:
        row = connection.execute(
            query("ensure_data_source"),
            {
                "organization_id": tenant["id"],
                "source": source,
                "source_name": source_name or source,
                "time_zone": time_zone or tenant["time_zone"],
                "currency": currency or tenant["currency"],
            },
        ).fetchone()
    except psycopg.errors.CheckViolation as error:
        connection.rollback()
        raise ImportRefused(f"time zone {time_zone!r} or currency {currency!r} is not known") from error
    assert row is not None
    for name, wanted in (("time_zone", time_zone), ("currency", currency)):
        if wanted is not None and row[name] != wanted:
            raise ImportRefused(
                f"source {source_name or source!r} of {organization} has {name} {row[name]}, not {wanted}; "
                "name another source with --source-name"
            )
    connection.commit()
    return Target(tenant["id"], row["id"], known, row["time_zone"])


@dataclass
class _Batch:
    chunks: list[tuple[Chunk, Page, datetime]] = field(default_factory=list)
    size: int = 0


class _Importer:
    def __init__(self, connection: psycopg.Connection[dict[str, Any]], target: Target, report: ImportReport) -> None:
        self.connection, self.target, self.report = connection, target, report
        self.fetched_at = datetime.now(UTC)

    def _parameters(self) -> dict[str, Any]:
        stream = self.target.stream
        return {
            "organization_id": self.target.organization_id,
            "data_source_id": self.target.data_source_id,
            "source": stream.source,
            "stream": stream.name,
            "raw_asset": f"raw_{stream.source}",
            "time_zone": self.target.time_zone,
            "api_version": None,
        }

    def _hold(self) -> None:
        row = self.connection.execute(query("hold_organization"), {"organization_id": self.target.organization_id}).fetchone()
        if row is None or not row["is_there"]:
            self.connection.rollback()
            raise ImportRefused("the organisation was deleted while its pages were taken in: nothing of them is kept")

    def quarantine(self, path: Path, chunk: Chunk, reason: str) -> None:
        self._hold()
        self.connection.execute(
            query("quarantine_page"),
            self._parameters() | {"reason": reason, "file_name": path.name, "line_number": chunk.line, "content": chunk.content},
        )
        self.connection.commit()
        self.report.quarantined_pages += 1
        if len(self.report.quarantined) < 100:
            self.report.quarantined.append((path.name, chunk.line, reason))

    def _store(self, batch: list[tuple[Chunk, Page, datetime]]) -> None:
        self._hold()
        with self.connection.cursor() as cursor:
            cursor.execute(query("stage_pages"))
            with cursor.copy("copy pg_temp.staged_pages from stdin (format binary)") as copy:
                copy.set_types(["int8", "timestamptz", "bytea", "int4", "timestamptz[]", "text"])
                for chunk, page, fetched_at in batch:
                    digest = hashlib.sha256(chunk.content).digest()
                    # Records without a usable date are taken in with the hour in which they were fetched.
                    instants = page.instants or ([quarter_of(fetched_at)] if page.records else [])
                    copy.write_row((chunk.line, fetched_at, digest, page.records, instants, page.text))
            # Not prepared: the temporary table is another one each time.
            cursor.execute(
                "select private.ensure_partitions('raw_data_backup', min(fetched_at), max(fetched_at) + interval '1 us')"
                " from pg_temp.staged_pages",
                prepare=False,
            )
            row = cursor.execute(query("store_staged_pages"), self._parameters(), prepare=False).fetchone()
        assert row is not None
        self.connection.commit()
        self.report.stored += row["stored"]
        self.report.records += row["records"]
        self.report.extend_hours(row["first_hour"], row["last_hour"])

    def flush(self, path: Path, batch: _Batch) -> None:
        """One transaction a batch. A page that PostgreSQL refuses for a reason of its own goes to quarantine alone."""
        if not batch.chunks:
            return
        try:
            self._store(batch.chunks)
        except _REFUSED:
            self.connection.rollback()
            for entry in batch.chunks:
                try:
                    self._store([entry])
                except _REFUSED as error:
                    self.connection.rollback()
                    self.quarantine(path, entry[0], f"PostgreSQL refuses it: {error.diag.message_primary}")
        batch.chunks.clear()
        batch.size = 0

    def take(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        batch = _Batch()
        for chunk in read_chunks(path, on_bytes):
            self.report.pages += 1
            try:
                if not chunk.complete:
                    raise PageError(f"the file breaks off: {chunk.problem}")
                page = read_page(chunk.content, self.target.stream, self.target.time_zone)
            except PageError as error:
                self.quarantine(path, chunk, str(error))
                continue
            # Pages of one import keep their order: a later page was fetched later.
            self.fetched_at += timedelta(microseconds=1)
            batch.chunks.append((chunk, page, self.fetched_at))
            batch.size += len(chunk.content)
            if len(batch.chunks) >= _BATCH_PAGES or batch.size >= _BATCH_BYTES:
                self.flush(path, batch)
        self.flush(path, batch)
        self.report.files += 1


def import_files(
    connection: psycopg.Connection[dict[str, Any]],
    target: Target,
    paths: Iterable[Path],
    on_bytes: Callable[[int], None] = lambda _: None,
) -> ImportReport:
    """Takes the pages of files into raw_data_backup.

    A page is stored once, whatever file it comes in and however often; what is no page goes to quarantine with file,
    line and reason, and the rest goes in. Each batch is a transaction of its own, so an import that was broken off is
    simply done again. ``on_bytes`` hears of each piece of a file that was read. Raises FileError, and ImportRefused where the
    organisation is deleted meanwhile.
    """
    report = ImportReport()
    importer = _Importer(connection, target, report)
    for path in paths:
        importer.take(path, on_bytes)
    return report
