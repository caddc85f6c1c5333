"""The HTTP layer against servers on the loopback address: tries, waits, broken answers, redirects."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from analytics_assets.sources import http
from analytics_assets.sources.failures import Bug, RetryLater, SourceFailure, Throttled, WrongConfiguration
from analytics_assets.sources.http import Call, Http, Response
from analytics_assets_tests.sources.loopback import Asked, Loopback, after, against, answer, call, classify, then_closed


def failure_of(
    server: Loopback,
    options: dict[str, Any] | None = None,
    classify: Callable[[Response], SourceFailure | None] = classify,
    **more: Any,
) -> tuple[SourceFailure, float]:
    """The failure of a call, and after how many seconds it was raised."""
    raised: list[tuple[SourceFailure, float]] = []

    async def work(http: Http) -> None:
        begun = time.monotonic()
        with pytest.raises(SourceFailure) as info:
            await http.send(call(server, **more), classify)
        raised.append((info.value, time.monotonic() - begun))

    against(server, work, **(options or {}))
    return raised[0]


# --- What is sent and received ---------------------------------------------------------------------------------------


def test_an_answer_is_complete_and_dated() -> None:
    server = Loopback([answer(200, {"a": [1, "ü"]}, {"X-WP-Total": "7"})])

    async def work(http: Http) -> None:
        response = await http.send(call(server, params={"q": "a b&c"}, headers={"X-Key": "k"}), classify)
        assert (response.status, response.headers["x-wp-total"], response.json()) == (200, "7", {"a": [1, "ü"]})
        assert timedelta() <= datetime.now(UTC) - response.fetched_at < timedelta(seconds=5)

    against(server, work)
    asked = server.asked[0]
    assert asked.target in ("/data?q=a%20b%26c", "/data?q=a+b%26c")
    assert asked.headers["user-agent"].startswith("analytics-assets/")
    assert (asked.headers["x-key"], asked.headers["accept-encoding"]) == ("k", "gzip, deflate")


def test_bodies_are_sent_as_json_or_as_a_form() -> None:
    server = Loopback()

    async def work(http: Http) -> None:
        await http.send(call(server, method="POST", json={"query": "{shop}"}), classify)
        await http.send(call(server, method="POST", form={"grant_type": "x", "code": "a&b"}), classify)

    against(server, work)
    first, second = server.asked
    assert first.body.replace(b" ", b"") == b'{"query":"{shop}"}'
    assert (second.headers["content-type"], second.body) == ("application/x-www-form-urlencoded", b"grant_type=x&code=a%26b")


def test_connections_are_kept_and_cookies_are_not() -> None:
    ports: set[int] = set()

    async def script(_: Asked, writer: asyncio.StreamWriter) -> None:
        ports.add(writer.get_extra_info("peername")[1])
        writer.write(answer(200, {}, {"Set-Cookie": "session=of-another-tenant; Path=/"}))

    server = Loopback([script])

    async def work(http: Http) -> None:
        for _ in range(3):
            await http.send(call(server), classify)

    against(server, work)
    assert len(ports) == 1
    assert not any("cookie" in asked.headers for asked in server.asked)


def test_outside_of_its_context_nothing_is_sent() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(Http().send(Call("GET", "http://127.0.0.1:1/", "a", "h"), classify))


# --- Tries and waits -------------------------------------------------------------------------------------------------


def test_a_passing_trouble_is_tried_again() -> None:
    server = Loopback([answer(500), then_closed(b""), answer(200, [1])])

    async def work(http: Http) -> None:
        assert (await http.send(call(server), classify)).json() == [1]

    against(server, work)
    assert len(server.asked) == 3


def test_the_last_failure_is_raised_after_all_tries() -> None:
    server = Loopback([answer(500)])
    failure, _ = failure_of(server, attempts=2)
    assert (type(failure), failure.status, failure.retry_at, len(server.asked)) == (RetryLater, 500, None, 2)
    single = Loopback([answer(500)])
    failure_of(single, attempts=1)
    assert len(single.asked) == 1


def test_other_failures_are_raised_at_once() -> None:
    server = Loopback([answer(418)])
    failure, seconds = failure_of(server, classify=lambda _: Bug("no teapot"))
    assert isinstance(failure, Bug)
    assert (len(server.asked), seconds < 30) == (1, True)


def test_waits_stay_within_the_patience() -> None:
    server = Loopback([answer(500)])
    _, seconds = failure_of(server, {"patience": 0.5}, attempts=50)
    assert 2 <= len(server.asked) <= 3
    assert seconds < 30
    hasty = Loopback([answer(500)])
    failure_of(hasty, {"patience": 0})
    assert len(hasty.asked) == 1


def _dated(seconds: int) -> dict[str, str]:
    # A server whose clock is a year behind: what counts is the time between its two dates.
    now = datetime.now(UTC) - timedelta(days=365)
    return {
        "Date": format_datetime(now, usegmt=True),
        "Retry-After": format_datetime(now + timedelta(seconds=seconds), usegmt=True),
    }


@pytest.mark.parametrize("headers", [{"Retry-After": "1"}, _dated(1)], ids=["seconds", "date"])
def test_retry_after_is_obeyed(headers: dict[str, str]) -> None:
    server = Loopback([answer(429, b"", headers), answer(200, [1])])
    begun = time.monotonic()

    async def work(http: Http) -> None:
        assert (await http.send(call(server), classify)).json() == [1]

    against(server, work)
    assert 1 <= time.monotonic() - begun < 30


@pytest.mark.parametrize("headers", [{"Retry-After": "60"}, _dated(60)], ids=["seconds", "date"])
def test_what_takes_longer_than_the_patience_is_the_callers(headers: dict[str, str]) -> None:
    server = Loopback([answer(429, b"", headers)])
    failure, seconds = failure_of(server)
    assert (type(failure), len(server.asked), seconds < 30) == (Throttled, 1, True)
    assert failure.retry_at is not None
    assert timedelta(seconds=55) < failure.retry_at - datetime.now(UTC) <= timedelta(seconds=60)


def test_the_vendors_own_word_comes_before_the_header() -> None:
    until = datetime.now(UTC) + timedelta(minutes=7)
    server = Loopback([answer(429, b"", {"Retry-After": "1"})])
    failure, _ = failure_of(server, classify=lambda _: Throttled("until", retry_at=until))
    assert failure.retry_at == until


# --- Time-outs and broken answers ------------------------------------------------------------------------------------


TRUNCATED = b'HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{"a": '
BROKEN = {
    "silence": (after(5, answer()), "no answer within 0.1 s"),
    "no answer": (then_closed(b""), "breaks off"),
    "within the body": (then_closed(TRUNCATED), "breaks off"),
    "within a chunk": (then_closed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"), "breaks off"),
    "no HTTP": (then_closed(b"220 mail.example ESMTP\r\n\r\n"), "no HTTP"),
}


@pytest.mark.parametrize(("script", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_exchanges_are_passing_troubles(script: Any, said: str) -> None:
    server = Loopback([script])
    failure, _ = failure_of(server, {"timeout": 0.1}, attempts=1)
    assert isinstance(failure, RetryLater)
    assert server.host in str(failure)
    assert said in str(failure)


async def _drip(_: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        await asyncio.sleep(0.02)


def test_an_answer_that_comes_in_drops_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_WHOLE", 2)
    failure, seconds = failure_of(Loopback([_drip]), {"timeout": 0.4}, attempts=1)
    assert isinstance(failure, RetryLater)
    assert "no complete answer within 0.8 s" in str(failure)
    # The whole answer would take twenty.
    assert seconds < 15


def test_a_host_without_a_server_is_a_passing_trouble() -> None:
    async def main() -> None:
        async with Loopback() as server:
            pass
        async with Http() as http:
            with pytest.raises(RetryLater, match=f"{server.host}: the connection is refused"):
                await http.send(call(server, attempts=1), classify)
            with pytest.raises(WrongConfiguration, match="address cannot be read"):
                await http.send(call(server, url="https://shop.example:port/"), classify)

    asyncio.run(main())


def test_json_that_breaks_off_is_tried_again() -> None:
    server = Loopback([answer(200, b'{"data": [1, 2'), answer(200, b"<html>busy</html>"), answer(200, {"data": []})])

    def reads(response: Response) -> SourceFailure | None:
        response.json()
        return None

    async def work(http: Http) -> None:
        assert (await http.send(call(server), reads)).json() == {"data": []}

    against(server, work)
    assert len(server.asked) == 3


# --- Redirects -------------------------------------------------------------------------------------------------------


def test_a_redirect_is_never_followed() -> None:
    async def main() -> None:
        async with Loopback() as target, Http() as http:
            async with Loopback([answer(302, b"", {"Location": f"{target.url}?token=s3cr3t"})]) as server:
                with pytest.raises(WrongConfiguration) as info:
                    await http.send(call(server, headers={"authorization": "Bearer t0k3n"}), classify)
                assert f"redirects (HTTP 302) to http://{target.host};" in str(info.value)
                assert "s3cr3t" not in str(info.value)
                with pytest.raises(Bug):
                    await http.send(call(server), lambda _: Bug("mine"))
            assert not target.asked

    asyncio.run(main())


REDIRECTS = {
    "private": ("http://169.254.169.254/latest/", r"to http://169\.254\.169\.254, which is not allowed"),
    "odd spelling": ("https://0x7f.1/", "cannot be read"),
    "public": ("https://93.184.216.34/shop", r"which is allowed; .*set store_url to https://93\.184\.216\.34$"),
    "public, not https": ("http://93.184.216.34/shop", "not https"),
    "own page": ("/login?next=%2F", "another page of its own"),
    "nowhere": ("", "another page of its own"),
    "unreadable": ("https://[::1", "cannot be read"),
    "no http": ("ftp://files.example/", "cannot be read"),
}


@pytest.mark.parametrize(("location", "said"), REDIRECTS.values(), ids=REDIRECTS.keys())
def test_a_stores_redirect_is_explained(location: str, said: str) -> None:
    server = Loopback([answer(301, b"", {"Location": location})])
    raised: list[SourceFailure] = []

    async def main() -> None:
        async with server, Http(allowed_hosts=[server.host]) as http:
            with pytest.raises(WrongConfiguration, match=said) as info:
                await http.send(call(server, public_only=True), classify)
            raised.append(info.value)

    asyncio.run(main())
    assert server.host in str(raised[0])
    assert len(server.asked) == 1
