"""The lists of a WooCommerce store, asked for page by page with the key of its source."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from analytics_assets.sources.connector import JSON, Source
from analytics_assets.sources.failures import AskForLess, RetryLater, SourceFailure, WindowMoved
from analytics_assets.sources.http import Call, Http, Response
from analytics_assets.sources.woocommerce_answers import UnseenKey, UnseenPermission, data_of, records_of, refusal_of

USUAL_SIZE = 100
_LEAST_SIZE = 10


@dataclass(frozen=True)
class Place:
    """Where in a window a page begins.

    Attributes:
        page, per_page: as the store counts.
        total: the list's X-WP-Total when its first page was read.
        number: of the page within the window.
        status: of order_ids: the list that is being read.
        by_order: of refunds: the store is an older one; orders after this id (0: all) are still to be asked.
    """

    page: int = 1
    per_page: int = USUAL_SIZE
    total: int | None = None
    number: int = 1
    status: str | None = None
    by_order: int | None = None

    def json(self) -> JSON:
        """The position of a page."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def smaller(self) -> Place | None:
        """The same place in pages of half the size; None where there is none."""
        size = self.per_page // 2
        offset = (self.page - 1) * self.per_page
        return None if size < _LEAST_SIZE or offset % size else replace(self, page=offset // size + 1, per_page=size)


@dataclass(frozen=True)
class Answer:
    """A page of a list: the answer, its JSON, its place, and the place of the next page in the list (None: the last one)."""

    response: Response
    value: Any
    place: Place
    after: Place | None

    @property
    def records(self) -> list[Mapping[str, Any]]:
        return records_of(self.value)


def _is_of_size(failure: SourceFailure) -> bool:
    """Whether fewer records may help: of an answer that is too large, a time-out, an error of the server; not where the store
    itself says when to come back."""
    is_server = failure.status is None or failure.status >= 500
    return isinstance(failure, AskForLess) or (is_server and failure.retry_at is None)


class Store:
    """A store. Its address is the tenant's own: it is called only where it lies in the public network."""

    def __init__(self, source: Source, http: Http, *, may_use_query: bool) -> None:
        """``may_use_query``: the tenant agrees that the key is sent within the address where a header does not come through."""
        self.http = http
        self.url = str(source.settings["store_url"]).rstrip("/")
        parts = urlsplit(self.url)
        self.host = parts.netloc.lower()
        self.name = self.host + parts.path
        self._key, self._secret = (str(source.secrets.get(name, "")) for name in ("consumer_key", "consumer_secret"))
        self._may_use_query, self._in_query = may_use_query, False

    async def get(self, path: str, params: Mapping[str, str]) -> tuple[Response, Any]:
        """The answer and its JSON. Where the host drops the Authorization header, and the tenant has agreed to it, the key
        is sent within the address from then on."""
        try:
            return await self.send(path, params)
        except (UnseenKey, UnseenPermission):
            if not self._may_use_query or self._in_query:
                raise
            self._in_query = True
        return await self.send(path, params)

    async def send(self, path: str, params: Mapping[str, str], *, with_key: bool = True) -> tuple[Response, Any]:
        """The answer of a path below /wp-json/, and its JSON."""
        url = f"{self.url}/wp-json/{path}"
        key, secret = self._key, self._secret
        headers, in_query = {"accept": "application/json"}, self._in_query
        if with_key and in_query:
            params = {**params, "consumer_key": key, "consumer_secret": secret}
        elif with_key:
            headers["authorization"] = "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()
        call = Call("GET", url, f"woocommerce:{self.name}", self.host, params=params, headers=headers, public_only=True)
        value: Any = None

        def classify(response: Response) -> SourceFailure | None:
            nonlocal value
            failure = refusal_of(self.name, url, response, in_query=in_query, secrets=(key, secret))
            if failure is None and response.status < 300:
                try:
                    value = data_of(self.name, response, (key, secret))
                except RetryLater as broken:
                    return broken
            return failure

        return await self.http.send(call, classify), value

    async def _page(self, path: str, params: Mapping[str, str], place: Place) -> tuple[Response, Any, Place]:
        """A page of a list; where the store fails at it, the first half of it, and so on."""
        while True:
            asked = {**params, "per_page": str(place.per_page), "page": str(place.page)}
            try:
                return *await self.get(path, asked), place
            except (RetryLater, AskForLess) as failure:
                smaller = place.smaller()
                if smaller is None or not _is_of_size(failure):
                    raise
                place = smaller

    async def pages(
        self, path: str, params: Mapping[str, str], place: Place, *, may_grow: bool = False, is_whole: bool = False
    ) -> AsyncIterator[Answer]:
        """The pages of a list from a place on. Raises WindowMoved.

        ``may_grow``: newest first, so what is added shifts records to later pages, and none is missed. ``is_whole``: a page
        that lacks a record is as bad as one that has shifted.
        """
        while True:
            response, value, place = await self._page(path, params, place)
            told = response.headers.get("x-wp-total", "")
            total = int(told) if told.isascii() and told.isdigit() else None
            if place.total is not None and total is not None and (total < place.total if may_grow else total != place.total):
                raise WindowMoved(f"{path} of {self.name}: {place.total} records at first, {total} now")
            count = len(value) if isinstance(value, list) else 0
            seen = (place.page - 1) * place.per_page
            is_last = count < place.per_page if total is None else seen + place.per_page >= total
            if is_whole and total is not None and count != max(0, min(place.per_page, total - seen)):
                raise WindowMoved(f"{path} of {self.name}: page {place.page} has {count} records of {total} in all")
            place = replace(place, total=total)
            after = None if is_last else replace(place, page=place.page + 1, number=place.number + 1)
            yield Answer(response, value, place, after)
            if after is None:
                return
            place = after
