"""The collector over HTTP: what is stored, what is answered, whose key it takes."""

import base64
import gzip
import json
import time
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from analytics_assets.events import keys
from analytics_assets.events.limits import KEY_SECONDS
from analytics_assets_tests.events.serving import Caller, Connection, make_key, serving

PAGE: dict[str, Any] = {"type": "page", "anonymousId": "a", "messageId": "p-1", "properties": {"url": "https://shop.example/"}}


def events(connection: Connection, columns: str = "event_name") -> list[tuple[Any, ...]]:
    """Columns of the stored events, sorted."""
    rows = connection.execute(f"select {columns} from public.event_tracking").fetchall()
    connection.rollback()
    return sorted((tuple(row.values()) for row in rows), key=repr)


def quarantined(connection: Connection) -> list[dict[str, Any]]:
    """Rejected events, by their reason."""
    rows = connection.execute("select * from public.quarantine order by reason, record_key").fetchall()
    connection.rollback()
    return rows


def test_every_call(caller: Caller, connection: Connection) -> None:
    """Each call and each short form stores its event before it is answered; what was sent before is known."""
    done = {"success": True}
    for number, path in enumerate(["track", "t", "identify", "i", "page", "p", "screen", "s", "group", "g", "alias", "a"]):
        event = {"userId": f"user-{number}", "event": "Clicked", "previousId": f"old-{number}", "messageId": f"m-{number}"}
        for _ in range(2):
            answer = caller.post(f"/v1/{path}", event)
            assert (answer.status_code, answer.json()) == (200, done), answer.text
        assert len(events(connection)) == number + 1
    for number, path in enumerate(["/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch"]):
        assert caller.send(dict(PAGE, messageId=f"b-{number}"), path=path).json() == done
    assert caller.send().json() == done
    names = [name for (name,) in events(connection)]
    assert {name: names.count(name) for name in names} == {
        "Clicked": 2, "User Identified": 2, "Page Viewed": 6, "Screen Viewed": 2, "Group Identified": 2, "User Aliased": 2,
    }  # fmt: skip
    source = connection.execute("select source_name, time_zone, currency from public.data_sources").fetchall()
    assert source == [{"source_name": "events", "time_zone": "Europe/London", "currency": "GBP"}]


def test_bodies_as_clients_send_them(caller: Caller, connection: Connection) -> None:
    """Compressed or not, under whatever content type, with the key in the header, the body or the query."""
    plain = zlib.compressobj(wbits=-15)

    def body(number: int, **more: Any) -> bytes:
        return json.dumps({"batch": [dict(PAGE, messageId=f"m-{number}")], **more}).encode()

    requests: list[tuple[bytes, dict[str, str]]] = [
        (gzip.compress(body(0)), {"Content-Encoding": "gzip", "Content-Type": "application/x-www-form-urlencoded"}),
        (gzip.compress(body(1)[:20]) + gzip.compress(body(1)[20:]), {"Content-Encoding": "gzip"}),
        (gzip.compress(body(2)), {}),
        (zlib.compress(body(3)), {"Content-Encoding": "deflate"}),
        (plain.compress(body(4)) + plain.flush(), {"Content-Encoding": "deflate"}),
        (body(5), {"Content-Type": "text/plain"}),
        (body(6, writeKey=caller.key), {}),
    ]
    for content, headers in requests:
        assert caller.post("/v1/batch", content=content, headers=headers).status_code == 200
    assert caller.post("/v1/batch", content=body(7, writeKey=caller.key), auth=None).status_code == 200
    assert caller.post(f"/v1/batch?writeKey={caller.key}", content=body(8), auth=None).status_code == 200
    assert caller.post("/v1/page", content=iter([b'{"userId": "u", ', b'"messageId": "m-9"}'])).status_code == 200
    assert len(events(connection)) == len(requests) + 3


def test_keys(caller: Caller, connection: Connection) -> None:
    """Who has no key, one that nobody has, a revoked one, or two of them, is told what to do, without the key."""
    other = make_key(connection, "globex")

    def refused(status: int, code: str, body: Any, **options: Any) -> None:
        answer = caller.post("/v1/page", body, **options)
        assert (answer.status_code, answer.json()["code"], answer.json()["success"]) == (status, code, False)
        assert caller.key not in answer.text and other not in answer.text and "wk_unknown" not in answer.text
        assert "analytics keys create" in answer.text or status == 400

    refused(401, "no_write_key", PAGE, auth=None)
    refused(401, "no_write_key", PAGE, auth=("", ""))
    refused(401, "unknown_write_key", PAGE, auth=("wk_unknown", ""))
    refused(401, "unknown_write_key", None, content=json.dumps({**PAGE, "writeKey": "wk_unknown\ud800"}).encode(), auth=None)
    for header in ("Bearer abc", "Basic %%%", "Basic " + base64.b64encode(b"\xff:").decode()):
        refused(401, "bad_authorization", PAGE, auth=None, headers={"Authorization": header})
    refused(400, "bad_request", {**PAGE, "writeKey": other})
    assert not events(connection)

    # Another organisation's key brings another organisation's events.
    assert caller.post("/v1/page", PAGE, auth=(other, "")).status_code == 200
    assert caller.post("/v1/page", PAGE).status_code == 200
    slugs = "(select slug from public.organizations o where o.id = organization_id)"
    assert events(connection, slugs) == [("acme",), ("globex",)]

    acme = connection.execute("select id from public.organizations where slug = 'acme'").fetchone()
    assert acme is not None
    keys.revoke(connection, acme["id"], "test")
    assert KEY_SECONDS <= 2
    until = time.monotonic() + 30
    while caller.post("/v1/page", PAGE).status_code == 200 and time.monotonic() < until:
        time.sleep(0.05)
    refused(401, "revoked_write_key", PAGE)
    # A key that was made a moment ago is known at once.
    assert caller.post("/v1/page", PAGE, auth=(keys.create(connection, acme["id"], "new"), "")).status_code == 200


def test_one_bad_event_in_a_batch(caller: Caller, connection: Connection) -> None:
    """The others go in; it goes to quarantine, once, with field, value and reason."""
    bad = {"type": "track", "userId": "u", "event": "x" * 101, "messageId": "bad"}
    for _ in range(2):
        answer = caller.send(PAGE, bad, dict(PAGE, messageId="p-2"))
        assert answer.status_code == 200
        assert answer.json()["rejected"] == 1 and answer.json()["reasons"][0]["event"] == 1
    assert len(events(connection)) == 2
    (row,) = quarantined(connection)
    assert (row["source"], row["stream"], row["level"], row["field"], row["record_key"]) == (
        "events",
        "track",
        "event",
        "event",
        "bad",
    )
    assert "has 101 characters" in row["reason"] and json.loads(bytes(row["content"])) == bad


def test_an_event_that_is_too_large(caller: Caller, connection: Connection) -> None:
    """The others of its batch are stored, and the answer names it."""
    answer = caller.send(PAGE, dict(PAGE, messageId="large", properties={"text": "x" * 40_000}))
    assert answer.status_code == 413
    assert answer.json()["code"] == "event_too_large" and "event 1 (messageId large)" in answer.json()["message"]
    assert len(events(connection)) == 1
    assert [row["field"] for row in quarantined(connection)] == ["size"]


def test_past_retention(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events older than they are kept would be dropped at once: they are rejected, and say so."""
    monkeypatch.setenv("ANALYTICS_KEEP_EVENTS_DAYS", "30")
    now = datetime.now(UTC)
    key = make_key(connection)
    with serving() as base, httpx.Client() as client:
        caller = Caller(base, key, client)
        times = [(now - timedelta(days=days)).isoformat() for days in (29, 31)]
        assert caller.send(*[dict(PAGE, messageId=at, timestamp=at) for at in times]).json()["rejected"] == 1
    assert len(events(connection)) == 1
    assert "is past the retention of events" in quarantined(connection)[0]["reason"]


def test_what_postgresql_refuses(caller: Caller, connection: Connection) -> None:
    """A batch that PostgreSQL refuses is taken apart until only the event that it refuses is left out."""
    connection.execute("alter table public.event_tracking add check (event_name <> 'Refused')")
    connection.commit()
    batch = [{"type": "track", "userId": "u", "event": "Fine", "messageId": f"m-{number}"} for number in range(20)]
    batch[13]["event"] = "Refused"
    answer = caller.send(*batch)
    assert answer.status_code == 200 and [one["event"] for one in answer.json()["reasons"]] == [13]
    assert len(events(connection)) == 19
    (row,) = quarantined(connection)
    assert row["record_key"] == "m-13" and row["reason"].startswith("PostgreSQL refuses it: ")
    assert json.loads(bytes(row["content"])) == batch[13]


def test_places_of_visitors(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser's address is cut; behind a trusted proxy it is the one that the proxy saw, and its country the proxy's word."""
    monkeypatch.setenv("ANALYTICS_COLLECTOR_PROXIES", "127.0.0.0/8, 10.0.0.0/8")
    agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
    headers = {
        "User-Agent": agent,
        "X-Forwarded-For": "6.6.6.6, 198.51.100.77, 10.1.2.3",
        "CF-IPCountry": "nl",
        "CF-IPCity": "Delft",
    }
    key = make_key(connection)
    with serving() as base, httpx.Client() as client:
        caller = Caller(base, key, client)
        assert caller.post("/v1/page", PAGE, headers=headers).status_code == 200
        # A server's own address and agent are nobody's.
        server = {"User-Agent": "analytics-python/2.4.0", "X-Forwarded-For": "198.51.100.77"}
        assert caller.post("/v1/page", dict(PAGE, anonymousId="b", messageId="p-2"), headers=server).status_code == 200
    rows = connection.execute(
        "select host(ip_address) as ip, country, city, device_type, browser, os, user_agent from public.live_sessions order by visitor_id"
    ).fetchall()
    assert [tuple(row.values()) for row in rows] == [
        ("198.51.100.0", "NL", "Delft", "desktop", "Chrome", "Windows", agent),
        (None, None, None, None, None, None, None),
    ]


def test_browsers(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """CORS: a page of an allowed origin may send events with its key; none may send credentials of its own."""
    key = make_key(connection)
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    with serving() as base, httpx.Client() as client:
        answer = client.options(f"{base}/v1/t", headers={"Origin": "https://shop.example", **preflight})
        assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "*"
        assert "authorization" in answer.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in answer.headers
        answer = Caller(base, key, client).post("/v1/p", PAGE, headers={"Origin": "https://shop.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
    monkeypatch.setenv("ANALYTICS_COLLECTOR_ORIGINS", "https://shop.example, https://blog.example")
    with serving() as base, httpx.Client() as client:
        for origin, status in (("https://blog.example", 200), ("https://evil.example", 400)):
            answer = client.options(f"{base}/v1/t", headers={"Origin": origin, **preflight})
            assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (
                status,
                origin if status == 200 else None,
            )


def test_health_and_metrics(caller: Caller, connection: Connection) -> None:
    """Figures by outcome and status; nothing in them that a client chose."""
    assert caller.client.get(f"{caller.base}/health").json() == {"status": "ok"}
    caller.send(PAGE, PAGE, {"type": "no-such-type", "userId": "u"})
    caller.post("/v1/page", PAGE, auth=("wk_wrong", ""))
    text = caller.client.get(f"{caller.base}/metrics").text
    for line in (
        'analytics_collector_events_total{outcome="stored"} 1.0', 'analytics_collector_events_total{outcome="duplicate"} 1.0',
        'analytics_collector_events_total{outcome="rejected"} 1.0', 'analytics_collector_requests_total{status="200"} 1.0',
        'analytics_collector_requests_total{status="401"} 1.0', "analytics_collector_commit_seconds_count 1.0",
    ):  # fmt: skip
        assert line in text, text
    assert "no-such-type" not in text and "wk_" not in text
