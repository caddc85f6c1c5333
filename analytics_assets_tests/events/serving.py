"""A collector for tests: within the process, or as the command that an operator starts."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import psycopg
import uvicorn

from analytics_assets.database import analytics_url, conninfo
from analytics_assets.events import keys
from analytics_assets.events.collector import make_app
from analytics_assets.organizations import registry
from analytics_assets.settings import CollectorSettings

Connection = psycopg.Connection[dict[str, Any]]


@dataclass
class Caller:
    """Calls a collector with one organisation's write key."""

    base: str
    key: str
    client: httpx.Client

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """POST of a JSON body, or of the bytes that options name as content."""
        options.setdefault("auth", (self.key, ""))
        if body is not None:
            options["json"] = body
        return self.client.post(self.base + path, **options)

    def send(self, *events: Any, path: str = "/v1/batch", **batch: Any) -> httpx.Response:
        """A batch of events."""
        return self.post(path, {"batch": list(events), **batch})


@contextmanager
def serving(hold: float = 8.0) -> Iterator[str]:
    """The application on a free loopback port, over the database of DATABASE_URL; yields its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = make_app(conninfo(analytics_url()), CollectorSettings.load(), hold=hold)
    config = uvicorn.Config(app, http="httptools", loop="uvloop", ws="none", lifespan="on", log_level="warning", access_log=False,
                            proxy_headers=False, timeout_graceful_shutdown=1)  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive() and time.monotonic() < until, "the collector did not start"
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(15)
        listener.close()


def make_key(connection: Connection, slug: str = "acme", time_zone: str = "Europe/London", currency: str = "GBP") -> str:
    """A write key of an organisation, which is made where it is not there."""
    organization, _ = registry.add(connection, slug, None, time_zone, currency)
    return keys.create(connection, organization.id, "test")


class CollectorProcess:
    """`analytics collector` on a port that stays its own."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self._arguments = arguments
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Starts it; returns what it says first, when it answers."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "analytics_assets.cli", "collector", "--port", str(self.port), *self._arguments],
            env=self._environment, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert re.match(r"collector: http", line), line
        return line + self._process.stdout.readline() + self._process.stdout.readline()

    def workers(self) -> list[psutil.Process]:
        """The processes that do the work."""
        assert self._process is not None
        found = []
        for one in psutil.Process(self._process.pid).children():
            # One that was killed is a child still, until its parent has looked.
            with suppress(psutil.NoSuchProcess):
                found += [one] if "worker" in " ".join(one.cmdline()) else []
        return found

    def kill_worker(self) -> None:
        """SIGKILL to one worker."""
        self.workers()[0].kill()

    def kill(self) -> None:
        """SIGKILL to all of it at once."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> int:
        """Ctrl-C; the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        return self._process.wait(30)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within the block."""
        self.start()
        try:
            yield
        finally:
            assert self._process is not None
            if self._process.poll() is None:
                self.stop()
