"""Asset ``performance_alerts``: what of an organisation's hours and days is beyond the limits that it has set."""

from datetime import datetime
from typing import Any
from uuid import UUID

import dagster as dg
import pandas as pd

from analytics_assets.alerts.receivers import Receivers
from analytics_assets.ledgered import SqlCheck, ledgered_asset
from analytics_assets.partition_keys import DAY
from analytics_assets.partitions import hours_of_days, organization_days
from analytics_assets.resources import Database
from analytics_assets.sql import query

_MOST_ROWS = 60
#: Alerts of an organisation in a day that a reader takes in.
DAILY_BUDGET = 10

_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("organization_id", "uuid", "Tenant: organizations.id"),
        dg.TableColumn("id", "uuid"),
        dg.TableColumn("alert_type", "varchar(50)", "threshold_breach, goal_at_risk"),
        dg.TableColumn("channel", "varchar(50)", "Of the rule; all: over all channels"),
        dg.TableColumn("metric", "varchar(100)", "Of the catalogue"),
        dg.TableColumn("current_value", "numeric", "Newest while active, the last before it cleared; percent of a change, projection of a goal"),
        dg.TableColumn("threshold_value", "numeric"),
        dg.TableColumn("threshold_type", "varchar(20)", "above, below, percentage_change"),
        dg.TableColumn("message", "text", "One line, times of the organisation's clock"),
        dg.TableColumn("is_active", "boolean"),
        dg.TableColumn("is_acknowledged", "boolean", "By whom and when is set by the database"),
        dg.TableColumn("rule_id", "uuid", "alert_rules.id; one active alert a rule"),
        dg.TableColumn("fired_bucket", "timestamptz", "UTC hour, or midnight UTC of the local day, in which it fired"),
        dg.TableColumn("cleared_bucket", "timestamptz", "In which it cleared"),
        dg.TableColumn("withdrawn_at", "timestamptz", "Later data denied it"),
    ]
)  # fmt: skip
_FACTS = (dg.AssetKey("hourly_aggregates"), dg.AssetKey("daily_aggregates"))
_LINEAGE = dg.TableColumnLineage(
    {
        name: [dg.TableColumnDep(asset, column) for asset in _FACTS]
        for name, column in (
            ("organization_id", "organization_id"), ("channel", "channel"), ("metric", "metric"), ("current_value", "value"),
        )
    }
)  # fmt: skip

CHECKS = {
    "performance_alerts": [
        SqlCheck(
            "one_active_a_rule",
            "Every rule has one active alert at most, none that is removed or switched off has any, and no alert cleared before it fired.",
            "alerts that contradict their rule",
        ),
        SqlCheck(
            "alerts_recompute",
            "What every active alert says of its newest hour, day or month equals the tables that tenants read, and is not on the side "
            "of its rule that clears it.",
            "alerts that the tables do not bear out",
        ),
        SqlCheck(
            "volume_in_budget",
            f"No organisation has more than {DAILY_BUDGET} alerts that fired in a day.",
            "days with more alerts than a reader takes in",
            severity=dg.AssetCheckSeverity.WARN,
            parameters={"budget": DAILY_BUDGET},
        ),
        SqlCheck(
            "notices_delivered",
            "No notice has been refused by its receiver for more than an hour.",
            "notices that are not delivered",
            severity=dg.AssetCheckSeverity.WARN,
        ),
    ]
}


def _describe(database: Database, ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
    found = database.rows(query("preview_alerts"), {"ids": ids, "start": start, "end": end, "most": _MOST_ROWS})
    text = pd.DataFrame(found).to_markdown(index=False) if found else "no alert is active, and none fired in this range"
    return {"preview": dg.MetadataValue.md(text)}


def _told_by(*_: Any) -> dict[str, Any]:
    return {"told_by": Receivers.load().channels}


# Grain: a stretch of hours or days in which a rule of an organisation holds, from the one that fires to the one that clears.
performance_alerts = ledgered_asset(
    name="performance_alerts",
    description="Alerts by the rules of each organisation (`analytics alerts add`): values of hours and days above or below a "
    "threshold, changes against the week before, months that head for less than their goal. Judged are complete hours and days; what "
    "later data changes is corrected, and withdrawn where it was never true. Each change of state is told once.",
    deps=[dg.AssetDep("hourly_aggregates", partition_mapping=hours_of_days), "daily_aggregates"],
    partitions_def=organization_days,
    time_dimension=DAY,
    table="public.performance_alerts",
    columns=_COLUMNS,
    lineage=_LINEAGE,
    kinds={"postgres", "sql"},
    layer="analysis",
    sql_files=["functions/evaluate_alerts.sql", "functions/alert_signals.sql", "functions/alert_changes.sql"],
    statement="evaluate_alerts",
    describe=_describe,
    checks=CHECKS["performance_alerts"],
    prepare=_told_by,
)
