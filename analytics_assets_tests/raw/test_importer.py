"""Pages from files into raw_data_backup: verbatim, once; what is no page is set aside and the rest goes in."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_assets.raw.importer import ImportRefused, import_files, open_target
from analytics_assets_tests.woocommerce import (
    Connection,
    add_organization,
    customer,
    forget,
    ledger,
    order,
    quarantined,
    refund,
    row_versions,
    take_in,
)

AT = datetime(2026, 3, 2, 10, 40, 7, tzinfo=UTC)
GOOD = [json.dumps([order(i, AT + timedelta(hours=i))]).encode() for i in range(3)]


def stored(connection: Connection, slug: str = "acme") -> list[dict[str, Any]]:
    return connection.execute(
        "select r.* from public.raw_data_backup r join public.organizations o on o.id = r.organization_id"
        " where o.slug = %s order by r.fetched_at",
        (slug,),
    ).fetchall()


def in_order(literal: str) -> bytes:
    return json.dumps([order(7, AT, note="HERE")]).replace('"HERE"', literal).encode()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"<html><body>503</body></html>", "HTML or XML, not JSON"),
        (GOOD[0][:-9], "no JSON"),
        (b'[{"id": 5, "line_items": [', "no JSON"),
        (json.dumps([refund(9, AT, "3.00")]).encode(), "no page of woocommerce orders"),
        (json.dumps([customer(9, "a@example.org", AT)]).encode(), "no page of woocommerce orders"),
        (b'{"code": "rest_forbidden", "message": "Sorry", "data": {"status": 401}}', "an error response: rest_forbidden: Sorry"),
        (in_order('"\\u0000"'), "the character NUL"),
        (in_order('"\\udc00"'), "half of a surrogate pair"),
        (in_order("NaN"), "NaN is not JSON"),
        (in_order("1e99999"), "out of range"),
        (in_order("9" * 200_000), "no JSON that can be kept"),
        (in_order("9" * 140_000 + ".5"), "PostgreSQL refuses it"),
        (in_order("[" * 50_000 + "]" * 50_000), "JSON nested too deeply"),
        (in_order('"é"').decode().encode("latin-1"), "not UTF-8 at byte"),
    ],
)
def test_bad_page_is_set_aside_and_its_neighbours_go_in(connection: Connection, tmp_path: Path, bad: bytes, reason: str) -> None:
    add_organization(connection)
    report = take_in(connection, tmp_path, "acme", "orders", GOOD[0], b"", bad, GOOD[1])
    assert (report.pages, report.stored, report.known, report.quarantined_pages) == (3, 2, 0, 1)
    assert [row["page"] for row in stored(connection)] == [1, 4]
    (row,) = quarantined(connection, "acme")
    assert (row["level"], row["source"], row["stream"]) == ("page", "woocommerce", "orders")
    assert (row["file_name"], row["line_number"]) == ("acme-orders-0.jsonl", 3)
    assert reason in row["reason"]
    assert report.quarantined == [(row["file_name"], 3, row["reason"])]
    assert (row["content"], row["content_sha256"]) == (bad, hashlib.sha256(bad).digest())


def test_page_that_only_postgresql_refuses_does_not_stop_its_batch(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python that reads deeper than PostgreSQL does must not crash the import."""
    add_organization(connection)
    try:
        connection.execute("set max_stack_depth = '100kB'")
    except psycopg.errors.InsufficientPrivilege:
        pytest.skip("only a superuser may lower max_stack_depth")
    connection.commit()
    deep = in_order("[" * 900 + "]" * 900)
    report = take_in(connection, tmp_path, "acme", "orders", GOOD[0], deep, GOOD[1])
    assert (report.stored, report.quarantined_pages) == (2, 1)
    assert quarantined(connection, "acme")[0]["reason"] == "PostgreSQL refuses it: stack depth limit exceeded"


@pytest.mark.parametrize(
    "content",
    [
        GOOD[0],
        b"\xef\xbb\xbf" + GOOD[0],
        b"[]",
        json.dumps(order(1, AT)).encode(),
        in_order("1" * 4_000),
        in_order("1e400"),
        in_order("0.10"),
        in_order('"\\ud83d\\ude00 \\\\u0000 \\t"'),
        in_order("[" * 300 + "]" * 300),
        json.dumps([order(1, AT), order(2, AT)], indent=2).encode(),
        json.dumps([order(1, AT)], indent=1).replace("\n", "\r\n").encode(),
    ],
)
def test_page_is_kept_verbatim(connection: Connection, tmp_path: Path, content: bytes) -> None:
    add_organization(connection)
    assert take_in(connection, tmp_path, "acme", "orders", content).stored == 1
    (row,) = stored(connection)
    kept = connection.execute("select raw_data::text from public.raw_data_backup").fetchone()
    assert kept is not None
    numbers: dict[str, Any] = {"parse_float": str, "parse_int": str}  # as they are written: 0.10 stays 0.10
    given_value = json.loads(content.decode("utf-8-sig"), **numbers)
    assert json.loads(kept["raw_data"].replace(f"1{'0' * 400}", "1e400"), **numbers) == given_value
    as_in_the_file = content if b"\n" not in content else content + b"\n"
    assert row["content_sha256"] == hashlib.sha256(as_in_the_file).digest()
    assert row["processed"] == (content == b"[]")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("\ud800") | st.just("a\x00"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_a_record_is_kept_as_it_is_or_set_aside(connection: Connection, tmp_path: Path, value: Any) -> None:
    org = add_organization(connection)
    forget(connection, org)
    page = [order(1, AT, note=value)]
    report = take_in(connection, tmp_path, "acme", "orders", page, GOOD[1])
    text = json.dumps(value, ensure_ascii=False)
    if "\\u0000" in text.replace("\\\\", "") or "\ud800" in text:
        assert (report.stored, report.quarantined_pages) == (1, 1)
    else:
        assert (report.stored, report.quarantined_pages) == (2, 0)
        assert stored(connection)[0]["raw_data"] == page


def test_importing_twice_adds_nothing(connection: Connection, tmp_path: Path) -> None:
    add_organization(connection)
    pages = [*GOOD, b"<html>", b"[]", GOOD[0]]
    first = take_in(connection, tmp_path, "acme", "orders", *pages)
    assert (first.pages, first.stored, first.known, first.quarantined_pages, first.records) == (6, 4, 1, 1, 3)
    assert (first.first_hour, first.last_hour) == (AT.replace(minute=0, second=0), AT.replace(hour=12, minute=0, second=0))
    before = row_versions(connection)
    again = take_in(connection, tmp_path, "acme", "orders", *reversed(pages))
    assert (again.stored, again.known, again.quarantined_pages, again.first_hour) == (0, 5, 1, None)
    assert row_versions(connection) == before


def test_new_pages_make_their_hours_stale_and_known_ones_none(connection: Connection, tmp_path: Path) -> None:
    add_organization(connection)
    take_in(connection, tmp_path, "acme", "orders", GOOD[1])
    hour = AT.replace(hour=11, minute=0, second=0)
    for asset in ("orders", "raw_woocommerce"):
        assert ledger(connection, "acme", asset) == {hour: ("stale", None)}


def test_page_without_a_usable_date_belongs_to_the_hour_of_its_fetch(connection: Connection, tmp_path: Path) -> None:
    add_organization(connection)
    take_in(
        connection,
        tmp_path,
        "acme",
        "orders",
        [order(1, AT) | dict.fromkeys(("date_created", "date_created_gmt", "date_paid", "date_paid_gmt"))],
    )
    (row,) = stored(connection)
    assert row["window_start"] <= row["fetched_at"] < row["window_end"]
    assert list(ledger(connection, "acme", "orders")) == [row["fetched_at"].replace(minute=0, second=0, microsecond=0)]


def test_each_organisation_source_and_stream_keeps_its_own_copy(connection: Connection, tmp_path: Path) -> None:
    for slug in ("acme", "umbra"):
        add_organization(connection, slug)
        assert take_in(connection, tmp_path, slug, "orders", *GOOD, b"[]").stored == 4
        assert take_in(connection, tmp_path, slug, "refunds", b"[]").stored == 1
        other = open_target(connection, slug, "woocommerce", "orders", source_name="second shop")
        file = tmp_path / "again.jsonl"
        file.write_bytes(b"\n".join(GOOD))
        assert import_files(connection, other, [file, file]).stored == 3
        assert len(stored(connection, slug)) == 8


def test_truncated_gzip_gives_its_whole_lines(connection: Connection, tmp_path: Path) -> None:
    add_organization(connection)
    file = tmp_path / "cut.jsonl.gz"
    file.write_bytes(gzip.compress(b"\n".join(GOOD) + b"\n")[:-12])
    report = import_files(connection, open_target(connection, "acme", "woocommerce", "orders"), [file])
    assert report.stored >= 2 and report.quarantined_pages == 1
    (row,) = quarantined(connection, "acme")
    assert row["file_name"] == "cut.jsonl.gz" and row["line_number"] == report.stored + 1
    assert row["reason"].startswith("the file breaks off: ") and "end-of-stream" in row["reason"]


_KILLED = """
import sys
from pathlib import Path
from analytics_assets.database import connect
from analytics_assets.raw import importer
importer._BATCH_PAGES = 5
with connect() as connection:
    target = importer.open_target(connection, "acme", "woocommerce", "orders")
    importer.import_files(connection, target, [Path(sys.argv[1])])
"""


def test_import_killed_halfway_and_done_again_is_as_one_undisturbed(connection: Connection, tmp_path: Path) -> None:
    for slug in ("acme", "umbra"):
        add_organization(connection, slug)
    pages = [[order(i * 50 + j, AT + timedelta(minutes=i * 50 + j)) for j in range(50)] for i in range(400)]
    file = tmp_path / "pages.jsonl"
    file.write_bytes(b"\n".join(b"<html>" if i == 7 else json.dumps(page).encode() for i, page in enumerate(pages)))
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(file)], env=os.environ.copy())
    deadline = time.monotonic() + 60
    while len(stored(connection)) < 20 and time.monotonic() < deadline:
        connection.commit()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    connection.commit()
    halfway = len(stored(connection))
    assert 20 <= halfway < 399
    for slug in ("acme", "umbra"):
        report = import_files(connection, open_target(connection, slug, "woocommerce", "orders"), [file])
        assert (report.stored, report.quarantined_pages) == (399 - (halfway if slug == "acme" else 0), 1)

    def kept(slug: str) -> tuple[Any, ...]:
        pages = sorted(
            (row["page"], bytes(row["content_sha256"]), row["window_start"], row["window_end"])
            for row in stored(connection, slug)
        )
        aside = [(row["line_number"], bytes(row["content"]), row["reason"]) for row in quarantined(connection, slug)]
        return pages, aside, ledger(connection, slug, "orders"), ledger(connection, slug, "raw_woocommerce")

    assert kept("acme") == kept("umbra")


def test_targets_that_cannot_be_are_refused_with_a_message(connection: Connection) -> None:
    add_organization(connection, zone="Europe/London", currency="GBP")
    open_target(connection, "acme", "woocommerce", "orders", time_zone="Europe/Paris")
    for arguments, options, message in (
        (("nobody", "woocommerce", "orders"), {}, "no organisation 'nobody'; see `analytics organizations list`"),
        (("acme", "woocommerce", "products"), {}, "no stream woocommerce products; there are: woocommerce customers, "),
        (("acme", "meta_ads", "orders"), {}, "no stream meta_ads orders"),
        (
            ("acme", "woocommerce", "orders"),
            {"time_zone": "Europe/London"},
            "has time_zone Europe/Paris, not Europe/London; name another",
        ),
        (
            ("acme", "woocommerce", "refunds"),
            {"currency": "EUR"},
            "has currency GBP, not EUR; name another source with --source-name",
        ),
        (
            ("acme", "woocommerce", "orders"),
            {"source_name": "b", "time_zone": "Mars/Base"},
            "time zone 'Mars/Base' or currency None is not known",
        ),
        (("acme", "woocommerce", "orders"), {"source_name": "b", "currency": "Pounds"}, "or currency 'Pounds' is not known"),
    ):
        with pytest.raises(ImportRefused) as refused:
            open_target(connection, *arguments, **options)
        assert message in str(refused.value)
    rows = connection.execute("select source_name, time_zone, currency from public.data_sources").fetchall()
    assert [tuple(row.values()) for row in rows] == [("woocommerce", "Europe/Paris", "GBP")]


def test_one_old_record_makes_the_partition_of_its_own_month_only(connection: Connection, tmp_path: Path) -> None:
    add_organization(connection)
    statement = "select child from private.list_partitions('partition_ledger')"
    before = {row["child"] for row in connection.execute(statement)}
    take_in(connection, tmp_path, "acme", "orders", [order(1, AT.replace(year=1990)), order(2, AT)])
    made = {row["child"] for row in connection.execute(statement)} - before
    assert made == {f"partition_ledger_{at:%Y%m}" for at in (AT.replace(year=1990), AT)}
