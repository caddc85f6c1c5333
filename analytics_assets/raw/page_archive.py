"""Raw pages in an archive: compressed files in a folder or in object storage, before their partition is dropped.

A partition (a day of fetches, UTC) is a folder with a gzip file of COPY text an organisation and a manifest, which comes last and
says of each file its rows and its sha256. A file's name holds its digest: what is archived is never overwritten, and the same
pages give the same file. Organisations lie apart, so that one can come back, or be forgotten, by itself.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any
from uuid import UUID

import fsspec
import psycopg

from analytics_assets.sql import query

FORMAT = 1
_MANIFEST = "manifest.json"
_CHUNK = 1 << 20
_UUID_TEXT = 36


class ArchiveError(RuntimeError):
    """The archive could not be written or read; the message says which file, and what to do."""


@dataclass(frozen=True)
class _Place:
    files: Any
    folder: str

    def path(self, *parts: str) -> str:
        return "/".join((self.folder.rstrip("/"), *parts))


def _open(url: str) -> _Place:
    try:
        files, folder = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ArchiveError(
            f"ANALYTICS_RAW_ARCHIVE: {type(error).__name__}: expected a folder or a URL of a scheme that is installed "
            "(for s3:// install analytics-assets[s3])"
        ) from None
    return _Place(files, folder)


def _trouble(what: str, error: Exception) -> ArchiveError:
    # Of the error its kind and system text alone: a library's message may hold a signed URL.
    said = getattr(error, "strerror", None) or type(error).__name__
    return ArchiveError(f"{what}: {said}")


def write(connection: psycopg.Connection[dict[str, Any]], url: str, part: dict[str, Any]) -> int:
    """Archives the pages of a partition (partition, period_start, period_end), reads all of it back, and returns how many.

    Raises ArchiveError where a file could not be written, or is not what was written.
    """
    name = str(part["partition"])
    place = _open(url)
    try:
        manifest = _read_manifest(place, name) or {"format": FORMAT, "partition": name, "files": []}
        known = {file["name"]: file for file in manifest["files"]}
        (copy,) = connection.execute(
            query("archive_statement"), {"period_start": part["period_start"], "period_end": part["period_end"]}
        ).fetchall()
        place.files.makedirs(place.path(name), exist_ok=True)
        written = []
        for file, local in _split(connection, copy["statement"]):
            with local:
                if file["name"] not in known or not _is_sound(place, name, file):
                    place.files.put_file(local.name, place.path(name, file["name"]))
                if not _is_sound(place, name, file):
                    raise ArchiveError(f"{name}/{file['name']}: what was read back is not what was written")
            written.append(file | {"columns": copy["column_names"]})
        manifest["files"] = sorted(
            (known | {file["name"]: file for file in written}).values(), key=lambda file: str(file["name"])
        )
        manifest |= {"from": f"{part['period_start']:%Y-%m-%d}", "to": f"{part['period_end']:%Y-%m-%d}"}
        _write_manifest(place, name, manifest)
        if _read_manifest(place, name) != manifest:
            raise ArchiveError(f"{name}/{_MANIFEST}: what was read back is not what was written")
    except (OSError, EOFError, ValueError) as error:
        raise _trouble(f"{name} could not be archived", error) from None
    return sum(file["rows"] for file in written)


def _split(connection: psycopg.Connection[dict[str, Any]], statement: str) -> Iterator[tuple[dict[str, Any], IO[bytes]]]:
    """A compressed file an organisation, in turn: its entry of the manifest, and the file, to be closed by the caller."""
    owner, rows = "", 0
    local: Any = None
    packed: Any = None
    with connection.cursor().copy(statement.encode()) as lines:
        for line in lines:
            key = bytes(line[:_UUID_TEXT]).decode()
            if key != owner:
                if local is not None:
                    packed.close()
                    yield _entry(owner, rows, local), local
                owner, rows = key, 0
                local = tempfile.NamedTemporaryFile(suffix=".gz")  # noqa: SIM115 - the caller closes it
                packed = gzip.GzipFile(fileobj=local, mode="wb", filename="", mtime=0)
            packed.write(line)
            rows += 1
        if local is not None:
            packed.close()
            yield _entry(owner, rows, local), local


def _entry(owner: str, rows: int, local: IO[bytes]) -> dict[str, Any]:
    local.flush()
    local.seek(0)
    digest = hashlib.file_digest(local, "sha256").hexdigest()  # type: ignore[arg-type]
    return {"name": f"{owner}-{digest[:16]}.copy.gz", "organization_id": owner, "rows": rows, "sha256": digest}


def _is_sound(place: _Place, name: str, file: dict[str, Any]) -> bool:
    """Whether the file is there, with the digest and the rows of its entry."""
    digest, rows, unpack = hashlib.sha256(), 0, zlib.decompressobj(31)
    try:
        with place.files.open(place.path(name, file["name"]), "rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                rows += unpack.decompress(chunk).count(b"\n")
    except (FileNotFoundError, zlib.error):
        return False
    return (digest.hexdigest(), rows) == (file["sha256"], file["rows"])


def _read_manifest(place: _Place, name: str) -> dict[str, Any] | None:
    path = place.path(name, _MANIFEST)
    place.files.invalidate_cache()
    if not place.files.exists(path):
        return None
    try:
        manifest: dict[str, Any] = json.loads(place.files.cat_file(path))
        if manifest["format"] != FORMAT or manifest["partition"] != name or not isinstance(manifest["files"], list):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise ArchiveError(f"{name}/{_MANIFEST} is no manifest of this version: look at it, and move it away") from None
    return manifest


def _write_manifest(place: _Place, name: str, manifest: dict[str, Any]) -> None:
    unfinished = place.path(name, f".{_MANIFEST}")
    place.files.pipe_file(unfinished, json.dumps(manifest, indent=1).encode())
    place.files.mv(unfinished, place.path(name, _MANIFEST))


def _partitions(place: _Place) -> list[str]:
    place.files.invalidate_cache()
    try:
        found = place.files.ls(place.folder, detail=False)
    except FileNotFoundError:
        return []
    return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)


@dataclass(frozen=True)
class Restored:
    """What came back: pages that were not there, pages that were."""

    partitions: int
    stored: int
    known: int


def restore(
    connection: psycopg.Connection[dict[str, Any]], url: str, start: datetime, end: datetime, organizations: dict[str, str]
) -> Restored:
    """Brings back the pages fetched from start to end (days, UTC) of organisations (id -> slug).

    Each partition is one transaction. Run again it stores nothing. Raises ArchiveError where a file is missing or is not what its
    manifest says: of that partition nothing is stored.
    """
    place = _open(url)
    partitions = stored = rows = 0
    first, last = f"{start:%Y-%m-%d}", f"{end:%Y-%m-%d}"
    try:
        for name in _partitions(place):
            manifest = _read_manifest(place, name)
            if manifest is None or not first <= manifest["from"] < last:
                continue
            files = [file for file in manifest["files"] if file["organization_id"] in organizations]
            for file in files:
                if not _is_sound(place, name, file):
                    raise ArchiveError(
                        f"{name}/{file['name']} is missing, or is not the file that was archived: its sha256 differs"
                    )
            for file in files:
                stored += _store(connection, place, name, file)
                rows += file["rows"]
            connection.commit()
            partitions += bool(files)
    except (OSError, EOFError, zlib.error) as error:
        connection.rollback()
        raise _trouble("the archive could not be read", error) from None
    except ArchiveError:
        connection.rollback()
        raise
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        connection.rollback()
        raise ArchiveError(f"a page cannot be taken in: {error.diag.message_primary}") from None
    return Restored(partitions, stored, rows - stored)


def _store(connection: psycopg.Connection[dict[str, Any]], place: _Place, name: str, file: dict[str, Any]) -> int:
    (staged,) = connection.execute(query("stage_archived_pages")).fetchall()
    if staged["column_names"] != file["columns"]:
        raise ArchiveError(f"{name}/{file['name']} has the columns {file['columns']}, the table has {staged['column_names']}")
    with (
        place.files.open(place.path(name, file["name"]), "rb") as stream,
        gzip.GzipFile(fileobj=stream) as packed,
        connection.cursor().copy(staged["statement"].encode()) as rows,
    ):
        while chunk := packed.read(_CHUNK):
            rows.write(chunk)
    (result,) = connection.execute(query("restore_raw_pages"), {"organization_id": UUID(file["organization_id"])}).fetchall()
    return int(result["stored"])


def forget(url: str, organization: UUID) -> int:
    """Deletes an organisation's files from the archive, for good; returns how many. Run again it goes on."""
    place, removed = _open(url), 0
    try:
        for name in _partitions(place):
            manifest = _read_manifest(place, name)
            for path in place.files.glob(place.path(name, f"{organization}-*.copy.gz")):
                place.files.rm_file(path)
                removed += 1
            if manifest is not None:
                left = [file for file in manifest["files"] if file["organization_id"] != str(organization)]
                if left != manifest["files"]:
                    _write_manifest(place, name, manifest | {"files": left})
    except OSError as error:
        raise _trouble("the archive could not be cleared", error) from None
    return removed
