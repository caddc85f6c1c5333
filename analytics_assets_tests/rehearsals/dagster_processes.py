"""Dagster's daemon with its code server and run workers, as `analytics ui` starts them, to be killed one by one or all at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from analytics_assets.settings import PROJECT_ROOT

_WORKSPACE = """
load_from:
  - python_module:
      module_name: analytics_assets_tests.rehearsals.definitions
      location_name: analytics_assets
"""
# What is waited for, in seconds of the machine: an hour of the rehearsal is some seconds.
_BRISK = {"poll_interval_seconds: 30": "poll_interval_seconds: 2", "start_timeout_seconds: 300": "start_timeout_seconds: 45"}
_BRISK_QUEUE = """
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
"""


def make_home(folder: Path) -> None:
    """A DAGSTER_HOME with the project's own dagster.yaml, that looks more often."""
    text = (PROJECT_ROOT / "dagster.yaml").read_text(encoding="utf-8")
    for usual, brisk in _BRISK.items():
        if usual not in text:
            raise ValueError(f"dagster.yaml says nothing of {usual!r}")
        text = text.replace(usual, brisk)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text(text + _BRISK_QUEUE, encoding="utf-8")
    (folder / "workspace.yaml").write_text(_WORKSPACE, encoding="utf-8")


class DagsterProcesses:
    """The daemon in a session of its own; what it says goes to a file."""

    def __init__(self, home: Path) -> None:
        self.home, self.log = home, home / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None
        # Of daemons that were killed: code servers and workers that live on.
        self._left: list[psutil.Process] = []

    def start(self) -> None:
        """The daemon."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dagster._daemon", "run", "-w", str(self.home / "workspace.yaml"), "--log-level", "warning"],
                cwd=PROJECT_ROOT, env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    @property
    def is_up(self) -> bool:
        """Whether the daemon lives."""
        return self._process is not None and self._process.poll() is None

    def _all(self) -> list[psutil.Process]:
        found = list(self._left)
        if self._process is not None:
            with suppress(psutil.NoSuchProcess):
                top = psutil.Process(self._process.pid)
                found += [top, *top.children(recursive=True)]
        for one in list(found):
            with suppress(psutil.NoSuchProcess):
                found += one.children(recursive=True)
        return list({one.pid: one for one in found if one.is_running()}.values())

    def workers(self) -> list[psutil.Process]:
        """The processes that execute runs, the one that began last at the end."""
        found = []
        for one in self._all():
            with suppress(psutil.NoSuchProcess):
                if "--multiprocessing-fork" in one.cmdline():
                    found.append(one)
        return sorted(found, key=lambda one: one.create_time())

    def kill_worker(self) -> bool:
        """SIGKILL to a process that executes a run; whether there was one."""
        for one in reversed(self.workers()):
            with suppress(psutil.NoSuchProcess):
                one.kill()
                return True
        return False

    def kill_daemon(self) -> None:
        """SIGKILL to the daemon alone: its code server and the runs under way live on, nobody looks after them."""
        assert self._process is not None
        self._left = [one for one in self._all() if one.pid != self._process.pid]
        self._process.kill()
        self._process.wait(30)

    def kill_all(self) -> None:
        """SIGKILL to everything of Dagster at once, as when its machine goes down."""
        everything = self._all()
        for one in everything:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        if self._process is not None:
            self._process.wait(30)
        psutil.wait_procs(everything, 10)
        self._left = []

    def stop(self) -> None:
        """Ctrl-C, and what does not heed it is killed."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        self.kill_all()
