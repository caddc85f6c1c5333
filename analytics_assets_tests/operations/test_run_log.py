"""What a run says by organisation: bounded, the failing ones first, with what was done and what to do."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import dagster as dg
import pytest

from analytics_assets.run_log import MOST_LINES, RunLog
from analytics_assets_tests.command_line import analytics
from analytics_assets_tests.graph.runs import check_results, run_hours
from analytics_assets_tests.woocommerce import Connection, add_organization, order, take_in

AT = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=30)
HOUR = timedelta(hours=1)


def _lines(instance: dg.DagsterInstance, run_id: str, asset: str) -> list[tuple[str, str | int]]:
    """(line, level) of what a run said of an asset by organisation."""
    return [
        (line, entry.level)
        for entry in instance.all_logs(run_id)
        for line in entry.user_message.split("\n")
        if line.startswith("organization=") and f" asset={asset} " in line
    ]


def test_a_run_says_who_had_work_and_what_failed(connection: Connection, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    for slug in ("acme", "bolt", "idle"):
        add_organization(connection, slug)
    take_in(connection, tmp_path, "acme", "orders", [order(1, AT, "10.00")])
    take_in(connection, tmp_path, "bolt", "orders", [order(1, AT, "ten"), order(2, AT + HOUR, "5.00")])
    result = run_hours(instance, AT, AT + HOUR)
    lines = dict(_lines(instance, result.run_id, "orders"))
    acme, bolt = (next(line for line in lines if f"organization={slug} " in line) for slug in ("acme", "bolt"))
    assert len(lines) == 2, "idle had no work"
    assert (
        f"from={AT:%Y-%m-%dT%H:%MZ} to={AT + 2 * HOUR:%Y-%m-%dT%H:%MZ}" in acme and " records=1 " in acme and "error" not in acme
    )
    assert lines[acme] == 20 and lines[bolt] == 40, "INFO, ERROR"
    assert " failed_hours=1 " in bolt and "total" in bolt and 'todo="analytics status --organization bolt"' in bolt
    hourly = _lines(instance, run_hours(instance, AT, AT + HOUR, assets=["hourly_aggregates"]).run_id, "hourly_aggregates")
    assert any("organization=acme " in line and " rows_written=0 " not in line for line, _ in hourly)

    # The same is left over for whoever looks later, also after a run over other hours.
    check = check_results(run_hours(instance, AT + 3 * HOUR, AT + 3 * HOUR))["orders", "no_failed_partitions"]
    said = check.description or ""
    assert not check.passed and said.startswith("1 hours left failed; first: bolt")
    assert "analytics backfill --organization bolt --from" in said and "--assets orders`" in said
    assert analytics("status", "--organization", "bolt").returncode == 1

    # Corrected at its source it mends, by the command that was named.
    take_in(connection, tmp_path, "bolt", "orders", [order(1, AT, "10.00", modified=AT + 5 * HOUR)])
    words = said.split("`")[-2].split()
    assert analytics(*words[1:], "--no-read").returncode == 0
    checks = check_results(run_hours(instance, AT + 3 * HOUR, AT + 3 * HOUR))
    assert checks["orders", "no_failed_partitions"].passed and checks["hourly_aggregates", "no_failed_partitions"].passed


def test_a_statement_that_the_database_breaks_off_says_what_stays(
    connection: Connection, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    add_organization(connection, "acme")
    take_in(connection, tmp_path, "acme", "orders", [order(1, AT, "10.00")])
    connection.execute("alter table public.orders add constraint full_disk check (order_id <> '1')")
    connection.commit()
    result = run_hours(instance, AT, AT)
    assert not result.success
    said = [entry.user_message for entry in instance.all_logs(result.run_id) if "rolled back" in entry.user_message]
    assert (
        len(said) == 1 and "asset=orders organizations=1 " in said[0] and "full_disk" in said[0] and "analytics status" in said[0]
    )


@pytest.mark.parametrize(("failing", "sound"), [(0, 3), (2, 400), (70, 400)])
def test_a_big_run_stays_readable(failing: int, sound: int) -> None:
    log, slugs = RunLog("orders"), {UUID(int=i): f"shop-{i}" for i in range(failing + sound)}
    for block in range(2):
        start = AT + block * HOUR
        for i, id_ in enumerate(slugs):
            log.add({"organization_id": id_, "records": 2, "failed_hours": int(i < failing), "error": "x\ny" if i < failing else None},
                    slugs, start, start + HOUR, 0.25)  # fmt: skip
    bad, good = log.lines()
    assert len(bad) == min(failing, MOST_LINES) + (failing > MOST_LINES) and len(bad) + len(good) <= MOST_LINES + 2
    assert sum(int(line.split(" records=")[1].split()[0]) for line in bad + good) == 4 * (failing + sound), "nothing is left out"
    assert all("\n" not in line for line in bad + good)
    single = next(line for line in bad + good if line.startswith("organization="))
    assert f"from={AT:%Y-%m-%dT%H:%MZ} to={AT + 2 * HOUR:%Y-%m-%dT%H:%MZ}" in single and "statement_seconds=0.50" in single
