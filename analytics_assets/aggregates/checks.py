"""Checks of ``hourly_aggregates`` and ``daily_aggregates``."""

from __future__ import annotations

from analytics_assets.checks import violations_check

CHECKS = [
    violations_check(
        asset="hourly_aggregates",
        name="equals_recount_from_raw",
        description="Orders, refunds and total sales of every computed hour equal a recount from the raw pages, written "
        "apart from the pipeline. Hours whose raw pages have left by retention are not judged.",
        time_dimension="hour",
        what="hours that differ from the raw pages",
        blocking=True,
    ),
    violations_check(
        asset="hourly_aggregates",
        name="no_gap_in_processed_hours",
        description="Between an organisation's first and last computed hour of the 31 days up to the run's end, every "
        "hour is computed.",
        time_dimension="hour",
        what="organisations with a gap in their hours",
    ),
    violations_check(
        asset="hourly_aggregates",
        name="known_organizations_only",
        description="No row of an organisation, channel or metric that does not exist.",
        time_dimension="hour",
        what="rows of nobody",
    ),
    violations_check(
        asset="daily_aggregates",
        name="day_equals_its_hours",
        description="Every sum of a computed day equals the sum of its hours in the organisation's time zone, and its "
        "distinct customers a recount from the orders.",
        time_dimension="day",
        what="daily values that differ from their hours",
        blocking=True,
    ),
    violations_check(
        asset="daily_aggregates",
        name="known_organizations_only",
        description="No row of an organisation, channel or metric that does not exist.",
        time_dimension="day",
        what="rows of nobody",
    ),
]
