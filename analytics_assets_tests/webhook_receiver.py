"""A receiver of alerts over HTTP on the loopback address, which refuses as often as it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """bodies: (path, body) of calls that were taken. refusals: statuses of the next answers; 0 closes the connection."""

    url: str = ""
    bodies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)

    def told(self, named: str) -> list[list[tuple[str, str, str]]]:
        """(organization, what ``named`` says, state) of each alert of each call that came as JSON, in their order."""
        return [
            [(one["organization"], one[named], one["state"]) for one in body["alerts"]]
            for path, body in self.bodies
            if "webhook" in path
        ]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver in a thread."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status = receiver.refusals.pop(0) if receiver.refusals else 200
            if not status:
                self.close_connection = True
                return
            if status == 200:
                receiver.bodies.append((self.path, body))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", receiver.url + "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
