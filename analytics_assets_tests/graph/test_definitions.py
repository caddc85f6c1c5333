"""What the graph says of itself: every asset described, owned, tagged, versioned, with columns and their lineage."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]

from analytics_assets.operations.stale import DAY_ASSETS
from analytics_assets.settings import PROJECT_ROOT

ASSETS = {
    "organizations": set(),
    "data_sources": {"organizations"},
    "raw_google_analytics": {"data_sources"},
    "raw_meta_ads": {"data_sources"},
    "raw_woocommerce": {"data_sources"},
    "raw_shopify": {"data_sources"},
    "orders": {"raw_woocommerce", "raw_shopify"},
    "hourly_aggregates": {"orders", "raw_google_analytics", "raw_meta_ads", "event_tracking"},
    "daily_aggregates": {"hourly_aggregates", "raw_google_analytics", "raw_meta_ads", "event_tracking"},
    "event_tracking": {"data_sources"},
    "realtime_sessions": {"event_tracking"},
    "cohort_analysis": {"orders", "event_tracking"},
    "funnel_analysis": {"event_tracking"},
    "performance_alerts": {"hourly_aggregates", "daily_aggregates"},
    "ai_insights": {"hourly_aggregates"},
    "rule_insights": {"daily_aggregates", "cohort_analysis", "funnel_analysis"},
}


def _spec(name: str) -> dg.AssetSpec:
    from analytics_assets.definitions import defs

    return next(spec for spec in defs.resolve_all_asset_specs() if spec.key == dg.AssetKey(name))


def test_definitions_are_loadable_and_complete() -> None:
    from analytics_assets.definitions import defs

    dg.Definitions.validate_loadable(defs)
    found = {
        spec.key.to_user_string(): {dep.asset_key.to_user_string() for dep in spec.deps}
        for spec in defs.resolve_all_asset_specs()
    }
    assert found == ASSETS
    assert {job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")} == {
        "registry_tick",
        "source_sync",
        "restatement",
        "hourly_tick",
        "daily_tick",
        "live_sessions",
        "maintenance",
    }
    repository = defs.get_repository_def()
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "registry_tick_schedule",
        "restatement_schedule",
        "hourly_tick_schedule",
        "daily_tick_schedule",
        "live_sessions_schedule",
        "maintenance_schedule",
    }
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "operator_alerts",
        "organization_keys",
        "source_freshness",
        "stale_partitions",
        "alert_notices",
        "narratives",
    }


@pytest.mark.parametrize("name", ASSETS)
def test_an_asset_describes_itself(name: str) -> None:
    spec = _spec(name)
    assert spec.description and len(spec.description) > 60
    assert list(spec.owners) == ["team:analytics"]
    assert "postgres" in spec.kinds
    assert spec.group_name and spec.tags["layer"]
    assert spec.code_version
    policy = spec.freshness_policy
    assert isinstance(policy, dg.FreshnessPolicy), "nobody would see that it stands still"
    assert spec.metadata["dagster/table_name"].startswith("public.")
    columns = spec.metadata["dagster/column_schema"].columns
    assert len(columns) >= 7
    if name != "organizations":
        lineage = spec.metadata["dagster/column_lineage"].deps_by_column
        assert set(lineage) <= {column.name for column in columns} and lineage
        upstream = {dep.asset_key.to_user_string() for deps in lineage.values() for dep in deps}
        assert ASSETS[name] <= upstream


@pytest.mark.parametrize("name", [name for name in ASSETS if name not in ("organizations", "data_sources", "realtime_sessions")])
def test_a_range_is_one_run_over_organisation_and_time(name: str) -> None:
    from analytics_assets.definitions import defs

    definition = defs.get_repository_def().assets_defs_by_key[dg.AssetKey(name)]
    assert definition.backfill_policy == dg.BackfillPolicy.single_run()
    assert isinstance(definition.partitions_def, dg.MultiPartitionsDefinition)
    assert definition.partitions_def.partition_dimension_names == [
        "day" if name in DAY_ASSETS else "hour",
        "organization",
    ]


def test_the_code_version_is_the_text_of_its_sql(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from analytics_assets import sql

    (tmp_path / "functions").mkdir()
    file = tmp_path / "functions" / "f.sql"
    monkeypatch.setattr(sql, "SQL_ROOT", tmp_path)
    file.write_text("select 1")
    first = sql.version_of("functions/f.sql")
    file.write_text("select 2")
    assert sql.version_of("functions/f.sql") != first
    file.write_text("select 1")
    assert sql.version_of("functions/f.sql") == first


def test_jobs_run_in_one_process() -> None:
    from analytics_assets.definitions import defs

    for name in ("registry_tick", "hourly_tick", "daily_tick", "live_sessions", "maintenance"):
        assert defs.resolve_job_def(name).executor_def.name == "in_process"


def test_dg_and_workspace_agree_on_the_code_location() -> None:
    import tomllib

    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    workspace = yaml.safe_load((PROJECT_ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    assert project["code_location_name"] == workspace["location_name"]
    assert project["code_location_target_module"] == workspace["module_name"]


def test_definitions_load_without_database_and_environment(tmp_path: Path) -> None:
    code = "import dagster; from analytics_assets.definitions import defs; dagster.Definitions.validate_loadable(defs); print('loaded')"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env={"ANALYTICS_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.stdout.strip() == "loaded", result.stderr
    assert not (tmp_path / "home").exists(), "a server was started"


def test_dg_checks_and_lists_the_definitions(database: str) -> None:
    executable = str(Path(sys.executable).with_name("dg"))
    for command in (["check", "defs"], ["list", "defs", "--json"]):
        result = subprocess.run(
            [executable, *command],
            cwd=PROJECT_ROOT,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
    for name in ASSETS:
        assert f'"asset_key": "{name}"' in result.stdout


def test_ranges_of_partitions_become_few_statements() -> None:
    from datetime import UTC, datetime, timedelta

    from analytics_assets.partition_keys import hour_key
    from analytics_assets.runs import blocks

    start = datetime(2026, 1, 1, tzinfo=UTC)
    keys = [hour_key(start + timedelta(hours=hour), slug) for slug in ("a", "b", "c") for hour in range(24)]
    assert [(block.keys, block.start, block.end) for block in blocks(keys, "hour")] == [
        (("a", "b", "c"), start, start + timedelta(days=1))
    ]
    keys.remove(hour_key(start + timedelta(hours=5), "b"))
    assert len(blocks(keys, "hour")) == 3
    year = [hour_key(start + timedelta(hours=hour), "a") for hour in range(24 * 365)]
    pieces = blocks(year, "hour")
    assert all(piece.end - piece.start <= timedelta(days=100) for piece in pieces)
    assert [piece.start for piece in pieces[1:]] == [piece.end for piece in pieces[:-1]]
