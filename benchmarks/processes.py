"""The processes of a benchmark: those that it starts, and the server's, by what they spend."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.server import Connection, Meter


class ProcessError(RuntimeError):
    """A process that was started ended otherwise than it should; the message says how."""


def keep_to_cores(count: int) -> int:
    """Keeps this process, and those that it starts from now on, to so many processors. Returns how many there are then."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
        return len(os.sched_getaffinity(0))
    return psutil.cpu_count() or 1


@contextmanager
def sandbox(organizations: int, days: int, orders_per_day: int, now: datetime) -> Iterator[tuple[str, psutil.Process]]:
    """The sandbox server in a process of its own, its clock standing still; yields its base URL and the process."""
    options = {
        "port": 0,
        "organizations": organizations,
        "days": days,
        "orders-per-day": orders_per_day,
        "now": now.isoformat(),
    }
    command = [sys.executable, "-m", "analytics_assets.cli", "sandbox"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
            if found is None:
                raise ProcessError("the sandbox did not start; what it says stands above")
            yield found[0], psutil.Process(process.pid)
        finally:
            process.terminate()


def run(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What ``python -m module`` says as JSON on its last line. Raises ProcessError."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ProcessError(f"{module} ended with status {done.returncode}; what it says stands above")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def spent(process: psutil.Process) -> float:
    """CPU seconds of a process until now, user and system."""
    times = process.cpu_times()
    return float(times.user + times.system)


class ServerMeter:
    """CPU seconds of a whole PostgreSQL server: of all its processes, those that have ended too."""

    def __init__(self, connection: Connection) -> None:
        self._postmaster: psutil.Process | None = None
        if Meter(connection).sees_cpu:
            self._postmaster = psutil.Process(connection.info.backend_pid).parent()

    @property
    def is_seen(self) -> bool:
        """Whether its processes are."""
        return self._postmaster is not None

    def children(self) -> list[psutil.Process]:
        """Its processes but the first."""
        return [] if self._postmaster is None else list(self._postmaster.children())

    def spent(self) -> float | None:
        """Until now; None where the server's processes cannot be seen."""
        if self._postmaster is None:
            return None
        times = self._postmaster.cpu_times()
        total = float(times.user + times.system + times.children_user + times.children_system)
        for child in self._postmaster.children():
            with suppress(psutil.NoSuchProcess):
                total += spent(child)
        return total


class ClientsMeter:
    """CPU seconds of a server's connections to one database, those that come and go meanwhile too; a context manager.

    What a connection spends within its last hundredth of a second is not seen: ``seconds`` is a little less than the truth.
    """

    def __init__(self, connection: Connection) -> None:
        self._server = ServerMeter(connection)
        self._name = f" {connection.info.dbname} "
        self._before: dict[int, float] = {}
        self._spent: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> ClientsMeter:
        self._read()
        self._before = dict(self._spent)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        self._read()

    @property
    def seconds(self) -> float | None:
        """What they have spent; None where the server's processes cannot be seen."""
        return sum(self._spent.values()) - sum(self._before.values()) if self._server.is_seen else None

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            self._read()

    def _read(self) -> None:
        for child in self._server.children():
            with suppress(psutil.NoSuchProcess, OSError):
                title = " ".join(child.cmdline())
                if self._name in title and "autovacuum" not in title:
                    self._spent[child.pid] = int(Path(f"/proc/{child.pid}/schedstat").read_text().split()[0]) / 1e9
