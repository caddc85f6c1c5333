"""Reading of answers: bodies within bounds, what the lower layers' exceptions mean, waiting times, text for messages."""

from __future__ import annotations

import html
import logging
import re
import socket
import ssl
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from analytics_assets.sources.failures import AskForLess, RetryLater, SourceFailure, WrongConfiguration
from analytics_assets.sources.redactor import Redactor

#: Who says to come back later than that is asked again after it: a slip there must not stop a source for years.
LONGEST_WAIT = timedelta(days=1)
_PARTS = ("connection", "http11", "http2", "proxy", "socks")
# (httpx2, httpcore2 and openai: what the language model of narratives is asked through.)
_LOGGERS = (
    "httpx",
    "httpx2",
    *(f"{name}.{part}" for name in ("httpcore", "httpcore2") for part in _PARTS),
    "openai._base_client",
)
_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def silence_loggers() -> None:
    """Keeps HTTP clients from logging calls: at INFO whole URLs, and a query may be a key; at DEBUG headers and bodies.

    A filter, since a level would be undone by whoever configures logging next.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_warning)


# --- Bodies ----------------------------------------------------------------------------------------------------------


class _Unpacker:
    """Unpacks gzip or deflate, never more than it is asked for.

    httpx's own unpacks each piece whole, and one packing within the other (a bomb of 64 KB becomes 64 GB), and does not
    tell when a packed body breaks off.
    """

    def __init__(self, coding: str) -> None:
        self._gzip = coding != "deflate"
        self._decoder = zlib.decompressobj(_GZIP if self._gzip else _ZLIB)
        self._begun = False

    def unpack(self, data: bytes, most: int) -> bytes:
        """At most ``most`` bytes; raises zlib.error."""
        found = []
        while data and most > 0:
            if self._decoder.eof:
                if not self._gzip or not data.startswith(b"\x1f"):
                    break
                # Several packed files, one after the other, are one; anything else there is filling.
                self._decoder = zlib.decompressobj(_GZIP)
            try:
                piece = self._decoder.decompress(data, most)
            except zlib.error:
                if self._gzip or self._begun:
                    raise
                # Some send deflate without the two bytes that belong before it.
                self._decoder = zlib.decompressobj(_RAW)
                piece = self._decoder.decompress(data, most)
            self._begun = True
            found.append(piece)
            most -= len(piece)
            data = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
        return b"".join(found)

    @property
    def complete(self) -> bool:
        return self._decoder.eof or not self._begun


async def read_body(answer: httpx.Response, host: str, max_bytes: int) -> bytes:
    """The unpacked body, read piece by piece. Raises AskForLess above ``max_bytes``, RetryLater where it cannot be unpacked."""
    too_large = f"{host}: the answer is larger than {max_bytes:,} bytes"
    coding = answer.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise RetryLater(f"{host}: the answer is packed in a way that was not asked for", status=answer.status_code)
    length = answer.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise AskForLess(too_large, status=answer.status_code)
    unpacker = _Unpacker(coding) if coding not in ("", "identity") else None
    pieces: list[bytes] = []
    received = size = 0
    async for piece in answer.aiter_raw():
        received += len(piece)
        if unpacker is not None:
            try:
                piece = unpacker.unpack(piece, max_bytes - size + 1)
            except zlib.error:
                unpacker, received = None, -1
                break
        size += len(piece)
        if max(size, received) > max_bytes:
            raise AskForLess(too_large, status=answer.status_code)
        pieces.append(piece)
    if received < 0:
        raise RetryLater(f"{host}: the packed answer cannot be unpacked", status=answer.status_code)
    if unpacker is not None and not unpacker.complete:
        raise RetryLater(f"{host}: the packed answer breaks off", status=answer.status_code)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


# --- Failures --------------------------------------------------------------------------------------------------------


def _root(error: BaseException) -> str:
    """Why no connection came about: of all that an exception comes from, the first that says so."""
    seen: BaseException | None = error
    for _ in range(10):
        if isinstance(seen, socket.gaierror):
            return "the name is not known"
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted ({error_text(seen.verify_message.encode(), 150)})"
        if isinstance(seen, ssl.SSLError):
            return "no TLS connection comes about"
        if isinstance(seen, BaseExceptionGroup):
            seen = seen.exceptions[0]
        elif isinstance(seen, ConnectionRefusedError):
            return "the connection is refused"
        elif seen is not None:
            seen = seen.__cause__ or seen.__context__
    return "no connection"


def request_failure(host: str, error: Exception, timeout: float) -> SourceFailure:
    """What an exception of httpx says. Its own text is left out: it may quote headers or the address."""
    match error:
        case httpx.ConnectTimeout():
            return RetryLater(f"{host}: no connection within {timeout:g} s")
        case httpx.PoolTimeout():
            return RetryLater(f"{host}: all connections of this process were in use for {timeout:g} s")
        case httpx.TimeoutException():
            return RetryLater(f"{host}: no answer within {timeout:g} s")
        case httpx.ConnectError():
            return RetryLater(f"{host}: {_root(error)}")
        case httpx.ProxyError():
            return RetryLater(f"{host}: the proxy of the deployment lets the call not pass")
        case httpx.LocalProtocolError() | UnicodeError():
            return WrongConfiguration(
                f"{host}: the call cannot be sent, since a credential or setting holds characters that no HTTP header may "
                "hold (a line break, an accented letter); enter it anew"
            )
        case httpx.InvalidURL() | httpx.UnsupportedProtocol():
            return WrongConfiguration(f"{host}: its address cannot be read; expected https://host/path")
        case httpx.RemoteProtocolError() if "location header" in str(error):
            return WrongConfiguration(f"{host}: it redirects to an address that cannot be read")
        case httpx.RemoteProtocolError():
            return RetryLater(f"{host}: the answer breaks off, or is no HTTP")
    return RetryLater(f"{host}: the connection broke off")


# --- Waiting times, text ---------------------------------------------------------------------------------------------


def retry_after(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """When the header Retry-After says to come back (UTC), or None where it says nothing usable. Header names lower-case.

    A date is taken by the other side's own clock, where the header Date says what that is.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
        return now + timedelta(seconds=min(float(value), LONGEST_WAIT.total_seconds()))
    moment = _http_date(value)
    if moment is None:
        return None
    wait = moment - (_http_date(headers.get("date", "")) or now)
    return now + min(max(wait, timedelta()), LONGEST_WAIT)


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def error_text(body: bytes, limit: int = 300) -> str:
    """One line of printable text, at most ``limit`` characters; of an HTML page its words."""
    text = body[: max(limit * 4, 8192)].decode("utf-8", "replace")
    if text.lstrip("\ufeff \t\r\n").startswith("<"):
        text = re.sub(r"(?is)<(script|style)\b.*?(</\1\s*>|$)|<!--.*?(-->|$)|<[^>]*(>|$)", " ", text)
        text = html.unescape(text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with [secret] in place of each secret, also where it is quoted or within base64."""
    return Redactor({str(number): secret for number, secret in enumerate(secrets)}).text(text)
