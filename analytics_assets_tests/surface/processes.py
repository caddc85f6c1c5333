"""What runs: which addresses a process and all that it has started listen on, and what their command lines say."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Listener:
    """A socket that waits for connections: an address and a port, or a file."""

    process: str
    address: str
    port: int

    @property
    def is_for_this_machine(self) -> bool:
        """Nobody reaches it from elsewhere; and a file no other user of the machine."""
        if self.port:
            return ip_address(self.address).is_loopback
        path = Path(self.address)
        return not path.exists() or not path.stat().st_mode & stat.S_IWOTH


def tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants."""
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def listeners(pid: int) -> list[Listener]:
    """Of a process and its descendants."""
    found = []
    for process in tree(pid):
        with suppress(psutil.NoSuchProcess):
            name = " ".join(process.cmdline()[1:6])
            for one in process.net_connections("inet"):
                # A UDP socket has no state; one that is bound takes from everybody.
                if one.status == psutil.CONN_LISTEN or (one.status == psutil.CONN_NONE and one.laddr and not one.raddr):
                    found.append(Listener(name, one.laddr.ip, one.laddr.port))
            for one in process.net_connections("unix"):
                if one.laddr:
                    found.append(Listener(name, str(one.laddr), 0))
    return found


def command_lines(pid: int) -> str:
    """What every user of the machine can read of a process and its descendants."""
    found = []
    for process in tree(pid):
        with suppress(psutil.NoSuchProcess):
            found.append(" ".join(process.cmdline()))
    return "\n".join(found)


@contextmanager
def started(*arguments: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`analytics ARGUMENTS` within the block; what it says goes to the log."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "analytics_assets.cli", *arguments],
            env=os.environ | environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
