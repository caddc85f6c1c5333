"""Sends the sandbox's website visitors to a collector, as a tracking library on a server would."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import httpx

from analytics_assets.database import connect
from analytics_assets.events import keys
from analytics_assets.sandbox.connect import organization_id
from analytics_assets.sandbox.shop_world import Shop
from analytics_assets.sandbox.visitors import Message, messages
from analytics_assets.sandbox.world import World

_BATCH = 100
_TRIES = 60
_NEWS = 15


class TrackError(RuntimeError):
    """The collector did not take what was sent; the message says what it answered."""


def send(base: str, key: str, sent: Sequence[Message]) -> int:
    """Sends messages in batches of a hundred, each again for as long as the collector says "later". Returns how many.

    Raises TrackError.
    """
    with httpx.Client(base_url=base, auth=(key, ""), timeout=30) as client:
        for start in range(0, len(sent), _BATCH):
            _post(client, sent[start : start + _BATCH])
    return len(sent)


def _post(client: httpx.Client, batch: Sequence[Message]) -> None:
    for _ in range(_TRIES):
        body: dict[str, Any] = {"batch": batch, "sentAt": datetime.now(UTC).isoformat()}
        answer = client.post(
            "/v1/batch",
            content=gzip.compress(json.dumps(body).encode(), 1),
            headers={"content-type": "application/json", "content-encoding": "gzip"},
        )
        if answer.status_code == 200 and "rejected" not in answer.json():
            return
        if answer.status_code != 429:
            raise TrackError(f"the collector answered {answer.status_code}: {answer.text[:500]}")
        time.sleep(float(answer.headers.get("retry-after", 1)))
    raise TrackError(f"the collector said {_TRIES} times to send it later")


class LiveTraffic:
    """Sends what happens on the websites of shops, as it happens, from a thread of its own. Use as a context manager."""

    def __init__(
        self, base: str, shops: dict[str, Shop], first_day: date, say: Callable[[str], None], every: float = 2.0
    ) -> None:
        """shops: by write key."""
        self._base, self._shops, self._first_day, self._say, self._every = base, shops, first_day, say, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> LiveTraffic:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        # From where the demo ends: its visitors have been to the sites before.
        since = {key: datetime.now(UTC).replace(minute=0, second=0, microsecond=0) for key in self._shops}
        failures = 0
        while not self._stop.is_set():
            for key, shop in self._shops.items():
                now = datetime.now(UTC)
                try:
                    send(self._base, key, messages(shop, self._first_day, now, since[key]))
                except (TrackError, httpx.HTTPError) as error:
                    # What was not taken is sent with the next: a collector that starts or stops is no news.
                    failures += 1
                    if failures == _NEWS and not self._stop.is_set():
                        self._say(f"the websites' visitors cannot be tracked, {shop.slug}: {error}")
                    break
                since[key], failures = now, 0
            self._stop.wait(self._every)


@contextmanager
def tracked_world(base: str, world: World, say: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, the websites of the world's shops send their visitors to a collector, with keys made for it."""
    name = f"sandbox {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    owners = {organization_id(one): one.store for one in world.organizations}
    with connect() as connection:
        shops = {keys.create(connection, owner, name): shop for owner, shop in owners.items()}
    try:
        with LiveTraffic(base, shops, world.first_day, say):
            yield
    finally:
        with connect() as connection:
            for owner in owners:
                keys.revoke(connection, owner, name)
