"""Access tokens for Google: of a service account's key, of a user's refresh token, or one that is given as it is.

Where tokens are asked for is the deployment's word, never the key file's: its token_uri would have an assertion sent
wherever the tenant likes. Minted tokens are kept in memory only, for as long as they are good, one a source.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import google.auth.jwt
from cryptography.exceptions import UnsupportedAlgorithm
from google.auth.exceptions import GoogleAuthError

from analytics_assets.sources.connector import Source
from analytics_assets.sources.failures import (
    Bug,
    PermissionDenied,
    Reauthorize,
    RetryLater,
    SourceFailure,
    Throttled,
    WrongConfiguration,
)
from analytics_assets.sources.google_keys import KeySigner
from analytics_assets.sources.http import Call, Http, Response, error_text, redact
from analytics_assets.sources.vendors import Vendors

SCOPE = "https://www.googleapis.com/auth/analytics.readonly"
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME = 3600
# So long before its end a token is no longer handed out: longer than a call waits for its turn.
_MARGIN = 60.0
_MOST_KEPT = 4096
_CONNECT_AGAIN = "connect the source again: `analytics sources authorize`"
_KEY_EXPECTED = "expected the JSON text of a service account's key file, with client_email and an RSA private_key"
_DEPLOYMENTS_CLIENT = "ANALYTICS_GOOGLE_CLIENT_ID and ANALYTICS_GOOGLE_CLIENT_SECRET of this deployment"


@dataclass(frozen=True)
class _Kept:
    """A token with the digest of the credentials that it comes from, and the monotonic second until which it is good."""

    credentials: bytes
    token: str = field(repr=False)
    until: float


class _Cache:
    """Tokens by source, of all engines of the process; the one that was used least recently goes first."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[tuple[UUID, UUID], _Kept] = OrderedDict()

    def get(self, key: tuple[UUID, UUID], credentials: bytes) -> str | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept.credentials != credentials or time.monotonic() >= kept.until:
                return None
            self._kept.move_to_end(key)
            return kept.token

    def put(self, key: tuple[UUID, UUID], kept: _Kept) -> None:
        with self._lock:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)


_cache = _Cache(_MOST_KEPT)


def _assertion(text: str, audience: str) -> str:
    """What a service account signs to get a token. Raises WrongConfiguration, which shows nothing of the key."""
    try:
        document = json.loads(text)
        email, key = document["client_email"], document["private_key"]
        if not isinstance(email, str) or not isinstance(key, str):
            raise TypeError
        key_id = document.get("private_key_id")
        signer = KeySigner(key, key_id if isinstance(key_id, str) else None)
        now = int(time.time())
        claims = {"iss": email, "scope": SCOPE, "aud": audience, "iat": now, "exp": now + _LIFETIME}
        signed: bytes = google.auth.jwt.encode(signer, claims)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UnsupportedAlgorithm, GoogleAuthError):
        raise WrongConfiguration(f"service_account: it is no key that signs; {_KEY_EXPECTED}") from None
    return signed.decode()


class Tokens:
    """The access token of a source: in force, or a new one."""

    def __init__(self, source: Source, http: Http, vendors: Vendors) -> None:
        self._http, self._url = http, vendors.google_token_url
        self._host = urlsplit(self._url).netloc
        self._secrets: Mapping[str, Any] = source.secrets
        self._vendors = vendors
        self._key = (source.organization_id, source.id)
        known = [self._url, vendors.google_client_id, vendors.google_client_secret, sorted(source.secrets.items())]
        #: Secret texts that went out or came in beside those of the source.
        self.used: list[str] = []
        self._credentials = sha256(json.dumps(known, default=str).encode()).digest()

    @property
    def _is_given(self) -> bool:
        """The token is one that is given as it is."""
        return not self._secrets.get("service_account") and not self._secrets.get("refresh_token")

    async def current(self) -> str:
        """A token that is good as far as is known. Raises SourceFailure."""
        if self._is_given:
            token = self._secrets.get("access_token")
            if not token:
                raise WrongConfiguration("the source has no service_account, refresh_token or access_token")
            return str(token)
        return self._note(_cache.get(self._key, self._credentials) or await self._mint())

    async def replace(self, refused: str) -> str:
        """A token in place of one that Google has refused. Raises Reauthorize where there is no way to another one."""
        if self._is_given:
            raise Reauthorize(f"Google does not accept the access_token (HTTP 401); {_CONNECT_AGAIN}", status=401)
        token = _cache.get(self._key, self._credentials)
        return self._note(token if token is not None and token != refused else await self._mint())

    def _note(self, text: str) -> str:
        if text not in self.used:
            self.used.append(text)
        return text

    def _form(self) -> dict[str, str]:
        if text := self._secrets.get("service_account"):
            return {"grant_type": _JWT_GRANT, "assertion": self._note(_assertion(str(text), self._url))}
        # A client is a pair: the source's own, or else the deployment's.
        own = self._secrets.get("client_id"), self._secrets.get("client_secret")
        client, secret = own if any(own) else (self._vendors.google_client_id, self._vendors.google_client_secret)
        if not client or not secret:
            raise WrongConfiguration(
                "refresh_token: the OAuth client to which it was issued is not known; give the source client_id and "
                f"client_secret, or set {_DEPLOYMENTS_CLIENT}"
            )
        return {
            "grant_type": "refresh_token",
            "refresh_token": str(self._secrets["refresh_token"]),
            "client_id": str(client),
            "client_secret": str(secret),
        }

    async def _mint(self) -> str:
        form = self._form()
        # A user's or service account's tokens are asked for one by one, apart from the property's calls.
        call = Call("POST", self._url, f"google_token:{self._key[1]}", self._host, form=form, attempts=3, max_bytes=1024 * 1024)
        answer: Any = None

        def classify(response: Response) -> SourceFailure | None:
            nonlocal answer
            if 300 <= response.status < 400:
                return None
            failure = _refusal(response, [value for name, value in form.items() if name != "grant_type"])
            if failure is None:
                try:
                    answer = response.json()
                except RetryLater as broken:
                    return broken
            return failure

        await self._http.send(call, classify)
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise Bug(f"{self._host}: its answer to a request for a token holds no access_token")
        seconds = answer.get("expires_in", _LIFETIME)
        try:
            lifetime = min(float(seconds), 86_400.0)
        except (TypeError, ValueError):
            lifetime = 0.0
        _cache.put(self._key, _Kept(self._credentials, token, time.monotonic() + lifetime - _MARGIN))
        return token


def _refusal(response: Response, secrets: list[str]) -> SourceFailure | None:
    """What an answer of the token endpoint says went wrong; None for one of success."""
    status = response.status
    if 200 <= status < 300:
        return None
    try:
        answer = json.loads(response.body)
    except (ValueError, RecursionError):
        answer = None
    code = str(answer.get("error", ""))[:60] if isinstance(answer, dict) else ""
    description = answer.get("error_description") if isinstance(answer, dict) else None
    words = f"{code}: {description}" if code and description else code
    said = redact(error_text(words.encode("utf-8", "replace") if words else response.body), secrets) or "without a word"
    if status == 429:
        return Throttled(f"Google gives out no more tokens for now ({said})", status=status)
    if status >= 500 or code in ("internal_failure", "temporarily_unavailable", "server_error"):
        return RetryLater(f"Google gives out no token: HTTP {status} ({said})", status=status)
    if code == "invalid_grant":
        # Too old or too new an assertion is refused in the same way.
        clock = "; see whether the clock of this machine is right" if "iat and exp" in said or "timeframe" in said else ""
        return Reauthorize(f"Google no longer accepts the credentials ({said}){clock}; {_CONNECT_AGAIN}", status=status)
    if code in ("invalid_client", "unauthorized_client", "invalid_scope", "invalid_request", "unsupported_grant_type"):
        return WrongConfiguration(
            f"Google does not accept the OAuth client ({said}); correct client_id and client_secret of the source, or "
            f"{_DEPLOYMENTS_CLIENT}",
            status=status,
        )
    if status == 403 or code in ("access_denied", "admin_policy_enforced", "org_internal"):
        return PermissionDenied(f"Google gives out no token ({said})", status=status)
    return Bug(f"Google refuses the request for a token: HTTP {status} ({said})", status=status)
