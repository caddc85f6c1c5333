"""What a sync is given and what comes of it: the source that a worker holds, what it did, how it ended, and the sum of a pass."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

from analytics_assets.sources.connector import Account, RawPage
from analytics_assets.sources.failures import SourceFailure
from analytics_assets.sources.writer import Outcome

_MOST_FAILURES_KEPT = 20


@dataclass(frozen=True)
class Claim:
    """A source that this worker holds, and the log that it writes. Of private.claim_sources."""

    organization_id: UUID
    id: UUID
    organization: str
    source_type: str
    source_name: str
    connection_config: Mapping[str, Any] = field(repr=False)
    time_zone: str
    currency: str
    sync_frequency_minutes: int
    history_from: date | None
    failures: int
    is_reread: bool
    sync_type: str
    log_id: UUID
    started_at: datetime
    lease_owner: UUID

    @property
    def label(self) -> str:
        """organization/source for logs."""
        return f"{self.organization}/{self.source_name}"


@dataclass
class Tally:
    """What a sync has done so far; the figures of its log."""

    pages: int = 0
    known_pages: int = 0
    processed: int = 0
    created: int = 0
    updated: int = 0
    failed: int = 0
    restarts: int = 0
    bytes: int = 0
    flags: set[str] = field(default_factory=set)
    streams: dict[str, int] = field(default_factory=dict)

    def add(self, page: RawPage, outcome: Outcome) -> None:
        """Counts a page that was stored, or known."""
        self.pages += 1
        self.known_pages += outcome.kind == "known"
        self.processed += page.records
        self.created += outcome.created
        self.updated += outcome.updated
        self.bytes += len(page.body)
        self.flags.update(page.flags)
        self.streams[page.stream] = self.streams.get(page.stream, 0) + page.records


@dataclass
class Result:
    """How a sync ended. failure None: completed; is_partial: its time was up, it goes on at its next turn."""

    claim: Claim
    tally: Tally
    failure: SourceFailure | None = None
    is_partial: bool = False
    is_lost: bool = False
    reread_done: bool = False
    reread_wanted: bool = False
    account: Account | None = None
    error: str = ""

    def row(self) -> dict[str, Any]:
        """An element for private.finish_syncs."""
        claim, tally = self.claim, self.tally
        metadata = {
            "pages": tally.pages,
            "pages_known": tally.known_pages,
            "bytes": tally.bytes,
            "streams": tally.streams,
            **({"flags": sorted(tally.flags)} if tally.flags else {}),
            **({"restarts": tally.restarts} if tally.restarts else {}),
            **({"partial": True} if self.is_partial else {}),
            **({"failure_kind": self.failure.kind} if self.failure else {}),
        }
        return {
            "organization_id": str(claim.organization_id),
            "id": str(claim.id),
            "lease_owner": str(claim.lease_owner),
            "log_id": str(claim.log_id),
            "started_at": claim.started_at.isoformat(),
            "failure_kind": self.failure.kind if self.failure else None,
            "error": self.error or None,
            "retry_at": self.failure.retry_at.isoformat() if self.failure and self.failure.retry_at else None,
            "is_partial": self.is_partial,
            "reread_done": self.reread_done,
            "reread_wanted": self.reread_wanted,
            "processed": tally.processed,
            "created": tally.created,
            "updated": tally.updated,
            "failed": tally.failed,
            "metadata": metadata,
            "time_zone": self.account.time_zone if self.account else None,
            "currency": self.account.currency if self.account else None,
            "account_name": self.account.name[:200] if self.account and self.account.name else None,
            "jitter": random.random(),  # noqa: S311
        }


@dataclass(frozen=True)
class Range:
    """What a backfill covers: instants, UTC, half-open."""

    start: datetime
    end: datetime


@dataclass
class SyncReport:
    """What a pass over the sources did. failures: at most twenty of (organization, source, kind, message).
    left: sources asked for by name that another worker held."""

    syncs: int = 0
    pages: int = 0
    records: int = 0
    created: int = 0
    updated: int = 0
    bytes: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str, str, str]] = field(default_factory=list)
    failed_organizations: dict[UUID, str] = field(default_factory=dict)
    left: set[UUID] = field(default_factory=set)

    def add(self, result: Result) -> None:
        """Counts a sync that ended."""
        tally, failure = result.tally, result.failure
        self.syncs += 1
        self.pages += tally.pages
        self.records += tally.processed
        self.created += tally.created
        self.updated += tally.updated
        self.bytes += tally.bytes
        kind = "lost" if result.is_lost else failure.kind if failure else "partial" if result.is_partial else "completed"
        self.outcomes[kind] += 1
        if failure is not None or result.is_lost:
            message = result.error or "another worker took the source over"
            self.failed_organizations[result.claim.organization_id] = f"{result.claim.source_name}: {message}"
            if len(self.failures) < _MOST_FAILURES_KEPT:
                self.failures.append((result.claim.organization, result.claim.source_name, kind, message))

    def merge(self, other: SyncReport) -> None:
        """Adds another pass."""
        for name in ("syncs", "pages", "records", "created", "updated", "bytes", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.outcomes += other.outcomes
        self.failures = (self.failures + other.failures)[:_MOST_FAILURES_KEPT]
        self.failed_organizations |= other.failed_organizations
        self.left |= other.left
