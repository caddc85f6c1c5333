"""Runs whose process is gone are noticed by the daemon, also where the code server that started it is gone as well."""

import logging
import multiprocessing
import os
from typing import Any

import dagster as dg
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from analytics_assets.instance import PROCESS_TAG, process_tag
from analytics_assets_tests.graph.runs import organization_keys_of


@dg.job
def _nothing() -> None:
    """A job whose runs a test puts down as it likes."""


def _started(instance: dg.DagsterInstance, pid: int | None, **tags: str) -> dg.DagsterRun:
    run = instance.create_run_for_job(_nothing, tags=tags)
    if pid is not None:
        instance.report_engine_event(f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid))
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name), run.run_id)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None and found.status == dg.DagsterRunStatus.STARTED
    return found


class _Workspace:
    """What monitoring asks of the daemon's workspace, where no run is resumed."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def create_request_context(self) -> Any:
        return None


def test_a_run_is_failed_when_its_process_is_gone_and_only_then(instance: dg.DagsterInstance) -> None:
    """A run of a machine that went down stayed STARTED, and the sensor of sources waited for it for ever."""
    assert organization_keys_of(instance) == []
    context = multiprocessing.get_context("spawn")
    release = context.Event()
    worker = context.Process(target=release.wait, args=(60,))
    worker.start()
    gone = context.Process(target=os.getpid)
    gone.start()
    gone.join()
    assert worker.pid and gone.pid
    mine = process_tag()[PROCESS_TAG]
    try:
        alive = [
            _started(instance, worker.pid),
            _started(instance, None, **{PROCESS_TAG: mine}),
            # Of another machine, and one that says nothing: nobody here can tell.
            _started(instance, None, **{PROCESS_TAG: f"elsewhere:{gone.pid}:1"}),
            _started(instance, None),
        ]
        dead = [
            _started(instance, gone.pid),
            # This process is there, but executes no run for a code server.
            _started(instance, os.getpid()),
            _started(instance, None, **{PROCESS_TAG: mine.replace(f":{os.getpid()}:", f":{gone.pid}:")}),
        ]
        launcher = instance.run_launcher
        assert launcher.supports_check_run_worker_health
        assert {launcher.check_run_worker_health(run).status for run in alive} == {WorkerStatus.RUNNING}
        problems = list(execute_run_monitoring_iteration(_Workspace(instance), logging.getLogger("test")))  # type: ignore[arg-type]
        assert not any(problems)
        after = {run.run_id: instance.get_run_by_id(run.run_id) for run in (*alive, *dead)}
        statuses = {key: run.status for key, run in after.items() if run is not None}
        assert {statuses[run.run_id] for run in alive} == {dg.DagsterRunStatus.STARTED}
        assert {statuses[run.run_id] for run in dead} == {dg.DagsterRunStatus.FAILURE}
        failures = instance.all_logs(dead[0].run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        said = [entry.dagster_event.message or "" for entry in failures if entry.dagster_event is not None]
        assert len(said) == 1 and f"({gone.pid}) has ended without a word" in said[0] and "requested again by itself" in said[0]
    finally:
        release.set()
        worker.join(30)


def test_monitoring_is_on(instance: dg.DagsterInstance) -> None:
    """Else nobody would ask the launcher."""
    assert instance.run_monitoring_enabled and instance.run_monitoring_max_resume_run_attempts == 0
