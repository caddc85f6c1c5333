"""The live part of the demo: organisations of the sandbox synced over HTTP, and the aggregates beside its ground truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from analytics_assets.commands.console import fail, out, print_table
from analytics_assets.database import connect
from analytics_assets.organizations.registry import Organization, get
from analytics_assets.sandbox.app import running, vendor_environment
from analytics_assets.sandbox.compare import compare
from analytics_assets.sandbox.connect import connect_world, pause_world
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, World, make_world
from analytics_assets.settings import home_folder

_ORGANIZATIONS = 10
_DAYS = 7


@dataclass(frozen=True)
class LiveDemo:
    """The world that the demo syncs, standing still at the begin of this hour."""

    world: World
    now: datetime
    organizations: tuple[Organization, ...]

    @property
    def span(self) -> tuple[date, date]:
        """First local day, and the day after the last, of any of the organisations."""
        return self.world.first_day - timedelta(days=1), self.now.date() + timedelta(days=2)

    def sync(self) -> int:
        """Has everything synced by a run of the asset ``data_sources``; returns how many pages were read."""
        from analytics_assets.definitions import defs
        from analytics_assets.instance import open_instance, process_tag

        with open_instance() as instance:
            result = defs.resolve_job_def("source_sync").execute_in_process(
                instance=instance,
                tags=process_tag(),
                run_config={
                    "ops": {"data_sources": {"config": {"budget_seconds": 900.0}}},
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                raise_on_error=False,
            )
            if not result.success:
                fail(f"the sync failed: run {result.run_id}; see it with `analytics ui`")
            event = result.asset_materializations_for_node("data_sources")[0]
        figures = {name: value.value or 0 for name, value in event.metadata.items() if isinstance(value, dg.IntMetadataValue)}
        failed = figures.get("sources_retrying", 0) + figures.get("sources_waiting_for_operator", 0)
        if failed:
            fail(f"{failed} sources could not be synced; see `analytics sources list`")
        return figures["run_pages"]

    def check(self) -> bool:
        """Compares every value of the aggregates with the world's own truth, and prints what was compared."""
        with connect() as connection:
            result = compare(connection, self.world, self.now)
        print_table(
            f"{len(self.organizations)} live organisations beside the sandbox's own truth",
            ["channel", "hourly values", "daily values", "different"],
            [
                (channel, f"{counts['hours']:,}", f"{counts['days']:,}", counts["different"])
                for channel, counts in sorted(result.by_channel.items())
            ],
            right=["hourly values", "daily values", "different"],
        )
        if result.differences:
            print_table(
                "different",
                ["organization", "channel", "metric", "at", "truth", "table"],
                [(*key, expected, found) for key, expected, found in result.differences[:20]],
            )
        return not result.differences


@contextmanager
def live_demo() -> Iterator[LiveDemo]:
    """The sandbox on a free port, its organisations and sources in the database; paused when it ends."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    # A fixed beginning: the same world on every call until it is cleaned away.
    anchor = home_folder() / "demo" / "sandbox_first_day"
    anchor.parent.mkdir(parents=True, exist_ok=True)
    if not anchor.exists() or (now.date() - date.fromisoformat(anchor.read_text().strip())).days > 28:
        anchor.write_text((now.date() - timedelta(days=_DAYS)).isoformat())
    world = make_world(_ORGANIZATIONS, date.fromisoformat(anchor.read_text().strip()))
    before = dict(os.environ)
    with running(Sandbox(world=world, clock=Clock(now))) as base:
        os.environ.update(vendor_environment(base))
        try:
            with connect() as connection:
                connect_world(connection, world, base)
                organizations = tuple(get(connection, one.slug) for one in world.organizations)
            yield LiveDemo(world, now, organizations)
        finally:
            for name in vendor_environment(base):
                if name in before:
                    os.environ[name] = before[name]
                else:
                    del os.environ[name]
            with connect() as connection:
                pause_world(connection, world)
    out.print("the sandbox has stopped and its sources are paused; `analytics ui --sandbox 10` brings them back to life")
