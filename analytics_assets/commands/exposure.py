"""What other machines can reach: said by a command that listens beyond the loopback address."""

from rich.markup import escape

from analytics_assets.commands.console import err
from analytics_assets.listening import address, is_loopback

#: By what listens: what stands open, and how it is protected.
_OPEN = {
    "ui": (
        "Dagster's web interface has no sign-in: whoever reaches it sees all organisations and can launch, change and delete",
        "keep it on the loopback address behind a proxy that asks who comes, with TLS (docs/proxy.md); for a look only: --read-only",
    ),
    "viewer": (
        "Dagster's web interface has no sign-in: whoever reaches it sees all organisations, their figures and their runs",
        "keep it on the loopback address behind a proxy that asks who comes, with TLS (docs/proxy.md)",
    ),
    "collector": (
        "the collector speaks plain HTTP: write keys and events can be read and changed on their way, and /metrics is open to all",
        "keep it on the loopback address behind a proxy with TLS (docs/proxy.md), and name that in ANALYTICS_COLLECTOR_PROXIES",
    ),
    "sandbox": (
        "the sandbox gives its made-up secrets, its orders and its faults to whoever asks",
        "keep it on the loopback address, or in a network of its own; nothing real belongs there",
    ),
}


def warn_if_open(what: str, host: str, port: int) -> None:
    """Says on standard error what is open, and how to protect it, unless only this machine can reach it.

    ``what`` is ui, viewer, collector or sandbox.
    """
    if is_loopback(host):
        return
    stands_open, protection = _OPEN[what]
    where = escape(address(host, port))
    err.print(f"[yellow]warning:[/yellow] {where} can be reached from other machines: {stands_open}.", soft_wrap=True)
    err.print(f"To protect it: {protection}.", soft_wrap=True)
