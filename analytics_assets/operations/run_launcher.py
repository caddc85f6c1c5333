"""Runs launched as Dagster launches them by default, and noticed when their process is gone. For dagster.yaml.

Dagster's own launcher leaves that to the code server that started the process. Where that server was killed as well (the
machine went down, all of `analytics ui` was killed), or the database was away for the moment in which it looked (its watching
thread ends with the first error), a run stayed STARTED for ever: sensor source_freshness waits for the pass under way, so
nothing was ever synced again, and four such runs left no place for any other, until somebody cancelled them by hand.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus

from analytics_assets.instance import command_lives, is_run_worker

_ENDED = (
    "the process that executed it ({}) has ended without a word: it was killed, or its machine went down. What it had committed "
    "is kept; the rest is requested again by itself"
)


class AnalyticsRunLauncher(DefaultRunLauncher):
    """The default launcher, whose runs Dagster's run monitoring can look after: it fails those whose process is gone, and
    run retries launch them again. Processes are looked for on this machine, where the daemon and its code server are."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """RUNNING while the run's process lives, whoever started it; FAILED when it is gone; RUNNING where nothing says
        which one it is."""
        by_command = command_lives(run)
        if by_command is not None:
            return _result(by_command, "a command's")
        said = self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        for entry in reversed(said):
            event = entry.dagster_event
            metadata = event.engine_event_data.metadata if event is not None else {}
            # The first word of a run's process; those of steps name their steps too.
            if "pid" in metadata and "step_keys" not in metadata:
                pid = str(metadata["pid"].value)
                return _result(is_run_worker(int(pid)), pid)
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def _result(lives: bool, process: str) -> CheckRunHealthResult:
    return (
        CheckRunHealthResult(WorkerStatus.RUNNING) if lives else CheckRunHealthResult(WorkerStatus.FAILED, _ENDED.format(process))
    )
