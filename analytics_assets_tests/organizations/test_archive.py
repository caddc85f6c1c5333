"""An organisation exported, deleted, taken in again: the same rows, table by table."""

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg.sql
import pytest
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets.database import connect
from analytics_assets.organizations import archive, deletion
from analytics_assets.organizations.registry import OrganizationError
from analytics_assets_tests.organizations.tenants import add_tenant, rows_by_table
from analytics_assets_tests.woocommerce import Connection

SECRET = "gAAAAABsealed"


@pytest.fixture
def acme(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """A tenant with texts that a file could break, and a sealed secret."""
    monkeypatch.setattr(deletion, "_KEYS_ARE_KNOWN_SECONDS", 0.0)
    organization = add_tenant(connection, "acme")
    connection.execute("update public.customers set customer_id = E'tab\\t newline\\n \\\\N 日本'")
    connection.execute("update public.orders set customer_id = null, total = 10.500, gross_sales = 10.500")
    config = json.dumps({"store": "s", "$secrets": {"$enc": "v1", "kid": "k", "ct": SECRET}})
    connection.execute("update public.data_sources set connection_config = %s", (config,))
    connection.commit()
    return organization


def content(connection: Connection, organization: UUID) -> dict[str, list[str]]:
    """Every row of every tenant table as text, sorted."""
    found: dict[str, list[str]] = {}
    for table in connection.execute("select relation::text as name from private.tenant_tables()").fetchall():
        statement = psycopg.sql.SQL(f"select t::text as row from {table['name']} t where organization_id = %s order by 1")
        found[table["name"]] = [row["row"] for row in connection.execute(statement, (organization,)).fetchall()]
    return found


def told(*arguments: Any) -> tuple[int, str]:
    """Exit status and what was said."""
    result = CliRunner().invoke(app, ["organizations", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_same_rows_come_back(connection: Connection, acme: UUID, tmp_path: Path) -> None:
    """Also where their partitions are gone. Secrets and write keys are in no file."""
    other = add_tenant(connection, "bolt")
    others = content(connection, other)
    folder = tmp_path / "export"
    status, output = told("export", "acme", "--output", folder)
    assert status == 0 and "left out" in output
    texts = {file.name: gzip.decompress(file.read_bytes()) for file in folder.glob("*.gz")}
    assert len(texts) == len(others) - 1 and not any(SECRET.encode() in text for text in texts.values())
    assert SECRET not in (folder / archive.MANIFEST).read_text() and "public.event_keys.copy.gz" not in texts
    connection.execute("update public.data_sources set connection_config = connection_config - '$secrets'")
    connection.execute("delete from public.event_keys where organization_id = %s", (acme,))
    before = content(connection, acme)
    row = connection.execute("select * from public.organizations where id = %s", (acme,)).fetchone()
    connection.commit()
    assert told("import", folder)[0] == 1
    deletion.delete(connection, acme)
    deletion.delete(connection, other)
    for part in connection.execute("select child from private.list_partitions('hourly_facts')").fetchall():
        connection.execute(psycopg.sql.SQL("drop table partitions.{}").format(psycopg.sql.Identifier(part["child"])))
    connection.commit()
    status, output = told("import", folder)
    assert status == 0, output
    assert content(connection, acme) == before and not any(rows_by_table(connection, other).values())
    assert connection.execute("select * from public.organizations where id = %s", (acme,)).fetchone() == row
    connection.commit()
    deletion.delete(connection, acme)
    assert told("import", folder, "--as", "zenith")[0] == 0
    assert content(connection, acme) == before
    named = connection.execute("select slug, partition_key from public.organizations").fetchall()
    assert named == [{"slug": "zenith", "partition_key": "zenith"}]


def test_what_is_not_as_exported_is_refused(connection: Connection, acme: UUID, tmp_path: Path) -> None:
    """Nothing is stored: a broken or missing file, an end without manifest, rows of another organisation, another schema."""
    good = tmp_path / "good"
    archive.export(connection, "acme", good)
    with pytest.raises(OrganizationError, match="not an empty folder"):
        archive.export(connection, "acme", good)
    with pytest.raises(OrganizationError, match="is there already"):
        archive.read_in(connection, good, "zenith")
    deletion.delete(connection, acme)

    def refused(words: str, change: Any) -> None:
        folder = tmp_path / "changed"
        shutil.copytree(good, folder)
        manifest = json.loads((folder / archive.MANIFEST).read_text())
        change(folder, manifest)
        if (folder / archive.MANIFEST).exists():
            (folder / archive.MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(OrganizationError, match=words):
            archive.read_in(connection, folder)
        connection.rollback()
        assert not any(rows_by_table(connection, acme).values())
        shutil.rmtree(folder)

    def foreign(folder: Path, manifest: dict[str, Any]) -> None:
        file = folder / "public.visitor_days.copy.gz"
        text = gzip.decompress(file.read_bytes()).replace(str(acme).encode(), str(UUID(int=9)).encode())
        file.write_bytes(gzip.compress(text))
        manifest["tables"]["public.visitor_days"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()

    orders = "public.orders.copy.gz"
    refused("sha256 differs", lambda folder, _: (folder / orders).write_bytes(b"x"))
    refused("is missing", lambda folder, _: (folder / orders).unlink())
    refused("is missing", lambda folder, _: (folder / archive.MANIFEST).unlink())
    refused("rows of another organisation", foreign)
    refused("bring both to the same", lambda _, manifest: manifest.update(newest_migration="20200101000000_old.sql"))
    refused("this version reads 1", lambda _, manifest: manifest.update(format=2))
    refused("the manifest says 7", lambda _, manifest: manifest["tables"]["public.orders"].update(rows=7))
    refused("no manifest of an export", lambda _, manifest: manifest.pop("tables"))
    archive.read_in(connection, good)
    assert rows_by_table(connection, acme)["orders"] == 1


def test_an_export_is_one_moment(connection: Connection, acme: UUID, tmp_path: Path) -> None:
    """What another connection deletes and commits after the first table is still in the last."""
    deleted: list[int] = []

    def delete_behind(table: str, rows: int) -> None:
        if not deleted:
            with connect() as other:
                deleted.append(other.execute("delete from public.visitors where organization_id = %s", (acme,)).rowcount)

    counts = archive.export(connection, "acme", tmp_path / "export", delete_behind)
    assert deleted == [1] and next(iter(counts)) != "public.visitors" and counts["public.visitors"] == 1
    assert rows_by_table(connection, acme)["visitors"] == 0
