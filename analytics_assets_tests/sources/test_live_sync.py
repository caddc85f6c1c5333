"""Four vendors over real HTTP into the aggregates: what the tables say is what the sandbox's world says."""

import asyncio
from datetime import date, timedelta

import pytest

from analytics_assets_tests.sources.live import Connection, Live, live

HOUR = timedelta(hours=1)


@pytest.fixture
def acme(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Live:  # type: ignore[misc]
    with live(connection, monkeypatch, 6, 8, orders_per_day=6) as found:
        yield found


def test_the_aggregates_of_every_channel_equal_the_truth(acme: Live) -> None:
    report = acme.sync()
    assert report.outcomes == {"completed": 24}, report.failures
    acme.compute()
    result = acme.compare()
    assert not result.differences[:10]
    assert {channel for channel, counts in result.by_channel.items() if counts["hours"] > 100 and counts["days"] > 20} == {
        "google_analytics", "meta_ads", "woocommerce", "shopify"
    }  # fmt: skip

    # Nothing is due; and what is read again says nothing new and makes no hour stale.
    assert acme.sync().syncs == 0
    before = acme.state()
    acme.due()
    again = acme.sync()
    assert again.outcomes == {"completed": 24} and again.created == 0 and again.updated == 0
    assert acme.rows(
        "select count(*) as n from public.partition_ledger where status <> 'done' and asset = 'hourly_aggregates'"
    ) == [{"n": 0}]
    # Of the same windows no page is stored twice.
    pages = acme.rows("select count(*) as n from public.raw_data_backup")
    acme.due()
    assert acme.sync().outcomes == {"completed": 24}
    assert acme.rows("select count(*) as n from public.raw_data_backup") == pages
    acme.compute()
    assert acme.state() == before

    # Time goes by: late figures, edits, refunds. What Meta restates beyond three days, and what a store deleted for good,
    # is seen at night.
    acme.sandbox.clock.set(acme.now + 2 * HOUR)
    acme.due()
    assert acme.sync().outcomes == {"completed": 24}
    acme.compute()
    left = acme.compare().differences
    assert {key[1] for key, _, _ in left} <= {"meta_ads", "woocommerce"}
    recent = (acme.now - timedelta(days=2)).date()
    assert not [
        key for key, _, _ in left if key[1] == "meta_ads" and (key[3] if type(key[3]) is date else key[3].date()) >= recent
    ]
    for step in (26 * HOUR, 5 * HOUR):
        acme.sandbox.clock.set(acme.now + step)
        acme.due()
        acme.rows("update public.data_sources set reread_at = null returning 1")
        assert acme.rows("select private.request_rereads() as n") == [{"n": 24}]
        acme.rows("update public.data_sources set reread_due_at = now() returning 1")
        assert acme.sync().outcomes == {"completed": 24}
        assert acme.rows(
            "select count(*) as n from public.data_sources where reread_due_at is null and reread_at is not null"
        ) == [{"n": 24}]
        acme.compute()
        assert not acme.compare().differences[:10]


def test_logs_and_status_tell_what_happened(acme: Live) -> None:
    acme.sync()
    logs = acme.rows("select * from public.sync_logs")
    assert len(logs) == 24
    for log in logs:
        assert log["status"] == "completed" and log["sync_type"] == "full" and log["completed_at"] >= log["started_at"]
        assert log["records_processed"] > 0 and log["records_created"] > 0 and log["error_message"] is None
        assert log["metadata"]["pages"] > 0
    for source in acme.rows("select * from public.data_sources"):
        assert source["sync_status"] == "success" and source["last_error"] is None and source["lease_owner"] is None
        wait = source["next_sync_at"] - source["last_sync_at"]
        assert wait == timedelta(minutes=15)
    acme.due()
    acme.sync()
    assert {
        row["sync_type"]
        for row in acme.rows("select sync_type from public.sync_logs where started_at > %s", logs[0]["started_at"])
    } == {"incremental"}


def test_two_workers_never_sync_one_source_at_the_same_time(acme: Live) -> None:
    async def both() -> list[int]:
        engines = [acme.engine(places=8), acme.engine(places=8)]
        return [report.syncs for report in await asyncio.gather(*(engine.run() for engine in engines))]

    counts = asyncio.run(both())
    assert sum(counts) == 24 and min(counts) > 0
    overlaps = acme.rows(
        "select count(*) as n from public.sync_logs a join public.sync_logs b using (organization_id, data_source_id)"
        " where a.id < b.id"
    )
    assert overlaps == [{"n": 0}]
    acme.compute()
    assert not acme.compare().differences[:10]
