"""analytics collector, analytics keys: tracked events over HTTP, and who may send them."""

import signal
import time
import urllib.error
import urllib.request
from types import FrameType
from typing import Annotated

import typer
from rich.markup import escape

from analytics_assets.commands.console import err, fail, out, print_table
from analytics_assets.commands.exposure import warn_if_open
from analytics_assets.database import DatabaseError, analytics_url, connect, conninfo
from analytics_assets.listening import address, listen, reached_at
from analytics_assets.organizations.registry import OrganizationError, get
from analytics_assets.settings import CollectorSettings, Settings

DEFAULT_PORT = 8788
_START_SECONDS = 30.0

keys_app = typer.Typer(no_args_is_help=True, help="Write keys of the collector of tracked events.")


def curl_line(base: str, key: str) -> str:
    """A first event from a shell."""
    event = '{"userId": "user-1", "event": "Signed Up", "properties": {"plan": "basic"}}'
    return f"curl -u {key}: {base}/v1/track -H 'Content-Type: application/json' -d '{event}'"


def _check_database() -> None:
    """Refuses a database that is not migrated. One that does not answer now may do so later: events are held and sent again."""
    try:
        with connect() as connection:
            ready = connection.execute("select to_regproc('private.store_events') is not null as ready").fetchone()
    except DatabaseError as error:
        if Settings.load().database_url is None:
            raise
        err.print(
            f"[yellow]warning:[/yellow] {error}. The collector starts, and tells its clients to come again.", soft_wrap=True
        )
        return
    if ready is None or not ready["ready"]:
        fail("the database does not know tracked events: run `analytics migrate` first")


def _wait_until_answering(base: str) -> str | None:
    """None where the collector takes events; else why not."""
    until = time.monotonic() + _START_SECONDS
    reason = "it did not answer yet"
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{base}/health", timeout=5):  # noqa: S310
                return None
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError as error:
            reason = str(error)
            time.sleep(0.1)
    return reason


def collector_command(
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for a free one")] = DEFAULT_PORT,
    workers: Annotated[int, typer.Option(help="Processes that share the work", min=1, max=64)] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing of where it listens, and how an event is sent")] = False,
) -> None:
    """Take in tracked events over HTTP (Segment's and RudderStack's protocol), until Ctrl-C."""
    from analytics_assets.events.supervisor import Supervisor, SupervisorError

    CollectorSettings.load()
    _check_database()
    try:
        listener = listen(host, port)
    except OSError as error:
        fail(f"port {port} of {host}: {error.strerror or error}; choose another with --port")
    port = listener.getsockname()[1]
    base = f"http://{address(host, port)}"
    warn_if_open("collector", host, port)

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Also where it was started in the background of a shell, which has SIGINT ignored.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        supervisor = Supervisor(listener, conninfo(analytics_url()), workers, lambda text: err.print(text, markup=False))
        with supervisor.running():
            problem = _wait_until_answering(f"http://{address(reached_at(host), port)}")
            if not quiet:
                out.print(f"collector: {base} (Ctrl-C stops it)", soft_wrap=True)
                out.print("a write key: analytics keys create --organization SLUG; with it a first event:", soft_wrap=True)
                out.print(f"  {curl_line(base, 'WRITE_KEY')}", soft_wrap=True, markup=False)
            if problem:
                err.print(f"[yellow]warning:[/yellow] it cannot store events now: {escape(problem)}", soft_wrap=True)
            supervisor.watch()
    except SupervisorError as error:
        fail(str(error))
    except KeyboardInterrupt:
        if not quiet:
            out.print("stopped")
    finally:
        listener.close()


@keys_app.command("create")
def create_command(
    organization: Annotated[str, typer.Option(help="Slug")],
    name: Annotated[str, typer.Option(help="What it is for")] = "default",
    url: Annotated[str, typer.Option(help="Where the collector is")] = f"http://127.0.0.1:{DEFAULT_PORT}",
) -> None:
    """Make a write key. It is printed once: only a hash of it is kept."""
    from analytics_assets.events import keys

    with connect() as connection:
        try:
            key = keys.create(connection, get(connection, organization).id, name)
        except (OrganizationError, keys.KeyRefused) as error:
            fail(str(error))
    out.print(key, soft_wrap=True, markup=False)
    err.print("It is not shown again. With the collector running (`analytics collector`), a first event:", soft_wrap=True)
    err.print(f"  {curl_line(url, key)}", soft_wrap=True, markup=False)


@keys_app.command("list")
def list_command(organization: Annotated[str | None, typer.Option(help="Slug; all by default")] = None) -> None:
    """List write keys: whose they are, how they begin, since when, and until when."""
    from analytics_assets.events import keys

    with connect() as connection:
        try:
            rows = keys.listed(connection, get(connection, organization).slug if organization else None)
        except OrganizationError as error:
            fail(str(error))
    if not rows:
        out.print("no write keys yet: `analytics keys create --organization SLUG`")
        return
    print_table(
        f"{len(rows)} write keys",
        ["organization", "id", "name", "begins with", "created (UTC)", "revoked (UTC)"],
        [
            (row["organization"], row["id"], row["name"], row["hint"], f"{row['created_at']:%Y-%m-%d %H:%M}",
             row["revoked_at"] and f"{row['revoked_at']:%Y-%m-%d %H:%M}")
            for row in rows
        ],
    )  # fmt: skip


@keys_app.command("revoke")
def revoke_command(
    key: Annotated[str, typer.Argument(help="Its id, its first characters or its name, as `analytics keys list` shows them")],
    organization: Annotated[str, typer.Option(help="Slug")],
) -> None:
    """Revoke a write key; collectors refuse it within two seconds."""
    from analytics_assets.events import keys

    with connect() as connection:
        try:
            row = keys.revoke(connection, get(connection, organization).id, key)
        except (OrganizationError, keys.KeyRefused) as error:
            fail(str(error))
    out.print(f"{row['name']} ({row['hint']}…) is revoked")
