"""The project's definitions, whose sources are read by the rehearsal's clock, and whose sensors look every few seconds.

For a code server alone: who imports it has another engine.
"""

from typing import Any

import analytics_assets.definitions
import analytics_assets.raw.assets
import analytics_assets.sources.assets
from analytics_assets.sources.engine import Engine
from analytics_assets_tests.rehearsals.clock import rehearsed_now


class RehearsedEngine(Engine):
    """The engine, to which it is as late as to the sandbox."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"clock": rehearsed_now, **options})


for module in (analytics_assets.sources.assets, analytics_assets.raw.assets):
    vars(module)["Engine"] = RehearsedEngine
defs = analytics_assets.definitions.defs
for sensor in defs.sensors or ():
    # Dagster takes it at definition only, and the half minute and minute there are right for all but a rehearsal.
    sensor._min_interval = 15 if sensor.name == "stale_partitions" else 2
