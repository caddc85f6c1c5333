"""Many orders at once: Shopify runs the query by itself, and its result is a file of JSON lines, which is read in parts.

A line is an order, or with __parentId an agreement or a sale of the order before it. Where in the file to go on is kept as
a number of bytes: the beginning of an order.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from analytics_assets.sources.connector import JSON, Task
from analytics_assets.sources.failures import (
    AskForLess,
    Bug,
    PermissionDenied,
    RetryLater,
    SourceFailure,
    Throttled,
    WindowMoved,
    WrongConfiguration,
)
from analytics_assets.sources.http import Call, Response, retry_after
from analytics_assets.sources.shopify_client import GraphQL, ShopClient
from analytics_assets.sources.shopify_queries import BULK_STATUS, RUN_BULK, bulk_orders
from analytics_assets.sources.vendors import Vendors

ORDERS_A_PAGE = 250
_BYTES_A_PAGE = 4 * 1024 * 1024
_BYTES_AT_ONCE = 4 * 1024 * 1024
# Waits between two looks at an operation that runs, and how long it may go without a word to whoever reads the pages.
_FIRST_PAUSE, _LONGEST_PAUSE, _SILENCE = 0.2, 10.0, 20.0
_BUSY = timedelta(minutes=1)


class BulkRefused(Exception):
    """Shopify does not run this query as a bulk operation; the orders have to be read page by page.

    In spring 2026 it refused agreements in bulk for some weeks, since they are no nodes of their own.
    """


@dataclass
class Part:
    """Whole orders of a result. lines: as received. fetched_at: of the bytes; position: where the next part begins."""

    fetched_at: datetime
    api_version: str
    flags: tuple[str, ...]
    lines: list[bytes] = field(default_factory=list)
    records: list[JSON] = field(default_factory=list)
    orders: int = 0
    size: int = 0
    ids: set[str] = field(default_factory=set)
    position: JSON | None = None
    broken: str = ""

    def body(self) -> bytes:
        """A JSON array of the lines."""
        return b"[" + b",".join(self.lines) + b"]"


def check_download(url: str, vendors: Vendors) -> None:
    """Raises WrongConfiguration unless a result may be read from there: a server names the address, so it could be any."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    names = {parts.netloc.lower(), *([host] if parts.port in (None, 443) else [])}
    is_near = host in ("127.0.0.1", "localhost", "::1")
    if (
        names & set(vendors.shopify_download_hosts)
        and "@" not in parts.netloc
        and (parts.scheme == "https" or (parts.scheme == "http" and is_near))
    ):
        return
    raise WrongConfiguration(
        f"the shop's result lies at {parts.scheme}://{host}, from where none is read; if that is Shopify's, add it to "
        "ANALYTICS_SHOPIFY_DOWNLOAD_HOSTS"
    )


class BulkReader:
    """The orders of a window by a bulk operation."""

    def __init__(self, client: ShopClient, orders_a_page: int) -> None:
        self._client, self._most = client, orders_a_page

    async def parts(self, task: Task, position: JSON | None) -> AsyncIterator[Part]:
        """From the beginning or from a position on. The first part, and some while the operation runs, are without orders:
        they tell the position, so that an operation once begun is not begun again. Raises BulkRefused, WindowMoved."""
        start = int(position["bytes"]) if position else 0
        if position is None:
            answer = await self._client.ask(RUN_BULK, {"query": bulk_orders(task)})
            operation = self._started(answer)
            position = {"bulk": operation, "bytes": 0}
            yield self._word(answer, position)
        pause, spoke = _FIRST_PAUSE, time.monotonic()
        while True:
            answer = await self._client.ask(BULK_STATUS, {"id": position["bulk"]})
            status = self._status(answer)
            if status is not None:
                break
            if time.monotonic() - spoke > _SILENCE:
                yield self._word(answer, position)
                spoke = time.monotonic()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        if not status.get("url"):
            if str(status.get("objectCount") or "0") != "0":
                raise WindowMoved("the result of the operation is no longer there")
            yield self._word(answer, None)
            return
        async for part in self._read(answer, str(status["url"]), status.get("fileSize"), position, start):
            yield part

    def _word(self, answer: GraphQL, position: JSON | None) -> Part:
        return Part(answer.response.fetched_at, answer.api_version, answer.flags, position=position)

    def _started(self, answer: GraphQL) -> str:
        shop, payload = self._client.shop, answer.data.get("bulkOperationRunQuery") or {}
        operation = payload.get("bulkOperation")
        if isinstance(operation, dict) and isinstance(operation.get("id"), str):
            return str(operation["id"])
        errors = [error for error in payload.get("userErrors") or [] if isinstance(error, dict)]
        text = "; ".join(f"{error.get('code')}: {error.get('message')}"[:200] for error in errors)
        if (
            any(error.get("code") in ("OPERATION_IN_PROGRESS", "LIMIT_REACHED") for error in errors)
            or "already in progress" in text
        ):
            again = datetime.now(UTC) + _BUSY
            raise Throttled(f"shop {shop}: as many bulk operations run as may at once ({text})", retry_at=again, status=200)
        if not errors:
            raise Bug(f"shop {shop} begins no bulk operation and does not say why")
        raise BulkRefused(text)

    def _status(self, answer: GraphQL) -> JSON | None:
        """The operation when it is complete; None while it runs."""
        shop, node = self._client.shop, answer.data.get("node")
        if not isinstance(node, dict) or node.get("status") == "EXPIRED":
            raise WindowMoved("the operation is no longer known")
        match node.get("status"), node.get("errorCode"):
            case "COMPLETED", _:
                return node
            case (("CREATED" | "RUNNING" | "CANCELING"), _):
                return None
            case "FAILED", "ACCESS_DENIED":
                raise PermissionDenied(
                    f"shop {shop}: the bulk operation may not read orders (ACCESS_DENIED); give the app the scopes read_orders, "
                    "read_all_orders and read_customers, and install it again"
                )
            case "FAILED", "TIMEOUT":
                raise AskForLess(f"shop {shop}: the bulk operation took too long (TIMEOUT)")
            case (("FAILED" | "CANCELED"), _):
                raise WindowMoved(f"the operation has ended without a result ({node.get('status')}, {node.get('errorCode')})")
        raise Bug(f"shop {shop}: a bulk operation has the status {str(node.get('status'))[:40]!r}, which is not known")

    # --- The file ----------------------------------------------------------------------------------------------

    async def _read(self, answer: GraphQL, url: str, size: Any, position: JSON, start: int) -> AsyncIterator[Part]:
        check_download(url, self._client.vendors)
        expected = int(size) if str(size or "").isdigit() else None
        part = self._word(answer, None)
        async for line, offset, fetched_at in self._lines(url, start, expected):
            record, broken = _parse(line)
            parent = record.get("__parentId")
            if parent is None and (part.orders >= self._most or part.size >= _BYTES_A_PAGE):
                part.position = {**position, "bytes": offset}
                yield part
                part = self._word(answer, None)
            if parent is not None and parent not in part.ids:
                broken = broken or f"a line of {str(parent)[:80]}, which is not before it: the result is not grouped"
            part.lines.append(line)
            part.records.append(record)
            part.ids.add(str(record.get("id", "")))
            part.orders += parent is None
            part.size += len(line)
            part.fetched_at, part.broken = fetched_at, part.broken or broken
        yield part

    async def _lines(self, url: str, start: int, expected: int | None) -> AsyncIterator[tuple[bytes, int, datetime]]:
        """Lines, at which byte each begins, and when it was there."""
        rest, at = b"", start
        async for response, is_last in self._chunks(url, start, expected):
            *lines, rest = (rest + response.body).split(b"\n")
            if is_last and rest:
                lines, rest = [*lines, rest], b""
            for line in lines:
                if line.strip():
                    yield line.strip(), at, response.fetched_at
                at += len(line) + 1

    async def _chunks(self, url: str, start: int, expected: int | None) -> AsyncIterator[tuple[Response, bool]]:
        """The file from a byte on, some megabytes at a time, and whether it ends there. Without credentials: the address
        itself is signed."""
        parts = urlsplit(url)
        address, query = parts._replace(query="", fragment="").geturl(), dict(parse_qsl(parts.query, keep_blank_values=True))
        while expected is None or start < expected:
            end = start + _BYTES_AT_ONCE - 1
            # Unpacked on the way, the file would have other bytes than those that are counted.
            headers = {"range": f"bytes={start}-{end}", "accept-encoding": "identity"}
            call = Call("GET", address, self._client.account, parts.netloc.lower(), params=query, headers=headers)
            try:
                response = await self._client.http.send(call, partial(self._failure, start=start, expected=expected))
            except _Gone as failure:
                raise WindowMoved(str(failure)) from None
            if response.status == 416:
                return
            if response.status == 200:
                # A server that knows no ranges sends it all.
                yield replace(response, body=response.body[start:]), True
                return
            total = _range(response)[2] if expected is None else expected
            start += len(response.body)
            is_last = len(response.body) < _BYTES_AT_ONCE if total is None else start >= total
            yield response, is_last
            if is_last:
                return

    def _failure(self, response: Response, start: int, expected: int | None) -> SourceFailure | None:
        shop, status, have = self._client.shop, response.status, len(response.body)
        again = retry_after(response.headers, response.fetched_at)
        match status:
            case 206:
                first, last, total = _range(response)
                if first != start or (total is not None and expected not in (None, total)):
                    return Bug(
                        f"shop {shop}: asked for its result from byte {start} of {expected} on, {first} of {total} was sent"
                    )
                return None if have == last - first + 1 else RetryLater(f"shop {shop}: its result breaks off", status=status)
            case 200:
                return None if expected in (None, have) else RetryLater(f"shop {shop}: its result breaks off", status=status)
            case 416 if expected is None:
                return None
            case 429:
                return Throttled(f"shop {shop}: its result cannot be read for now (HTTP 429)", retry_at=again, status=status)
            case 400 | 401 | 403 | 404 | 410:
                return _Gone("the result is no longer there", status=status)
            case _ if status >= 500 or status == 408:
                return RetryLater(f"shop {shop}: its result cannot be read (HTTP {status})", retry_at=again, status=status)
            case _ if 300 <= status < 400:
                return WrongConfiguration(f"shop {shop}: the address of its result redirects (HTTP {status})", status=status)
        return Bug(f"shop {shop}: its result cannot be read (HTTP {status})", status=status)


class _Gone(SourceFailure):
    """The address of a result has run out."""


def _range(response: Response) -> tuple[int, int, int | None]:
    """First and last byte, and the size of the whole file, as Content-Range tells it."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("content-range", "").strip())
    if found is None:
        return 0, len(response.body) - 1, None
    return int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])


def _parse(line: bytes) -> tuple[JSON, str]:
    """The record of a line, and why it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {}, f"a line is no JSON: {type(error).__name__}"
    return (record, "") if isinstance(record, dict) and record.get("id") else ({}, "a line is no record with an id")
