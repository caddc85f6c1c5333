"""Asset ``ai_insights``: incidents in the hourly series of an organisation, told once each."""

from pathlib import Path

import dagster as dg

from analytics_assets.insights.finding import prepare
from analytics_assets.insights.grouping import DAILY_BUDGET
from analytics_assets.insights.previews import describe_insights
from analytics_assets.ledgered import SqlCheck, ledgered_asset
from analytics_assets.partition_keys import HOUR
from analytics_assets.partitions import organization_hours

_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("organization_id", "uuid", "Tenant: organizations.id"),
        dg.TableColumn("insight_type", "varchar(50)", "anomaly"),
        dg.TableColumn("insight_key", "text", "What it is about: anomaly|channel|metric|direction"),
        dg.TableColumn("starts_at", "timestamptz", "UTC hour of the first alarm; with organisation and key the natural key"),
        dg.TableColumn("period_start", "timestamptz", "The hours that the figures speak of begin here"),
        dg.TableColumn("period_end", "timestamptz", "and end here"),
        dg.TableColumn("title", "varchar(255)"),
        dg.TableColumn("description", "text", "What, how much, since when, compared with what; the organisation's time zone"),
        dg.TableColumn("severity", "varchar(20)", "medium, high, critical: by size and by share of a usual day"),
        dg.TableColumn("confidence_score", "numeric(3, 2)", "How many alarms of such a size are true"),
        dg.TableColumn("data_points", "jsonb", "The figures of the text, and of each series that moved with it"),
        dg.TableColumn("recommendations", "jsonb", "What to do, sentences"),
        dg.TableColumn("closed_at", "timestamptz", "When it was over, or taken back"),
        dg.TableColumn("withdrawn_at", "timestamptz", "When late or restated data took the ground from under it"),
    ]
)
_HOURS = dg.AssetKey("hourly_aggregates")
_LINEAGE = dg.TableColumnLineage(
    {
        "organization_id": [dg.TableColumnDep(_HOURS, "organization_id")],
        "starts_at": [dg.TableColumnDep(_HOURS, "timestamp")],
        "data_points": [dg.TableColumnDep(_HOURS, name) for name in ("channel", "metric", "value", "timestamp")],
        "severity": [dg.TableColumnDep(_HOURS, "value")],
    }
)
CHECKS = {
    "ai_insights": [
        SqlCheck(
            "figures_recompute",
            "The actual figure of every insight is the sum of its metric's hours in its period. Hours that changed since wait for "
            "their run; those that have left by retention are not judged.",
            "insights whose figures do not recompute",
        ),
        SqlCheck(
            "complete_hours_only",
            "No insight rests on an hour that was not over, or was never computed.",
            "insights on incomplete hours",
        ),
        SqlCheck(
            "volume_within_budget",
            f"No organisation is told more than {DAILY_BUDGET} new anomalies a day (UTC).",
            "days of an organisation with too many insights",
            parameters={"budget": DAILY_BUDGET},
        ),
    ]
}
_HERE = Path(__file__).parent

# Grain: organisation x channel x metric x direction x hour of the first alarm.
ai_insights = ledgered_asset(
    name="ai_insights",
    description="Anomalies in the hourly series of each organisation: what departs from the same hours of the 21 days before, by "
    "weekday and level, over 1 to 168 hours. What moves together is one insight; it is kept up to date while it lasts, and "
    "withdrawn where late data takes its ground. A source that delivers nothing is a matter of freshness, and no anomaly.",
    deps=["hourly_aggregates"],
    partitions_def=organization_hours,
    time_dimension=HOUR,
    table="public.ai_insights",
    columns=_COLUMNS,
    lineage=_LINEAGE,
    kinds={"postgres", "sql", "python"},
    layer="insights",
    sql_files=["functions/insights.sql"],
    code_files=[_HERE / f"{name}.py" for name in ("baseline", "incidents", "grouping", "series", "wording", "finding")],
    statement="store_insights",
    prepare=prepare,
    describe=describe_insights,
    checks=CHECKS["ai_insights"],
)
