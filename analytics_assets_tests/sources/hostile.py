"""A vendor that sends back the credentials it is sent, in every place and spelling that an answer has room for.

Its answers are those of the four vendors as far as a sync needs them; ``mode`` says where they are spoilt.
"""

import base64
import json
import random
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from string import ascii_letters, digits
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

from starlette.responses import Response

from analytics_assets.sandbox.app import vendor_environment
from analytics_assets_tests.sources.vendor import Asked
from analytics_assets_tests.woocommerce import order

_LETTERS = ascii_letters + digits
_CREDENTIAL = (
    "access_token", "refresh_token", "client_secret", "assertion", "appsecret_proof", "consumer_key", "consumer_secret",
)  # fmt: skip


def made_up(name: str, marks: str = "") -> str:
    """A secret text of 190 characters, the same in each run: longer than what any message keeps of a value.

    ``marks``: characters among the letters that URLs, JSON or base64 write otherwise.
    """
    chosen = random.Random(name)
    return "".join(chosen.choice(marks if marks and at % 11 == 10 else _LETTERS) for at in range(190))


def spellings(text: str) -> list[str]:
    """As an answer may write a credential: as it is, in base64, within a URL, within JSON."""
    pair = f"user:{text}".encode()
    if text.startswith("Basic "):
        return [text, quote(text, ""), quote_plus(text), json.dumps(text).replace("/", "\\/")]
    return [
        text,
        base64.b64encode(text.encode()).decode(),
        base64.urlsafe_b64encode(pair).decode(),
        base64.b64encode(b"x" + text.encode()).decode(),
        quote(text, ""),
        quote(quote(text, "")),
        urlencode({"token": text}),
        json.dumps(text).replace("/", "\\/"),
        json.dumps({"said": json.dumps({"token": text})}),
    ]


@dataclass
class Hostile:
    """What a server answers.

    Attributes:
        mode: "data", or what is wrong: see ``answer``.
        heard: credentials of the mode by account, as they came in or were given out.
        known: all of them ever.
        minted: every token that was given out; spent: refresh tokens that were used up.
        owners: the account of whoever asks for a Google token, by refresh token.
        again: the header Retry-After; "": the credential stands there.
        reached: of the mode, the accounts whose calls were answered by it.
    """

    base: str
    mode: str = "data"
    again: str = ""
    heard: dict[str, dict[str, None]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    minted: list[str] = field(default_factory=list)
    spent: set[str] = field(default_factory=set)
    owners: dict[str, str] = field(default_factory=dict)
    reached: set[tuple[str, str]] = field(default_factory=set)

    def environment(self) -> dict[str, str]:
        """Variables that point a client here; the deployment's own secrets among them."""
        return {
            **vendor_environment(self.base),
            "ANALYTICS_GOOGLE_CLIENT_SECRET": made_up("google client"),
            "ANALYTICS_META_APP_SECRET": made_up("meta app"),
            "ANALYTICS_SHOPIFY_CLIENT_SECRET": made_up("shopify client"),
        }

    # --- What it knows -----------------------------------------------------------------------------------------

    def _listen(self, account: str, asked: Asked) -> None:
        authorization = asked.headers.get("authorization", "")
        kind, _, value = authorization.partition(" ")
        found = [asked.headers.get("x-shopify-access-token", ""), value if kind == "Bearer" else authorization]
        if kind == "Basic":
            found += base64.b64decode(value).decode().split(":", 1)
        fields = {**asked.params, **dict(parse_qsl(asked.body.decode("latin-1")))}
        found += [value for name, value in fields.items() if name in _CREDENTIAL]
        self._note(account, *found)

    def _note(self, account: str, *texts: str) -> None:
        self.heard.setdefault(account, {}).update(dict.fromkeys(text for text in texts if text))
        self.known.update(text for text in texts if text)

    def turn(self, mode: str) -> None:
        """Another mode. Tokens of before, and refresh tokens that are used up, are sent back no more: they are good for
        nothing, and nobody keeps them."""
        self.mode = mode
        for known in self.heard.values():
            for text in [text for text in known if text in self.spent or text in self.minted or text.startswith("eyJ")]:
                del known[text]

    def _all(self, account: str) -> list[str]:
        # The newest first: it is what stands where something is cut off.
        return list(reversed(self.heard[account]))

    def _echo(self, account: str) -> str:
        """The credentials themselves, then in other spellings."""
        known = self._all(account)
        return " ".join([*known, *known, *(form for text in known for form in spellings(text))])

    def _escaped(self, account: str) -> str:
        """JSON in which every letter of the credentials is written as its number."""
        return '"' + " ".join("".join(f"\\u{ord(one):04x}" for one in text) for text in self._all(account)) + '"'

    def _mint(self, account: str, kind: str) -> str:
        token = {"google": "ya29.", "shopify": "shpat_", "refresh": "shprt_"}[kind] + made_up(f"{kind} {len(self.minted)}")
        self.minted.append(token)
        self._note(account, token)
        return token

    # --- Answers -----------------------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> Response:
        """Modes: data; zone, currency: of the account; nul: a name PostgreSQL cannot keep; cursor; broken: pages that cannot
        be read; error STATUS; refusal: an error within HTTP 200; html STATUS; truncated; redirect host, path, odd; token
        STATUS: of the place where tokens are made, data endpoints answering 401."""
        path = asked.path
        vendor, account = self._account(asked)
        self._listen(account, asked)
        word, _, detail = self.mode.partition(" ")
        is_token = path.endswith(("/google/token", "/oauth/access_token"))
        if is_token and (word != "token" or detail == "data"):
            return self._token(account, asked)
        self.reached.add((self.mode, account))
        if word == "token":
            status = int(detail) if is_token and detail.isdigit() else 401
            return self._error("token" if is_token else vendor, account, status)
        if word == "error":
            return self._error(vendor, account, int(detail))
        if word == "refusal":
            return self._error(vendor, account, 200)
        if word == "html":
            page = f"<!doctype html><title>{self._echo(account)}</title><p>{self._echo(account)}"
            return self._response(account, page.encode(), int(detail), "text/html")
        if word == "redirect":
            return self._redirect(account, detail)
        body = json.dumps(self._data(vendor, account, asked)).replace('"ESCAPED"', self._escaped(account)).encode()
        if word == "truncated":
            # Within the first credential that it holds.
            at = body.find(self._all(account)[0].encode()) if self.heard[account] else 0
            body = body[: max(at, 0) + 60]
        return self._response(account, body)

    def _account(self, asked: Asked) -> tuple[str, str]:
        path = asked.path
        if "/google/token" in path:
            form = dict(parse_qsl(asked.body.decode()))
            return "google", self.owners.get(form.get("refresh_token", ""), "1")
        for vendor, pattern in (
            ("google", r"/properties/(\d+)"),
            ("meta", r"/act_(\d+)"),
            ("woocommerce", r"/stores/([^/]+)"),
            ("shopify", r"/shopify(?:-results)?/([^/.]+)"),
        ):
            if found := re.search(pattern, path):
                return vendor, found[1]
        raise AssertionError(path)

    def _response(self, account: str, body: bytes, status: int = 200, kind: str = "application/json") -> Response:
        first = (self._all(account) or ["none"])[0]
        headers = {
            "x-shopify-api-version": first,
            "x-wp-total": first,
            "x-business-use-case-usage": json.dumps({first: [{"call_count": first, first: 1}]}),
            "set-cookie": f"token={first}",
            "www-authenticate": f"Bearer {first}",
            "date": first,
            **({"retry-after": self.again or first} if status != 200 or self.mode != "data" else {}),
        }
        return Response(body, status, headers, kind)

    def _redirect(self, account: str, detail: str) -> Response:
        first = (self._all(account) or ["none"])[0]
        location = {
            "host": f"https://{re.split('[^A-Za-z0-9_]', first)[0][:50]}.example/{first}?token={first}",
            "path": f"/login/{first}?token={first}#{first}",
            "odd": f"https://{first}:{first}@{first}/",
        }[detail]
        return Response(self._echo(account), 302, {"location": location, "x-echo": first})

    def _error(self, vendor: str, account: str, status: int) -> Response:
        echo = self._echo(account)
        first = (self._all(account) or ["none"])[0]
        by_vendor: dict[str, Any] = {
            "token": {"error": {400: "invalid_grant", 401: "invalid_client"}.get(status, first), "error_description": echo},
            "google": {"error": {"code": status, "status": "INVALID_ARGUMENT", "message": echo, "details": [echo]}},
            "meta": {
                "error": {
                    "message": first if status == 403 else f"x {echo}",
                    "code": {400: 100, 401: 190, 403: 200, 429: 17, 500: 1, 503: 2}.get(status, 999),
                    "error_user_title": echo,
                    "error_user_msg": echo,
                    "fbtrace_id": first,
                }
            },
            "woocommerce": {
                "code": first if status != 401 else f"woocommerce_rest_authentication_{first}",
                "message": echo,
                "data": {"status": status, first: echo},
            },
            "shopify": {"errors": [{"message": echo, "extensions": {"code": first}}, first, {"message": first}]}
            if status == 200
            else {"errors": echo},
        }
        return self._response(account, json.dumps(by_vendor[vendor]).encode(), status)

    def _token(self, account: str, asked: Asked) -> Response:
        is_google = asked.path.endswith("/google/token")
        answer: dict[str, Any] = {
            "access_token": self._mint(account, "google" if is_google else "shopify"),
            "expires_in": 3600,
            "scope": self._echo(account),
            "token_type": "Bearer",
        }
        if not is_google and b"refresh_token" in asked.body:
            self.spent.add(dict(parse_qsl(asked.body.decode()))["refresh_token"])
            answer |= {"refresh_token": self._mint(account, "refresh"), "refresh_token_expires_in": 86400}
        return self._response(account, json.dumps(answer).encode())

    # --- Data --------------------------------------------------------------------------------------------------

    def _data(self, vendor: str, account: str, asked: Asked) -> Any:
        echo = self._echo(account)
        first = self._all(account)[0] if self._all(account) else ""
        zone = echo if self.mode == "zone" else "Europe/Berlin"
        currency = f"{first[:2]}1" if self.mode == "currency" else "EUR"
        name = f"\0\ud800 {first}" if self.mode == "nul" else f"{first} {first}"
        more = {"note": echo, "escaped": "ESCAPED", first: [{first: first}]}
        if vendor == "google":
            return self._google(asked.json, zone, currency, echo, more)
        if vendor == "meta":
            return self._meta(account, asked, zone, currency, name, more)
        if vendor == "woocommerce":
            return self._woocommerce(asked, zone, currency, name, more)
        if "/shopify-results/" in asked.path:
            return {"id": first, "legacyResourceId": first, "processedAt": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", **more}
        return self._shopify(account, asked.json, zone, currency, name, more)

    def _google(self, asked: Any, zone: str, currency: str, echo: str, more: dict[str, Any]) -> Any:
        names = [metric["name"] for metric in asked["metrics"]]
        dimension = next((one["name"] for one in asked.get("dimensions", [])), "")
        day = asked["dateRanges"][0]["startDate"].replace("-", "")
        label = echo if self.mode == "broken" else day + "10" * (dimension == "dateHour")
        cell = "1" if self.mode != "broken" or dimension != "date" else echo
        rows = [{"dimensionValues": [{"value": label, **more}], "metricValues": [{"value": cell} for _ in names]}]
        return {
            "dimensionHeaders": [{"name": dimension}],
            "metricHeaders": [{"name": one, "type": "TYPE_INTEGER"} for one in names],
            **({"rows": rows, "rowCount": 1} if dimension and day.isdigit() else {}),
            "metadata": {
                "currencyCode": currency,
                "timeZone": zone,
                "dataTruncationReasons": [echo],
                "schemaRestrictionResponse": {"activeMetricRestrictions": [{"metricName": echo}]},
                **more,
            },
            "propertyQuota": more,
            "kind": echo,
        }

    def _meta(self, account: str, asked: Asked, zone: str, currency: str, name: str, more: dict[str, Any]) -> Any:
        if not asked.path.endswith("/insights"):
            return {"currency": currency, "timezone_name": zone, "name": name, "account_status": name, **more}
        span = json.loads(asked.params["time_range"])
        row = {
            "account_id": account,
            "account_currency": name if self.mode == "broken" else currency,
            "date_start": span["since"],
            "date_stop": span["since"],
            "spend": "1.00",
            "hourly_stats_aggregated_by_advertiser_time_zone": "10:00:00 - 10:59:59",
            "actions": [{"action_type": name, "value": "1"}],
            **more,
        }
        rows = [] if asked.params.get("after") else [row]
        paging = {"next": f"{self.base}/?access_token={name}", "cursors": {"after": self._all(account)[0], "before": name}}
        return {"data": rows, "paging": paging if self.mode == "cursor" and rows else more}

    def _woocommerce(self, asked: Asked, zone: str, currency: str, name: str, more: dict[str, Any]) -> Any:
        path = asked.path.partition("/wp-json/")[2]
        if not path:
            return {"name": name, "timezone_string": zone, "gmt_offset": name, **more}
        if "settings" in path:
            return {"id": "woocommerce_currency", "value": currency, **more}
        at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
        if self.mode == "broken":
            return [name, {name: name}]
        if path.endswith("orders") and asked.params.get("status") != "trash":
            made = order(1, at, customer_note=name, order_key=name, meta_data=[{"key": name, "value": name}], **more)
            return [{**made, "billing": {"email": name, "first_name": name, **more}}]
        if path.endswith("refunds"):
            return [
                {"id": 2, "parent_id": 1, "amount": "1.00", "reason": name, "date_created_gmt": f"{at:%Y-%m-%dT%H:%M:%S}", **more}
            ]
        if path.endswith("customers"):
            return [{"id": 3, "email": name, "username": name, "is_paying_customer": True, **more}]
        return []

    def _shopify(self, account: str, asked: Any, zone: str, currency: str, name: str, more: dict[str, Any]) -> Any:
        first = self._all(account)[0]
        query, now = asked["query"], f"{datetime.now(UTC) - timedelta(hours=3):%Y-%m-%dT%H:%M:%SZ}"
        no_more = {"hasNextPage": False, "endCursor": None}
        is_first = not asked["variables"].get("after")
        more_pages = {"hasNextPage": is_first, "endCursor": first}
        if "currentAppInstallation" in query:
            shop = {"name": name, "ianaTimezone": zone, "currencyCode": currency, **more}
            scopes = [{"handle": "read_orders"}, {"handle": name}]
            return {"data": {"shop": shop, "currentAppInstallation": {"accessScopes": scopes}}, "extensions": more}
        if "bulkOperationRunQuery" in query:
            begun = {"bulkOperation": {"id": first if self.mode == "cursor" else "gid://1"}, "userErrors": []}
            refused = {"bulkOperation": None, "userErrors": [{"code": "LIMIT_REACHED", "message": name, "field": name}]}
            return {"data": {"bulkOperationRunQuery": refused if self.mode == "broken" else begun}, **more}
        if "BulkOperation" in query:
            url = f"{self.base}/shopify-results/{account}.jsonl?signature={quote(first, '')}"
            status = name if self.mode == "drain" else "COMPLETED"
            return {"data": {"node": {"id": name, "status": status, "errorCode": name, "objectCount": "1", "url": url, **more}}}
        agreements = {
            "pageInfo": no_more,
            "nodes": [{"id": name, "happenedAt": now, "sales": {"pageInfo": no_more, "nodes": [more]}}],
        }
        node = {"id": first, "legacyResourceId": first, "processedAt": now, "updatedAt": now, "agreements": agreements, **more}
        if self.mode == "drain":
            agreements["pageInfo"] = more_pages
        orders = {
            "pageInfo": more_pages if self.mode == "cursor" else no_more,
            "nodes": name if self.mode == "broken" else [node],
        }
        return {"data": {"orders": orders, "order": node, **more}, "extensions": more}
