"""Fifty clients that post prepared bodies to a collector, in a process of their own: bare connections, nothing parsed but the status.

    python -m benchmarks.event_load HOST PORT KEY... --size 50 --seconds 8 [--clients 50] [--rate EVENTS_PER_SECOND] [--path /v1/batch]

Every client has visitors of its own, and sends what they did in the moment before. Without ``--rate`` each sends as soon as it is
answered; with it, at its share of the rate, and the time of an answer counts from the moment when the request was due. What it saw,
as JSON. (Message ids are made new in place, within the bytes of a body, so that every message is new.)
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import json
import re
import statistics
import sys
import time
from typing import cast

import uvloop

from benchmarks.event_bodies import batches

_ID = re.compile(rb"ajs-next-\d+-([0-9a-f-]{36})")
_WARM_SECONDS = 1.5


class _Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._answer: asyncio.Future[int] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the collector closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])  # type: ignore[index]
        if len(body) >= length and self._answer is not None:
            self._received = b""
            self._answer.set_result(int(head[9:12]))

    async def send(self, request: bytes) -> int:
        """The status of the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


class _Bodies:
    """A client's requests, in turns, each time with message ids that nobody had."""

    def __init__(self, number: int, head: bytes, bodies: list[bytes]) -> None:
        self._requests: list[tuple[bytearray, list[int]]] = []
        for body in bodies:
            request = bytearray(head % len(body) + body)
            self._requests.append((request, [found.start(1) for found in _ID.finditer(request)]))
        self._number = number
        self._sent = 0

    def next(self) -> bytes:
        """The next request."""
        request, places = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        mark = b"%04x%08x" % (self._number & 0xFFFF, self._sent)
        for place in places:
            # What stays of the first id tells the messages of one request apart.
            request[place : place + 8] = mark[:8]
            request[place + 9 : place + 13] = mark[8:]
        return bytes(request)


async def _client(
    arguments: argparse.Namespace, number: int, bodies: _Bodies, start: float, figures: list[tuple[float, float]]
) -> int:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(_Client, arguments.host, arguments.port)
    end = start + _WARM_SECONDS + arguments.seconds
    pause = arguments.clients * arguments.size / arguments.rate if arguments.rate else 0.0
    due = start + pause * number / arguments.clients
    refused = 0
    while True:
        request = bodies.next()
        if pause:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        else:
            due = time.perf_counter()
        if due >= end:
            break
        status = await client.send(request)
        figures.append((due, time.perf_counter() - due))
        refused += status != 200
        due += pause
    client.transport.close()
    return refused


async def _run(arguments: argparse.Namespace) -> dict[str, float]:
    clients = []
    # Enough for the run at the highest rate, so that visitors come and go; what is over is sent with the same visitors again.
    count = max(2, (3000 if arguments.size > 1 else 300) // arguments.size)
    for number in range(arguments.clients):
        key = arguments.keys[number % len(arguments.keys)]
        head = (
            f"POST {arguments.path} HTTP/1.1\r\nHost: collector\r\nUser-Agent: load\r\nContent-Type: application/json\r\n"
            f"Authorization: Basic {base64.b64encode(f'{key}:'.encode()).decode()}\r\n"
        ).encode() + b"Content-Length: %d\r\n\r\n"
        seed = arguments.seed * 1000 + number
        clients.append(_Bodies(seed, head, batches(count, arguments.size, seed, number * 1_000_000)))
    gc.collect()
    gc.freeze()
    figures: list[tuple[float, float]] = []
    cpu = time.process_time()
    start = time.perf_counter()
    refused = await asyncio.gather(*(_client(arguments, at, bodies, start, figures) for at, bodies in enumerate(clients)))
    begin = start + _WARM_SECONDS
    counted = sorted(took for due, took in figures if due >= begin)
    finished = sum(begin <= due + took < begin + arguments.seconds for due, took in figures)
    return {
        "events_per_second": finished * arguments.size / arguments.seconds,
        "total": len(figures) * arguments.size,
        "requests": len(counted),
        "refused": sum(refused),
        "median_ms": 1000 * statistics.median(counted),
        "p99_ms": 1000 * counted[int(len(counted) * 0.99)],
        "cpu": time.process_time() - cpu,
    }


def main() -> int:
    """Runs it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.event_load")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("keys", nargs="+")
    parser.add_argument("--size", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--path", default="/v1/batch")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 60_000)
    arguments = parser.parse_args()
    print(json.dumps(uvloop.run(_run(arguments))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
