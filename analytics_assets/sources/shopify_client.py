"""GraphQL calls to a Shopify shop: its token, its points, and its errors as failures.

Shopify says no with HTTP 200 and ``errors``. Data that come along with errors are partial, and never taken for good.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from analytics_assets.sources.connector import JSON, Source
from analytics_assets.sources.failures import (
    AskForLess,
    Bug,
    PermissionDenied,
    Reauthorize,
    RetryLater,
    SourceFailure,
    Throttled,
    WrongConfiguration,
)
from analytics_assets.sources.http import Call, Http, Response, error_text, redact, retry_after
from analytics_assets.sources.shopify_tokens import Tokens
from analytics_assets.sources.vendors import Vendors

# Longer than that is the business of whoever plans the syncs.
_LONGEST_PAUSE = 15.0


class _TokenRefused(Reauthorize):
    """HTTP 401: the token has ended, or is no longer good."""


@dataclass(frozen=True)
class GraphQL:
    """An answer without errors, and its data. api_version: the one that has answered."""

    response: Response
    data: JSON
    api_version: str
    flags: tuple[str, ...]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _cost(body: Any) -> tuple[float | None, float | None, float | None]:
    """Points that were asked for, that are there, and that come back in a second; None where the answer does not say."""
    extensions = body.get("extensions") if isinstance(body, dict) else None
    cost = extensions.get("cost") if isinstance(extensions, dict) else None
    status = cost.get("throttleStatus") if isinstance(cost, dict) else None
    if not isinstance(cost, dict) or not isinstance(status, dict):
        return None, None, None
    return _number(cost.get("requestedQueryCost")), _number(status.get("currentlyAvailable")), _number(status.get("restoreRate"))


def _wait(body: Any) -> float | None:
    """Seconds until the same query can be paid for; None where the answer does not say."""
    requested, available, rate = _cost(body)
    if requested is None or available is None or not rate:
        return None
    return max(0.0, (requested - available) / rate)


class ShopClient:
    """A shop's GraphQL Admin API."""

    def __init__(self, source: Source, http: Http, vendors: Vendors) -> None:
        self.http, self.vendors, self.shop = http, vendors, str(source.settings["shop"])
        self.account = f"shopify:{self.shop}"
        base = vendors.shopify_url.replace("{shop}", self.shop)
        self._url = f"{base}/admin/api/{vendors.shopify_version}/graphql.json"
        self._tokens = Tokens(source, http, vendors, self.shop, base)
        self._points: tuple[float, float, float] | None = None
        self._prices: dict[str, float] = {}

    def secrets(self) -> Mapping[str, Any]:
        """See Connector."""
        return {"used": self._tokens.used, "client": self.vendors.shopify_client_secret}

    async def ask(self, document: str, variables: Mapping[str, Any] | None = None) -> GraphQL:
        """Sends a query. Waits first until there are points for it, as far as is known. Raises SourceFailure."""
        pause = self._pause(document)
        if 0 < pause <= _LONGEST_PAUSE:
            await asyncio.sleep(pause)
        token = await self._tokens.current()
        try:
            return await self._ask(document, variables, token)
        except _TokenRefused:
            fresh = await self._tokens.replace(token)
        return await self._ask(document, variables, fresh)

    def _pause(self, document: str) -> float:
        """Seconds until a query can be paid for, by what it cost last and by the points that were left after the last one."""
        if self._points is None:
            return 0.0
        available, rate, at = self._points
        return at + (self._prices.get(document, 0.0) - available) / rate - time.monotonic()

    def _keep_books(self, document: str, body: Any) -> None:
        requested, available, rate = _cost(body)
        if requested is not None:
            self._prices[document] = requested
        self._points = None if available is None or not rate else (available, rate, time.monotonic())

    async def _ask(self, document: str, variables: Mapping[str, Any] | None, token: str) -> GraphQL:
        call = Call(
            "POST",
            self._url,
            self.account,
            urlsplit(self._url).netloc.lower(),
            headers={"x-shopify-access-token": token, "accept": "application/json"},
            json={"query": document, "variables": dict(variables or {})},
        )
        body: Any = None

        def classify(response: Response) -> SourceFailure | None:
            nonlocal body
            failure = self._refusal(response)
            if failure is None:
                try:
                    body = response.json()
                except RetryLater as broken:
                    return RetryLater(f"shop {self.shop}: {broken}", status=response.status)
                failure = self._error(response, body)
            return failure

        response = await self.http.send(call, classify)
        self._keep_books(document, body)
        asked = self.vendors.shopify_version
        got = response.headers.get("x-shopify-api-version") or asked
        # A version that has run out is answered by the oldest one that has not, without an error.
        return GraphQL(response, body["data"], got, () if got == asked else (f"api_version:{got}",))

    def _said(self, text: str) -> str:
        return redact(error_text(text.encode()), self._tokens.values())

    def _refusal(self, response: Response) -> SourceFailure | None:
        """By the HTTP status."""
        status, again = response.status, retry_after(response.headers, response.fetched_at)
        if status == 200:
            return None
        said = redact(error_text(response.body, 160), self._tokens.values())
        match status:
            case 401:
                return _TokenRefused(
                    f"shop {self.shop} does not accept the access token (HTTP 401); the shop's owner has to connect the source again",
                    status=status,
                )
            case 402 | 423:
                return self._paused(f"HTTP {status}", status)
            case 403:
                return PermissionDenied(
                    f"shop {self.shop} refuses (HTTP 403, {said}); see that the app is installed", status=status
                )
            case 404:
                return WrongConfiguration(f"shop: there is no shop {self.shop}, or no Admin API there (HTTP 404)", status=status)
            case 429 | 430:
                return Throttled(
                    f"shop {self.shop} takes no more requests for now (HTTP {status})", retry_at=again, status=status
                )
            case _ if 300 <= status < 400:
                there = urlsplit(response.headers.get("location", "")).hostname or "a page of its own"
                return WrongConfiguration(
                    f"shop: {self.shop} redirects (HTTP {status}) to {there}; give the shop's own myshopify.com name",
                    status=status,
                )
            case _ if status >= 500 or status == 408:
                return RetryLater(f"shop {self.shop} answers HTTP {status}", retry_at=again, status=status)
        return Bug(f"shop {self.shop} answers HTTP {status} ({said})", status=status)

    def _paused(self, code: str, status: int) -> PermissionDenied:
        return PermissionDenied(f"shop {self.shop} is paused ({code}): its owner has to pay or open it", status=status)

    def _error(self, response: Response, body: Any) -> SourceFailure | None:
        """By the errors within a body."""
        errors = body.get("errors") if isinstance(body, dict) else None
        if not errors:
            if isinstance(body, dict) and isinstance(body.get("data"), dict):
                return None
            return Bug(f"shop {self.shop} answers with neither data nor errors", status=response.status)
        listed = errors if isinstance(errors, Sequence) and not isinstance(errors, str) else [errors]
        codes = {code: said for one in listed for code, said in [self._read_error(one)]}
        text = "; ".join(f"{code}: {said}" if code else said for code, said in codes.items())[:400]
        if "THROTTLED" in codes:
            wait = _wait(body)
            again = None if wait is None else response.fetched_at + timedelta(seconds=wait)
            return Throttled(f"shop {self.shop} has no points left for the query (THROTTLED)", retry_at=again, status=200)
        if "MAX_COST_EXCEEDED" in codes:
            return AskForLess(f"shop {self.shop}: the query is too dear ({text})", status=200)
        if "ACCESS_DENIED" in codes:
            return PermissionDenied(
                f"shop {self.shop}: the app may not read this ({text}); give it the scopes read_orders, read_all_orders and "
                "read_customers, and install it again",
                status=200,
            )
        if "SHOP_INACTIVE" in codes:
            return self._paused("SHOP_INACTIVE", 200)
        if codes.keys() & {"INTERNAL_SERVER_ERROR", "TIMEOUT"}:
            return RetryLater(f"shop {self.shop}: {text}", status=200)
        return Bug(f"shop {self.shop} refuses the query: {text}", status=200)

    def _read_error(self, error: Any) -> tuple[str, str]:
        """Code ("" where there is none) and message."""
        if not isinstance(error, dict):
            return "", self._said(str(error))
        extensions = error.get("extensions")
        code = extensions.get("code") if isinstance(extensions, dict) else None
        return str(code or "")[:60], self._said(str(error.get("message", "")))
