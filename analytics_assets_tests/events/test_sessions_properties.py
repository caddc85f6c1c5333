"""Whatever the order and the cutting into batches, the tables are those of the definitions."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analytics_assets_tests.events.model import Message, tables
from analytics_assets_tests.events.staging import Connection, add_organization, read, store

START = datetime(2026, 1, 31, 22, 0, tzinfo=UTC)
MINUTES = timedelta(minutes=1)
# A little less, exactly and a little more than the gap that ends a session, at one instant, a month and more apart.
STEPS = [
    timedelta(0),
    10 * MINUTES,
    30 * MINUTES - timedelta(microseconds=1),
    30 * MINUTES,
    30 * MINUTES + timedelta(microseconds=1),
    65 * MINUTES,
    timedelta(days=33),
]
USERS = ["u1", "u2", "u3"]
ANONYMOUS = ["a1", "a2", "a3"]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, Message]]:
    """Messages of few visitors of one organisation or two, each with the organisation's number."""
    at, found = START, []
    for number in range(draw(st.integers(1, 14))):
        at += draw(st.sampled_from(STEPS))
        kind = draw(st.sampled_from(["track", "page", "screen", "identify", "alias"]))
        user = draw(st.sampled_from([None, *USERS])) if kind in ("track", "page", "screen") else draw(st.sampled_from(USERS))
        anonymous = draw(st.sampled_from([None, *ANONYMOUS] if user else ANONYMOUS))
        message = Message(
            key=f"m{number}",
            at=at,
            organization=UUID(int=0),
            user=user,
            anonymous=anonymous,
            previous=draw(st.sampled_from(USERS + ANONYMOUS)) if kind == "alias" else None,
            own=draw(st.sampled_from([None, None, None, "tab1", "tab2"])),
            type=kind,
            name=draw(st.sampled_from(["Clicked", "Signed Up"])),
            email=draw(st.sampled_from([None, "a@example.org", "b@example.org"])),
            signed_up_at=draw(st.sampled_from([None, at - timedelta(days=3)])),
        )
        found.append((draw(st.integers(0, 4)) // 4, message))
    return found


def _cut(draw: Callable[[Any], Any], messages: list[Message]) -> list[list[Message]]:
    batches: list[list[Message]] = [[]]
    for message in messages:
        if batches[-1] and draw(st.booleans()):
            batches.append([])
        batches[-1].append(message)
    return batches


@settings(
    max_examples=int(os.environ.get("EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(data=st.data(), history=histories())
def test_tables_are_those_of_the_definitions(
    connection: Connection, data: st.DataObject, history: list[tuple[int, Message]]
) -> None:
    ids = [add_organization(connection, f"org-{uuid4().hex}") for _ in range(2)]
    messages = [
        Message(**{**vars(message), "organization": ids[number], "key": f"{message.key}-{number}"}) for number, message in history
    ]
    order = data.draw(st.permutations(messages))
    # Twice, and some within one batch.
    twice = order + [message for message in data.draw(st.permutations(messages)) if data.draw(st.booleans())]
    stored = duplicates = 0
    for batch in _cut(data.draw, twice):
        counts = store(connection, batch)
        stored, duplicates = stored + counts[0], duplicates + counts[1]
    assert (stored, duplicates) == (len(messages), len(twice) - len(messages))
    expected, found = tables(messages), read(connection, ids)
    assert found.identities == expected.identities
    assert found.visitors == expected.visitors
    assert found.sessions == expected.sessions
    assert found.events == expected.events
