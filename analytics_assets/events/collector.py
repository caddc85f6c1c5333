"""The collector's application: Segment's HTTP Tracking API over ``protocol`` and ``intake``.

An answer of 200 means committed. 400 and 413 name what is wrong with the request, 401 what is wrong with its key; a client
does not send these again. 429 with Retry-After means later. Errors have "code" and "message": rudder-sdk-python reads both.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

import orjson
import psycopg
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from analytics_assets.events.addresses import AddressRules, place_of
from analytics_assets.events.bodies import Gone, TooLarge, parse, read_body
from analytics_assets.events.intake import Busy, Intake
from analytics_assets.events.keys import KeyRing, Owner
from analytics_assets.events.limits import BATCH_EVENTS, EVENT_BYTES, HOLD_SECONDS, KEY_SECONDS, RETRY_AFTER
from analytics_assets.events.protocol import BadRequest, Messages, Rejection, Sender, events_of, read
from analytics_assets.events.tasks import every
from analytics_assets.events.telemetry import Telemetry
from analytics_assets.events.wire import encoded
from analytics_assets.events.writer import Delivery, Reader, why
from analytics_assets.settings import CollectorSettings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: Path of a call, and its type; None is a batch. The short forms are analytics.js's, the beacon RudderStack's.
CALLS: dict[str, str | None] = {
    "batch": None, "b": None, "import": None, "track": "track", "t": "track", "identify": "identify", "i": "identify",
    "page": "page", "p": "page", "screen": "screen", "s": "screen", "group": "group", "g": "group", "alias": "alias", "a": "alias",
}  # fmt: skip
_JSON = (b"content-type", b"application/json")
_DONE = orjson.dumps({"success": True})
# Whoever sends for itself: browsers and telephones. All others speak for visitors, whose addresses they name.
_VISITORS = re.compile(rb"Mozilla/|.*(CFNetwork|okhttp|Dalvik|Dart)/")
_HEALTHY_SECONDS = 5.0
_HOW_KEY = (
    "Send the write key as the user name of HTTP Basic authentication, or as writeKey in the body. "
    "`analytics keys create --organization SLUG` makes one."
)


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


class Collector:
    """What the requests share: keys, the intake, the figures."""

    def __init__(self, conninfo: str, settings: CollectorSettings, *, hold: float = HOLD_SECONDS) -> None:
        self.settings = settings
        self.rules = AddressRules(settings.addresses, settings.proxies)
        self.telemetry = Telemetry()
        self.reader = Reader(conninfo)
        self.keys = KeyRing(self.reader.keys)
        self.intake = Intake(conninfo, self.telemetry)
        self.hold = hold
        self._slot = 0

    @asynccontextmanager
    async def running(self, app: object = None) -> AsyncIterator[None]:
        """The intake's writers and the reading of the keys, as long as the application lives."""
        self.intake.start()
        async with every(KEY_SECONDS, self._read_keys):
            yield
        await self.intake.stop()
        await self.reader.close()

    async def _read_keys(self) -> None:
        try:
            await self.keys.refresh()
        except psycopg.Error:
            # Keys that are known stay so; nobody's events are stored meanwhile.
            return

    def encode(self, messages: Messages) -> list[tuple[int, bytes]]:
        """The rows for COPY, each with a slot of its own."""
        first = self._slot
        self._slot += len(messages.rows)
        return [(number, encoded(row, first + at)) for at, (number, row) in enumerate(messages.rows)]


class Endpoint:
    """One call of the protocol, as a bare ASGI application."""

    def __init__(self, collector: Collector, kind: str | None, is_history: bool) -> None:
        self._collector = collector
        self._kind = kind
        self._is_history = is_history

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body, status, retry_after = await self._answer(scope, receive), 200, None
        except _Refusal as refusal:
            body = orjson.dumps({"success": False, "code": refusal.code, "message": refusal.message})
            status, retry_after = refusal.status, refusal.retry_after
        except Gone:
            return
        self._collector.telemetry.requests.labels(str(status)).inc()
        headers = [_JSON, (b"content-length", b"%d" % len(body))]
        if retry_after is not None:
            headers.append((b"retry-after", b"%d" % retry_after))
        if status == 401:
            headers.append((b"www-authenticate", b'Basic realm="write key"'))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        collector = self._collector
        received_at, until = datetime.now(UTC), monotonic() + collector.hold
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        key = _basic_key(headers.get(b"authorization"))
        # Whose key is known or not is said before anything is read.
        owner = await self._owner(key) if key is not None else None
        try:
            await collector.intake.room(until)
            body = await read_body(headers, receive)
            parsed, is_suspect = parse(body)
            events, sent_at = events_of(parsed, self._kind)
            own_key = _body_key(parsed, scope)
            if owner is None:
                owner = await self._owner(own_key)
            elif own_key is not None and own_key != key:
                raise BadRequest("the write key of the Authorization header and the one of the body differ; send one of them")
            if len(events) > BATCH_EVENTS:
                raise TooLarge(f"a batch has at most {BATCH_EVENTS:,} events, not {len(events):,}; send smaller batches")
            sender = self._sender(scope, headers, owner, received_at)
            messages = read(events, sent_at, sender, is_suspect=is_suspect, may_be_large=len(body) > EVENT_BYTES)
            delivery = Delivery(
                owner.organization_id, collector.encode(messages), messages.rejections, body, self._kind, owner.turn
            )
            # What was read goes before the wait for the commit: held by all who wait, it kept every request from memory that is warm.
            del parsed, events, messages
            if delivery.rows or delivery.rejections:
                await collector.intake.submit(delivery, until)
        except BadRequest as error:
            raise _Refusal(400, "bad_request", f"{error}.") from None
        except TooLarge as error:
            raise _Refusal(413, "too_large", f"{error}.") from None
        except Busy as error:
            raise _Refusal(
                429, "later", f"Nothing was stored in time: {error.reason}. Send it again later.", error.retry_after
            ) from None
        rejections = delivery.rejections + delivery.refused
        return _accepted(rejections) if rejections else _DONE

    async def _owner(self, key: str | None) -> Owner:
        if key is None:
            raise _Refusal(401, "no_write_key", f"No write key. {_HOW_KEY}")
        try:
            owner = await self._collector.keys.find(key)
        except psycopg.Error as error:
            raise _Refusal(429, "later", f"The write key cannot be looked up now: {why(error)}.", RETRY_AFTER) from None
        if owner is None:
            raise _Refusal(401, "unknown_write_key", f"Nobody has this write key. {_HOW_KEY}")
        if owner.is_revoked:
            raise _Refusal(401, "revoked_write_key", f"This write key was revoked. {_HOW_KEY}")
        return owner

    def _sender(self, scope: Scope, headers: Mapping[bytes, bytes], owner: Owner, received_at: datetime) -> Sender:
        collector = self._collector
        agent = headers.get(b"user-agent", b"")
        organization_id = owner.organization_id
        keep_from = received_at - timedelta(days=collector.settings.keep_events_days)
        if not _VISITORS.match(agent):
            return Sender(
                str(organization_id), organization_id.bytes, received_at, keep_from, self._is_history, rules=collector.rules
            )
        peer = scope["client"][0] if scope.get("client") else None
        forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        country, city = place_of(headers)
        return Sender(
            str(organization_id), organization_id.bytes, received_at, keep_from, self._is_history, True,
            agent.decode("latin-1").replace("\x00", ""), collector.rules.client(peer, forwarded), country, city, collector.rules,
        )  # fmt: skip


def _accepted(rejections: list[Rejection]) -> bytes:
    """The answer where some events went to quarantine. Raises _Refusal where one of them was too large."""
    large = [one for one in rejections if one.is_too_large]
    if large:
        first = large[0]
        name = f" (messageId {first.message_id})" if first.message_id else ""
        raise _Refusal(
            413, "event_too_large",
            f"{len(large)} of the batch's events are too large and were left out; event {first.number}{name}: {first.reason}. "
            "All others are stored; do not send them again.",
        )  # fmt: skip
    reasons = [{"event": one.number, "messageId": one.message_id, "reason": one.reason} for one in rejections[:10]]
    return orjson.dumps({"success": True, "rejected": len(rejections), "reasons": reasons})


def _basic_key(header: bytes | None) -> str | None:
    """The user name of Basic authentication; None without the header. Raises _Refusal."""
    if header is None:
        return None
    scheme, _, value = header.partition(b" ")
    try:
        if scheme.lower() != b"basic":
            raise ValueError
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[0] or None
    except (ValueError, binascii.Error):
        raise _Refusal(
            401, "bad_authorization", f"The Authorization header is no HTTP Basic authentication. {_HOW_KEY}"
        ) from None


def _body_key(parsed: Any, scope: Scope) -> str | None:
    """The body's writeKey; of a beacon, which can send no header, the one of the query."""
    key = parsed.get("writeKey")
    if not key and scope.get("query_string"):
        key = parse_qs(scope["query_string"].decode("latin-1")).get("writeKey", [None])[0]
    return key if isinstance(key, str) and key else None


def make_app(conninfo: str, settings: CollectorSettings, *, hold: float = HOLD_SECONDS) -> Starlette:
    """The application. conninfo: of the database, for libpq. hold: seconds that a request waits for its commit."""
    collector = Collector(conninfo, settings, hold=hold)

    async def health(request: Request) -> Response:
        intake = collector.intake
        problem = intake.problem
        if problem is None and monotonic() - intake.committed_at > _HEALTHY_SECONDS:
            problem = await collector.reader.problem()
        if problem is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "unavailable", "reason": problem}, 503)

    async def metrics(request: Request) -> Response:
        return Response(collector.telemetry.exposition(), media_type="text/plain; version=0.0.4")

    calls = [Route(f"/v1/{path}", Endpoint(collector, kind, path == "import"), methods=["POST"]) for path, kind in CALLS.items()]
    return Starlette(
        routes=[
            *calls,
            Route("/beacon/v1/batch", Endpoint(collector, None, False), methods=["POST"]),
            Route("/health", health),
            Route("/metrics", metrics),
        ],
        middleware=[
            Middleware(
                CORSMiddleware, allow_origins=collector.settings.origins, allow_methods=["POST", "GET"], allow_headers=["*"],
                max_age=86400,
            )
        ],
        lifespan=collector.running,
    )  # fmt: skip
