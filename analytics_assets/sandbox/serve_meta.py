"""The sandbox as Meta's Marketing API, v26.0: the ad account, its insights, and reports that are made in the background.

GET /v26.0/act_{id}, GET and POST /v26.0/act_{id}/insights, GET /v26.0/{report run}[/insights].
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from analytics_assets.sandbox.meta_reports import SYNCHRONOUS_DAYS, Insights, Refused, insight_rows, read_insights, too_much
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import SandboxOrganization

VENDOR = "meta_ads"
VERSION = "v26.0"
_ACCOUNT_FIELDS = ("id", "account_id", "name", "account_status", "currency", "timezone_name", "timezone_offset_hours_utc")
_CALLS_PER_HOUR = 6000
# What a background report says of itself, by how often it was asked.
_PROGRESS = (("Job Not Started", 0), ("Job Running", 45), ("Job Completed", 100))


def access_token(one: SandboxOrganization) -> str:
    """The system user's token of an organisation; it does not run out."""
    return "EAA" + one.secret("meta token")


@dataclass
class _Run:
    """A background report: as of when it was ordered."""

    number: str
    one: SandboxOrganization
    request: Insights
    at: datetime
    fails: bool
    asked: int = 0

    @property
    def progress(self) -> tuple[str, int]:
        status, percent = _PROGRESS[min(self.asked, len(_PROGRESS) - 1)]
        return ("Job Failed", 45) if self.fails and self.asked else (status, percent)


@dataclass(frozen=True)
class _Call:
    request: Request
    params: Mapping[str, str]
    token: str


class _Meta:
    """The handlers of a running server."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.runs: dict[str, _Run] = {}
        self.calls: Counter[tuple[str, str]] = Counter()
        self.traces = count(1)

    @cached_property
    def _owners(self) -> dict[str, str]:
        return {access_token(one): one.slug for one in self.sandbox.world.organizations}

    # --- Who asks --------------------------------------------------------------------------------------------

    async def read(self, request: Request) -> _Call:
        """The call with its parameters, from the query and, of a POST, the form. Raises Refused."""
        params = dict(request.query_params)
        if request.method == "POST":
            params |= dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        version = request.path_params["version"]
        if version != VERSION:
            raise Refused(
                f"(#2635) You are calling a deprecated version of the Ads API. Please update to the latest version: {VERSION}.",
                2635,
            )
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        token = bearer.strip() if scheme.lower() == "bearer" else params.get("access_token", "")
        if not token:
            raise Refused("An access token is required to request this resource.", 104)
        if token not in self._owners:
            raise Refused("Invalid OAuth access token - Cannot parse access token", 190)
        proof, secret = params.get("appsecret_proof"), self.sandbox.app_secret
        if proof is not None and secret and not hmac.compare_digest(proof, _proof(secret, token)):
            raise Refused("Invalid appsecret_proof provided in the API argument", 100, kind="GraphMethodException")
        return _Call(request, params, token)

    def allowed(self, call: _Call, one: SandboxOrganization | None, name: str) -> SandboxOrganization:
        """The account, where the caller may read it and no fault is set on it. Raises Refused."""
        if one is None:
            raise Refused(
                f"Unsupported {call.request.method.lower()} request. Object with ID '{name}' does not exist, cannot be loaded "
                "due to missing permissions, or does not support this operation.",
                100,
                subcode=33,
                kind="GraphMethodException",
            )
        faults, slug = self.sandbox.faults, one.slug
        if self._owners[call.token] != slug:
            raise Refused("(#200) Ad account owner has NOT grant ads_management or ads_read permission", 200, status=403)
        if faults.refused(VENDOR, slug):
            raise Refused("Error validating access token: Session has expired.", 190, status=401, subcode=463)
        fault = faults.strike(VENDOR, slug, ("revoked", "forbidden", "throttled"))
        if fault is None:
            return one
        if fault.kind == "revoked":
            raise Refused("Error validating access token: The user has not authorized the application.", 190, subcode=458)
        if fault.kind == "forbidden":
            raise Refused("(#10) Application does not have permission for this action", 10, status=403)
        raise Refused(
            "(#80000) There have been too many calls from this ad-account. Wait a bit and try again.",
            80000,
            subcode=2446079,
            headers=self._usage(one, 100, -(-int(fault.seconds) // 60)),
        )

    def _usage(self, one: SandboxOrganization, percent: int, minutes: int = 0) -> dict[str, str]:
        usage = {
            "type": "ads_insights", "call_count": percent, "total_cputime": percent // 2, "total_time": percent // 2,
            "estimated_time_to_regain_access": minutes, "ads_api_access_tier": "full_access",
        }  # fmt: skip
        throttle = {"app_id_util_pct": percent / 10, "acc_id_util_pct": percent, "ads_api_access_tier": "full_access"}
        return {
            "X-Business-Use-Case-Usage": json.dumps({one.ad_account: [usage]}),
            "X-FB-Ads-Insights-Throttle": json.dumps(throttle),
        }

    def _count(self, one: SandboxOrganization, kind: str) -> dict[str, str]:
        """Counts a call; returns the headers that say how many there were in the hour of the sandbox's clock."""
        self.sandbox.counts[f"{VENDOR}:{kind}"] += 1
        key = (one.slug, f"{self.sandbox.clock.now():%Y%m%d%H}")
        if len(self.calls) > 100_000:
            self.calls.clear()
        self.calls[key] += 1
        return self._usage(one, min(100, self.calls[key] * 100 // _CALLS_PER_HOUR))

    # --- The account -----------------------------------------------------------------------------------------

    async def account(self, call: _Call) -> Response:
        one = self._account(call)
        offset = self.sandbox.clock.now().astimezone(ZoneInfo(one.ad_zone)).utcoffset() or timedelta(0)
        known = {
            "id": f"act_{one.ad_account}", "account_id": one.ad_account, "name": one.name, "account_status": 1,
            "currency": one.ad_currency, "timezone_name": one.ad_zone, "timezone_offset_hours_utc": offset / timedelta(hours=1),
        }  # fmt: skip
        fields = [name for name in call.params.get("fields", "account_id").split(",") if name]
        for name in fields:
            if name not in _ACCOUNT_FIELDS:
                raise Refused(f"(#100) Tried accessing nonexisting field ({name}) on node type (AdAccount)", 100)
        return _json({name: known[name] for name in [*fields, "id"]}, headers=self._count(one, "account"))

    def _account(self, call: _Call) -> SandboxOrganization:
        number = call.request.path_params["account"]
        return self.allowed(call, self.sandbox.world.by_ad_account.get(number), f"act_{number}")

    # --- Insights --------------------------------------------------------------------------------------------

    async def insights(self, call: _Call) -> Response:
        one = self._account(call)
        now = self.sandbox.clock.now()
        request = read_insights(call.params, one, now)
        if call.request.method == "POST":
            return self._order(call, one, request, now)
        days = (request.until - request.since).days + 1
        if days > SYNCHRONOUS_DAYS or self.sandbox.faults.strike(VENDOR, one.slug, ("reduce",)):
            raise too_much()
        return self._page(call, one, request, now, "insights")

    def _page(self, call: _Call, one: SandboxOrganization, request: Insights, now: datetime, kind: str) -> Response:
        world = self.sandbox.world
        rows = insight_rows(request, one, world.first_day, world.late, now)
        start, limit = _offset(call.params.get("after")), _limit(call.params.get("limit"))
        shown = rows[start : start + limit]
        body = f'{{"data":[{",".join(shown)}]'
        if shown:
            paging: dict[str, Any] = {"cursors": {"before": _cursor(start), "after": _cursor(start + len(shown))}}
            if start + limit < len(rows):
                # As the vendor does it: with the token, however it was sent.
                params = dict(call.params) | {"access_token": call.token, "after": _cursor(start + limit)}
                paging["next"] = f"{call.request.url.replace(query='')}?{urlencode(params)}"
            body += f',"paging":{json.dumps(paging)}'
        return _json(body + "}", headers=self._count(one, kind))

    # --- Background reports ----------------------------------------------------------------------------------

    def _order(self, call: _Call, one: SandboxOrganization, request: Insights, now: datetime) -> Response:
        if len(self.runs) >= 10_000:
            self.runs.pop(next(iter(self.runs)))
        # The account's number in it tells faults whose it is.
        number = f"6{one.ad_account}{next(self.traces):07}"
        fails = self.sandbox.faults.strike(VENDOR, one.slug, ("failed_job",)) is not None
        self.runs[number] = _Run(number, one, request, now, fails)
        return _json({"report_run_id": number}, headers=self._count(one, "order"))

    def _run(self, call: _Call) -> _Run:
        number = str(call.request.path_params["run"])
        run = self.runs.get(number)
        self.allowed(call, run.one if run else None, number)
        assert run is not None
        return run

    async def run(self, call: _Call) -> Response:
        run = self._run(call)
        status, percent = run.progress
        run.asked += 1
        body: dict[str, Any] = {
            "id": run.number, "account_id": run.one.ad_account, "time_ref": int(run.at.timestamp()),
            "async_status": status, "async_percent_completion": percent,
            "date_start": run.request.since.isoformat(), "date_stop": run.request.until.isoformat(),
        }  # fmt: skip
        if status == "Job Failed":
            body |= {
                "error_code": 100, "error_subcode": 1487534, "error_message": "Please reduce the amount of data",
                "error_user_title": "Too much data", "error_user_msg": "Ask for fewer days or fields.",
            }  # fmt: skip
        return _json(body, headers=self._count(run.one, "poll"))

    async def run_insights(self, call: _Call) -> Response:
        run = self._run(call)
        # Done when a poll has said so.
        if run.fails or run.asked < len(_PROGRESS):
            raise Refused("(#100) The report run has not completed", 100, subcode=33)
        return self._page(call, run.one, run.request, run.at, "results")


def _proof(secret: str, token: str) -> str:
    return hmac.new(secret.encode(), token.encode(), sha256).hexdigest()


def _cursor(offset: int) -> str:
    return urlsafe_b64encode(f"row:{offset}".encode()).decode()


def _offset(cursor: str | None) -> int:
    if not cursor:
        return 0
    try:
        return int(urlsafe_b64decode(cursor).removeprefix(b"row:"))
    except ValueError:
        raise Refused("(#100) Invalid cursor.", 100) from None


def _limit(text: str | None) -> int:
    if text is None:
        return 25
    if not text.isdecimal() or not int(text):
        raise Refused("(#100) Param limit must be a number from 1 on.", 100)
    return min(int(text), 5000)


def _json(body: str | dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    text = body if isinstance(body, str) else json.dumps(body)
    return Response(text, status, headers, "application/json; charset=UTF-8")


def routes(sandbox: Sandbox) -> list[Route]:
    """The addresses of the Marketing API."""
    meta = _Meta(sandbox)

    def endpoint(handler: Callable[[_Call], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                return await handler(await meta.read(request))
            except Refused as refused:
                error = refused.error | {"fbtrace_id": "A" + sha256(str(next(meta.traces)).encode()).hexdigest()[:22]}
                return _json({"error": error}, refused.status, refused.headers)

        return answer

    paths = (
        ("/{version}/act_{account}", meta.account, ["GET"]),
        ("/{version}/act_{account}/insights", meta.insights, ["GET", "POST"]),
        ("/{version}/{run:int}", meta.run, ["GET"]),
        ("/{version}/{run:int}/insights", meta.run_insights, ["GET"]),
    )
    # The vendor's own client ends the address of a node with a slash.
    return [Route(path + slash, endpoint(handler), methods=methods) for path, handler, methods in paths for slash in ("", "/")]
