"""What live sessions say does not depend on the order in which their events come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analytics_assets_tests.events.model import Message, tables
from analytics_assets_tests.events.staging import Connection, add_organization, store

MINUTE = timedelta(minutes=1)
AGENTS = [("desktop", "Firefox", "Linux"), ("mobile", "Safari", "iOS"), ("bot", "Crawler", "Other")]


def expected_live(messages: Sequence[Message]) -> set[tuple[Any, ...]]:
    """By the rule itself: the last that has one, the first referrer; of one instant the greatest value."""
    found = set()
    for organization, visitor, session, started_at, last_activity, *_ in tables(messages).sessions:
        inside = {row[2] for row in tables(messages).events if row[3] == session and row[4] == visitor and row[0] == organization}
        mine = [message for message in messages if message.id in inside]

        def last(*names: str, mine: list[Message] = mine) -> tuple[str | None, ...]:
            said = [
                (message.at, *(message.live.get(name) or "" for name in names))
                for message in mine
                if any(message.live.get(name) for name in names)
            ]
            return tuple(str(value) if value else None for value in max(said)[1:]) if said else (None,) * len(names)

        pages = [(message.at, message.page) for message in mine if message.page]
        referrers = [(message.at, message.live["referrer"]) for message in mine if "referrer" in message.live]
        found.add(
            (
                visitor,
                session,
                started_at,
                last_activity,
                max(pages)[1] if pages else "",
                min(referrers)[1] if referrers else None,
                *last("device_type", "browser", "os", "user_agent"),
                *last("country", "city"),
                *last("ip_address"),
            )
        )
    return found


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(data=st.data())
def test_live_sessions_do_not_depend_on_the_order_of_arrival(connection: Connection, data: st.DataObject) -> None:
    acme = add_organization(connection, f"org-{uuid4().hex}")
    start, messages = datetime.now(UTC) - 20 * 60 * MINUTE, []
    for number in range(data.draw(st.integers(1, 10))):
        agent = data.draw(st.sampled_from([None, *AGENTS]))
        live = dict(zip(("device_type", "browser", "os"), agent, strict=True)) if agent else {}
        for name, values in (
            ("referrer", ["r1", "r2"]), ("user_agent", ["ua1", "ua2"]), ("country", ["DE", "FR"]), ("city", ["X", "Y"]),
            ("ip_address", ["10.0.1.0", "10.0.2.0"]),
        ):  # fmt: skip
            if value := data.draw(st.sampled_from([None, *values])):
                live[name] = value
        messages.append(
            Message(
                f"m{number}",
                start + data.draw(st.sampled_from([0, 5, 25, 30, 31, 60])) * MINUTE,
                acme,
                # One who is known from the first: whose session is whose after a correction is told by the other properties.
                user="u",
                anonymous=data.draw(st.sampled_from([None, "a"])),
                own=data.draw(st.sampled_from([None, None, "tab"])),
                page=data.draw(st.sampled_from([None, "/1", "/2"])),
                live=live,
            )
        )
    order = data.draw(st.permutations(messages))
    cut = data.draw(st.integers(0, len(order)))
    for batch in (order[:cut], order[cut:], order[:1]):
        if batch:
            store(connection, batch)
    found = connection.execute(
        "select visitor_id, session_id, started_at, last_activity, page_url, referrer, device_type, browser, os, user_agent,"
        " country, city, host(ip_address) from public.live_sessions where organization_id = %s",
        (acme,),
    ).fetchall()
    connection.commit()
    assert {tuple(row.values()) for row in found} == expected_live(messages)
