"""Calls of tenants' addresses: the connection goes to the address that was checked, and TLS asks for the name."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from analytics_assets.sources.failures import RetryLater, SourceFailure, WrongConfiguration
from analytics_assets.sources.http import Call, Http
from analytics_assets_tests.sources.loopback import Loopback, resolve_as

PUBLIC = "93.184.216.34"


@pytest.fixture
def detours(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where connections to an address go instead, by address; those that were opened are kept under "opened"."""
    real = asyncio.BaseEventLoop.create_connection
    ways: dict[str, str] = {"opened": ""}

    async def create(self: Any, factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        ways["opened"] += f"{host} "
        if ways.get(host) == "refused":
            raise ConnectionRefusedError
        return await real(self, factory, ways.get(host, host), port, **options)

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", create)
    return ways


def send(server: Loopback, url: str, allowed: tuple[str, ...] = (), times: int = 1, **more: Any) -> list[SourceFailure | int]:
    """Status or failure of so many public_only calls, each over a connection of its own."""

    async def main() -> list[SourceFailure | int]:
        found: list[SourceFailure | int] = []
        async with server:
            for _ in range(times):
                async with Http(allowed_hosts=[host.format(port=server.port) for host in allowed]) as http:
                    call = Call("GET", url.format(port=server.port), "a", "shop.example", public_only=True, attempts=1, **more)
                    try:
                        found.append((await http.send(call, lambda _: None)).status)
                    except SourceFailure as failure:
                        found.append(failure)
        return found

    return asyncio.run(main())


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch, detours: dict[str, str]) -> None:
    asked = resolve_as(monkeypatch, {"shop.example": [[PUBLIC], ["127.0.0.1"]]})
    detours[PUBLIC] = "127.0.0.1"
    server = Loopback()
    first, second = send(server, "http://shop.example:{port}/", times=2)
    assert first == 200
    # One look-up a connection: the second answer never came into play for the first, and is refused for the second.
    assert isinstance(second, WrongConfiguration)
    assert "leads to 127.0.0.1" in str(second)
    assert (asked, detours["opened"], len(server.asked)) == (["shop.example"] * 2, f"{PUBLIC} ", 1)


def test_further_addresses_are_tried(monkeypatch: pytest.MonkeyPatch, detours: dict[str, str]) -> None:
    resolve_as(monkeypatch, {"shop.example": [["2606:2800:220:1::1946", "1.1.1.1", PUBLIC]]})
    detours.update({"2606:2800:220:1::1946": "refused", "1.1.1.1": "refused", PUBLIC: "127.0.0.1"})
    assert send(Loopback(), "http://shop.example:{port}/") == [200]
    detours[PUBLIC] = "refused"
    (failure,) = send(Loopback(), "http://shop.example:{port}/")
    assert isinstance(failure, RetryLater)
    assert str(failure) == "shop.example: the connection is refused"


URLS = ("http://127.0.0.1:{port}/", "http://[::ffff:127.0.0.1]:{port}/", "http://localhost:{port}/", "http://127.1:{port}/")


@pytest.mark.parametrize("url", URLS)
def test_a_private_address_is_not_connected_to(url: str, monkeypatch: pytest.MonkeyPatch, detours: dict[str, str]) -> None:
    resolve_as(monkeypatch, {"localhost": [["127.0.0.1", "::1"]]})
    server = Loopback()
    (failure,) = send(server, url)
    assert isinstance(failure, WrongConfiguration)
    assert (detours["opened"], server.asked) == ("", [])


def test_an_allowed_host_is(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_as(monkeypatch, {"shop.internal": [["127.0.0.1"]]})
    assert send(Loopback(), "http://127.0.0.1:{port}/", ("127.0.0.1:{port}",)) == [200]
    assert send(Loopback(), "http://shop.internal:{port}/", ("Shop.Internal:{port}",)) == [200]


def test_a_connection_without_check_serves_no_call_that_asks_for_one() -> None:
    async def main() -> None:
        async with Loopback() as server, Http() as http:
            trusted = Call("GET", server.url, "a", "h")
            assert (await http.send(trusted, lambda _: None)).status == 200
            with pytest.raises(WrongConfiguration):
                await http.send(Call("GET", server.url, "a", "h", public_only=True), lambda _: None)
            assert len(server.asked) == 1

    asyncio.run(main())


def test_no_proxy_of_the_environment_comes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Loopback() as proxy, Loopback() as server:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://{proxy.host}")
            async with Http() as http:
                with pytest.raises(WrongConfiguration):
                    await http.send(Call("GET", server.url, "a", "h", public_only=True), lambda _: None)
            assert not proxy.asked

    asyncio.run(main())


# --- TLS -------------------------------------------------------------------------------------------------------------


def certify(folder: Path, name: str) -> Path:
    """A certificate that certifies itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    return file


@pytest.mark.parametrize("certified", ["shop.example", "other.example"])
def test_tls_asks_for_the_name_and_checks_it(
    certified: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    detours: dict[str, str],
) -> None:
    file = certify(tmp_path, certified)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    resolve_as(monkeypatch, {"shop.example": [[PUBLIC]]})
    detours[PUBLIC] = "127.0.0.1"
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = Loopback(context=context)
    (found,) = send(server, "https://shop.example:{port}/")
    assert names == ["shop.example"]
    if certified == "shop.example":
        assert (found, len(server.asked)) == (200, 1)
    else:
        assert isinstance(found, RetryLater)
        assert "shop.example: its certificate is not accepted (Hostname mismatch" in str(found)
        assert not server.asked
