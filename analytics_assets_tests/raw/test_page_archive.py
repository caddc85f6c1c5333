"""Raw pages leave for the archive and come back as they were."""

import json
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

from analytics_assets.operations.maintenance import maintain
from analytics_assets.raw.page_archive import ArchiveError, forget, restore
from analytics_assets.resources import Database
from analytics_assets.settings import Settings
from analytics_assets_tests.command_line import analytics
from analytics_assets_tests.woocommerce import Connection, add_organization, compute, order, take_in

DAY = datetime.combine(datetime.now(UTC).date(), time.min, UTC) - timedelta(days=45)
PAGES = """select coalesce(md5(string_agg(to_jsonb(p)::text, '|' order by p.organization_id, p.fetched_at, p.id)), '') as digest,
                  count(*) as n from public.raw_data_backup p"""


def pages(connection: Connection) -> tuple[str, int]:
    (row,) = connection.execute(PAGES).fetchall()
    connection.commit()
    return row["digest"], row["n"]


@pytest.fixture
def old_pages(connection: Connection, tmp_path: Path) -> dict[str, Any]:
    """Two organisations with three days of processed pages, 45 days old; a record holds what COPY escapes."""
    ids = {slug: add_organization(connection, slug) for slug in ("acme", "umbra")}
    for slug in ids:
        odd = order(3, DAY + timedelta(days=2, hours=9), note="tab\t newline\n back\\slash ü \u2028 \\N")
        take_in(connection, tmp_path, slug, "orders", [order(1, DAY)], [order(2, DAY + timedelta(days=1))], [odd])
    compute(connection, list(ids.values()), DAY, DAY + timedelta(days=4))
    connection.execute("select private.ensure_partitions('raw_data_backup', %s, %s)", (DAY, DAY + timedelta(days=4)))
    connection.execute("update public.raw_data_backup set fetched_at = window_start")
    connection.commit()
    return {slug: str(key) for slug, key in ids.items()}


def run_maintenance() -> dict[str, str]:
    rows = maintain(Database(), Settings.load())
    return {f"{row['action']} {row['partition']}": row["reason"] or "" for row in rows if row["table"] == "raw_data_backup"}


@pytest.mark.parametrize("kind", ["folder", "object storage"])
def test_there_and_back(
    connection: Connection, old_pages: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    url = str(tmp_path / "archive") if kind == "folder" else f"memory://{tmp_path.name}/archive"
    monkeypatch.setenv("ANALYTICS_RAW_ARCHIVE", url)
    before = pages(connection)
    assert before[1] == 6
    said = run_maintenance()
    assert len([1 for what in said if what.startswith("archived")]) == len([1 for what in said if what.startswith("dropped")]) > 2
    assert pages(connection) == ("", 0)
    assert not connection.execute("select from public.raw_page_digests").fetchall()
    files, folder = fsspec.core.url_to_fs(url)
    names = sorted(files.find(folder))
    manifest = json.loads(files.cat_file(next(name for name in names if f"{DAY:%Y%m%d}/manifest" in name)))
    assert {(file["organization_id"], file["rows"]) for file in manifest["files"]} == {(key, 1) for key in old_pages.values()}
    week = DAY, DAY + timedelta(days=7)
    one = restore(connection, url, *week, {old_pages["acme"]: "acme"})
    assert (one.stored, one.known) == (3, 0)
    run_maintenance()  # archived again, and dropped: the other's pages are still in the archive
    assert pages(connection)[1] == 0 and sorted(files.find(folder)) == names
    assert restore(connection, url, *week, {key: slug for slug, key in old_pages.items()}).stored == 6
    assert pages(connection) == before
    assert len(connection.execute("select from public.raw_page_digests").fetchall()) == 6
    again = restore(connection, url, *week, {key: slug for slug, key in old_pages.items()})
    assert (again.stored, again.known) == (0, 6) and pages(connection) == before


def test_what_is_not_safe_in_the_archive_stays(
    connection: Connection, old_pages: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ANALYTICS_RAW_ARCHIVE", str(tmp_path / "file" / "archive"))
    before = pages(connection)
    said = run_maintenance()
    assert pages(connection) == before
    assert not [what for what in said if what.startswith("dropped")]
    assert "0 of its 2 pages are in the archive" in said[f"stays raw_data_backup_{DAY:%Y%m%d}"]
    assert "could not be archived" in said[f"not archived raw_data_backup_{DAY:%Y%m%d}"]
    monkeypatch.setenv("ANALYTICS_RAW_ARCHIVE", "teleport://nowhere")
    assert "expected a folder or a URL" in " ".join(run_maintenance().values()) and pages(connection) == before
    # One that came after the archive was written.
    monkeypatch.delenv("ANALYTICS_RAW_ARCHIVE")
    rows = connection.execute(
        "select * from public.cleanup_old_raw_data_backup(now() - interval '30 days', %s::jsonb)",
        (json.dumps({f"raw_data_backup_{DAY:%Y%m%d}": 1}),),
    ).fetchall()
    assert not any(row["dropped"] for row in rows) and any("1 of its 2 pages" in row["reason"] for row in rows)


def test_a_damaged_archive_is_refused_whole(
    connection: Connection, old_pages: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive"
    monkeypatch.setenv("ANALYTICS_RAW_ARCHIVE", str(archive))
    run_maintenance()
    damaged = next((archive / f"raw_data_backup_{DAY:%Y%m%d}").glob(f"{old_pages['umbra']}-*"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    days = ("--from", f"{DAY:%Y-%m-%d}", "--to", f"{DAY + timedelta(days=1):%Y-%m-%d}")
    told = analytics("raw", "restore", *days)
    assert told.returncode == 1 and "sha256 differs" in told.stderr and pages(connection)[1] == 0
    assert analytics("raw", "restore", *days, "--organization", "acme").returncode == 0 and pages(connection)[1] == 1
    with pytest.raises(ArchiveError):
        restore(connection, str(archive), DAY, DAY + timedelta(days=1), {old_pages["umbra"]: "umbra"})


def test_an_organization_is_forgotten(
    connection: Connection, old_pages: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uuid import UUID

    archive = tmp_path / "archive"
    monkeypatch.setenv("ANALYTICS_RAW_ARCHIVE", str(archive))
    run_maintenance()
    assert forget(str(archive), UUID(old_pages["umbra"])) == 3 and forget(str(archive), UUID(old_pages["umbra"])) == 0
    assert not [file for file in archive.rglob("*") if old_pages["umbra"] in file.name]
    everybody = {key: slug for slug, key in old_pages.items()}
    assert restore(connection, str(archive), DAY, DAY + timedelta(days=7), everybody).stored == 3
