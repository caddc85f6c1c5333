"""analytics ui: Dagster's web interface and daemon, the collector, and the sandbox where asked for, as processes."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import FrameType
from typing import Annotated

import typer

from analytics_assets.commands.console import fail, out
from analytics_assets.commands.exposure import warn_if_open
from analytics_assets.commands.run import migrate_database
from analytics_assets.listening import address, reached_at
from analytics_assets.settings import PROJECT_ROOT, home_folder

_WORKSPACE = str(PROJECT_ROOT / "workspace.yaml")
_QUIET = ["--log-level", "warning", "--code-server-log-level", "error"]
_LOOPBACK = "127.0.0.1"


def _analytics(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "analytics_assets.cli", *map(str, arguments)]


def _webserver_command(host: str, port: int, path_prefix: str, read_only: bool) -> list[str]:
    command = [sys.executable, "-m", "dagster_webserver", "-h", host, "-p", str(port), "-w", _WORKSPACE, *_QUIET]
    return command + (["--path-prefix", path_prefix] if path_prefix else []) + (["--read-only"] if read_only else [])


def _sandbox_command(port: int, organizations: int, collector: str) -> list[str]:
    """The same world as the demo's, where there was one."""
    anchor = home_folder() / "demo" / "sandbox_first_day"
    first = date.fromisoformat(anchor.read_text().strip()) if anchor.exists() else datetime.now(UTC).date() - timedelta(days=14)
    days = max(1, (datetime.now(UTC).date() - first).days)
    options = {"--port": port, "--organizations": organizations, "--days": days, "--track": collector}
    return _analytics("sandbox", "--register", *(part for option in options.items() for part in option))


def _free_port(host: str, wanted: int | None, candidates: Sequence[int] = range(3000, 3020)) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in [wanted] if wanted else candidates:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    fail(f"port {wanted or f'{candidates[0]} to {candidates[-1]}'} of {host} is taken; choose another with --port")


def ui_command(
    port: Annotated[int | None, typer.Option(help="3000, or the next free one, by default")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on")] = _LOOPBACK,
    sandbox: Annotated[
        int,
        typer.Option(help="Also run the sandbox with so many organisations, synced and tracked live while the interface runs"),
    ] = 0,
    path_prefix: Annotated[str, typer.Option(help="Where a proxy has the interface, such as /dagster (docs/proxy.md)")] = "",
    read_only: Annotated[
        bool,
        typer.Option(
            "--read-only", help="Pages on which nothing can be changed, and nothing else: beside another `analytics ui`"
        ),
    ] = False,
) -> None:
    """Run Dagster's web interface and daemon on the analytics database, and the collector of tracked events, until Ctrl-C."""
    from analytics_assets.instance import dagster_home, open_instance

    if not re.fullmatch(r"(/[A-Za-z0-9_.~-]+)*", path_prefix):
        fail(f"--path-prefix {path_prefix}: expected a path such as /dagster, without a slash at its end", 2)
    if read_only and sandbox:
        fail("--sandbox goes with the interface that runs the daemon, not with --read-only", 2)
    if not read_only:
        migrate_database(quiet=True)
    dagster_home()
    if not read_only:
        with open_instance():
            pass
    port = _free_port(host, port)
    commands = {"web server": _webserver_command(host, port, path_prefix, read_only)}
    answering = {"web server": (reached_at(host), port)}
    environment = dict(os.environ)
    if not read_only:
        commands["daemon"] = [sys.executable, "-m", "dagster._daemon", "run", "-w", _WORKSPACE, *_QUIET]
        collector_port = _free_port(_LOOPBACK, None, range(8788, 8808))
        commands["collector"] = _analytics("collector", "--host", _LOOPBACK, "--port", collector_port, "--quiet")
        answering["collector"] = (_LOOPBACK, collector_port)
        if sandbox:
            from analytics_assets.sandbox.app import vendor_environment

            sandbox_port = _free_port(_LOOPBACK, None, [one for one in range(8787, 8807) if one != collector_port])
            environment |= vendor_environment(f"http://{_LOOPBACK}:{sandbox_port}")
            collector = f"http://{_LOOPBACK}:{collector_port}"
            commands = {"sandbox": _sandbox_command(sandbox_port, sandbox, collector), **commands}
    warn_if_open("viewer" if read_only else "ui", host, port)
    _run(commands, environment, answering, path_prefix, read_only)


def _run(
    commands: Mapping[str, list[str]],
    environment: Mapping[str, str],
    answering: Mapping[str, tuple[str, int]],
    path_prefix: str,
    read_only: bool,
) -> None:
    """Starts the processes, says where they answer, and ends them all when one ends or Ctrl-C comes."""
    processes = {name: subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment) for name, command in commands.items()}

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        for name, (host, port) in answering.items():
            _wait_until_answering(host, port, processes[name], name)
        if "collector" in answering:
            base = f"http://{address(*answering['collector'])}"
            out.print(f"Collector of tracked events: {base} (`analytics keys create` makes a write key)")
        mode = ", read-only" if read_only else ""
        out.print(f"Dagster: http://{address(*answering['web server'])}{path_prefix}{mode} (Ctrl-C stops it)", soft_wrap=True)
        while all(process.poll() is None for process in processes.values()):
            time.sleep(0.5)
        ended = next(name for name, process in processes.items() if process.poll() is not None)
        fail(f"the {ended} ended by itself with status {processes[ended].returncode}; its messages stand above")
    except KeyboardInterrupt:
        out.print("stopping")
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_answering(host: str, port: int, process: "subprocess.Popen[bytes]", name: str) -> None:
    for _ in range(600):
        if process.poll() is not None:
            fail(f"the {name} ended before it answered; its messages stand above")
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    fail(f"the {name} does not answer on {address(host, port)} after two minutes")
