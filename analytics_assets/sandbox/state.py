"""What the handlers of a running sandbox server share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from analytics_assets.sandbox.faults import Faults
from analytics_assets.sandbox.world import Clock, World


@dataclass
class Sandbox:
    """The state of a running server; handlers run on one event loop, tests may set clock and faults from another thread.

    Attributes:
        counts: requests that were answered, by "vendor:kind" ("google_analytics:runReport"), all that came in by
            "vendor:requests", and faults by "vendor:fault:kind".
        app_secret: the Meta app's secret; where it is set, an appsecret_proof that does not fit is refused.
    """

    world: World
    clock: Clock = field(default_factory=Clock)
    faults: Faults = field(default_factory=Faults)
    counts: Counter[str] = field(default_factory=Counter)
    app_secret: str = field(default="", repr=False)
