"""Who may ask the sandbox's Google Analytics: service accounts, refresh tokens, and the access tokens made of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, cached_property
from hashlib import sha256
from typing import Any

import google.auth.exceptions
import google.auth.jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import SandboxOrganization

VENDOR = "google_analytics"
#: The deployment's OAuth client, for refresh tokens.
CLIENT_ID, CLIENT_SECRET = "sandbox.apps.example", "sandbox-client"
LIFETIME = timedelta(seconds=3600)
_DOMAIN = "@sandbox.example"
_SCOPES = {"https://www.googleapis.com/auth/analytics.readonly", "https://www.googleapis.com/auth/analytics"}
# google-auth names this audience whatever token_uri it calls.
_AUDIENCE = "https://oauth2.googleapis.com/token"
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

# The two primes of the one key of all sandbox service accounts. It opens nothing but generated numbers, and has to be
# the same after a restart: keys that were given out are kept in databases.
_P = int(
    "d2d22e049efcb8ac4a6f2beaeb821b5929afbb54a6db59baad4a38bc01b7dc3adc3b09a1fc5896738d67ec335ee665224235"
    "7bf057fa451a68fbd85327d6d12bbdbc012296f963bf434995541538c5420ab4c830079bda7b6b794d8a5151c5f8622e2078"
    "dfb535b7f19175a4c33eb0693294dad07d28912300bfbf7ebd439b3d",
    16,
)
_Q = int(
    "cdfe6a0fdfdc0a5d19db79f3c7cfe9eeb69b7a083fbbab17c2550b2747a6fa36f8c9eef526427de1d6f7802d6e1fef831ee8"
    "f9ee156d1728ea7077d3bef50b876b494b4b3b33b2d9c36436a65802f545c190357bc1392160265983d8f8243e1edb99c773"
    "91831c5c8d6cce3b34bb49cf40cf1abc1ffeba7a10ec10b6b0607bf7",
    16,
)


@cache
def _key() -> rsa.RSAPrivateKey:
    e, d = 65537, pow(65537, -1, (_P - 1) * (_Q - 1))
    numbers = rsa.RSAPrivateNumbers(
        _P, _Q, d, rsa.rsa_crt_dmp1(d, _P), rsa.rsa_crt_dmq1(d, _Q), rsa.rsa_crt_iqmp(_P, _Q), rsa.RSAPublicNumbers(e, _P * _Q)
    )
    return numbers.private_key()


@cache
def _private_pem() -> str:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return _key().private_bytes(*form).decode()


@cache
def _public_pem() -> bytes:
    return _key().public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def service_account(one: SandboxOrganization, base: str) -> str:
    """The key file of an organisation's service account (JSON), for the server at ``base``."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": one.slug,
            "private_key_id": "sandbox",
            "private_key": _private_pem(),
            "client_email": one.slug + _DOMAIN,
            "client_id": one.property_id,
            "token_uri": f"{base}/google/token",
        }
    )


def refresh_token(one: SandboxOrganization) -> str:
    """The refresh token of a user who may read the organisation's property."""
    return "1//" + one.secret("google refresh")


def static_token(one: SandboxOrganization) -> str:
    """An access token that never runs out, unlike Google's."""
    return "ya29." + one.secret("google token")


class Denied(Exception):
    """An OAuth error of the token endpoint."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.status, self.body = status, {"error": error, "error_description": description}


@dataclass(frozen=True, slots=True)
class Token:
    """Whose access token it is, when it was issued (None: it is as old as the world), and the number of its issue."""

    slug: str
    at: datetime | None
    number: int


class Tokens:
    """The access tokens of a running server. A restart forgets those that were issued, and clients sign in again."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._issued: dict[str, Token] = {}

    @cached_property
    def _static(self) -> dict[str, Token]:
        return {static_token(one): Token(one.slug, None, 0) for one in self._sandbox.world.organizations}

    @cached_property
    def _refresh(self) -> dict[str, str]:
        return {refresh_token(one): one.slug for one in self._sandbox.world.organizations}

    def find(self, text: str) -> Token | None:
        """The token, where it is one and has not run out by the sandbox's clock."""
        token = self._issued.get(text) or self._static.get(text)
        if token is None or (token.at is not None and self._sandbox.clock.now() >= token.at + LIFETIME):
            return None
        return token

    def grant(self, form: dict[str, str], url: str) -> dict[str, Any]:
        """The answer of the token endpoint. Raises Denied."""
        kind = form.get("grant_type")
        if kind == _JWT_GRANT:
            slug = self._of_assertion(form.get("assertion", ""), url)
        elif kind == "refresh_token":
            slug = self._of_refresh_token(form)
        else:
            raise Denied("unsupported_grant_type", f"Invalid grant_type: {kind}")
        if self._sandbox.faults.strike("google_token", slug, ("revoked", "expired")):
            raise Denied("invalid_grant", "Token has been expired or revoked.")
        number, now = self._sandbox.faults.issued(), self._sandbox.clock.now()
        text = "ya29.c." + sha256(f"{slug}:{number}:{now}".encode()).hexdigest()
        if len(self._issued) > 100_000:
            self._issued.pop(next(iter(self._issued)))
        self._issued[text] = Token(slug, now, number)
        return {"access_token": text, "expires_in": 3599, "token_type": "Bearer"}

    def _of_assertion(self, assertion: str, url: str) -> str:
        try:
            # Against the machine's time, by which the client signed, whatever the sandbox's clock says.
            claims = google.auth.jwt.decode(  # type: ignore[no-untyped-call]
                assertion, certs=_public_pem(), audience=[url, _AUDIENCE], clock_skew_in_seconds=60
            )
        except (google.auth.exceptions.GoogleAuthError, ValueError):
            raise Denied("invalid_grant", "Invalid JWT Signature.") from None
        slug = str(claims.get("iss", "")).removesuffix(_DOMAIN)
        if slug not in self._sandbox.world.by_slug:
            raise Denied("invalid_grant", "Invalid grant: account not found")
        if not _SCOPES & set(str(claims.get("scope", "")).split()):
            raise Denied("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        return slug

    def _of_refresh_token(self, form: dict[str, str]) -> str:
        # Whose client it is does not matter here: a tenant may have one of its own.
        if not form.get("client_id") or not form.get("client_secret"):
            raise Denied("invalid_client", "The OAuth client was not found.", 401)
        slug = self._refresh.get(form.get("refresh_token", ""))
        if slug is None:
            raise Denied("invalid_grant", "Token has been expired or revoked.")
        return slug
