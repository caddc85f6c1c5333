"""A PostgreSQL of its own that lets in nobody without TLS, with a certificate of an authority made up for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from analytics_assets_tests.servers import run_server, system_binaries

USER = "analytics"
_PEM = serialization.Encoding.PEM


def find_binaries() -> Path | None:
    """Folder of the newest server binaries of the system that are built with TLS."""
    # The library stands among what the loader wants, or within; the settings are listed by every build.
    return next((folder for folder in system_binaries() if b"SSL_CTX_new" in (folder / "postgres").read_bytes()), None)


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
    authority = Authority("made up for a test")
    certificate, key = authority.certify("localhost")
    files = {
        "ca.pem": authority.pem, "other.pem": Authority("made up for nothing").pem,
        "server.crt": certificate, "server.key": key,
    }  # fmt: skip
    options = {"ssl": "on", "ssl_cert_file": "../server.crt", "ssl_key_file": "../server.key"}
    with run_server(binaries, USER, "hostssl all all localhost scram-sha-256\n", options, files) as server:
        yield TLSServer(server.port, server.password, server.folder / "ca.pem", server.folder / "other.pem")
