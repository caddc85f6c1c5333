"""Every way in which a vendor can say no, as one of seven failures.

Only the first two are tried again by themselves. The message is written for the operator: it names the field or the
vendor's own code and what to do next, and never holds a secret or a URL with a query.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar


class SourceFailure(Exception):
    """A call, or a sync, that did not come to its end.

    Attributes:
        kind: the word that data_sources.failure_kind and sync_logs keep.
        retry_at: the vendor's own word on when to come back (UTC), where it gave one.
        status: HTTP status of the answer, where there was one.
    """

    kind: ClassVar[str] = "bug"

    def __init__(self, message: str, *, retry_at: datetime | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_at, self.status = retry_at, status


class RetryLater(SourceFailure):
    """A passing trouble: no connection, a time-out, a 5xx, an answer that breaks off, HTML where JSON belongs."""

    kind = "retry"


class Throttled(SourceFailure):
    """Too many calls; retry_at says until when, or None where the vendor did not."""

    kind = "throttled"


class Reauthorize(SourceFailure):
    """The credentials are no longer good, and no refresh helps: the tenant has to connect the source again."""

    kind = "reauthorize"


class PermissionDenied(SourceFailure):
    """The credentials are good, but may not read this."""

    kind = "permission"


class WrongConfiguration(SourceFailure):
    """A setting of the source is wrong: an unknown property, an address that is no store, a refused address."""

    kind = "configuration"


class AskForLess(SourceFailure):
    """The vendor will not give so much at once: fewer rows, a shorter window."""

    kind = "reduce"


class Bug(SourceFailure):
    """An answer that is not understood: ours to mend."""

    kind = "bug"


class WindowMoved(Exception):
    """The records of a window changed while it was read page by page: it has to be read again from its first page."""
