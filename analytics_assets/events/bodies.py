"""A request's body: read and inflated within bounds, and its JSON."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, NamedTuple

import orjson

from analytics_assets.events.limits import BATCH_BYTES, BODY_SECONDS
from analytics_assets.events.protocol import BadRequest
from analytics_assets.events.values import Unkeepable

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_GZIP = b"\x1f\x8b"
_SMALLEST, _LARGEST = -(1 << 63), (1 << 64) - 1


class TooLarge(ValueError):
    """More bytes than a request may have; the message says how many these are."""


class Gone(Exception):
    """The client left before its request was complete."""


async def read_body(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """The body, inflated. Raises TooLarge, BadRequest, Gone. Never holds more than twice BATCH_BYTES."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > BATCH_BYTES:
        raise TooLarge(_too_large())
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False) or message["type"] != "http.request":
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _rest(message, receive)
        except TimeoutError:
            raise BadRequest(f"the body did not come within {BODY_SECONDS:.0f} seconds") from None
    if len(body) > BATCH_BYTES:
        raise TooLarge(_too_large())
    encoding = headers.get(b"content-encoding", b"").strip().lower()
    if encoding in (b"gzip", b"x-gzip", b"deflate") or body.startswith(_GZIP):
        return _inflate(body, encoding == b"deflate")
    if encoding not in (b"", b"identity"):
        raise BadRequest("Content-Encoding: expected gzip, deflate or none")
    return body


def _too_large() -> str:
    return f"a request has at most {BATCH_BYTES:,} bytes, inflated; send smaller batches"


async def _rest(message: MutableMapping[str, Any], receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > BATCH_BYTES:
            raise TooLarge(_too_large())
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def _inflate(body: bytes, is_deflate: bool) -> bytes:
    # Deflate is meant with zlib's header, and sent without it as well.
    bits = (zlib.MAX_WBITS if body[:1] and body[0] & 0x0F == 8 else -zlib.MAX_WBITS) if is_deflate else zlib.MAX_WBITS | 16
    inflated = b""
    try:
        while body:
            inflater = zlib.decompressobj(bits)
            inflated += inflater.decompress(body, BATCH_BYTES + 1 - len(inflated))
            if len(inflated) > BATCH_BYTES:
                raise TooLarge(_too_large())
            if not inflater.eof:
                raise BadRequest("the compressed body ends too early")
            body = inflater.unused_data
    except zlib.error:
        raise BadRequest("the body is not compressed as Content-Encoding says") from None
    return inflated


class Parsed(NamedTuple):
    """The JSON of a body. is_suspect: whether a text in it may hold a NUL character or half of a surrogate pair."""

    value: Any
    is_suspect: bool


def parse(body: bytes) -> Parsed:
    """The JSON of a body, whatever its content type says. Raises BadRequest.

    What only some readers call JSON (NaN, which Python's clients send; half a surrogate pair) is taken in, so that one
    such value costs its event and not the batch.
    """
    try:
        return Parsed(orjson.loads(body), b"\\u0000" in body)
    except orjson.JSONDecodeError as error:
        reason = str(error)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: byte {error.start:,} cannot be read") from None
    try:
        return Parsed(json.loads(text, parse_constant=Unkeepable, parse_float=_float, parse_int=_int), True)
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except ValueError:
        raise BadRequest(f"the body is no JSON: {reason}" if body.strip() else "the body is empty") from None


def _float(text: str) -> float | Unkeepable:
    value = float(text)
    return value if abs(value) != float("inf") else Unkeepable(text)


def _int(text: str) -> int | float | Unkeepable:
    if len(text) <= 20 and _SMALLEST <= (value := int(text)) <= _LARGEST:
        return value
    return _float(text)
