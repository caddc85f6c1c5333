"""A small HTTP server on the loopback address whose answers are written byte by byte, so that they may also be wrong.

And what tests of the HTTP layer share: calls of that server, names that resolve as a test wants them to.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from analytics_assets.sources.failures import RetryLater, SourceFailure, Throttled
from analytics_assets.sources.http import Call, Http, Response


@dataclass(frozen=True)
class Asked:
    """A request as it came in; header names lower-case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Script = bytes | Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int = 200, body: bytes | Any = b"{}", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole answer; what is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return head.encode() + b"\r\n" + content


@dataclass
class Loopback:
    """Gives the scripted answers one after the other, the last one ever after; counts what is under way at once."""

    scripts: list[Script] = field(default_factory=lambda: [answer()])
    context: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    async def __aenter__(self) -> Self:
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}/data"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").splitlines()
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, target, _ = first.split(" ", 2)
                asked = Asked(method, target, headers, body)
                self.asked.append(asked)
                script = self.scripts[min(len(self.asked), len(self.scripts)) - 1]
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                try:
                    if isinstance(script, bytes):
                        writer.write(script)
                    else:
                        await script(asked, writer)
                    await writer.drain()
                finally:
                    self.under_way -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)


def after(seconds: float, content: bytes) -> Script:
    """The same, but later."""

    async def script(_: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(content)

    return script


def then_closed(content: bytes) -> Script:
    """Closes the connection after it."""

    async def script(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        writer.close()

    return script


def classify(response: Response) -> SourceFailure | None:
    if response.status == 429:
        return Throttled("too many", status=429)
    return RetryLater("server error", status=response.status) if response.status >= 500 else None


def call(server: Loopback, **more: Any) -> Call:
    return Call(**{"method": "GET", "url": server.url, "account": "a:1", "host": server.host, **more})


def against(server: Loopback, work: Callable[[Http], Awaitable[None]], **options: Any) -> None:
    """Runs the work with the server up."""

    async def main() -> None:
        async with server, Http(**options) as http:
            await work(http)

    asyncio.run(main())


def resolve_as(monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, list[list[str]]]) -> list[str]:
    """Sets what the loop's getaddrinfo answers by name: one list of addresses after the other; an empty one: not known.

    Gives the list to which the names are added that are asked for. What is not in ``answers`` has to be an address.
    """
    real = asyncio.BaseEventLoop.getaddrinfo
    asked: list[str] = []

    async def fake(self: asyncio.BaseEventLoop, host: Any, port: Any, **options: Any) -> Any:
        if host not in answers:
            return await real(self, host, port, flags=socket.AI_NUMERICHOST, **options)
        asked.append(host)
        addresses = answers[host][min(asked.count(host), len(answers[host])) - 1]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (one, port, 0, 0))
            if ":" in one
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", fake)
    return asked
