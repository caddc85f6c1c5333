"""A vendor on the loopback address whose answers a test decides, and what a connector is made of."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from analytics_assets.sources.connector import Connector, RawPage, Source, Task
from analytics_assets.sources.http import Http
from analytics_assets.sources.vendors import Vendors

Work = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True)
class Asked:
    """A request as it came in; header names lower-case."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes
    target: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def nothing(_: Asked) -> Response:
    return Response(status_code=404)


@dataclass
class Vendor:
    """A server that answers as it is told, and clients for it. wait: seconds before the answer to a request."""

    host: str
    answer: Callable[[Asked], Response] = nothing
    wait: Callable[[Asked], float] = lambda _: 0.0
    asked: list[Asked] = field(default_factory=list)
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    clients: dict[str, Http] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def reset(self) -> None:
        """As at the start."""
        self.answer, self.wait, self.asked = nothing, lambda _: 0.0, []

    def with_connector(
        self, of: type[Connector], one: Source, vendors: Vendors, work: Work, *, page_size: int | None = None, **options: Any
    ) -> Any:
        """As the function of this name, with clients that are kept."""
        options = {"patience": 0.0, "allowed_hosts": vendors.store_hosts, **options}

        async def main() -> Any:
            # Opened once for all tests: each reads the certificates of the machine anew.
            http = self.clients.get(str(options)) or await Http(**options).__aenter__()
            self.clients[str(options)] = http
            return await work(of(one, http, vendors, page_size=page_size))

        return self.runner.run(main())

    async def _close(self) -> None:
        for http in self.clients.values():
            await http.__aexit__(None, None, None)

    async def _endpoint(self, request: Request) -> Response:
        asked = Asked(
            request.method,
            request.url.path,
            dict(request.query_params),
            dict(request.headers),
            await request.body(),
            str(request.url),
        )
        self.asked.append(asked)
        await asyncio.sleep(self.wait(asked))
        return self.answer(asked)


@contextmanager
def serving() -> Iterator[Vendor]:
    """One server in a thread, for the tests of a module."""
    listener = socket.create_server(("127.0.0.1", 0))
    vendor = Vendor(f"127.0.0.1:{listener.getsockname()[1]}")
    app = Starlette(routes=[Route("/{path:path}", vendor._endpoint, methods=["GET", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    try:
        yield vendor
    finally:
        vendor.runner.run(vendor._close())
        vendor.runner.close()
        server.should_exit = True
        thread.join(10)
        listener.close()


def reply(value: Any, status: int = 200, **headers: str) -> Response:
    """JSON."""
    return Response(
        json.dumps(value), status, {name.replace("_", "-"): text for name, text in headers.items()}, "application/json"
    )


def source(kind: str, settings: dict[str, Any], secrets: dict[str, Any], **more: Any) -> Source:
    return Source(UUID(int=1), UUID(int=2), kind, settings, "Europe/Berlin", "EUR", secrets, **more)


def with_connector(
    of: type[Connector], one: Source, vendors: Vendors, work: Work, *, page_size: int | None = None, **options: Any
) -> Any:
    """The result of the work with a connector. Nothing is tried twice unless ``patience`` says so."""

    async def main() -> Any:
        async with Http(**{"patience": 0.0, "allowed_hosts": vendors.store_hosts, **options}) as http:
            return await work(of(one, http, vendors, page_size=page_size))

    return asyncio.run(main())


async def gathered(pages: AsyncIterator[RawPage], most: int | None = None) -> list[RawPage]:
    """The pages, or the first ones."""
    found = []
    async for page in pages:
        found.append(page)
        if len(found) == most:
            break
    return found


def task(stream: str, start: datetime, end: datetime, purpose: Any = "incremental") -> Task:
    return Task(stream, start, end, purpose)
