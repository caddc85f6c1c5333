"""One pass of the engine over everything that is due, in a process of its own; what it cost, as JSON.

    python -m benchmarks.sync_pass --places 64 --now 2026-11-20T12:00:00+00:00 [--record FILE]

Database, keys and addresses are those of the environment. ``--record``: writes the requests that were answered well into
the file, one JSON object a line, in the order in which they were sent; "is_page" says whether the answer was stored.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from analytics_assets.sources.engine import Engine
from analytics_assets.sources.failures import SourceFailure
from analytics_assets.sources.http import Call, Http, Response
from analytics_assets.sources.writer import Entry, Outcome, PageWriter
from benchmarks.download import Stopwatch


@contextmanager
def _recording(file: Path) -> Iterator[None]:
    """Every good call of every Http, and which of their answers became pages."""
    send, store = Http.send, PageWriter.store
    numbers = itertools.count()
    calls: dict[int, dict[str, Any]] = {}
    # The last one of each sync, which is a task: a page is stored before anything else is asked for.
    last: dict[asyncio.Task[Any] | None, dict[str, Any]] = {}

    async def recorded_send(self: Http, call: Call, classify: Callable[[Response], SourceFailure | None]) -> Response:
        line = {
            "method": call.method,
            "url": call.url,
            "params": dict(call.params) or None,
            "headers": dict(call.headers),
            "json": call.json,
            "data": dict(call.form) if call.form else None,
            "is_page": False,
        }
        number = next(numbers)
        answer = await send(self, call, classify)
        calls[number] = last[asyncio.current_task()] = line
        return answer

    async def recorded_store(self: PageWriter, entry: Entry) -> Outcome:
        last[asyncio.current_task()]["is_page"] = True
        return await store(self, entry)

    Http.send, PageWriter.store = recorded_send, recorded_store  # type: ignore[method-assign]
    try:
        yield
    finally:
        Http.send, PageWriter.store = send, store  # type: ignore[method-assign]
        file.write_text("".join(json.dumps(line) + "\n" for _, line in sorted(calls.items())), encoding="utf-8")


def main() -> int:
    """Runs it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sync_pass")
    parser.add_argument("--places", type=int, required=True)
    parser.add_argument("--now", type=datetime.fromisoformat, required=True)
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    engine = Engine(places=arguments.places, clock=lambda: arguments.now)
    gc.collect()
    before = psutil.Process().memory_info().rss
    watch = Stopwatch()
    if arguments.record:
        with _recording(arguments.record):
            report = asyncio.run(engine.run())
    else:
        report = asyncio.run(engine.run())
    figures = watch.read()
    # Kilobytes, but on macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(
        json.dumps(
            {
                **figures,
                "memory": peak,
                "memory_growth": peak - before,
                "syncs": report.syncs,
                "pages": report.pages,
                "records": report.records,
                "bytes": report.bytes,
                "outcomes": dict(report.outcomes),
                "failures": [list(map(str, failure)) for failure in report.failures],
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
