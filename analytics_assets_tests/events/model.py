"""The definitions of visitors and sessions over again, in plain Python and by another route: all messages at once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

GAP = timedelta(minutes=30)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Message:
    """What a client sends, as the collector stages it."""

    key: str
    at: datetime
    organization: UUID
    user: str | None = None
    anonymous: str | None = None
    previous: str | None = None
    own: str | None = None
    type: str = "track"
    name: str = "Clicked"
    email: str | None = None
    signed_up_at: datetime | None = None
    value: float | None = None
    currency: str | None = None
    page: str | None = None
    live: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> UUID:
        """As the collector makes it of the messageId."""
        return UUID(bytes=hashlib.sha256(self.key.encode()).digest()[:16])

    @property
    def sent_id(self) -> str:
        """The id under which it was sent."""
        sent = self.user or self.anonymous
        assert sent is not None
        return sent


@dataclass(frozen=True)
class Tables:
    """What the tables hold, as sets of rows."""

    events: set[Row]
    sessions: set[Row]
    visitors: set[Row]
    identities: set[Row]


def identities(messages: Iterable[Message]) -> dict[str, tuple[datetime, str]]:
    """Id -> (time, user) of the earliest message that links it to a user."""
    links: dict[str, tuple[datetime, str]] = {}
    for message in messages:
        named = [message.anonymous, message.previous if message.type == "alias" else None]
        for known_as in named:
            if message.user and known_as and known_as != message.user:
                candidate = message.at, message.user
                links[known_as] = min(links.get(known_as, candidate), candidate)
    return links


def visitor_of(sent_id: str, links: dict[str, tuple[datetime, str]]) -> str:
    """Follows links to their end; in a circle the latest link is not followed."""
    path = [sent_id]
    while path[-1] in links:
        following = links[path[-1]][1]
        if following in path:
            circle = path[path.index(following) :]
            return max(circle, key=lambda known_as: (links[known_as][0], known_as))
        path.append(following)
    return path[-1]


def session_name(visitor: str, start: datetime) -> str:
    """The id of a session that the client does not name."""
    return "s_" + hashlib.md5(f"{visitor}|{(start - EPOCH) // timedelta(microseconds=1)}".encode()).hexdigest()[:24]


def tables(messages: Iterable[Message]) -> Tables:
    """All rows that these messages make, of every organisation."""
    once = {(message.organization, message.id): message for message in messages}
    by_organization: dict[UUID, list[Message]] = defaultdict(list)
    for message in once.values():
        by_organization[message.organization].append(message)
    result = Tables(set(), set(), set(), set())
    for organization, sent in by_organization.items():
        links = identities(sent)
        result.identities.update((organization, known_as, user, at) for known_as, (at, user) in links.items())
        by_visitor: dict[str, list[Message]] = defaultdict(list)
        for message in sent:
            by_visitor[visitor_of(message.sent_id, links)].append(message)
        for visitor, mine in by_visitor.items():
            _add_visitor(result, organization, visitor, sorted(mine, key=lambda message: message.at), links)
    return result


def _add_visitor(
    result: Tables, organization: UUID, visitor: str, mine: list[Message], links: dict[str, tuple[datetime, str]]
) -> None:
    sessions: list[tuple[str | None, list[Message]]] = []
    for message in mine:
        if message.own:
            found = [members for own, members in sessions if own == message.own]
        else:
            found = [members for own, members in sessions if own is None and message.at - members[-1].at <= GAP]
        if found:
            found[0].append(message)
        else:
            sessions.append((message.own, [message]))
    is_user = False
    for own, members in sessions:
        start, name = members[0].at, own or session_name(visitor, members[0].at)
        pages = sum(message.type in ("page", "screen") for message in members)
        result.sessions.add((organization, visitor, name, start, members[-1].at, len(members), pages, own is not None))
        for message in members:
            known = message.user is not None or message.sent_id in links
            is_user = is_user or known
            result.events.add(
                (
                    organization,
                    message.at,
                    message.id,
                    name,
                    visitor,
                    visitor if known else None,
                    message.anonymous,
                    None if message.sent_id == visitor else message.sent_id,
                    message.name,
                )
            )
    signed_up = [message.signed_up_at for message in mine if message.signed_up_at]
    signed_up += [message.at for message in mine if message.name in ("Signed Up", "Account Created")]
    emails = [hashlib.sha256(message.email.encode()).digest() for message in mine if message.email]
    result.visitors.add(
        (
            organization,
            visitor,
            mine[0].at,
            min(signed_up, default=None),
            visitor if is_user else None,
            min(emails, default=None),
        )
    )
