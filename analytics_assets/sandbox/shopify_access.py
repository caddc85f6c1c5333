"""Who may ask a Shopify shop, and how much: access tokens, their renewal, and the bucket of points of each shop.

Tokens that the server issues say by themselves what they are (a number, when they end, a signature), so that a client
may go on with them when the server was started anew; which refresh tokens are used up is known only while it runs.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import SandboxOrganization

#: The app that all shops have installed, whose refresh tokens are in the field.
APP_CLIENT_ID = "sandbox-app"
APP_CLIENT_SECRET = "shpss_" + "5a" * 16
SCOPES = ("read_all_orders", "read_customers", "read_orders")
_REFRESHED, _GRANTED, _REFRESH = 3600, 86400, 90 * 86400
MAXIMUM, RESTORE = 2000, 100


def access_token(one: SandboxOrganization) -> str:
    """The token of a custom app: it does not end."""
    return f"shpat_{one.secret('shopify token')}"


def narrow_token(one: SandboxOrganization) -> str:
    """A token that may not read orders."""
    return f"shpat_{one.secret('shopify token without orders')}"


def refresh_token(one: SandboxOrganization) -> str:
    """The refresh token that the tenant's first connection gave."""
    return f"shprt_{one.secret('shopify refresh')}"


def client(one: SandboxOrganization) -> tuple[str, str]:
    """Client id and secret of the organisation's own app, for the client credentials grant."""
    return one.secret("shopify client id")[:32], f"shpss_{one.secret('shopify client secret')[:32]}"


@dataclass
class _Rotation:
    """Refresh tokens in force: those not used yet, and the one used last, which lives on until one of them is used."""

    unused: set[str]
    used: str | None = None


@dataclass
class _Bucket:
    level: float = MAXIMUM
    at: float = field(default_factory=time.monotonic)


class Access:
    """The tokens and buckets of a running server."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._rotations: dict[str, _Rotation] = {}
        self._buckets: dict[str, _Bucket] = {}

    def scopes(self, one: SandboxOrganization, token: str) -> tuple[str, ...] | None:
        """What a token may read; None where it is no good."""
        issued = 0
        if not hmac.compare_digest(token.encode(), access_token(one).encode()) and token != narrow_token(one):
            read = _read(one, token)
            if read is None or read[1] <= self._now():
                return None
            issued = read[0]
        if self._sandbox.faults.refused("shopify", one.slug, issued):
            return None
        return tuple(scope for scope in SCOPES if "orders" not in scope) if token == narrow_token(one) else SCOPES

    def grant(self, one: SandboxOrganization, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """The answer of /admin/oauth/access_token: HTTP status and body."""
        pair, own = (form.get("client_id", ""), form.get("client_secret", "")), client(one)
        if pair not in (own, (APP_CLIENT_ID, APP_CLIENT_SECRET)):
            return 401, _error("invalid_client", "Client authentication failed.")
        kind = form.get("grant_type")
        if kind == "client_credentials" and pair == own:
            token = self._issue(one, _GRANTED)
            return 200, {"access_token": token, "scope": ",".join(SCOPES), "expires_in": _GRANTED - 1}
        if kind != "refresh_token":
            return 400, _error("unsupported_grant_type", "This grant is not open to the app.")
        if self._sandbox.faults.strike("shopify_token", one.slug, ("revoked", "expired")):
            return 400, _error("invalid_grant", "Token has been expired or revoked.")
        successor = self._rotate(one, form.get("refresh_token", ""))
        if successor is None:
            return 400, _error("invalid_grant", "Token has been expired or revoked.")
        return 200, {
            "access_token": self._issue(one, _REFRESHED), "expires_in": _REFRESHED, "refresh_token": successor,
            "refresh_token_expires_in": _REFRESH, "scope": ",".join(SCOPES),
        }  # fmt: skip

    def _now(self) -> int:
        return int(self._sandbox.clock.now().timestamp())

    def _issue(self, one: SandboxOrganization, seconds: int) -> str:
        return _made(one, "shpat_", self._sandbox.faults.issued(), self._now() + seconds)

    def _rotate(self, one: SandboxOrganization, token: str) -> str | None:
        """The next refresh token; None where this one is used up, was never given or has ended."""
        read = (0, self._now() + 1) if token == refresh_token(one) else _read(one, token, "shprt_")
        if read is None or read[1] <= self._now():
            return None
        rotation = self._rotations.setdefault(one.slug, _Rotation({token}))
        if token != rotation.used and token not in rotation.unused:
            return None
        successor = _made(one, "shprt_", self._sandbox.faults.issued(), self._now() + _REFRESH)
        if token == rotation.used:
            rotation.unused.add(successor)
        else:
            rotation.used, rotation.unused = token, {successor}
        return successor

    # --- Points --------------------------------------------------------------------------------------------

    def available(self, one: SandboxOrganization) -> float:
        """Points in the shop's bucket, which fills with (real) time."""
        bucket, now = self._buckets.setdefault(one.slug, _Bucket()), time.monotonic()
        bucket.level, bucket.at = min(MAXIMUM, bucket.level + RESTORE * (now - bucket.at)), now
        return bucket.level

    def spend(self, one: SandboxOrganization, points: float) -> None:
        """Takes points out; negative ones are put back."""
        self._buckets[one.slug].level = min(MAXIMUM, self.available(one) - points)


def throttle_status(available: float) -> dict[str, float]:
    """As extensions.cost has it."""
    return {"maximumAvailable": float(MAXIMUM), "currentlyAvailable": int(max(available, 0)), "restoreRate": float(RESTORE)}


def _error(code: str, description: str) -> dict[str, str]:
    return {"error": code, "error_description": description}


def _signature(one: SandboxOrganization, text: str) -> str:
    return hmac.new(one.secret("shopify signing").encode(), text.encode(), hashlib.sha256).hexdigest()[:22]


def _made(one: SandboxOrganization, prefix: str, issued: int, ends: int) -> str:
    text = f"{prefix}{issued:08x}{ends:010x}"
    return text + _signature(one, text)


def _read(one: SandboxOrganization, token: str, prefix: str = "shpat_") -> tuple[int, int] | None:
    """When a token was issued, by the count of such events, and when it ends (seconds since 1970 UTC); None: not ours."""
    text, signature = token[:-22], token[-22:]
    if not token.startswith(prefix) or not hmac.compare_digest(_signature(one, text).encode(), signature.encode()):
        return None
    numbers = text.removeprefix(prefix)
    return int(numbers[:8], 16), int(numbers[8:], 16)
