"""The one HTTP layer of all vendors: bounded, patient for a few seconds, and silent about credentials.

httpx is used here, in ``addresses`` and in ``operations.notifier`` only. Whatever goes wrong becomes a failure of ``sources.failures`` whose message
names the host and what happened, never a query, a header or a body that was sent; nothing is chained to it, since
exceptions of httpx carry the whole request.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from types import TracebackType
from typing import Any
from zlib import crc32

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random

from analytics_assets.sources.addresses import public_transport, redirect_failure
from analytics_assets.sources.answers import error_text, read_body, redact, request_failure, retry_after, silence_loggers
from analytics_assets.sources.failures import RetryLater, SourceFailure, Throttled
from analytics_assets.sources.limits import Limits

__all__ = ["Call", "Http", "Response", "error_text", "redact", "retry_after"]

#: The whole of an exchange may take so many times the time for which a vendor may be silent.
_WHOLE = 10
# A connection that is kept costs its pool time at every call, with the square of their number: with 200 stores side by side
# a call took 5 ms of the processor, with 40 calls of vendors 2 ms. So there are several pools, and connections to stores,
# which are many, and asked page after page without a pause, are kept for a short time.
_KEEP_VENDOR, _KEEP_STORE = 15.0, 2.0
_POOLS = 8
_HEADERS = {
    "user-agent": f"analytics-assets/{version('analytics-assets')}",
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",
}
_PASSING = (RetryLater, Throttled)


def _not_json(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_not_json).decode


@dataclass(frozen=True)
class Response:
    """An answer, complete. Header names are lower-case; ``fetched_at`` (UTC) is when the body was complete."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    fetched_at: datetime

    def json(self) -> Any:
        """The body's value, read anew at each call. Raises RetryLater where it is no JSON, with what it is in its place."""
        problem = ""
        try:
            return _decode(self.body.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            problem = f"text that is not UTF-8 (byte {error.start:,} of {len(self.body):,})"
        except json.JSONDecodeError as error:
            problem = f"JSON that breaks off or is wrong ({error.msg} at character {error.pos:,} of {len(error.doc):,})"
        except (ValueError, RecursionError):
            problem = "JSON with a number or a depth that nobody reads"
        start = self.body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if not self.body.strip():
            problem = "an empty answer"
        elif start.startswith(b"<") or "html" in self.headers.get("content-type", ""):
            problem = "an HTML page" if b"html" in start or b"<!doctype" in start else "a page of markup"
        raise RetryLater(f"{problem} where JSON belongs (HTTP {self.status})", status=self.status)


@dataclass(frozen=True)
class Call:
    """A request.

    Attributes:
        url: without a query.
        account: limit key, e.g. "meta_ads:act_7001".
        host: limit key of the vendor or store, e.g. "graph.facebook.com" or the store's host:port; messages name it.
        params: the query.
        json: sent as JSON body.
        form: sent as a form, in place of JSON.
        public_only: the address is a tenant's: connections into private networks are refused.
        attempts: tries in all, for RetryLater and for Throttled that is soon over.
        max_bytes: most bytes of the answer's body, unpacked; of a longer one nothing is kept.
    """

    method: str
    url: str
    account: str
    host: str
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Any = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    public_only: bool = False
    attempts: int = 4
    max_bytes: int = 64 * 1024 * 1024


class Http:
    """Calls of many accounts at once. An async context manager; used in one event loop.

    Args:
        account_limit, host_limit: most calls at once of one account, of one host.
        patience: seconds that ``send`` waits in all between the tries of a call; what needs longer is the caller's.
        timeout: seconds without a sign of the other side; ten times as many are the most that an exchange takes in all.
        allowed_hosts: host:port that public_only calls may reach although they are not public.
        max_connections: most calls at once in all.
    """

    def __init__(
        self,
        *,
        account_limit: int = 4,
        host_limit: int = 40,
        patience: float = 5.0,
        timeout: float = 30.0,
        allowed_hosts: Collection[str] = (),
        max_connections: int = 200,
    ) -> None:
        self._limits = Limits(account_limit, host_limit, max_connections)
        self._patience, self._timeout, self._max_connections = patience, timeout, max_connections
        self._allowed = frozenset(host.lower() for host in allowed_hosts)
        self._backoff = wait_exponential(multiplier=0.2, max=max(patience, 0.2)) + wait_random(0, 0.2)
        self._vendors: list[httpx.AsyncClient] = []
        self._stores: list[httpx.AsyncClient] = []

    async def __aenter__(self) -> Http:
        silence_loggers()
        context = httpx.create_ssl_context()
        most = self._max_connections
        # Never one pool for both: a connection that was made without a check must not serve a call that asks for one.
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=_KEEP_VENDOR)
        self._vendors = [self._client(verify=context, limits=limits) for _ in range(_POOLS)]
        # A transport of its own: so no proxy named by the environment comes between, which would resolve by itself.
        self._stores = [
            self._client(transport=public_transport(context, self._allowed, most, _KEEP_STORE)) for _ in range(_POOLS)
        ]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        clients, self._vendors, self._stores = [*self._vendors, *self._stores], [], []
        for client in clients:
            await client.aclose()

    def _client(self, **options: Any) -> httpx.AsyncClient:
        # Cookies are not kept: a host's cookie of one tenant would be sent with the calls of the next.
        cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        return httpx.AsyncClient(headers=_HEADERS, cookies=cookies, timeout=self._timeout, follow_redirects=False, **options)

    async def send(self, call: Call, classify: Callable[[Response], SourceFailure | None]) -> Response:
        """The answer that ``classify`` finds good, after at most ``call.attempts`` tries.

        Raises the failure of the last try: at once where it is neither RetryLater nor Throttled, or where the wait would
        exceed the patience; retry_at then says when to come back. A redirect is WrongConfiguration, an answer that is too
        large AskForLess.
        """

        def is_last(state: RetryCallState) -> bool:
            return state.attempt_number >= call.attempts or state.idle_for + state.upcoming_sleep > self._patience

        retrying = AsyncRetrying(
            sleep=asyncio.sleep,
            retry=retry_if_exception_type(_PASSING),
            wait=self._wait,
            stop=is_last,
            reraise=True,
        )
        return await retrying(self._attempt, call, classify)

    def _wait(self, state: RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        if isinstance(failure, SourceFailure) and failure.retry_at is not None:
            # A little later than the vendor says, and not all at once.
            return max((failure.retry_at - datetime.now(UTC)).total_seconds(), 0.0) + random.uniform(0.01, 0.2)  # noqa: S311
        return self._backoff(state)

    async def _attempt(self, call: Call, classify: Callable[[Response], SourceFailure | None]) -> Response:
        async with self._limits.slot(call.account, call.host):
            answer = await self._exchange(call)
        if isinstance(answer, SourceFailure):
            raise answer
        failure = classify(answer)
        if failure is None:
            if not 300 <= answer.status < 400:
                return answer
            failure = await redirect_failure(
                call.host,
                call.url,
                answer.headers.get("location", ""),
                answer.status,
                is_store=call.public_only,
                allowed_hosts=self._allowed,
            )
        elif failure.retry_at is None and isinstance(failure, _PASSING):
            failure.retry_at = retry_after(answer.headers, answer.fetched_at)
        raise failure

    async def _exchange(self, call: Call) -> Response | SourceFailure:
        """One exchange. A failure is returned: raised from here, its traceback would hold the request."""
        clients = self._stores if call.public_only else self._vendors
        if not clients:
            raise RuntimeError("Http is used within `async with` only")
        # All calls of an account through one pool, which keeps its connection.
        client = clients[crc32(call.account.encode()) % len(clients)]
        whole = self._timeout * _WHOLE
        try:
            request = client.build_request(
                call.method,
                call.url,
                params=call.params or None,
                headers=call.headers or None,
                json=call.json,
                data=call.form,
            )
            async with asyncio.timeout(whole):
                answer = await client.send(request, stream=True)
                try:
                    body = await read_body(answer, call.host, call.max_bytes)
                finally:
                    await answer.aclose()
        except SourceFailure as failure:
            return failure.with_traceback(None)
        except TimeoutError:
            return RetryLater(f"{call.host}: no complete answer within {whole:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as error:
            return request_failure(call.host, error, self._timeout)
        return Response(answer.status_code, dict(answer.headers), body, datetime.now(UTC))
