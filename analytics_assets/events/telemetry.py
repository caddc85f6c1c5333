"""What the collector tells Prometheus. No label has a value that a client chose.

With several workers each writes to files of the folder PROMETHEUS_MULTIPROC_DIR, and any of them answers for all.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_EVENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Telemetry:
    """The collector's figures."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.events = Counter(
            "analytics_collector_events",
            "Events by what became of them: stored, duplicate, rejected",
            ["outcome"],
            registry=registry,
        )
        self.dropped = Counter(
            "analytics_collector_rejected_not_kept", "Rejected events beyond what the quarantine keeps", registry=registry
        )
        self.requests = Counter("analytics_collector_requests", "Requests by status of the answer", ["status"], registry=registry)
        self.commit_seconds = Histogram(
            "analytics_collector_commit_seconds",
            "From the begin of a transaction to its commit",
            buckets=_SECONDS,
            registry=registry,
        )
        self.commit_events = Histogram(
            "analytics_collector_commit_events", "Events that shared a commit", buckets=_EVENTS, registry=registry
        )
        self.queued_events = Gauge(
            "analytics_collector_queued_events",
            "Events that wait for their commit",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.queued_bytes = Gauge(
            "analytics_collector_queued_bytes", "Bytes of them", registry=registry, multiprocess_mode="livesum"
        )
        self.failures = Counter(
            "analytics_collector_database_failures", "Transactions that failed and were tried again", registry=registry
        )
        for outcome in ("stored", "duplicate", "rejected"):
            self.events.labels(outcome)
        for status in ("200", "400", "401", "413", "429"):
            self.requests.labels(status)

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
        return generate_latest(everybody)
