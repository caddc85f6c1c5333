"""Bad input, each with its answer; what is sound beside it is stored, and the collector stays as small as it was."""

import gzip
import json
import threading
from typing import Any

import httpx
import psutil

from analytics_assets_tests.events.serving import Caller, CollectorProcess, Connection, make_key
from analytics_assets_tests.events.test_collector import PAGE, events, quarantined

SQL = "x'); drop table public.event_tracking; --\\ \" $$ %s %(a)s \t\n"


REFUSED: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"", {}, 400, "the body is empty"),
    (b"{not json", {}, 400, "the body is no JSON"),
    (b'{"batch": [{"type": "page", "userId": "\xff\xfe"}]}', {}, 400, "the body is not UTF-8: byte 39"),
    (b'{"batch": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, 400, "nested too deeply"),
    (b'{"batch": ' * 50_000, {}, 400, "nested too deeply"),
    (b"[]", {}, 400, "expected a JSON object"),
    (b"{}", {}, 400, 'expected an object with an array "batch"'),
    (b"\x1f\x8bnot gzip", {"Content-Encoding": "gzip"}, 400, "not compressed as Content-Encoding says"),
    (gzip.compress(b'{"batch": []}')[:-9], {"Content-Encoding": "gzip"}, 400, "ends too early"),
    (b"x", {"Content-Encoding": "br"}, 400, "Content-Encoding: expected gzip, deflate or none"),
    (b" " * 10_000_000, {}, 413, "a request has at most 512,000 bytes"),
    (gzip.compress(b"x" * 50_000_000), {"Content-Encoding": "gzip"}, 413, "a request has at most 512,000 bytes"),
    (b'{"batch": [' + b"{}," * 6000 + b"{}]}", {}, 413, "a batch has at most 5,000 events, not 6,001"),
]  # fmt: skip


def test_requests_that_are_refused(caller: Caller, connection: Connection) -> None:
    """As a whole, with a reason; nothing of them is stored."""
    for content, headers, status, words in REFUSED:
        answer = caller.post("/v1/batch", content=content, headers=headers)
        assert answer.status_code == status and words in answer.json()["message"], (content[:40], answer.text)
    assert caller.send(PAGE).status_code == 200
    assert len(events(connection)) == 1 and not quarantined(connection)


def test_a_body_without_a_length(caller: Caller) -> None:
    """One that never ends is refused when it is too long, wherever its length is not told."""
    answer = caller.post("/v1/batch", content=(b" " * 10_000 for _ in range(200)))
    assert answer.status_code == 413


def test_hostile_values(caller: Caller, connection: Connection) -> None:
    """SQL in every field is a text like others; NUL characters, 1970 and 2100 are quarantined; the batch goes in."""
    everywhere: dict[str, Any] = {
        "type": "track", "event": SQL[:100], "userId": SQL, "anonymousId": SQL, "messageId": SQL, "properties": {SQL: SQL, "label": SQL},
        "category": SQL, "name": SQL, "traits": {"email": SQL}, "context": {"sessionId": SQL, "userAgent": SQL, "ip": SQL,
        "page": {"url": SQL, "referrer": SQL}, "location": {"country": SQL, "city": SQL}, "os": {"name": SQL}}, SQL: SQL,
    }  # fmt: skip
    alias = {"type": "alias", "userId": SQL, "previousId": "other" + SQL}
    answer = caller.send(
        everywhere, alias, dict(PAGE, anonymousId="\x00"), dict(PAGE, timestamp="1970-01-01T00:00:00Z"),
        dict(PAGE, timestamp="2100-01-01T00:00:00Z"), dict(PAGE, properties={"\x00": ["\x00"]}), {"type": SQL, "userId": SQL},
    )  # fmt: skip
    assert answer.status_code == 200 and answer.json()["rejected"] == 5
    found = connection.execute(
        "select user_id, event_name, event_label, page_url, metadata from public.event_tracking order by 2"
    ).fetchall()
    assert found[0]["event_name"] == "User Aliased"
    assert (found[1]["user_id"], found[1]["event_label"], found[1]["page_url"]) == (SQL, SQL[:100], SQL)
    assert found[1]["metadata"]["properties"] == {SQL: SQL, "label": SQL} and found[1]["metadata"][SQL] == SQL
    assert len(quarantined(connection)) == 5


def test_a_hundred_thousand_event_names_within_bounded_memory(connection: Connection) -> None:
    """Every one is stored; meanwhile others send bodies that are too large. The worker grows by little."""
    key = make_key(connection)
    process = CollectorProcess()
    with process.running(), httpx.Client(timeout=60) as client:
        caller = Caller(process.base, key, client)
        assert caller.send(PAGE).status_code == 200
        (worker,) = process.workers()
        before = worker.memory_info().rss
        peak = [before]
        is_over = threading.Event()

        def watch() -> None:
            bomb = gzip.compress(b"x" * 100_000_000)
            with httpx.Client(timeout=60) as other:
                while not is_over.wait(0.05):
                    bombs = Caller(process.base, key, other)
                    assert bombs.post("/v1/batch", content=bomb, headers={"Content-Encoding": "gzip"}).status_code == 413
                    peak.append(worker.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        for first in range(0, 100_000, 4000):
            names = [{"type": "track", "userId": "u", "event": f"Name {number}"} for number in range(first, first + 4000)]
            assert caller.post("/v1/batch", content=json.dumps({"batch": names}).encode()).status_code == 200
        is_over.set()
        watcher.join()
        assert max(peak) - before < 60 * 2**20, (max(peak) - before) / 2**20
        assert len(client.get(f"{process.base}/metrics").text) < 10_000
    counted = connection.execute("select count(distinct event_name) as names from public.event_tracking").fetchone()
    assert counted == {"names": 100_001}
    assert psutil.pid_exists(worker.pid) is False
