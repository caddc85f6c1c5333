"""The collector's parent process: it holds the listening socket, and starts again the workers that die.

While a worker is away, connections wait in the socket's backlog instead of being refused: a client without patience
(@rudderstack/rudder-sdk-node gives up after 1.4 s of refused connections) does not notice.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from analytics_assets.settings import PROJECT_ROOT

_STOP_SECONDS = 15
_LONGEST_PAUSE = 5.0
# A worker that ends sooner than that did not come to work.
_STABLE_SECONDS = 10.0
_MOST_FAILURES = 5


class SupervisorError(RuntimeError):
    """The collector cannot go on; the message says why."""


class Supervisor:
    """Keeps so many workers at work on one socket."""

    def __init__(self, listener: socket.socket, conninfo: str, workers: int, say: Callable[[str], None]) -> None:
        self._listener = listener
        self._environment = {**os.environ, "DATABASE_URL": conninfo}
        self._count = workers
        self._say = say
        self._workers: dict[subprocess.Popen[bytes], float] = {}

    def _start(self) -> None:
        descriptor = self._listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "analytics_assets.events.worker", str(descriptor)],
            pass_fds=[descriptor], stdin=subprocess.PIPE, env=self._environment, cwd=PROJECT_ROOT,
        )  # fmt: skip
        self._workers[process] = time.monotonic()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The workers, within the block; at its end they answer what they have and stop."""
        with tempfile.TemporaryDirectory(prefix="analytics-collector-") as folder:
            if self._count > 1:
                self._environment["PROMETHEUS_MULTIPROC_DIR"] = folder
            for _ in range(self._count):
                self._start()
            try:
                yield
            finally:
                self._stop()

    def watch(self) -> None:
        """Starts again what ends, for ever. Raises SupervisorError where workers end as soon as they are started."""
        failures, pause = 0, 0.0
        while True:
            for process, since in list(self._workers.items()):
                if process.poll() is None:
                    continue
                del self._workers[process]
                if self._count > 1:
                    _forget_gauges(Path(self._environment["PROMETHEUS_MULTIPROC_DIR"]), process.pid)
                is_new = time.monotonic() - since < _STABLE_SECONDS and process.returncode > 0
                failures = failures + 1 if is_new else 0
                if failures >= _MOST_FAILURES:
                    raise SupervisorError(f"workers end as soon as they are started, the last with status {process.returncode}")
                self._say(f"a worker ended with status {process.returncode}; another one is started")
                pause = min(2 * pause + 0.1, _LONGEST_PAUSE) if is_new else 0.0
                time.sleep(pause)
                self._start()
            time.sleep(0.05)

    def _stop(self) -> None:
        # A terminal's Ctrl-C reaches every process of `analytics ui`, which then passes it on: twice is once.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for process in self._workers:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + _STOP_SECONDS
        for process in self._workers:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _forget_gauges(folder: Path, pid: int) -> None:
    """What a worker had queued is no longer queued when it is gone."""
    for file in folder.glob(f"gauge_live*_{pid}.db"):
        file.unlink(missing_ok=True)
