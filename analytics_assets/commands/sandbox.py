"""analytics sandbox: a local server that speaks the vendors' protocols over a generated world."""

import json
import signal
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Annotated

import typer

from analytics_assets.commands.console import err, fail, out
from analytics_assets.commands.exposure import warn_if_open
from analytics_assets.database import connect

DEFAULT_PORT = 8787


def sandbox_command(
    port: Annotated[int, typer.Option(help="Port; 0 for a free one")] = DEFAULT_PORT,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    organizations: Annotated[int, typer.Option(help="How many organisations, each with an account at all four vendors")] = 10,
    days: Annotated[int, typer.Option(help="How many days ago their shops opened")] = 14,
    orders_per_day: Annotated[int, typer.Option(help="Orders of a shop on an ordinary day")] = 20,
    seed: Annotated[int, typer.Option(help="Another seed is another world")] = 7,
    now: Annotated[
        str | None, typer.Option(help="Stand still at this moment, such as 2026-11-20T12:00; else time goes by")
    ] = None,
    faults: Annotated[str, typer.Option(help='JSON list of faults, such as [{"kind": "500", "share": 0.1}]')] = "[]",
    register: Annotated[
        bool, typer.Option("--register", help="Add its organisations and sources to the database; they are paused when it stops")
    ] = False,
    track: Annotated[
        str | None, typer.Option(help="With --register: send the visitors of its websites to the collector at this address")
    ] = None,
) -> None:
    """Serve the sandbox until Ctrl-C: Google Analytics, Meta Ads, WooCommerce and Shopify on one port of the loopback address."""
    from analytics_assets.sandbox.app import running, vendor_environment
    from analytics_assets.sandbox.connect import connect_world, pause_world
    from analytics_assets.sandbox.faults import Fault, Faults
    from analytics_assets.sandbox.state import Sandbox
    from analytics_assets.sandbox.track import tracked_world
    from analytics_assets.sandbox.world import Clock, make_world

    try:
        at = datetime.fromisoformat(now) if now else None
    except ValueError:
        fail(f"--now {now}: expected a moment such as 2026-11-20T12:00 (UTC)", 2)
    if at is not None and at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    try:
        wanted = [Fault.read(item) for item in json.loads(faults)]
    except (ValueError, TypeError) as error:
        fail(f"--faults: {error}", 2)
    if track is not None and not register:
        fail("--track goes with --register: who sends events needs an organisation's write key", 2)
    if not 1 <= organizations <= 100_000 or not 1 <= days <= 4000:
        fail("--organizations is 1 to 100000, --days 1 to 4000", 2)
    clock = Clock(at)
    world = make_world(organizations, (clock.now() - timedelta(days=days)).date(), seed=seed, orders_per_day=orders_per_day)
    state = Sandbox(world=world, clock=clock, faults=Faults())
    for fault in wanted:
        state.faults.add(fault)

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        with running(state, port, host) as base:
            warn_if_open("sandbox", host, int(base.rpartition(":")[2]))
            out.print(
                f"sandbox: {base}, {organizations} organisations from {world.first_day} on (Ctrl-C stops it)", soft_wrap=True
            )
            out.print("to use it from another terminal:")
            for name, value in vendor_environment(base).items():
                out.print(f"  export {name}={value}", soft_wrap=True)
            if register:
                with connect() as connection:
                    count = connect_world(connection, world, base)
                out.print(f"{count} sources of {organizations} organisations are in the database: `analytics sources list`")
            try:
                with tracked_world(track, world, err.print) if track else nullcontext():
                    while True:
                        time.sleep(0.5)
            finally:
                # A terminal's Ctrl-C reaches every process of `analytics ui`, which then passes it on: twice is once.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                if register:
                    with connect() as connection:
                        pause_world(connection, world)
    except KeyboardInterrupt:
        out.print("stopped" + ("; its sources are paused" if register else ""))
    except OSError as error:
        fail(f"port {port} of {host}: {error.strerror or error}; choose another with --port")
