"""Caddy with docs/proxy.md's file, as it stands there, and a client of it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import websockets.asyncio.client

from analytics_assets.settings import PROJECT_ROOT
from analytics_assets_tests.browser.dagster_ui import wait_for

CADDY = shutil.which("caddy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
Person = tuple[str, str]
OPERATOR: Person = ("operator", "open sesame for the operator")
VIEWER: Person = ("viewer", "open sesame for the viewer")


@dataclass(frozen=True)
class Proxy:
    """A proxy that answers."""

    site: str
    plain_port: int
    trust: ssl.SSLContext
    log: Path

    def call(self, method: str, path: str, person: Person | None = None, **options: Any) -> httpx.Response:
        """One call, over TLS that is verified."""
        with httpx.Client(verify=self.trust, trust_env=False, timeout=30) as client:
            return client.request(method, f"{self.site}{path}", auth=person, **options)

    def ask(self, prefix: str, person: Person | None, question: str, **variables: Any) -> Any:
        """The data that GraphQL answers."""
        answer = self.call("POST", f"{prefix}/graphql", person, json={"query": question, "variables": variables})
        answer.raise_for_status()
        return answer.json()["data"]

    def websocket(self, path: str, person: Person | None, origin: str, *messages: object) -> list[Any]:
        """Opens a websocket as a page of ``origin`` does, and sends messages, one after the other's answer: the answers.

        By the client of one thread: that of two reads and writes one TLS connection at once, which Python 3.11 does not
        guard, and one of some hundred handshakes never ended.
        """
        headers = {"Authorization": f"Basic {base64.b64encode(':'.join(person).encode()).decode()}"} if person else {}

        async def talk() -> list[Any]:
            async with websockets.asyncio.client.connect(
                f"{self.site.replace('https', 'wss')}{path}", ssl=self.trust, additional_headers=headers, proxy=None,
                origin=websockets.Origin(origin), subprotocols=[websockets.Subprotocol("graphql-ws")], open_timeout=30,
            ) as socket:  # fmt: skip
                answers = []
                for message in messages:
                    await socket.send(json.dumps(message))
                    answers.append(json.loads(await asyncio.wait_for(socket.recv(), 30)))
                return answers

        return asyncio.run(talk())


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _hash(password: str) -> str:
    command = [str(CADDY), "hash-password", "--bcrypt-cost", "8", "--plaintext", password]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def proxying(folder: Path, **upstreams: str) -> Iterator[Proxy]:
    """Caddy before these upstreams (UI, VIEW, COLLECTOR: host:port), which makes a certificate of its own for localhost."""
    config, log = folder / "Caddyfile", folder / "caddy.log"
    text = (PROJECT_ROOT / "docs" / "proxy.md").read_text()
    (file,) = re.findall(r"```caddyfile\n(.*?)```", text, re.DOTALL)
    config.write_text(file)
    port, plain_port = _free_ports(2)
    site = f"https://localhost:{port}"
    environment = {
        "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HTTP_PORT": str(plain_port),
        "SITE": site, "OPERATOR_HASH": _hash(OPERATOR[1]), "VIEWER_HASH": _hash(VIEWER[1]), **upstreams,
    }  # fmt: skip
    authority = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
    with log.open("wb") as stream:
        process = subprocess.Popen([str(CADDY), "run", "--config", str(config)], env=environment, stdout=stream, stderr=stream)
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            with socket.socket() as probe:
                return (
                    authority.exists() and "certificate obtained" in log.read_text() and not probe.connect_ex(("127.0.0.1", port))
                )

        wait_for(f"answer of the proxy: {log.read_text()}", answers, 30)
        yield Proxy(site, plain_port, ssl.create_default_context(cafile=str(authority)), log)
    finally:
        process.terminate()
        process.wait(20)
