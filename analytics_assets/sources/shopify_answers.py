"""What stands in Shopify's answers: the parts of a list, what of an order is still to be read, and when it counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from analytics_assets.raw.shapes import quarter_of
from analytics_assets.sources.connector import JSON
from analytics_assets.sources.failures import Bug
from analytics_assets.sources.shopify_queries import DRAINED_AGREEMENTS

_FIRST = datetime(1990, 1, 1, tzinfo=UTC)


def nodes_of(connection: Any) -> list[JSON]:
    nodes = connection.get("nodes") if isinstance(connection, dict) else None
    return [node for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []


def end_of(connection: Any) -> tuple[bool, str | None]:
    """Whether a connection has more, and after which cursor. Raises Bug."""
    page = connection.get("pageInfo") if isinstance(connection, dict) else None
    if not isinstance(page, dict) or page.get("hasNextPage") is not True:
        return False, None
    if not isinstance(page.get("endCursor"), str):
        # Without it the next page would be the first one again, and so on for ever.
        raise Bug("shopify: a list has more, and no endCursor to read on from")
    return True, page["endCursor"]


def rest_of(order: str, agreements: Any, after: str | None, after_sale: str | None, size: int) -> JSON | None:
    """The request that reads on where this part of an order's agreements ends; None where nothing is left.

    ``after``, ``after_sale``, ``size``: how this part was asked for. An agreement whose sales did not all fit is read alone,
    from its own cursor on, and so are those after it.
    """
    has_more, end = end_of(agreements)
    unread = [end_of(agreement.get("sales")) for agreement in nodes_of(agreements)]
    if size == 1 and unread and unread[0][0]:
        return {"order": order, "after": after, "after_sale": unread[0][1], "size": 1}
    if size > 1 and any(more for more, _ in unread):
        return {"order": order, "after": after, "after_sale": None, "size": 1}
    return (
        {"order": order, "after": end, "after_sale": None, "size": size if size == 1 else DRAINED_AGREEMENTS}
        if has_more
        else None
    )


def _moments(node: Mapping[str, Any]) -> Iterator[Any]:
    """When an order or a part of it counts: the order itself, its cancellation, and each of its agreements."""
    yield from (node.get(name) for name in ("processedAt", "cancelledAt", "happenedAt"))
    yield from (agreement.get("happenedAt") for agreement in nodes_of(node.get("agreements")))


def instants_of(nodes: Iterable[Mapping[str, Any]]) -> tuple[datetime, ...]:
    """To the quarter of an hour, ascending. What lies outside of all reason is a broken date, and no hour is made for it."""
    latest, found = datetime.now(UTC) + timedelta(days=1), set[datetime]()
    for text in (moment for node in nodes for moment in _moments(node)):
        try:
            moment = datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) else None
        except (ValueError, OverflowError):
            continue
        if moment is not None and _FIRST <= moment <= latest:
            found.add(quarter_of(moment))
    return tuple(sorted(found))


def key_of(order: Mapping[str, Any]) -> str:
    return str(order.get("legacyResourceId") or str(order.get("id", "")).rpartition("/")[2])
