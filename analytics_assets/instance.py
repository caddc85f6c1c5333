"""The Dagster instance, found by every command alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from analytics_assets.database import connect
from analytics_assets.organizations.registry import partition_keys
from analytics_assets.partition_keys import ORGANIZATION
from analytics_assets.settings import PROJECT_ROOT

if TYPE_CHECKING:
    import dagster as dg

PROCESS_TAG = "analytics/process"


class InstanceError(RuntimeError):
    """No instance can be found; the message says where it was looked for."""


def dagster_home() -> Path:
    """Folder with dagster.yaml: DAGSTER_HOME, or the project's own. Sets DAGSTER_HOME for what is started from here."""
    home = Path(os.environ.get("DAGSTER_HOME", "").strip() or PROJECT_ROOT)
    if not (home / "dagster.yaml").is_file():
        raise InstanceError(f"no dagster.yaml in {home}; set DAGSTER_HOME to a folder with the project's dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """The instance, with its runs of dead commands closed and its organization partitions in step with the table."""
    import dagster as dg

    dagster_home()
    with dg.DagsterInstance.get() as instance:
        close_orphans(instance)
        sync_organizations(instance)
        yield instance


def sync_organizations(instance: dg.DagsterInstance) -> list[str]:
    """Brings the organization partitions in step with the table; returns them in Dagster's order."""
    with connect() as connection:
        wanted = partition_keys(connection)
    present = instance.get_dynamic_partitions(ORGANIZATION)
    if missing := [key for key in wanted if key not in set(present)]:
        instance.add_dynamic_partitions(ORGANIZATION, missing)
    for key in set(present) - set(wanted):
        instance.delete_dynamic_partition(ORGANIZATION, key)
    return list(instance.get_dynamic_partitions(ORGANIZATION))


def process_tag() -> dict[str, str]:
    """Tag that says which process executes a run."""
    me = psutil.Process()
    return {PROCESS_TAG: f"{os.uname().nodename}:{me.pid}:{me.create_time():.0f}"}


def _process(pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        return process if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def is_run_worker(pid: int) -> bool:
    """Whether a process of this machine executes a run for a code server.

    By its command line, not by when it began: that is reckoned from the machine's clock, and where the clock was put right by
    an hour, every process that had said its number before looked like another one.
    """
    process = _process(pid)
    try:
        return process is not None and "--multiprocessing-fork" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def command_lives(run: dg.DagsterRun) -> bool | None:
    """Whether the command that executes a run lives; None where no command of this machine does (see process_tag)."""
    host, _, rest = run.tags.get(PROCESS_TAG, "").partition(":")
    if host != os.uname().nodename:
        return None
    pid, _, created = rest.partition(":")
    process = _process(int(pid))
    return process is not None and f"{process.create_time():.0f}" == created


def close_orphans(instance: dg.DagsterInstance) -> int:
    """Fails runs whose command was killed: they would look as if under way for ever. Returns how many."""
    import dagster as dg

    closed = 0
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED]
    for run in instance.get_runs(dg.RunsFilter(statuses=unfinished), limit=200):
        if command_lives(run) is False:
            pid = run.tags[PROCESS_TAG].split(":")[1]
            instance.report_run_failed(run, f"The command that executed this run (process {pid}) has ended. Run it again.")
            closed += 1
    return closed
