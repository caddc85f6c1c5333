"""An organisation as a folder of files: written from one snapshot, read again in one transaction."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from analytics_assets.organizations.registry import OrganizationError, get
from analytics_assets.sql import query

FORMAT = 1
MANIFEST = "manifest.json"
LEFT_OUT = ["sealed secrets of sources (public.data_sources.connection_config)", "write keys (public.event_keys)"]
_CHUNK = 1 << 20


def export(
    connection: psycopg.Connection[dict[str, Any]],
    slug: str,
    folder: Path,
    on_table: Callable[[str, int], None] = lambda table, rows: None,
) -> dict[str, int]:
    """Writes an organisation's rows to an empty folder, a gzip file of COPY text a table; returns rows by table.

    All from one snapshot. The manifest comes last: a folder without one is not whole. on_table hears each table with its
    rows. Raises OrganizationError.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OrganizationError(f"{folder} is not an empty folder; name one that is, or that is not there yet")
    connection.commit()
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    try:
        manifest = _write_tables(connection, slug, folder, on_table)
    finally:
        connection.rollback()  # nothing was written
        connection.isolation_level = None
    unfinished = folder / f".{MANIFEST}"
    unfinished.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / MANIFEST)
    return {name: table["rows"] for name, table in manifest["tables"].items()}


def _write_tables(
    connection: psycopg.Connection[dict[str, Any]], slug: str, folder: Path, on_table: Callable[[str, int], None]
) -> dict[str, Any]:
    organization = get(connection, slug)
    (settings,) = connection.execute(
        "select to_jsonb(o) as row from public.organizations o where o.id = %s", (organization.id,)
    ).fetchall()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    tables: dict[str, dict[str, Any]] = {}
    for table in connection.execute(query("export_statements"), {"organization_id": organization.id}).fetchall():
        name, file = table["table_name"], _file(folder, table["table_name"])
        with file.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed:
            cursor = connection.cursor()
            with cursor.copy(table["statement"].encode()) as rows:
                for chunk in rows:
                    packed.write(chunk)
        tables[name] = {"rows": cursor.rowcount, "sha256": _sha256(file), "columns": table["column_names"]}
        on_table(name, cursor.rowcount)
    return {
        "format": FORMAT,
        "newest_migration": _newest_migration(connection),
        "organization": settings["row"],
        "left_out": LEFT_OUT,
        "tables": tables,
    }


def read_in(
    connection: psycopg.Connection[dict[str, Any]],
    folder: Path,
    slug: str | None = None,
    on_table: Callable[[str, int], None] = lambda table, rows: None,
) -> tuple[str, dict[str, int]]:
    """Brings an exported organisation back, under another slug if one is given; returns its slug and rows by table.

    One transaction: all of it, or nothing. Raises OrganizationError where the organisation (its id or slug) is there, a
    file is not what the manifest says, or the schema is another one.
    """
    manifest = _checked_manifest(connection, folder)
    settings = manifest["organization"]
    if slug and slug != settings["slug"]:
        if settings["partition_key"] == settings["slug"]:
            settings["partition_key"] = slug
        settings["slug"] = slug
    if connection.execute("select from public.organizations where id = %(id)s::uuid or slug = %(slug)s", settings).fetchall():
        raise OrganizationError(
            f"organisation {settings['slug']!r} ({settings['id']}) is there already: delete it first, or use --as for another slug"
            " (the id stays: one database holds an organisation once)"
        )
    stored: dict[str, int] = {}
    try:
        connection.execute(query("import_organization"), {"settings": Jsonb(settings)})
        for table in connection.execute(query("export_statements"), {"organization_id": settings["id"]}).fetchall():
            name = table["table_name"]
            stored[name] = _store(connection, settings["id"], name, _file(folder, name))
            if stored[name] != manifest["tables"][name]["rows"]:
                raise OrganizationError(
                    f"{name}: {stored[name]} rows stored, the manifest says {manifest['tables'][name]['rows']}"
                )
            on_table(name, stored[name])
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        connection.rollback()
        raise OrganizationError(f"{folder} cannot be taken in, nothing was stored: {error.diag.message_primary}") from None
    except OrganizationError:
        connection.rollback()
        raise
    connection.commit()
    return settings["slug"], stored


def _store(connection: psycopg.Connection[dict[str, Any]], organization: str, table: str, file: Path) -> int:
    (staged,) = connection.execute(query("stage_import"), {"table_name": table}).fetchall()
    with gzip.open(file, "rb") as packed, connection.cursor().copy(staged["statement"].encode()) as rows:
        while chunk := packed.read(_CHUNK):
            rows.write(chunk)
    (result,) = connection.execute(query("store_import"), {"organization_id": organization, "table_name": table}).fetchall()
    return int(result["stored"])


def _checked_manifest(connection: psycopg.Connection[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """The manifest, after every file was found to be what it says and the schema to be the one it was written from."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise OrganizationError(f"{folder / MANIFEST}: format {manifest['format']!r}; this version reads {FORMAT}")
        migration, tables = manifest["newest_migration"], manifest["tables"]
        if migration != (here := _newest_migration(connection)):
            raise OrganizationError(f"exported at migration {migration}, this database is at {here}: bring both to the same")
        expected = connection.execute(query("export_statements"), {"organization_id": manifest["organization"]["id"]}).fetchall()
        if differing := {table["table_name"] for table in expected} ^ set(tables):
            raise OrganizationError(f"tables that only one side has: {', '.join(sorted(differing))}")
        for table in expected:
            name = table["table_name"]
            if tables[name]["columns"] != table["column_names"]:
                raise OrganizationError(f"{name}: exported with {tables[name]['columns']}, here it has {table['column_names']}")
            if _sha256(_file(folder, name)) != tables[name]["sha256"]:
                raise OrganizationError(f"{_file(folder, name)} is not the file that was exported: its sha256 differs")
    except FileNotFoundError as error:
        raise OrganizationError(f"{error.filename} is missing: the export did not end, or was not copied whole") from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, OrganizationError):
            raise
        raise OrganizationError(f"{folder / MANIFEST} is no manifest of an export ({error!r})") from None
    return manifest


def _file(folder: Path, table: str) -> Path:
    return folder / f"{table}.copy.gz"


def _newest_migration(connection: psycopg.Connection[dict[str, Any]]) -> str:
    (row,) = connection.execute("select private.newest_migration() as name").fetchall()
    return str(row["name"])


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
