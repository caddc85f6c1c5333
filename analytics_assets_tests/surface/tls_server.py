"""A PostgreSQL of its own that lets in nobody without TLS, with a certificate of an authority made up for it."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from analytics_assets_tests.browser.dagster_ui import wait_for
from analytics_assets_tests.conftest import MEMORY

USER = "analytics"
_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql@*/bin")
_PEM = serialization.Encoding.PEM


def find_binaries() -> Path | None:
    """Folder of the newest server binaries of the system that are built with TLS."""
    on_path = shutil.which("postgres")
    folders = [Path(on_path).parent] if on_path else []
    folders += sorted((folder for place in _PLACES for folder in Path("/").glob(place[1:])), reverse=True)
    for folder in folders:
        server = folder / "postgres"
        # The library stands among what the loader wants, or within; the settings are listed by every build.
        if (folder / "initdb").exists() and server.exists() and b"SSL_CTX_new" in server.read_bytes():
            return folder
    return None


class Authority:
    """A certificate authority."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = (
            self._builder(self._name, self._key).add_extension(constraints, critical=True).sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(_PEM)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))

    def certify(self, host: str) -> tuple[bytes, bytes]:
        """(certificate, key) of a server with that name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        certificate = self._builder(subject, key).add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        plain = serialization.NoEncryption()
        return certificate.public_bytes(_PEM), key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, plain)


@dataclass(frozen=True)
class TLSServer:
    """The running server: its port, the superuser's password, and the files of the right and of another authority."""

    port: int
    password: str
    authority: Path
    other_authority: Path

    def url(self, mode: str, authority: Path | str | None = None, host: str = "localhost", database: str = "postgres") -> str:
        """DATABASE_URL with that sslmode and sslrootcert."""
        trust = f"&sslrootcert={quote(str(authority))}" if authority else ""
        return f"postgresql://{USER}:{self.password}@{host}:{self.port}/{database}?sslmode={mode}{trust}"


@contextmanager
def tls_server(binaries: Path) -> Iterator[TLSServer]:
    """A server of these binaries, with nothing in it, until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="analytics-tls-", dir=MEMORY))
    data = folder / "data"
    # PostgreSQL refuses to run as root.
    user = next(name for name in ("postgres", "nobody") if _exists(name)) if os.getuid() == 0 else None
    password = secrets.token_urlsafe(32)
    authority = Authority("made up for a test")
    certificate, key = authority.certify("localhost")
    (folder / "password").write_text(password)
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "other.pem").write_bytes(Authority("made up for nothing").pem)
    (folder / "server.crt").write_bytes(certificate)
    (folder / "server.key").write_bytes(key)
    (folder / "server.key").chmod(0o600)
    if user:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user)

    def run(*command: str) -> None:
        done = subprocess.run(command, user=user, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    run(
        str(binaries / "initdb"), "--pgdata", str(data), "--username", USER, "--pwfile", str(folder / "password"),
        "--auth", "scram-sha-256", "--no-sync", "--locale", "C", "--encoding", "UTF8",
    )  # fmt: skip
    (data / "pg_hba.conf").write_text("hostssl all all localhost scram-sha-256\n")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = {
        "port": port, "listen_addresses": "localhost", "unix_socket_directories": "", "ssl": "on", "fsync": "off",
        "ssl_cert_file": folder / "server.crt", "ssl_key_file": folder / "server.key",
    }  # fmt: skip
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, *settings], user=user, cwd=folder, stdout=stream, stderr=stream
        )
    server = TLSServer(port, password, folder / "ca.pem", folder / "other.pem")
    try:
        wait_for(f"answer of the server\n{log.read_text()}", partial(_answers, server, process), 30)
        yield server
    finally:
        process.terminate()  # no new sessions; those that are open may end
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


def _answers(server: TLSServer, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the server ended"
    try:
        psycopg.connect(server.url("verify-full", server.authority)).close()
    except psycopg.OperationalError:
        return False
    return True


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
