"""What a connector is: it asks one account of one vendor, and yields the answers page by page, verbatim.

A connector knows the vendor's protocol and nothing of databases, schedules or other accounts. What is to be read is said
by a Task; how far it came, by the position that each page carries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from uuid import UUID

from analytics_assets.sources.vendors import Vendors

if TYPE_CHECKING:
    from analytics_assets.sources.http import Http

JSON = dict[str, Any]
Purpose = Literal["incremental", "reread", "backfill"]


@dataclass(frozen=True)
class Source:
    """A connected source: a row of data_sources with its secrets opened.

    Attributes:
        settings: what connection_config says in clear (property_id, account_id, store_url, shop, ...).
        secrets: opened secrets by name; never shown, never logged.
        time_zone, currency: the account's, as far as they are known.
        save_secrets: persists secrets that the vendor has rotated. It is given a function from the secrets as they stand
            now to the new ones (or None: leave them), runs it while the row is locked, stores the result before it
            returns, and returns the secrets then in force. So two workers never use up one refresh token.
    """

    organization_id: UUID
    id: UUID
    source_type: str
    settings: Mapping[str, Any]
    time_zone: str
    currency: str
    secrets: Mapping[str, Any] = field(repr=False, default_factory=dict)
    save_secrets: Callable[[Callable[[Mapping[str, Any]], Awaitable[JSON | None]]], Awaitable[Mapping[str, Any]]] | None = field(
        repr=False, default=None, compare=False
    )


@dataclass(frozen=True)
class Account:
    """What the vendor says of the account."""

    time_zone: str
    currency: str
    name: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StreamPolicy:
    """How a stream is kept up to date.

    Attributes:
        kind: report: a snapshot of the vendor's own sums over local days of the account; the newest fetch that covers an
            hour is the truth. entity: a log of records by time of modification; per record the newest version wins.
        each_sync: what every sync reads anew: of a report so many local days up to today; of entities the overlap with
            the window before. None: not read at each sync.
        reread: what the nightly re-read covers, since vendors restate it; None: nothing.
        widest: the widest window that is asked for at once.
    """

    stream: str
    kind: Literal["report", "entity"]
    each_sync: timedelta | None
    reread: timedelta | None
    widest: timedelta


@dataclass(frozen=True)
class Task:
    """A window of a stream to be read. Instants, UTC, half-open.

    Of a report the window is of whole local days of the account: from the midnight (account's zone) of its first day to
    the midnight after its last one; so the local dates are recovered with the account's zone.
    """

    stream: str
    start: datetime
    end: datetime
    purpose: Purpose = "incremental"


@dataclass(frozen=True)
class RawPage:
    """One response page.

    Attributes:
        stream: as in raw_data_backup.
        body: the bytes as received (of JSON lines: a JSON array of the lines).
        number: counts from 1 within the window.
        position: where the next page begins, to be given back to ``pages``; None where this is the window's last. JSON.
        window_start, window_end: of a report the window that the answer covers; else None.
        instants: of entities the instants at which the records count, UTC, to the quarter of an hour, ascending.
        keys: ids of the records, for counting what is new.
        records: number of records or rows.
        request: what of the request is needed to read the page (such as the order whose refunds these are); no secrets.
        flags: remarks of the vendor on the quality of the data: sampled, thresholded, other_row, truncated.
        sameness: bytes that tell whether the page says something new, where ``body`` differs at each call (quota).
        broken: why the page cannot be read, where it cannot: it is set aside, and the window ends as a failure.
    """

    stream: str
    body: bytes
    number: int
    fetched_at: datetime
    api_version: str
    time_zone: str
    currency: str
    records: int
    position: JSON | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    instants: tuple[datetime, ...] = ()
    keys: tuple[str, ...] = ()
    request: JSON | None = None
    flags: tuple[str, ...] = ()
    sameness: bytes | None = None
    broken: str = ""


class Connector(ABC):
    """One source at its vendor. Made for one sync, and used by one task at a time.

    Raises failures of ``sources.failures`` from every method.
    """

    source_type: ClassVar[str]
    policies: ClassVar[tuple[StreamPolicy, ...]]
    #: Setting names that a source of this type must have, and sets of secret names of which it must have one.
    required_settings: ClassVar[tuple[str, ...]]
    secret_choices: ClassVar[tuple[tuple[str, ...], ...]]

    def __init__(self, source: Source, http: Http, vendors: Vendors, *, page_size: int | None = None) -> None:
        """``page_size``: records asked for at once, for tests; the vendor's usual size by default."""
        self.source, self.http, self.vendors, self.page_size = source, http, vendors, page_size

    def secrets(self) -> Mapping[str, Any]:
        """What has to be kept out of pages and messages beside ``source.secrets``: the deployment's own credentials, and
        what was minted, renewed or derived since. By name, as there."""
        return {}

    @classmethod
    @abstractmethod
    def check_settings(cls, settings: Mapping[str, Any], vendors: Vendors) -> JSON:
        """The settings in their normal form. Raises WrongConfiguration, naming the field, its value and what is expected."""

    @abstractmethod
    async def account(self) -> Account:
        """One cheap call that proves that the credentials may read, and what zone and currency the account has."""

    @abstractmethod
    def pages(self, task: Task, position: JSON | None = None) -> AsyncIterator[RawPage]:
        """The pages of a window, from its first one or from a position on.

        Raises WindowMoved where records shifted between pages, AskForLess where the window itself is too wide.
        """
