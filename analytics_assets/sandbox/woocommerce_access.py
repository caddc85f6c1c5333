"""How WooCommerce knows who asks: Basic, key and secret in the query, or a query signed by OAuth 1.0a.

Refusals have WordPress's form and words: ``{"code", "message", "data": {"status"}}``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request

from analytics_assets.sandbox.world import SandboxOrganization

#: How far the clock of one who signs may be off, seconds.
_SKEW = 15 * 60
_DIGESTS = {"HMAC-SHA1": hashlib.sha1, "HMAC-SHA256": hashlib.sha256}


class Refused(Exception):
    """An answer in WordPress's form for errors."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **data: Any) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {"code": code, "message": message, "data": {"status": status, **data}}


def strips_authorization(one: SandboxOrganization) -> bool:
    """The web server before this store does not hand the Authorization header on: a common fault of hosts."""
    return one.number % 11 == 10


def keys(one: SandboxOrganization) -> tuple[str, str]:
    """Consumer key and consumer secret of an organisation's store."""
    return f"ck_{one.secret('woocommerce key')}", f"cs_{one.secret('woocommerce secret')}"


def check_access(request: Request, one: SandboxOrganization, params: Mapping[str, str]) -> None:
    """Raises Refused unless the request bears the store's keys. ``params``: the query, of repeated names the last one."""
    if "oauth_consumer_key" in params:
        return _check_signature(request, one, params)
    key, secret = params.get("consumer_key", ""), params.get("consumer_secret", "")
    if not key or not secret:
        key, secret = _basic(request, one)
    if not key or not secret:
        raise Refused(401, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources.")
    wanted_key, wanted_secret = keys(one)
    if not hmac.compare_digest(key.encode(), wanted_key.encode()):
        raise Refused(401, "woocommerce_rest_authentication_error", "Consumer key is invalid.")
    if not hmac.compare_digest(secret.encode(), wanted_secret.encode()):
        raise Refused(401, "woocommerce_rest_authentication_error", "Consumer secret is invalid.")


def _basic(request: Request, one: SandboxOrganization) -> tuple[str, str]:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if strips_authorization(one) or scheme.lower() != "basic":
        return "", ""
    try:
        key, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return key, secret


def _check_signature(request: Request, one: SandboxOrganization, params: Mapping[str, str]) -> None:
    error = "woocommerce_rest_authentication_error"
    missing = [
        f"oauth_{name}" for name in ("timestamp", "nonce", "signature", "signature_method") if not params.get(f"oauth_{name}")
    ]
    if missing:
        raise Refused(401, "woocommerce_rest_authentication_missing_parameter", f"Missing OAuth parameter {', '.join(missing)}")
    key, secret = keys(one)
    if params["oauth_consumer_key"] != key:
        raise Refused(401, error, "Consumer key is invalid.")
    digest = _DIGESTS.get(params["oauth_signature_method"])
    if digest is None:
        raise Refused(401, error, "Invalid signature - signature method is invalid.")
    address = str(request.url.replace(query=""))
    # Names and values are encoded once, and the pairs once more as one text.
    pairs = sorted((quote(name, "-_.~"), quote(value, "-_.~")) for name, value in params.items() if name != "oauth_signature")
    text = "%26".join(f"{quote(name, '-_.~')}%3D{quote(value, '-_.~')}" for name, value in pairs)
    signed = f"{request.method}&{quote(address, '-_.~')}&{text}"
    signature = base64.b64encode(hmac.new(f"{secret}&".encode(), signed.encode(), digest).digest()).decode()
    if not hmac.compare_digest(signature.encode(), params["oauth_signature"].encode()):
        raise Refused(401, error, "Invalid signature - provided signature does not match.")
    if not params["oauth_timestamp"].isdigit() or abs(time.time() - int(params["oauth_timestamp"])) > _SKEW:
        raise Refused(401, error, "Invalid timestamp.")
