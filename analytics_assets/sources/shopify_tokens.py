"""Access tokens of a Shopify shop: one that never ends, one that is refreshed each hour, or one by client credentials.

A refresh token is used up when it is used: its successor is stored, while the source's row is locked, before anything is
asked with the new access token. So of two workers one refreshes, and the other takes what that one has stored.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from analytics_assets.sources.connector import JSON, Source
from analytics_assets.sources.failures import (
    Bug,
    PermissionDenied,
    Reauthorize,
    RetryLater,
    SourceFailure,
    Throttled,
    WrongConfiguration,
)
from analytics_assets.sources.http import Call, Http, Response, error_text, redact, retry_after
from analytics_assets.sources.vendors import Vendors

# So long before its end a token is renewed: longer than any call takes.
_MARGIN = timedelta(minutes=2)
# The source's row is locked for that long: whoever stores its pages, or prolongs the worker's lease, waits.
_LONGEST_CALL = 20.0
_CONNECT_AGAIN = "the shop's owner has to connect the source again"


def _instant(name: str, value: Any) -> datetime | None:
    """An instant as seconds since 1970 or as ISO 8601; None where there is none. Raises WrongConfiguration."""
    if value in (None, ""):
        return None
    try:
        try:
            return datetime.fromtimestamp(float(value), UTC)
        except ValueError:
            moment = datetime.fromisoformat(str(value))
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise WrongConfiguration(f"{name}: neither seconds since 1970 nor a time such as 2026-11-20T10:00:00Z") from None


def _is_good(secrets: Mapping[str, Any]) -> bool:
    """There is an access token, and it is not about to end."""
    ends = _instant("expires_at", secrets.get("expires_at"))
    return bool(secrets.get("access_token")) and (ends is None or ends - datetime.now(UTC) > _MARGIN)


class Tokens:
    """The access token of a source, in force or renewed."""

    def __init__(self, source: Source, http: Http, vendors: Vendors, shop: str, base_url: str) -> None:
        self._source, self._http, self._vendors, self._shop = source, http, vendors, shop
        self._url = f"{base_url}/admin/oauth/access_token"
        self._secrets: Mapping[str, Any] = dict(source.secrets)
        #: Secret texts that went out or came in beside those of the source.
        self.used: list[str] = []

    def values(self) -> list[str]:
        """Every secret text, to be kept out of messages."""
        return [value for value in self._secrets.values() if isinstance(value, str) and value]

    def _is_renewable(self, secrets: Mapping[str, Any]) -> bool:
        return bool(secrets.get("refresh_token") or (secrets.get("client_id") and secrets.get("client_secret")))

    async def current(self) -> str:
        """A token that is good as far as is known; renewed where it is about to end."""
        if _is_good(self._secrets) or (self._secrets.get("access_token") and not self._is_renewable(self._secrets)):
            return str(self._secrets["access_token"])
        return await self._renew(_is_good)

    async def replace(self, refused: str) -> str:
        """A token in place of one that the shop has refused. Raises Reauthorize where there is no way to another one."""
        if not self._is_renewable(self._secrets):
            raise Reauthorize(f"shop {self._shop} does not accept the access token (HTTP 401); {_CONNECT_AGAIN}", status=401)
        return await self._renew(lambda secrets: _is_good(secrets) and secrets["access_token"] != refused)

    async def _renew(self, is_good: Callable[[Mapping[str, Any]], bool]) -> str:
        async def change(secrets: Mapping[str, Any]) -> JSON | None:
            # Another worker may have been here in the meantime.
            return None if is_good(secrets) else {**secrets, **await self._request(secrets)}

        if not self._is_renewable(self._secrets):
            raise Reauthorize(f"shop {self._shop}: there is no access token; {_CONNECT_AGAIN}")
        if self._source.save_secrets is not None:
            self._secrets = dict(await self._source.save_secrets(change))
        elif self._secrets.get("refresh_token"):
            raise Bug(f"shop {self._shop}: the access token has ended, and there is no place to keep a new refresh token in")
        else:
            self._secrets = await change(self._secrets) or self._secrets
        self._note(*(self._secrets.get(name) for name in ("access_token", "refresh_token")))
        return str(self._secrets["access_token"])

    def _note(self, *texts: Any) -> None:
        self.used += [text for text in texts if isinstance(text, str) and text and text not in self.used]

    async def _request(self, secrets: Mapping[str, Any]) -> JSON:
        """New tokens from the shop, as secrets."""
        client_id = secrets.get("client_id") or self._vendors.shopify_client_id
        client_secret = secrets.get("client_secret") or self._vendors.shopify_client_secret
        if not client_id or not client_secret:
            raise WrongConfiguration(
                f"shop {self._shop}: its token has to be refreshed with the app's own credentials; set ANALYTICS_SHOPIFY_CLIENT_ID "
                "and ANALYTICS_SHOPIFY_CLIENT_SECRET, or give client_id and client_secret with the source"
            )
        form = {"client_id": str(client_id), "client_secret": str(client_secret)}
        if refresh_token := secrets.get("refresh_token"):
            ends = _instant("refresh_expires_at", secrets.get("refresh_expires_at"))
            if ends is not None and ends <= datetime.now(UTC):
                raise Reauthorize(f"shop {self._shop}: the refresh token ended at {ends:%Y-%m-%d %H:%M} UTC; {_CONNECT_AGAIN}")
            form |= {"grant_type": "refresh_token", "refresh_token": str(refresh_token)}
        else:
            form |= {"grant_type": "client_credentials"}
        hidden = [form["client_secret"], form.get("refresh_token", "")]
        call = Call("POST", self._url, f"shopify:{self._shop}", urlsplit(self._url).netloc.lower(), form=form)
        try:
            async with asyncio.timeout(_LONGEST_CALL):
                response = await self._http.send(
                    call,
                    lambda answer: self._failure(
                        answer, [text for text in hidden if text], is_own=bool(secrets.get("client_id"))
                    ),
                )
        except TimeoutError:
            raise RetryLater(f"shop {self._shop}: no token within {_LONGEST_CALL:g} s") from None
        return self._read(response)

    def _read(self, response: Response) -> JSON:
        answer = response.json()
        if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str) or not answer["access_token"]:
            raise Bug(f"shop {self._shop} answers a request for an access token without one")
        found: JSON = {"access_token": answer["access_token"], "expires_at": None}
        if isinstance(answer.get("refresh_token"), str) and answer["refresh_token"]:
            found["refresh_token"] = answer["refresh_token"]
        for name, seconds in (("expires_at", "expires_in"), ("refresh_expires_at", "refresh_token_expires_in")):
            if isinstance(answer.get(seconds), int | float):
                found[name] = (response.fetched_at + timedelta(seconds=answer[seconds])).isoformat(timespec="seconds")
        return {name: value for name, value in found.items() if value is not None}

    def _failure(self, response: Response, hidden: list[str], *, is_own: bool) -> SourceFailure | None:
        status, again = response.status, retry_after(response.headers, response.fetched_at)
        try:
            body = json.loads(response.body)
        except (ValueError, RecursionError):
            body = None
        error = str(body.get("error", ""))[:80] if isinstance(body, dict) else ""
        said = redact(error or error_text(response.body, 120), hidden)
        match status:
            case 200:
                return (
                    None if isinstance(body, dict) else RetryLater(f"shop {self._shop}: no JSON in place of a token", status=200)
                )
            case 429:
                return Throttled(f"shop {self._shop} gives no token for now ({said})", retry_at=again, status=status)
            case 402 | 423:
                return PermissionDenied(
                    f"shop {self._shop} is paused (HTTP {status}): its owner has to pay or open it", status=status
                )
            case _ if status >= 500:
                return RetryLater(
                    f"shop {self._shop} answers HTTP {status} to a request for a token", retry_at=again, status=status
                )
            case 400 | 401 | 403 if error == "invalid_client" and not is_own:
                return WrongConfiguration(
                    f"shop {self._shop} does not know the app's credentials (invalid_client): correct ANALYTICS_SHOPIFY_CLIENT_ID and "
                    "ANALYTICS_SHOPIFY_CLIENT_SECRET",
                    status=status,
                )
            case 400 | 401 | 403:
                return Reauthorize(f"shop {self._shop} gives no token (HTTP {status}, {said}); {_CONNECT_AGAIN}", status=status)
            case 404:
                return WrongConfiguration(f"shop: there is no shop {self._shop} (HTTP 404)", status=status)
            case _ if 300 <= status < 400:
                return WrongConfiguration(
                    f"shop: {self._shop} redirects (HTTP {status}); give the shop's own myshopify.com name", status=status
                )
        return Bug(f"shop {self._shop} answers HTTP {status} to a request for a token ({said})", status=status)
