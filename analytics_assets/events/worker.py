"""A collector's worker: a process that serves the application on a socket that its parent holds.

Started by ``supervisor``, with the listening socket as a file descriptor and the database in DATABASE_URL (in libpq's form).
It imports little, so that it is there again a moment after it was killed; and it ends with its parent, whose pipe is its
standard input.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
import threading

import uvicorn

from analytics_assets.events.collector import make_app
from analytics_assets.settings import CollectorSettings


def make_server(conninfo: str, settings: CollectorSettings) -> uvicorn.Server:
    """The server; the caller runs it with sockets. (The peer's address is taken from headers by the application.)"""
    config = uvicorn.Config(
        make_app(conninfo, settings), http="httptools", loop="uvloop", ws="none", lifespan="on", log_level="warning", access_log=False,
        server_header=False, date_header=False, proxy_headers=False, timeout_keep_alive=75, timeout_graceful_shutdown=10, backlog=4096,
    )  # fmt: skip
    return uvicorn.Server(config)


def main() -> None:
    """Serves until SIGTERM, SIGINT, or the end of the parent."""
    logging.basicConfig(level=logging.INFO, format="collector: %(message)s", stream=sys.stderr)
    listener = socket.socket(fileno=int(sys.argv[1]))
    server = make_server(os.environ["DATABASE_URL"], CollectorSettings.load())

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    # What was imported stays; what requests make is free of circles, and goes when it is not needed any more.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    server.run([listener])


if __name__ == "__main__":
    main()
