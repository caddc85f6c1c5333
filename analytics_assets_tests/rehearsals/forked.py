"""A daemon and run workers that are forked from one process, for a rehearsal that has to be over in seconds.

    python -m analytics_assets_tests.rehearsals.forked FOLDER

Each line on standard input forks a daemon, whose process id is printed. It evaluates the project's own sensors and Dagster's run
monitoring, and forks a worker for what they request, which executes the project's own jobs. Nothing is imported anew: a run worker
of the real daemon needs seconds for that alone. The parent of all holds no connection, nor does a daemon while it forks.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from analytics_assets.settings import PROJECT_ROOT

_LOOK_EVERY = 0.7
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
Request = tuple[str, list[str], dict[str, str]]


class ForkedProcesses:
    """What ``dagster_processes.DagsterProcesses`` is, with these."""

    def __init__(self, home: Path) -> None:
        self.log, self._workers = home / "daemon.log", home / "workers"
        self._workers.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "analytics_assets_tests.rehearsals.forked", str(self._workers)],
                cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip
        self._daemon: psutil.Process | None = None

    def start(self) -> None:
        """A daemon."""
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.write("\n")
        self._parent.stdin.flush()
        self._daemon = psutil.Process(int(self._parent.stdout.readline()))

    @property
    def is_up(self) -> bool:
        """Whether the daemon lives."""
        return self._daemon is not None and _lives(self._daemon)

    def workers(self) -> list[psutil.Process]:
        """The processes that execute runs, the one that began last at the end."""
        found = []
        for mark in self._workers.iterdir():
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(mark.name)))
        return sorted(filter(_lives, found), key=lambda one: (one.create_time(), one.pid))

    def kill_worker(self) -> bool:
        """SIGKILL to a process that executes a run; whether there was one."""
        for one in reversed(self.workers()):
            _kill([one])
            return True
        return False

    def kill_daemon(self) -> None:
        """SIGKILL to the daemon alone: the runs under way live on."""
        assert self._daemon is not None
        _kill([self._daemon])

    def kill_all(self) -> None:
        """SIGKILL to the daemon and all workers."""
        assert self._daemon is not None
        _kill([self._daemon, *self.workers()])

    def stop(self) -> None:
        """The end."""
        if self._daemon is not None:
            self.kill_all()
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        with suppress(ProcessLookupError):
            os.killpg(self._parent.pid, signal.SIGKILL)
        self._parent.wait(30)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _kill(processes: list[psutil.Process]) -> None:
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    until = time.monotonic() + 10
    while any(map(_lives, processes)) and time.monotonic() < until:
        time.sleep(0.01)


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _look(cursor: str | None, write: int) -> None:
    """Dagster's run monitoring, and what the sensors request now: (requests to sync, to compute, cursor) into a pipe."""
    import dagster as dg
    from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

    from analytics_assets.resources import Database
    from analytics_assets_tests.rehearsals.definitions import defs

    class Workspace:
        def __init__(self, instance: dg.DagsterInstance) -> None:
            self.instance = instance

        def create_request_context(self) -> None:
            return None

    with dg.DagsterInstance.get() as instance:
        list(execute_run_monitoring_iteration(Workspace(instance), logging.getLogger("rehearsal")))  # type: ignore[arg-type]
        found: list[list[Request]] = []
        for name in ("source_freshness", "stale_partitions"):
            context = dg.build_sensor_context(
                instance=instance, resources={"database": Database()}, repository_def=defs.get_repository_def(),
                cursor=cursor if name == "stale_partitions" else None,
            )  # fmt: skip
            data = defs.resolve_sensor_def(name).evaluate_tick(context)
            found.append(
                [
                    (request.job_name or "source_sync", [key.to_user_string() for key in request.asset_selection or []], dict(request.tags))
                    for request in data.run_requests or []
                ]
            )  # fmt: skip
            cursor = data.cursor or cursor if name == "stale_partitions" else cursor
    with os.fdopen(write, "wb") as pipe:
        pipe.write(pickle.dumps((*found, cursor)))


def _execute(requests: list[Request], marks: Path) -> None:
    import dagster as dg

    from analytics_assets.instance import process_tag
    from analytics_assets_tests.rehearsals.definitions import defs

    mark = marks / str(os.getpid())
    mark.touch()
    with dg.DagsterInstance.get() as instance:
        for job, assets, tags in requests:
            defs.resolve_job_def(job).execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey(name) for name in assets] or None,
                tags=tags | process_tag(), run_config=_QUIET, raise_on_error=False,
            )  # fmt: skip
    mark.unlink()


def _daemon(marks: Path, parent: int) -> None:
    cursor: str | None = None
    busy: dict[str, int] = {}
    # It ends with who has forked it: a rehearsal that was killed itself leaves none behind.
    while os.getppid() == parent:
        for kind, pid in list(busy.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del busy[kind]
        read, write = os.pipe()
        looker = _fork(lambda: _look(cursor, write))  # noqa: B023
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
        os.waitpid(looker, 0)
        if said:
            found: tuple[Any, ...] = pickle.loads(said)
            cursor = found[2]
            for kind, requests in (("sync", found[0]), ("compute", found[1])):
                if requests and kind not in busy:
                    busy[kind] = _fork(lambda: _execute(requests, marks))  # noqa: B023
        time.sleep(_LOOK_EVERY)


def main() -> None:
    """Forks a daemon for each line, until standard input ends."""
    marks = Path(sys.argv[1])
    import analytics_assets_tests.rehearsals.definitions  # noqa: F401

    me = os.getpid()
    for _ in sys.stdin:
        print(_fork(lambda: _daemon(marks, me)), flush=True)


if __name__ == "__main__":
    main()
