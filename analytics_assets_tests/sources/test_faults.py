"""What goes wrong at the vendors, alone and mixed: nothing is lost, nothing counted twice, nobody else is late."""

from datetime import UTC, datetime

import pytest

from analytics_assets_tests.sources.live import Connection, Live, live
from benchmarks.fault_trial import run_trial

QUICK = {"timeout": 1.0, "patience": 1.0}
# What a source says of each fault, where it does not get over it by itself.
KINDS = {
    "429": {"throttled"},
    "throttled": {"throttled"},
    "500": {"retry"},
    "503": {"retry"},
    "timeout": {"retry"},
    "truncated": {"retry"},
    "html": {"retry"},
    "disconnect": {"retry"},
    "expired": {"reauthorize"},
}


def _pass(live: Live, **options: object) -> dict[str, int]:
    import asyncio

    report = asyncio.run(live.engine(http_options=QUICK, **options).run())
    return dict(report.outcomes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_alone(connection: Connection, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with live(connection, monkeypatch, 3, 2, orders_per_day=4) as world:
        hit = "sandbox-0002"
        world.fault(kind, account=hit, seconds=30.0)
        outcomes = _pass(world)
        assert outcomes["completed"] >= 8 and sum(outcomes.values()) == 12
        logs = world.rows(
            "select o.slug, s.source_type, l.status, l.error_message, l.metadata, s.failure_kind, s.next_sync_at, s.last_error"
            " from public.sync_logs l join public.organizations o on o.id = l.organization_id"
            " join public.data_sources s on s.id = l.data_source_id"
        )
        assert {log["status"] for log in logs if log["slug"] != hit} == {"completed"}
        failed = [log for log in logs if log["status"] == "failed"]
        assert {log["source_type"] for log in failed} == {"google_analytics", "meta_ads", "woocommerce", "shopify"}
        for log in failed:
            assert log["slug"] == hit and log["failure_kind"] in KINDS[kind], log
            assert log["error_message"] == log["last_error"] and len(log["error_message"]) > 20
            assert log["next_sync_at"] > datetime.now(UTC)
            assert log["metadata"]["failure_kind"] == log["failure_kind"]
        world.sandbox.faults.clear()
        world.resume()
        world.due()
        assert set(_pass(world)) == {"completed"}
        world.compute()
        assert not world.compare().differences[:5]


# What a source says of faults that only some vendors know: failures, and remarks of syncs that completed.
OF_SOME = {
    "forbidden": {"permission"},
    "shifting": {"restarted"},
    "reduce": {"retry"},
    "failed_job": {"retry"},
    "cut_off": {"truncated:Data older than two years is not returned."},
}


@pytest.mark.parametrize("kind", OF_SOME)
def test_a_fault_of_some_vendors_alone(connection: Connection, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with live(connection, monkeypatch, 3, 2, orders_per_day=4) as world:
        trial = run_trial(world, kind)
        assert trial.holds, trial
        assert trial.hit == 1 and trial.passes == 1
        # What passes by itself needs nobody: a source that was asked for less waited for an operator, who only had it tried again.
        assert (trial.resumed > 0) == (kind == "forbidden")
        assert {name for name, count in (trial.syncs + trial.remarks).items() if count} >= OF_SOME[kind]
        if kind == "failed_job":
            told = [log["error_message"] for log in world.logs(datetime.min.replace(tzinfo=UTC), ["sandbox-0003"])]
            assert any("the operation has ended without a result" in text for text in told if text), told


def test_all_faults_at_once_in_a_sync_of_a_hundred_organisations(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    with live(connection, monkeypatch, 100, 1, orders_per_day=2) as world:
        afflicted = [one.slug for one in world.world.organizations if one.number % 3 == 0]
        for number, slug in enumerate(afflicted):
            kinds = [*sorted(KINDS), "shifting", "slow"]
            for offset in range(3):
                world.fault(kinds[(number + 4 * offset) % len(kinds)], account=slug, share=0.5, seconds=2.0)
        for _ in range(2):
            _pass(world)
            world.due()
        spared = world.rows(
            "select l.status, l.completed_at - l.started_at as took from public.sync_logs l join public.organizations o"
            " on o.id = l.organization_id where not o.slug = any (%s)",
            afflicted,
        )
        assert len(spared) >= 2 * 4 * (100 - len(afflicted)) and {row["status"] for row in spared} == {"completed"}
        failed = world.rows("select error_message, metadata from public.sync_logs where status = 'failed'")
        assert {row["metadata"]["failure_kind"] for row in failed} >= {"retry", "throttled", "reauthorize"}
        assert all(row["error_message"] for row in failed)

        world.sandbox.faults.clear()
        world.resume()
        world.due()
        assert _pass(world) == {"completed": 400}
        assert world.rows(
            "select count(*) as n from public.data_sources where sync_status <> 'success' or lease_owner is not null"
        ) == [{"n": 0}]
        world.compute()
        result = world.compare()
        assert not result.differences[:5] and result.hours > 20_000
