"""What a WooCommerce store's answers mean: its errors as failures, its clock as a time zone."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from analytics_assets.sources.failures import (
    Bug,
    PermissionDenied,
    Reauthorize,
    RetryLater,
    SourceFailure,
    Throttled,
    WrongConfiguration,
)
from analytics_assets.sources.http import Response, error_text, redact, retry_after

# A store set to an offset in place of a city has no zone name. These zones have the offset and never change their clock.
_PART_HOURS = {
    5.5: "Asia/Kolkata",
    5.75: "Asia/Kathmandu",
    4.5: "Asia/Kabul",
    3.5: "Asia/Tehran",
    6.5: "Asia/Yangon",
    9.5: "Australia/Darwin",
    8.75: "Australia/Eucla",
    -9.5: "Pacific/Marquesas",
}
_KEY_ADVICE = "make a key with the permission Read under WooCommerce > Settings > Advanced > REST API"
_QUERY_ADVICE = (
    "if the key is good, the store's host drops the Authorization header: the setting query_auth (--set query_auth=true) sends "
    "the key within the address instead, at the risk that whoever reads the store's access logs reads the key"
)


class NoRoute(WrongConfiguration):
    """The store does not know the path: an older version, or no WooCommerce."""


class Missing(SourceFailure):
    """The record is not there any more."""

    kind = "configuration"


class UnseenKey(Reauthorize):
    """Refused without a word on the key, which may not have come through."""


class UnseenPermission(PermissionDenied):
    """Refused as somebody without a key is: the key may read nothing, or did not come through."""


def time_zone_of(store: str, name: Any, offset: Any) -> str:
    """The IANA zone of a store. ``name``: its timezone_string; ``offset``: its gmt_offset, hours. Raises WrongConfiguration."""
    choose = "choose a city as time zone under Settings > General of the store"
    if isinstance(name, str) and name.strip():
        try:
            ZoneInfo(name.strip())
        except (KeyError, ValueError, OSError):
            raise WrongConfiguration(f"store {store}: its time zone {name[:60]!r} is not known; {choose}") from None
        return name.strip()
    try:
        hours = float(offset)
    except (TypeError, ValueError):
        raise WrongConfiguration(
            f"store {store} names neither time zone nor offset (gmt_offset {offset!r:.40}); {choose}"
        ) from None
    if hours == 0:
        return "UTC"
    if hours.is_integer() and -12 <= hours <= 14:
        # POSIX counts westwards: Etc/GMT-2 is two hours ahead of UTC.
        return f"Etc/GMT{-int(hours):+d}"
    if hours in _PART_HOURS:
        return _PART_HOURS[hours]
    raise WrongConfiguration(f"store {store}: no time zone lies {hours:+g} hours from UTC all year; {choose}")


def is_error(value: Any) -> bool:
    """Whether a body is WordPress's form for errors."""
    return isinstance(value, dict) and "code" in value and "message" in value and "id" not in value


def _error_of(response: Response, secrets: Collection[str]) -> tuple[str, str]:
    """WordPress's code ("" where there is none), and code and message in a line."""
    try:
        value = json.loads(response.body)
    except (ValueError, RecursionError):
        value = None
    if is_error(value):
        code = str(value["code"])[:80]
        return code, redact(f"{code}: {error_text(str(value['message']).encode())}", secrets)
    return "", redact(error_text(response.body), secrets) or "without a word"


def refusal_of(store: str, url: str, response: Response, *, in_query: bool, secrets: Collection[str]) -> SourceFailure | None:
    """What a store's answer says went wrong; None for a status of success, and for a redirect,
    which Http refuses by itself. ``in_query``: the key was sent within the address."""
    status = response.status
    if status < 400:
        return None
    code, said = _error_of(response, secrets)
    again = retry_after(response.headers, response.fetched_at)
    match status:
        case 429:
            return Throttled(f"store {store} takes no more requests for now ({said})", retry_at=again, status=status)
        case 401 | 403:
            return _refusal(store, status, code, said, _speaks_json(response), in_query)
        case 404 if code == "rest_no_route":
            return NoRoute(
                f"store {store} has no {urlsplit(url).path.rpartition('/wp-json/')[2] or 'REST API'} (rest_no_route); "
                "see that WooCommerce is active there",
                status=status,
            )
        case 404 | 410 if code:
            return Missing(f"store {store}: {said}", status=status)
        case 404 | 410:
            return WrongConfiguration(
                f"store_url: {store} has no WordPress REST API (HTTP {status} for /wp-json/). Correct the address, or choose "
                "permalinks other than Plain under Settings > Permalinks of the store",
                status=status,
            )
        case 408 | 425:
            return RetryLater(f"store {store} answers HTTP {status} ({said})", retry_at=again, status=status)
        case _ if status >= 500:
            return RetryLater(f"store {store} answers HTTP {status} ({said})", retry_at=again, status=status)
    return Bug(f"store {store} refuses the request: HTTP {status} ({said})", status=status)


def data_of(store: str, response: Response, secrets: Collection[str]) -> Any:
    """The JSON of an answer whose status is one of success. Raises RetryLater where it is none after all."""
    if "html" in response.headers.get("content-type", "").lower() or response.body.lstrip()[:1] == b"<":
        raise RetryLater(
            f"store {store} sends a page instead of data: a firewall or maintenance page. Where it stays so, have the host let "
            "requests for /wp-json/ through",
            status=response.status,
        )
    try:
        value = response.json()
    except RetryLater as failure:
        raise RetryLater(f"store {store}: {failure}", status=response.status) from None
    if is_error(value):
        raise RetryLater(
            f"store {store} sends an error as if it were data ({_error_of(response, secrets)[1]})", status=response.status
        )
    return value


def _speaks_json(response: Response) -> bool:
    return response.body.lstrip()[:1] == b"{"


def _refusal(store: str, status: int, code: str, said: str, is_json: bool, in_query: bool) -> SourceFailure:
    if code.endswith("cannot_view"):
        message = f"store {store}: the key may not read this ({said}); {_KEY_ADVICE}, for a user who may see orders"
        if status == 401 and not in_query:
            # Somebody who is logged in is refused with 403: this store has not seen the key, or does not say.
            return UnseenPermission(f"{message}; {_QUERY_ADVICE}", status=status)
        return PermissionDenied(message, status=status)
    if code.startswith("woocommerce_rest_authentication"):
        if "permission" in said:
            return PermissionDenied(f"store {store}: {said}; {_KEY_ADVICE}", status=status)
        return Reauthorize(f"store {store} does not accept the key ({said}); {_KEY_ADVICE}", status=status)
    if status == 403:
        if is_json:
            return PermissionDenied(f"store {store}: {said}; {_KEY_ADVICE}", status=status)
        return PermissionDenied(
            f"store {store}: something before WordPress, such as a firewall, refuses (HTTP 403); have the host let requests "
            "for /wp-json/ through",
            status=status,
        )
    message = f"store {store} does not accept the key (HTTP {status}, {said}); {_KEY_ADVICE}"
    return Reauthorize(message, status=status) if in_query else UnseenKey(f"{message}; {_QUERY_ADVICE}", status=status)


def records_of(value: Any) -> list[Mapping[str, Any]]:
    """The records of a list that have an id."""
    return [one for one in value if isinstance(one, dict) and "id" in one] if isinstance(value, list) else []
