"""`analytics ui` in a process group of its own, and what a person does on its pages."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

T = TypeVar("T")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_UNFINISHED = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
_AUTOMATION = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
    schedules { scheduleState { id } } sensors { sensorState { id } } } } } }"""
_STOP_SCHEDULE = """mutation ($id: String) { stopRunningSchedule(id: $id) {
    ... on ScheduleStateResult { scheduleState { status } } } }"""
_STOP_SENSOR = """mutation ($id: String) { stopSensor(id: $id) {
    ... on StopSensorMutationResult { instigationState { status } } } }"""
_RUNS = """query ($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results {
    runId status assetSelection { path } tags { key value } } } } }"""
_BACKFILL = "query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"


def find_chromium() -> str | None:
    """Path of the system's Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


def wait_for(what: str, look: Callable[[], T | None], seconds: float) -> T:
    """What ``look`` gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"no {what} after {seconds:.0f} s"
        time.sleep(0.3)
    return found


@dataclass(frozen=True)
class Run:
    """A run, as the server gives it."""

    id: str
    status: str
    assets: frozenset[str]
    tags: dict[str, str]


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class DagsterUI:
    """The server of `analytics ui`: web interface, daemon and code server."""

    def __init__(self, environment: dict[str, str], log: Path, *arguments: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.log = log
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "analytics_assets.cli", "ui", "--port", str(port), *arguments],
                env=os.environ | environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A shell starts what runs in the background with Ctrl-C ignored, and its children inherit that.
                preexec_fn=_interruptible,
            )

    @property
    def pid(self) -> int:
        """Process id of the command."""
        return self._process.pid

    def output(self) -> str:
        """What the command has written so far."""
        return self.log.read_text(errors="replace")

    def wait_until_up(self) -> None:
        """Returns when the command has named its address."""

        def look() -> bool:
            assert self._process.poll() is None, self.output()
            return self.url in self.output().partition("Dagster: ")[2]

        wait_for(f"address in the output of analytics ui:\n{self.output()}", look, 120)

    def stop(self) -> int | None:
        """Ctrl-C, and the end for whatever of the group stays. Returns the command's exit status, None if it stayed."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(40)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        status = self._process.poll()
        self._process.wait(10)
        return status

    def ask(self, question: str, prefix: str = "", **variables: Any) -> Any:
        """The data that GraphQL answers."""
        request = urllib.request.Request(
            f"{self.url}{prefix}/graphql",
            json.dumps({"query": question, "variables": variables}).encode(),
            {"content-type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as response:
            answer = json.load(response)
        assert not answer.get("errors"), answer["errors"]
        return answer["data"]

    def skip_greeting(self) -> None:
        """Says that the dialog of the first visit was seen."""
        self.ask("mutation { setNuxSeen }")

    def stop_automation(self) -> None:
        """Turns schedules and sensors off, and waits until no run of theirs is under way."""
        nodes = wait_for("code location", lambda: self.ask(_AUTOMATION)["repositoriesOrError"].get("nodes"), 60)
        for node in nodes:
            for schedule in node["schedules"]:
                answer = self.ask(_STOP_SCHEDULE, id=schedule["scheduleState"]["id"])
                assert answer["stopRunningSchedule"]["scheduleState"]["status"] == "STOPPED"
            for sensor in node["sensors"]:
                answer = self.ask(_STOP_SENSOR, id=sensor["sensorState"]["id"])
                assert answer["stopSensor"]["instigationState"]["status"] == "STOPPED"
        time.sleep(1)  # a tick under way when it was stopped
        wait_for("end of the runs under way", lambda: not self.runs(statuses=_UNFINISHED), 60)

    def runs(self, prefix: str = "", **runs_filter: Any) -> list[Run]:
        """Runs, by a RunsFilter of GraphQL."""
        return [
            Run(
                row["runId"],
                row["status"],
                frozenset(key["path"][-1] for key in row["assetSelection"] or []),
                {tag["key"]: tag["value"] for tag in row["tags"]},
            )
            for row in self.ask(_RUNS, prefix, filter=runs_filter)["runsOrError"]["results"]
        ]

    def backfill_status(self, backfill_id: str) -> str:
        """REQUESTED, COMPLETED_SUCCESS and so on."""
        return str(self.ask(_BACKFILL, id=backfill_id)["partitionBackfillOrError"]["status"])


_ATTEMPTS = 3


def open_launch_dialog(page: Page, assets: Sequence[str], hours: str, organization: str, chosen: str) -> None:
    """Ticks assets in the catalogue and asks to materialize them for hours (a key or a range) of an organisation.

    ``chosen`` is what the dialog must then say of the selection, such as ``1 partition``. A dialog that is opened while
    the web server still reads its first partitions may come without its second list, and stays so: a person closes it
    and opens it again, and so does this.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _fill_launch_dialog(page, assets, hours, organization)
            expect(page.get_by_text(chosen, exact=True)).to_be_visible()
            return
        except (PlaywrightTimeoutError, AssertionError):
            if attempt == _ATTEMPTS:
                raise


def _fill_launch_dialog(page: Page, assets: Sequence[str], hours: str, organization: str) -> None:
    page.goto("/assets")
    for name in assets:
        page.get_by_test_id(f"checkbox-{name}").locator("..").click()
    page.get_by_role("button", name=f"Materialize selected ({len(assets)})").click()
    # Asked as long as what lies upstream has no materialization.
    confirm, dialog = page.get_by_role("button", name="Confirm"), page.get_by_text("Launch runs to materialize")
    expect(confirm.or_(dialog).first).to_be_visible()
    if confirm.is_visible():
        confirm.click()
    hour = page.get_by_placeholder("ex: ")
    hour.fill(hours)
    hour.press("Enter")
    page.get_by_text("Select a partition or create one").click(timeout=15_000)
    page.get_by_role("menuitem").filter(has=page.get_by_title(organization, exact=True)).click(timeout=15_000)
    page.get_by_text("Partition selection", exact=True).click()


def launch(page: Page, button: str, address: str) -> str:
    """Presses the dialog's button and follows the message to what was launched; returns its id.

    ``address`` matches the page that is then open, and the id in its group.
    """
    page.get_by_role("button", name=button, exact=True).click()
    # While a backfill is under way, a note in the dialog leads to all of them: that is not the one.
    page.locator("a[href^='/runs/']").filter(has_text="View").click()
    expect(page).to_have_url(re.compile(address))
    found = re.search(address, page.url)
    assert found is not None
    return found[1]


def open_partition(page: Page, asset: str, hour: str, organization: str) -> None:
    """Chooses an hour, then an organisation, on the asset's Partitions tab."""
    page.goto(f"/assets/{asset}?view=partitions")
    page.get_by_placeholder("Filter by hour").fill(hour)
    page.get_by_title(hour, exact=True).click()
    page.get_by_title(organization, exact=True).click()
    expect(page.get_by_text(f"{hour}|{organization}", exact=True).first).to_be_visible()
