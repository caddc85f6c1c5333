"""`analytics collector` and `analytics keys` as an operator meets them, and what README says of them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from analytics_assets.cli import app
from analytics_assets.settings import PROJECT_ROOT, CollectorSettings, SettingError
from analytics_assets_tests.events.serving import Caller, CollectorProcess, Connection, make_key
from analytics_assets_tests.events.test_collector import PAGE, events
from analytics_assets_tests.test_cli import misused, refused


def said(*arguments: str) -> Result:
    """What a command says, in this process: without a start for each."""
    return CliRunner().invoke(app, arguments)


def test_keys(connection: Connection) -> None:
    """Shown once, listed without its secret part, revoked by name, id or beginning."""
    make_key(connection)
    created = said("keys", "create", "--organization", "acme", "--name", "[b]web[/b]")
    assert created.exit_code == 0, created.output
    key = created.stdout.strip()
    assert re.fullmatch(r"wk_[A-Za-z0-9_-]{32}", key)
    assert f"curl -u {key}:" in created.stderr
    assert connection.execute(
        "select count(*) as n from public.event_keys where key_sha256 = sha256(%s)", (key.encode(),)
    ).fetchone()
    rows = connection.execute("select row_to_json(k)::text as text from public.event_keys k").fetchall()
    assert not any(key in row["text"] for row in rows)
    listed = said("keys", "list", "--organization", "acme").stdout
    assert "2 write keys" in listed and "[b]web[/b]" in listed and key[:8] in listed and key not in listed
    assert "is revoked" in said("keys", "revoke", key[:8], "--organization", "acme").stdout
    assert "is revoked" in said("keys", "revoke", "test", "--organization", "acme").stdout
    for words, *arguments in (
        ("no key, or more than one", "revoke", "test", "--organization", "acme"),
        ("no organisation 'nobody'", "create", "--organization", "nobody"),
        ("expected 1 to 100 characters", "create", "--organization", "acme", "--name", " "),
    ):
        answer = said("keys", *arguments)
        assert answer.exit_code == 1 and answer.stderr.startswith("error: ") and words in answer.stderr
    connection.rollback()
    assert connection.execute("select count(*) as n from public.event_keys where revoked_at is null").fetchone() == {"n": 0}
    assert connection.execute("select count(*) as n from public.data_sources where source_type = 'events'").fetchone() == {"n": 1}


def test_it_says_what_to_do(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is taken, settings that cannot be, a database that is not migrated."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = said("collector", "--port", str(taken.getsockname()[1]))
    assert answer.exit_code == 1 and "choose another with --port" in answer.stderr
    misused("workers", "collector", "--workers", "0")
    for variable, value, words in (
        ("ANALYTICS_COLLECTOR_ADDRESSES", "some", "expected truncate, none or full"),
        ("ANALYTICS_COLLECTOR_ORIGINS", "shop.example", "is no origin such as"),
        ("ANALYTICS_COLLECTOR_PROXIES", "10.0.0.300", "is no network such as"),
    ):
        with monkeypatch.context() as patched:
            patched.setenv(variable, value)
            with pytest.raises(SettingError, match=f"{variable}.*{words}"):
                CollectorSettings.load()
    connection.execute("alter function private.store_events() rename to store_events_gone")
    connection.commit()
    refused("run `analytics migrate` first", "collector", "--port", "0")


def test_workers(connection: Connection) -> None:
    """Two share the socket; one that is killed is replaced; figures are those of all; Ctrl-C answers what is under way."""
    key = make_key(connection)
    process = CollectorProcess("--workers", "2")
    said = process.start()
    try:
        assert process.base in said and "analytics keys create" in said and "curl -u WRITE_KEY:" in said
        assert len(process.workers()) == 2
        process.kill_worker()
        until = time.monotonic() + 20
        while len(process.workers()) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        for number in range(12):
            with httpx.Client(timeout=30) as client:
                assert Caller(process.base, key, client).send(dict(PAGE, messageId=f"m-{number}")).status_code == 200
        stored = 'analytics_collector_events_total{outcome="stored"} 12.0'
        assert stored in httpx.get(f"{process.base}/metrics").text
        assert len(events(connection)) == 12
        workers = process.workers()
    finally:
        assert process.stop() == 0
    assert not any(worker.is_running() for worker in workers)


def test_workers_end_with_their_parent(connection: Connection) -> None:
    """Also where it is killed: nobody goes on listening."""
    process = CollectorProcess()
    process.start()
    (worker,) = process.workers()
    os.kill(worker.ppid(), signal.SIGKILL)
    worker.wait(15)
    process.start()
    assert process.stop() == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
def test_readme(connection: Connection, database: str, tmp_path: Path) -> None:
    """The commands of README's section, as they stand there (but for the port), store the event."""
    section = (PROJECT_ROOT / "README.md").read_text().partition("## Tracked events: the collector")[2]
    script = section.partition("```sh\n")[2].partition("```")[0]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    script = script.replace("8788", port).replace("analytics collector &", f"analytics collector --port {port} > collector.log &")
    command = tmp_path / "analytics"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m analytics_assets.cli "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT_ROOT)}
    answer = subprocess.run(
        ["sh", "-ec", f"{script}\nkill $!\nwait $! || true"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert answer.returncode == 0 and answer.stdout.endswith('{"success":true}'), answer.stdout + answer.stderr
    assert events(connection, "event_name, event_value::text, currency, user_id") == [
        ("Order Completed", "19.99", "GBP", "user-1")
    ]
