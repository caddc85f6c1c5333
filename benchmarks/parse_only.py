"""The bare limit of the collector's HTTP side: a starlette endpoint that parses the same bodies and does nothing with them.

python -m benchmarks.parse_only: serves on a free loopback port, which it prints; until it is terminated.
"""

from __future__ import annotations

import socket

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def _batch(request: Request) -> JSONResponse:
    orjson.loads(await request.body())
    return JSONResponse({"success": True})


def main() -> None:
    """Serves."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    app = Starlette(routes=[Route("/v1/batch", _batch, methods=["POST"]), Route("/v1/track", _batch, methods=["POST"])])
    config = uvicorn.Config(
        app, http="httptools", loop="uvloop", ws="none", lifespan="off", log_level="warning", access_log=False
    )
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
