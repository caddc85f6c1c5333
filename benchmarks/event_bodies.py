"""Requests as tracking clients send them: batches of an online shop's events, many visitors, prepared before anything is measured."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

_AGENTS = [
    f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 {mobile}Safari/537.36"
    for system, mobile in (
        ("Windows NT 10.0; Win64; x64", ""),
        ("Macintosh; Intel Mac OS X 10_15_7", ""),
        ("Linux; Android 14; Pixel 8", "Mobile "),
        ("X11; Linux x86_64", ""),
    )
    for version in range(118, 130)
]
_STEPS = ["Product List Viewed", "Product Viewed", "Product Viewed", "Product Added", "Cart Viewed", "Checkout Started"]
_VISITORS_ABOUT, _EVENTS_OF_A_VISIT = 40, 9
_CATEGORIES = ["shoes", "shirts", "bags", "hats", "gloves", "belts"]


def message(rng: random.Random, visitor: int, at: datetime) -> dict[str, Any]:
    """One message of some 750 bytes, a page view or a step towards an order."""
    anonymous_id = str(uuid.UUID(int=(visitor * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << 128)))
    product = rng.randrange(2000)
    path = f"/{_CATEGORIES[product % 6]}/product-{product}"
    page = {
        "path": path,
        "url": f"https://shop.example{path}",
        "title": f"Product {product}",
        "referrer": "https://search.example/",
        "search": "",
    }
    common = {
        "messageId": f"ajs-next-{int(at.timestamp() * 1000)}-{uuid.UUID(int=rng.getrandbits(128))}",
        "anonymousId": anonymous_id,
        "userId": f"user-{visitor}" if visitor % 5 == 0 else None,
        "timestamp": at.isoformat(timespec="milliseconds"),
        "integrations": {},
        "context": {
            "page": page,
            "userAgent": _AGENTS[visitor % len(_AGENTS)],
            "locale": "en-GB",
            "timezone": "Europe/London",
            "ip": f"{20 + visitor % 200}.{visitor // 7 % 256}.{visitor // 11 % 256}.{visitor % 256}",
            "library": {"name": "analytics.js", "version": "npm:next-1.84.3"},
            "campaign": {"source": "newsletter", "medium": "email"},
        },
    }  # fmt: skip
    if rng.random() < 0.4:
        return {**common, "type": "page", "name": f"Product {product}", "properties": page}
    if rng.random() < 0.03:
        properties: dict[str, Any] = {
            "order_id": f"o-{rng.randrange(10**9)}", "revenue": round(rng.uniform(5, 300), 2), "currency": "EUR",
            "products": [{"product_id": f"p-{product}", "quantity": 1, "price": 19.95}],
        }  # fmt: skip
        return {**common, "type": "track", "event": "Order Completed", "properties": properties}
    properties = {
        "product_id": f"p-{product}",
        "name": f"Product {product}",
        "price": round(rng.uniform(5, 300), 2),
        "category": path[1:6],
    }
    return {**common, "type": "track", "event": rng.choice(_STEPS), "properties": properties}


def batches(count: int, size: int, seed: int, first_visitor: int = 0) -> list[bytes]:
    """So many bodies of /v1/batch, of so many messages each, of one client.

    At any time 40 visitors are about; each stays for some 9 events, as in a real shop, and is followed by a new one. Times are
    in order, those of the last tenth of a second before sentAt, which is about what passes between two batches of a client under
    load: the clock's correction makes them the moment before the receipt.
    """
    rng = random.Random(seed)
    now = datetime.now(UTC)
    bodies = []
    for number in range(count):
        times = sorted(now - timedelta(seconds=rng.uniform(0, 0.1)) for _ in range(size))
        messages = [
            message(rng, first_visitor + (number * size + place) // _EVENTS_OF_A_VISIT + rng.randrange(_VISITORS_ABOUT), at)
            for place, at in enumerate(times)
        ]
        bodies.append(orjson.dumps({"batch": messages, "sentAt": now.isoformat(timespec="milliseconds")}))
    return bodies
