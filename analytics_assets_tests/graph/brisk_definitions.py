"""The project's definitions, whose sensors look every three seconds: for a daemon that a test waits for."""

import analytics_assets.definitions

defs = analytics_assets.definitions.defs
for sensor in defs.sensors or ():
    # Dagster takes it at definition only, and the half minute and minute there are right for all but a test.
    sensor._min_interval = 3
