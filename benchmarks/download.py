"""The bare loop: recorded requests sent once more by httpx, their answers read, and nothing else done with them.

    python -m benchmarks.download FILE --workers 64 [--connections 200] [--pages] [--json]

``--pages``: only those whose answers were pages; ``--json``: bodies are parsed too. What it cost, as JSON. Nothing of the
project is imported: what lies in memory costs time whenever Python tidies up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import httpx


class Stopwatch:
    """Seconds on the clock and of this process's CPU since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self._wall, "cpu": time.process_time() - self._cpu}


async def _download(requests: list[dict[str, Any]], workers: int, connections: int, parse: bool) -> dict[str, float]:
    queue = deque(requests)
    size = 0

    async def work(client: httpx.AsyncClient) -> None:
        nonlocal size
        while queue:
            answer = await client.request(**queue.popleft())
            if answer.status_code != 200:
                raise SystemExit(f"{answer.request.method} {answer.request.url.path}: HTTP {answer.status_code}")
            size += len(answer.content)
            if parse:
                json.loads(answer.content)

    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(limits=limits, timeout=30.0) as client:
        watch = Stopwatch()
        await asyncio.gather(*(work(client) for _ in range(workers)))
        return {**watch.read(), "requests": len(requests), "bytes": size}


def main() -> int:
    """Runs it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.download")
    parser.add_argument("file", type=Path)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--pages", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    requests = []
    with arguments.file.open(encoding="utf-8") as lines:
        for request in map(json.loads, lines):
            if request.pop("is_page") or not arguments.pages:
                requests.append(request)
    figures = asyncio.run(_download(requests, arguments.workers, arguments.connections, arguments.json))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({**figures, "memory": peak}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
