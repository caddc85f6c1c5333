"""A store's address as the one URL that a tenant chooses: by `analytics sources add` and by the syncs, nothing private is called.

Behind every refused address a trap listens, which has seen nobody in the end.
"""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import uvicorn
from psycopg.types.json import Jsonb
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets.sources import engine
from analytics_assets.sources.engine import Engine
from analytics_assets.sources.secrets import KEYS_VARIABLE, SecretBox
from analytics_assets_tests.sources.stores import NEW, WOO, add_acme, add_store, row_of
from analytics_assets_tests.sources.test_public_only import certify
from analytics_assets_tests.sources.vendor import Asked, Vendor, serving
from analytics_assets_tests.sources.woo_store import Store
from analytics_assets_tests.woocommerce import Connection

#: An address of the public internet, which in these tests leads to a store on another loopback address.
PUBLIC, STANDS_FOR = "93.184.216.34", "127.0.0.2"
NAME = "shop.example"
# {port}: the trap's.
PRIVATE = (
    "127.0.0.1:{port}", "169.254.169.254", "169.254.169.254:{port}/latest/meta-data", "10.0.0.1", "192.168.0.1", "172.16.0.1",
    "100.64.0.1", "0.0.0.0:{port}", "127.0.0.1.:{port}", "[::1]:{port}", "[::]:{port}", "[::ffff:127.0.0.1]:{port}", "[fd00::1]",
    "[64:ff9b::7f00:1]", "[fe80::1%25lo]:{port}", "localhost:{port}", "LOCALHOST:{port}", "shop.localhost:{port}", "router",
)  # fmt: skip
ODD = ("2130706433:{port}", "0x7f000001:{port}", "017700000001:{port}", "0177.0.0.1:{port}", "0x7f.0.0.1:{port}", "127.1:{port}", "0:{port}", "127.0.0.01:{port}")  # fmt: skip


@dataclass
class Net:
    """The network as a test has it.

    Attributes:
        names: what look-ups of a name are answered, one after the other, the last one ever after.
        asked, opened: names that were looked up, addresses to which connections were begun.
        trap: port of 127.0.0.1 and ::1 on which nobody may call.
    """

    trap: int
    listeners: list[socket.socket]
    names: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)

    def visitors(self) -> int:
        """Connections that the traps have seen."""
        count = 0
        for listener in self.listeners:
            with suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()
                    count += 1
        return count


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Net]:
    listeners = [socket.create_server(("127.0.0.1", 0))]
    port = listeners[0].getsockname()[1]
    with suppress(OSError):
        listeners.append(socket.create_server(("::1", port), family=socket.AF_INET6))
    for listener in listeners:
        listener.setblocking(False)
    net = Net(port, listeners)
    look_up, connect = asyncio.BaseEventLoop.getaddrinfo, asyncio.BaseEventLoop.create_connection

    async def getaddrinfo(self: Any, host: Any, port: Any, **options: Any) -> Any:
        if host not in net.names:
            return await look_up(self, host, port, **options)
        net.asked.append(host)
        answers = net.names[host]
        found = answers[min(net.asked.count(host), len(answers)) - 1]
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    async def create_connection(self: Any, factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        net.opened.append(host)
        return await connect(self, factory, STANDS_FOR if host == PUBLIC else host, port, **options)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", create_connection)
    yield net
    assert net.visitors() == 0
    for listener in listeners:
        listener.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    """A plain store on the loopback address, as a sandbox is."""
    with serving() as vendor:
        yield vendor


@pytest.fixture
def acme(connection: Connection, net: Net, server: Vendor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Connection:
    """The organisation; the deployment allows the plain store, and nothing else."""
    for name, value in {KEYS_VARIABLE: NEW, "ANALYTICS_STORE_HOSTS": server.host, "KEY": WOO["consumer_key"]}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SECRET", WOO["consumer_secret"])
    monkeypatch.setattr(engine, "_LOOK_AGAIN_SECONDS", 0.02)
    server.reset()
    server.answer = Store()
    return add_acme(connection)


@contextmanager
def public_store(port: int, certificate: Path) -> Iterator[Vendor]:
    """A store with TLS where PUBLIC leads to, which closes each connection after its answer."""
    vendor = Vendor(f"{STANDS_FOR}:{port}")
    store = Store()

    def answer(asked: Asked) -> Response:
        found = store(asked)
        found.headers["connection"] = "close"
        return found

    vendor.answer = answer
    listener = socket.create_server((STANDS_FOR, port))
    whole = Starlette(routes=[Route("/{path:path}", vendor._endpoint)])
    config = uvicorn.Config(whole, log_level="error", lifespan="off", ssl_certfile=certificate, timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([listener],), daemon=True)
    thread.start()
    while not running.started and thread.is_alive():
        time.sleep(0.005)
    try:
        yield vendor
    finally:
        running.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
def public(net: Net, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Vendor]:
    certificate = certify(tmp_path, NAME)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with public_store(net.trap, certificate) as vendor:
        yield vendor


def told(code: int, command: str, *arguments: str) -> str:
    """`analytics sources COMMAND` ends with the code; what it says. No secret is in it."""
    result = CliRunner().invoke(app, ["sources", command, "--organization", "acme", *arguments])
    assert result.exit_code == code, f"{result.output} {result.exception!r}"
    assert not any(secret in result.output for secret in WOO.values())
    return result.output


def add(code: int, url: str, *more: str) -> str:
    secrets = ("--secret-env", "consumer_key=KEY", "--secret-env", "consumer_secret=SECRET")
    return told(code, "add", "--type", "woocommerce", "--set", f"store_url={url}", *secrets, *more)


def stored(connection: Connection) -> list[dict[str, Any]]:
    connection.rollback()
    return connection.execute("select * from public.data_sources").fetchall()


def place(connection: Connection, number: int, url: str) -> UUID:
    """A store whose address came into the database by another way than `add`."""
    identifier = add_store(connection, number, box=SecretBox([NEW]))
    row = row_of(connection, identifier)
    config = Jsonb({**row["connection_config"], "store_url": url})
    connection.execute("update public.data_sources set connection_config = %s where id = %s", (config, identifier))
    connection.commit()
    return identifier


def sync() -> dict[str, str]:
    """One pass; messages of failures by source (of twenty at most), all of them of the configuration."""
    report = asyncio.run(Engine(http_options={"patience": 0.0, "timeout": 5.0}).run())
    assert min(20, report.outcomes["configuration"]) == len(report.failures), report.failures
    return {name: message for _, name, _, message in report.failures}


def due(connection: Connection) -> None:
    connection.execute("update public.data_sources set next_sync_at = now(), failure_kind = null, failures = 0")
    connection.execute("delete from public.sync_streams")
    connection.commit()


def redirect(status: int, location: str, _: Asked) -> Response:
    return Response("", status, {"location": location})


def test_what_cannot_be_added(acme: Connection, net: Net) -> None:
    """Private addresses, names of the machine, spellings that others read otherwise; with a test and without."""
    for host in (*PRIVATE, *ODD):
        for scheme in ("https", "http"):
            url = f"{scheme}://{host.format(port=net.trap)}"
            for more in ((), ("--no-test",)):
                said = add(1, url, *more)
                assert said.startswith("error: store_url '"), said
                assert "expected the store's public address, such as https://shop.example" in said
    assert stored(acme) == [] and net.opened == []


def test_what_is_stored_and_private_is_not_called(acme: Connection, net: Net) -> None:
    """Whichever way it came into the row: the sync fails, and waits for an operator."""
    net.names = {name: [["127.0.0.1", "::1"]] for name in ("localhost", "shop.localhost", "router")}
    urls = [f"https://{host.format(port=net.trap)}" for host in (*PRIVATE, *ODD)]
    sources = {place(acme, number, url): url for number, url in enumerate(urls, 1)}
    assert len(sync()) == 20 and net.opened == []
    rows = {row["id"]: row for row in stored(acme)}
    for identifier, url in sources.items():
        row = rows[identifier]
        assert (row["failure_kind"], row["sync_status"]) == ("configuration", "failed"), (url, row["last_error"])
        assert re.search("store_url|its address cannot be read; expected https", row["last_error"]), (url, row["last_error"])


def test_a_name_that_leads_to_a_private_address(acme: Connection, net: Net) -> None:
    """One private address among several is enough."""
    url = f"https://{NAME}:{net.trap}"
    for private in ("127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"):
        net.names[NAME] = [[private], [PUBLIC, private], [private, PUBLIC]]
        net.asked.clear()
        for _ in net.names[NAME]:
            said = add(1, url)
            assert f"configuration: store_url: {NAME} leads to {private}, which is no address of the public internet" in said
            assert f"the operator adds {NAME}:{net.trap} to ANALYTICS_STORE_HOSTS" in said and "Nothing was stored" in said
    assert stored(acme) == [] and net.opened == []
    # Stored without a test, it is found out by the first sync.
    add(0, url, "--no-test", "--name", "shop")
    assert "is no address of the public internet, and not allowed" in sync()["shop"]
    assert stored(acme)[0]["failure_kind"] == "configuration" and net.opened == []


def test_a_name_that_leads_elsewhere_the_second_time(acme: Connection, net: Net, public: Vendor) -> None:
    """Each connection goes to an address of the one answer that was looked at; where that is private, to none."""
    url = f"https://{NAME}:{net.trap}"
    net.names[NAME] = [[PUBLIC], ["127.0.0.1"]]
    said = add(1, url)
    assert f"store_url: {NAME} leads to 127.0.0.1, which is no address of the public internet" in said
    assert (net.opened, net.asked, len(public.asked), stored(acme)) == ([PUBLIC], [NAME] * 2, 1, [])

    # The same between two calls of a sync, and between two syncs.
    net.names[NAME] = [[PUBLIC]]
    assert f"{NAME}:{net.trap} added to acme" in add(0, url, "--name", f"{NAME}:{net.trap}")
    assert sync() == {} and stored(acme)[0]["sync_status"] == "success"
    assert net.opened == [PUBLIC] * len(public.asked) and net.asked.count(NAME) == len(net.opened) + 1
    for first in ([[PUBLIC]] * 3, [[PUBLIC]] * 6, []):
        due(acme)
        net.asked.clear()
        net.names[NAME] = [*first, ["127.0.0.1"]]
        before = len(net.opened)
        assert f"{NAME} leads to 127.0.0.1" in sync()[f"{NAME}:{net.trap}"]
        assert net.opened[before:] == [PUBLIC] * len(first)
        (row,) = stored(acme)
        assert row["failure_kind"] == "configuration" and "ANALYTICS_STORE_HOSTS" in row["last_error"]
    # It waits for an operator, and goes on when the name is what it was.
    assert sync() == {} and stored(acme)[0]["failure_kind"] == "configuration"
    net.names[NAME] = [[PUBLIC]]
    assert "it had been stopped and goes on now" in told(0, "test")
    assert sync() == {} and stored(acme)[0]["sync_status"] == "success"


def test_a_store_that_redirects_to_a_private_address(acme: Connection, net: Net, server: Vendor) -> None:
    """The allowed store itself is called, nothing that it names is."""
    targets = {
        "http://169.254.169.254/": "http://169.254.169.254, which is not allowed: it is no address of the public internet",
        f"http://127.0.0.1:{net.trap}/wp-json/": f"http://127.0.0.1:{net.trap}, which is not allowed",
        f"https://localhost:{net.trap}/": f"https://localhost:{net.trap}, which is not allowed",
        f"https://[::1]:{net.trap}/": f"https://[::1]:{net.trap}, which is not allowed",
        f"http://2130706433:{net.trap}/": "an address that cannot be read",
        "file:///etc/passwd": "an address that cannot be read",
        f"//{NAME}/": f"http://{NAME}, which is not allowed",
    }
    net.names = {NAME: [["10.0.0.1"]], "localhost": [["127.0.0.1"]]}
    url, store = f"{server.url}/store", Store()
    identifier = place(acme, 1, url)
    for status in (302, 307):
        for location, words in targets.items():
            server.answer = partial(redirect, status, location)
            said = add(1, f"{url}-2") if status == 302 else None
            due(acme)
            for message in filter(None, (said, *sync().values())):
                assert f"store_url: the store {server.host} redirects (HTTP {status}) to {words}" in message, message
            assert row_of(acme, identifier)["failure_kind"] == "configuration"
            acme.commit()
    assert set(net.opened) == {"127.0.0.1"} and {asked.headers["host"] for asked in server.asked} == {server.host}
    # The same store, when it answers itself.
    server.answer = lambda asked: store(replace(asked, path=asked.path.removeprefix("/store")))
    due(acme)
    assert sync() == {} and row_of(acme, identifier)["sync_status"] == "success"


def test_the_sandbox_is_allowed_by_the_deployment(
    acme: Connection, net: Net, server: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By host and port, as long as the setting says so; the tenant has no part in it."""
    for odd in (server.url.replace("127.0.0.1", "2130706433"), server.url.replace("127.0.0.1", "localhost")):
        assert add(1, odd).startswith("error: store_url '")
    assert "sandbox added to acme" in add(0, server.url, "--name", "sandbox")
    assert sync() == {} and stored(acme)[0]["sync_status"] == "success"
    calls = len(server.asked)
    monkeypatch.setenv("ANALYTICS_STORE_HOSTS", f"127.0.0.1:{net.trap}")
    due(acme)
    assert f"the operator adds {server.host} to ANALYTICS_STORE_HOSTS" in sync()["sandbox"]
    assert "configuration: " in told(1, "test") and "store_url" in told(1, "test", "--name", "sandbox")
    assert len(server.asked) == calls


def test_the_setting_names_ports(acme: Connection, net: Net, server: Vendor) -> None:
    """Another port of the same host is another one."""
    assert "plain http shows the key" in add(1, f"http://127.0.0.1:{net.trap}")
    assert "127.0.0.1 is no address of the public internet" in add(1, f"https://127.0.0.1:{net.trap}")
    assert stored(acme) == []
