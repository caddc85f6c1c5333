"""A PostgreSQL server of a rehearsal's or a test's own, which can be killed without mercy and comes up again by itself."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from analytics_assets_tests.conftest import MEMORY
from analytics_assets_tests.servers import embedded_binaries, system_binaries

_START_SECONDS = 120


def _binaries() -> Path:
    with suppress(ImportError):
        if (found := embedded_binaries()).exists():
            return found
    return system_binaries()[0]


def server_user() -> str | None:
    """Whom a server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "pgserver", "nobody") if name in names), "nobody")


class OwnServer:
    """Use through ``own_server``. url: of its only database, as its superuser."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder, self.data, self.log = folder, folder / "data", folder / "log"
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        # What survives a killed process lies in the kernel's memory: only a power cut would ask for fsync.
        given = {"port": str(port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
                 "timezone": "UTC", "max_locks_per_transaction": "256", **settings}  # fmt: skip
        self._settings = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Its data folder."""
        done = subprocess.run(
            [_binaries() / "initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"],
            user=server_user(), cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start(self) -> float:
        """Returns when it answers, after the recovery of what was killed; how many seconds that took."""
        started = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [_binaries() / "postgres", "-D", self.data, *self._settings],
                user=server_user(), cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        while True:
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
                return time.monotonic() - started
            except psycopg.OperationalError:
                assert time.monotonic() - started < _START_SECONDS, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL to the postmaster and all that it has started."""
        assert self._process is not None
        all_of_it = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        for one in all_of_it:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait(30)
        psutil.wait_procs(all_of_it[1:], 30)

    def stop(self) -> None:
        """Nothing in it is needed any more."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


@contextmanager
def own_server(parent: Path | None = None, **settings: str) -> Iterator[OwnServer]:
    """A running server until the block ends, in a folder of its own below ``parent``: in memory where there is one."""
    folder = Path(tempfile.mkdtemp(prefix="analytics-server-", dir=parent or MEMORY))
    server = OwnServer(folder, settings)
    try:
        if user := server_user():
            shutil.chown(folder, user)
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
