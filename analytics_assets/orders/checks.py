"""Checks of ``orders``."""

from __future__ import annotations

from analytics_assets.checks import violations_check

CHECKS = [
    violations_check(
        asset="orders",
        name="raw_pages_processed",
        description="Every raw page with records of the run's hours is taken in: its records are entities, or in quarantine.",
        time_dimension="hour",
        what="raw pages or records that are neither taken in nor quarantined",
    ),
    violations_check(
        asset="orders",
        name="amounts_add_up",
        description="Gross sales - discounts + shipping + taxes = total for every order, and no refunds beyond the order.",
        time_dimension="hour",
        what="orders whose amounts contradict each other",
    ),
]
