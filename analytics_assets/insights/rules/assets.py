"""Asset ``rule_insights``: trends, opportunities and recommendations of each organisation, by rules, told once each."""

from pathlib import Path

import dagster as dg

from analytics_assets.insights.rules.episodes import DAILY_BUDGET
from analytics_assets.insights.rules.finding import prepare
from analytics_assets.insights.rules.previews import describe_rules
from analytics_assets.ledgered import SqlCheck, ledgered_asset
from analytics_assets.partition_keys import DAY
from analytics_assets.partitions import organization_days

_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("organization_id", "uuid", "Tenant: organizations.id"),
        dg.TableColumn("insight_type", "varchar(50)", "trend, opportunity, recommendation"),
        dg.TableColumn("insight_key", "text", "What it is about: rule|subject|direction"),
        dg.TableColumn(
            "starts_at", "timestamptz", "End of the day on which it was first found; with organisation and key the natural key"
        ),
        dg.TableColumn("period_start", "timestamptz", "The days that the figures speak of begin here"),
        dg.TableColumn("period_end", "timestamptz", "and end here"),
        dg.TableColumn("title", "varchar(255)"),
        dg.TableColumn("description", "text", "What, how much, since when, compared with what; the organisation's time zone"),
        dg.TableColumn("severity", "varchar(20)", "medium, or high: thrice the minimum effect at an adjusted p-value of 0.01"),
        dg.TableColumn("confidence_score", "numeric(3, 2)", "1 less the adjusted p-value, at most 0.95"),
        dg.TableColumn("data_points", "jsonb", "The figures of the text; counts: those that a table holds, and where"),
        dg.TableColumn("recommendations", "jsonb", "What to do, sentences"),
        dg.TableColumn("closed_at", "timestamptz", "When it was not seen any more, became the usual, or was taken back"),
        dg.TableColumn("withdrawn_at", "timestamptz", "When late or restated data took the ground from under it"),
    ]
)
_SOURCES: dict[str, tuple[str, ...]] = {
    "daily_aggregates": ("channel", "metric", "value", "date"),
    "cohort_analysis": ("cohort_type", "period_type", "cohort_date", "period_number", "cohort_size", "active_users"),
    "funnel_analysis": ("funnel_name", "date", "step_order", "visitors", "conversions"),
}
_LINEAGE = dg.TableColumnLineage(
    {
        "organization_id": [dg.TableColumnDep(dg.AssetKey(name), "organization_id") for name in _SOURCES],
        "data_points": [dg.TableColumnDep(dg.AssetKey(name), column) for name, columns in _SOURCES.items() for column in columns],
    }
)

CHECKS = {
    "rule_insights": [
        SqlCheck(
            "figures_recompute",
            "Every figure that an insight counted adds up again from the days, funnels and cohorts that it names. Days that changed "
            "since wait for their run; those that have left by retention are not judged.",
            "figures that do not recompute",
        ),
        SqlCheck(
            "complete_days_only",
            "No insight rests on a day that was not over, or was never computed.",
            "insights on incomplete days",
        ),
        SqlCheck(
            "volume_within_budget",
            f"No organisation is told more than {DAILY_BUDGET} new insights by rules on a day.",
            "days of an organisation with too many insights",
            parameters={"budget": DAILY_BUDGET},
        ),
    ]
}
_HERE = Path(__file__).parent

# Grain: organisation x rule x subject x direction x day of the first discovery.
rule_insights = ledgered_asset(
    name="rule_insights",
    description="Trends, opportunities and recommendations of each organisation, by named rules over its days, funnels and cohorts: "
    "each with a null hypothesis, false discoveries controlled over all series of the organisation, and a minimum effect. They are "
    "rows of ai_insights beside the anomalies: said once, kept up to date while they are seen, withdrawn where late data takes their "
    "ground.",
    deps=list(_SOURCES),
    partitions_def=organization_days,
    time_dimension=DAY,
    table="public.ai_insights",
    columns=_COLUMNS,
    lineage=_LINEAGE,
    kinds={"postgres", "sql", "python"},
    layer="insights",
    sql_files=["functions/rule_insights.sql", "functions/insights.sql"],
    code_files=sorted(path for path in _HERE.glob("*.py") if path.stem not in ("__init__", "assets", "previews")),
    statement="store_rule_insights",
    prepare=prepare,
    describe=describe_rules,
    checks=CHECKS["rule_insights"],
)
