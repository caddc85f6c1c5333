"""The one list: every asset, check, job, schedule, sensor and resource of the code location."""

from __future__ import annotations

import dagster as dg

from analytics_assets.aggregates.assets import daily_aggregates, hourly_aggregates
from analytics_assets.aggregates.schedules import daily_tick, daily_tick_schedule, hourly_tick, hourly_tick_schedule
from analytics_assets.alerts.assets import performance_alerts
from analytics_assets.alerts.sensors import alert_notices
from analytics_assets.cohorts.assets import cohort_analysis
from analytics_assets.events.assets import event_tracking, realtime_sessions
from analytics_assets.events.schedules import live_sessions, live_sessions_schedule
from analytics_assets.funnels.assets import funnel_analysis
from analytics_assets.insights.assets import ai_insights
from analytics_assets.insights.rules.assets import rule_insights
from analytics_assets.narratives.sensors import narratives
from analytics_assets.operations.alerts import operator_alerts
from analytics_assets.operations.maintenance import maintenance, maintenance_schedule
from analytics_assets.operations.sensors import stale_partitions
from analytics_assets.orders.assets import orders
from analytics_assets.organizations.assets import organizations
from analytics_assets.organizations.schedules import registry_tick, registry_tick_schedule
from analytics_assets.organizations.sensors import organization_keys
from analytics_assets.raw.assets import RAW
from analytics_assets.resources import Database
from analytics_assets.sources.assets import data_sources
from analytics_assets.sources.schedules import restatement, restatement_schedule, source_sync
from analytics_assets.sources.sensors import source_freshness

defs = dg.Definitions(
    assets=[
        organizations,
        data_sources,
        *RAW,
        orders,
        event_tracking,
        realtime_sessions,
        hourly_aggregates,
        daily_aggregates,
        cohort_analysis,
        funnel_analysis,
        performance_alerts,
        ai_insights,
        rule_insights,
    ],
    jobs=[registry_tick, source_sync, restatement, hourly_tick, daily_tick, live_sessions, maintenance],
    schedules=[
        registry_tick_schedule,
        restatement_schedule,
        hourly_tick_schedule,
        daily_tick_schedule,
        live_sessions_schedule,
        maintenance_schedule,
    ],
    sensors=[organization_keys, source_freshness, stale_partitions, operator_alerts, alert_notices, narratives],
    resources={"database": Database()},
    # SQL does the work: a process for every step would cost twenty times the step.
    executor=dg.in_process_executor,
)
