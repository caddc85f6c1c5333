"""The sandbox as Google Analytics: the Data API v1beta and the token endpoint.

POST /v1beta/properties/{id}:runReport, GET /v1beta/properties/{id}/metadata, POST /google/token.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from analytics_assets.sandbox.google_access import VENDOR, Denied, Tokens
from analytics_assets.sandbox.google_reports import DIMENSIONS, Invalid, Report, metric_type, read_report, report_rows
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.traffic import METRICS
from analytics_assets.sandbox.world import SandboxOrganization

_TOKENS_PER_DAY, _TOKENS_PER_HOUR, _TOKENS_PER_PROJECT = 200_000, 40_000, 14_000
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
_QUALITY: dict[str, tuple[str, Any]] = {
    "sampled": ("samplingMetadatas", [{"samplesReadCount": "100000", "samplingSpaceSize": "250000"}]),
    "thresholded": ("subjectToThresholding", True),
    "other_row": ("dataLossFromOtherRow", True),
    "cut_off": ("dataTruncationReasons", [{"dataTruncationMessage": "Data older than two years is not returned."}]),
}


class _Refused(Exception):
    def __init__(self, code: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code, self.headers = code, headers
        self.body = {"error": {"code": code, "message": message, "status": _STATUS[code]}}


def _json(content: str | dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    text = content if isinstance(content, str) else json.dumps(content)
    return Response(text, status, headers, "application/json; charset=UTF-8")


class _Google:
    """The handlers of a running server."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.tokens = sandbox, Tokens(sandbox)
        # Quota tokens used, by property and by the hour or day of the sandbox's clock.
        self.used: Counter[tuple[str, str]] = Counter()

    # --- Who asks --------------------------------------------------------------------------------------------

    def _allowed(self, request: Request, property_id: str) -> SandboxOrganization:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        token = self.tokens.find(text.strip()) if scheme.lower() == "bearer" else None
        faults = self.sandbox.faults
        if token is None or faults.refused(VENDOR, token.slug, token.number) or faults.strike(VENDOR, token.slug, ("revoked",)):
            raise _Refused(
                401,
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
                "authentication credential.",
                {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'},
            )
        if not property_id.isdecimal():
            raise _Refused(400, f"Invalid property ID: {property_id}. A numeric Property ID is required.")
        one = self.sandbox.world.by_property.get(property_id)
        # A property that does not exist is told like one that is not the caller's.
        if one is None or one.slug != token.slug or faults.strike(VENDOR, one.slug, ("forbidden",)):
            raise _Refused(403, "User does not have sufficient permissions for this property.")
        if fault := faults.strike(VENDOR, one.slug, ("throttled",)):
            # No Retry-After: Google's quota answers have none.
            raise _Refused(
                429,
                "Exhausted property tokens for a project per hour. These quota tokens will return in under an hour."
                if fault.seconds >= 60
                else "Exhausted concurrent requests quota. Please send fewer requests concurrently.",
            )
        return one

    # --- Reports ---------------------------------------------------------------------------------------------

    async def run_report(self, request: Request) -> Response:
        one = self._allowed(request, request.path_params["property"])
        now = self.sandbox.clock.now()
        try:
            body = json.loads(await request.body() or b"{}")
        except ValueError:
            raise _Refused(400, "Invalid JSON payload received.") from None
        try:
            report = read_report(body, one, now)
        except Invalid as invalid:
            raise _Refused(400, str(invalid)) from None
        self.sandbox.counts[f"{VENDOR}:runReport"] += 1
        # The vendor's own client asks with ?$alt=json;enum-encoding=int, escaped or not.
        as_numbers = "enum-encoding=int" in unquote(request.url.query)
        return _json(self._answer(report, one, now, as_numbers))

    def _answer(self, report: Report, one: SandboxOrganization, now: datetime, as_numbers: bool) -> str:
        world = self.sandbox.world
        rows = report_rows(report, one, world.first_day, world.late, now)
        shown = rows[report.offset : report.offset + report.limit]
        dimensions = report.dimensions + (("dateRange",) if len(report.ranges) > 1 else ())
        answer: dict[str, Any] = {"kind": "analyticsData#runReport"}
        if dimensions:
            answer["dimensionHeaders"] = [{"name": name} for name in dimensions]
        if report.metrics:
            answer["metricHeaders"] = [
                {"name": name, "type": metric_type(name)[1 if as_numbers else 0]} for name in report.metrics
            ]
        if rows:
            answer["rowCount"] = len(rows)
        metadata: dict[str, Any] = {"currencyCode": one.currency, "timeZone": one.property_zone}
        for kind, (name, value) in _QUALITY.items():
            if self.sandbox.faults.strike(VENDOR, one.slug, (kind,)):
                metadata[name] = value
        answer["metadata"] = metadata
        if report.with_quota:
            answer["propertyQuota"] = self._quota(one, now, 1 + len(rows) // 1000 + len(report.metrics) // 5)
        text = json.dumps(answer)
        # The rows are JSON already.
        return f'{text[:-1]}, "rows": [{",".join([row[2] for row in shown])}]}}' if shown else text

    def _quota(self, one: SandboxOrganization, now: datetime, cost: int) -> dict[str, dict[str, int]]:
        hour, day = (one.slug, f"{now:%Y%m%d%H}"), (one.slug, f"{now:%Y%m%d}")
        if len(self.used) > 100_000:
            self.used.clear()
        self.used[hour] += cost
        self.used[day] += cost

        def left(most: int, used: int) -> dict[str, int]:
            return {"consumed": cost, "remaining": max(0, most - used)}

        return {
            "tokensPerDay": left(_TOKENS_PER_DAY, self.used[day]),
            "tokensPerHour": left(_TOKENS_PER_HOUR, self.used[hour]),
            "concurrentRequests": {"consumed": 0, "remaining": 10},
            "serverErrorsPerProjectPerHour": {"consumed": 0, "remaining": 10},
            "potentiallyThresholdedRequestsPerHour": {"consumed": 0, "remaining": 120},
            "tokensPerProjectPerHour": left(_TOKENS_PER_PROJECT, self.used[hour]),
        }

    async def metadata(self, request: Request) -> Response:
        one = self._allowed(request, request.path_params["property"])
        self.sandbox.counts[f"{VENDOR}:metadata"] += 1
        return _json(
            {
                "name": f"properties/{one.property_id}/metadata",
                "dimensions": [{"apiName": name, "uiName": name, "category": "Time"} for name in DIMENSIONS],
                "metrics": [{"apiName": name, "uiName": name, "type": metric_type(name)[0]} for name in METRICS],
            }
        )

    # --- Sign-in ---------------------------------------------------------------------------------------------

    async def token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        try:
            answer = self.tokens.grant(form, str(request.url.replace(query="")))
        except Denied as denied:
            return _json(denied.body, denied.status)
        self.sandbox.counts["google_token:token"] += 1
        return _json(answer, headers={"Cache-Control": "no-store"})


def _endpoint(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        try:
            answer: Response = await handler(request)
        except _Refused as refused:
            return _json(refused.body, refused.code, refused.headers)
        return answer

    return endpoint


def routes(sandbox: Sandbox) -> list[Route]:
    """The addresses of Google Analytics."""
    google = _Google(sandbox)
    return [
        Route("/v1beta/properties/{property}:runReport", _endpoint(google.run_report), methods=["POST"]),
        Route("/v1beta/properties/{property}/metadata", _endpoint(google.metadata), methods=["GET"]),
        Route("/google/token", google.token, methods=["POST"]),
    ]
