"""Answers: bodies within bounds, what is no JSON, waiting times, and no secret in anything that is raised or logged."""

import asyncio
import gzip
import logging
import traceback
import tracemalloc
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_assets.sources.answers import LONGEST_WAIT
from analytics_assets.sources.failures import AskForLess, Bug, RetryLater, SourceFailure, Throttled
from analytics_assets.sources.http import Call, Http, Response, error_text, redact, retry_after
from analytics_assets_tests.sources.loopback import Loopback, Script, after, answer, then_closed

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MEGABYTE = 1024 * 1024


def ask(server: Loopback, timeout: float = 5.0, **more: Any) -> Response:
    """One try; raises its failure."""

    async def main() -> Response:
        async with server, Http(timeout=timeout) as http:
            given = {"method": "GET", "url": server.url, "account": "a:1", "host": server.host, "attempts": 1, **more}
            return await http.send(Call(**given), lambda _: None)

    return asyncio.run(main())


# --- Bodies ----------------------------------------------------------------------------------------------------------


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


TEXT = b'{"data": "' + b"0123456789 abcdef " * 5000 + b'"}'
PACKED = {
    "plain": ("identity", TEXT),
    "gzip": ("gzip", gzip.compress(TEXT)),
    "x-gzip": ("X-GZIP", gzip.compress(TEXT)),
    "gzip in two": ("gzip", gzip.compress(TEXT[:7]) + gzip.compress(TEXT[7:])),
    "gzip and filling": ("gzip", gzip.compress(TEXT) + b"\0" * 40),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "raw deflate": ("deflate", raw_deflate(TEXT)),
}


@pytest.mark.parametrize(("coding", "body"), PACKED.values(), ids=PACKED.keys())
def test_packed_bodies_are_unpacked(coding: str, body: bytes) -> None:
    assert ask(Loopback([answer(200, body, {"Content-Encoding": coding})])).body == TEXT


def test_a_body_may_be_exactly_as_large_as_allowed() -> None:
    packed = Loopback([answer(200, gzip.compress(TEXT), {"Content-Encoding": "gzip"})])
    assert ask(packed, max_bytes=len(TEXT)).body == TEXT
    assert ask(Loopback([answer(200, TEXT)]), max_bytes=len(TEXT)).body == TEXT
    assert ask(Loopback([answer(200, b"", {"Content-Encoding": "gzip"})])).body == b""


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + (b"2710\r\n" + b"x" * 10_000 + b"\r\n") * 50 + b"0\r\n\r\n"
TOO_LARGE: dict[str, Script] = {
    "announced": answer(200, b"x" * 100_000),
    "chunked": CHUNKED,
    "packed": answer(200, gzip.compress(b"x" * 100_000), {"Content-Encoding": "gzip"}),
    "many empty ones": answer(200, gzip.compress(b"") * 5000, {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("script", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_a_body_that_is_too_large_is_not_read(script: Script) -> None:
    server = Loopback([script])
    with pytest.raises(AskForLess, match=r"^127\.0\.0\.1:\d+: the answer is larger than 50,000 bytes$"):
        ask(server, max_bytes=50_000, attempts=4)
    assert len(server.asked) == 1


def test_a_bomb_takes_no_more_memory_than_allowed() -> None:
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    bomb = b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(200)) + packer.flush()
    script = answer(200, bomb, {"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        with pytest.raises(AskForLess):
            ask(Loopback([script]), max_bytes=MEGABYTE)
        # Certificates are read meanwhile too, which takes some megabytes.
        assert tracemalloc.get_traced_memory()[1] < 16 * MEGABYTE
    finally:
        tracemalloc.stop()


BROKEN = {
    "packed twice": ("gzip, gzip", gzip.compress(gzip.compress(TEXT)), "not asked for"),
    "unknown": ("br", b"abc", "not asked for"),
    "breaks off": ("gzip", gzip.compress(TEXT)[:-20], "breaks off"),
    "no gzip": ("gzip", b"{}", "cannot be unpacked"),
    "damaged": ("gzip", gzip.compress(TEXT)[:30] + b"\xff" * 200, "cannot be unpacked"),
    "no deflate": ("deflate", b"\xff\xff\xff\xff", "cannot be unpacked"),
}


@pytest.mark.parametrize(("coding", "body", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_unpacked_is_a_passing_trouble(coding: str, body: bytes, said: str) -> None:
    with pytest.raises(RetryLater, match=said):
        ask(Loopback([answer(200, body, {"Content-Encoding": coding})]))


# --- JSON ------------------------------------------------------------------------------------------------------------

NO_JSON = {
    "html": (b"\n<!DOCTYPE html><html><head><title>Just a moment...</title>", "an HTML page"),
    "xml": (b"<?xml version='1.0'?><error/>", "a page of markup"),
    "nothing": (b" \n", "an empty answer"),
    "breaks off": (b'{"data": [1, 2', r"breaks off or is wrong \(.* at character 14 of 14\)"),
    "text": (b"busy", "at character 0 of 4"),
    "latin-1": ('{"name": "Müller"}'.encode("latin-1"), r"not UTF-8 \(byte 11 of 18\)"),
    "not a number": (b'{"a": NaN}', "nobody reads"),
    "deep": (b"[" * 100_000, "nobody reads"),
    "long number": (b"1" * 10_000, "nobody reads"),
}


@pytest.mark.parametrize(("body", "said"), NO_JSON.values(), ids=NO_JSON.keys())
def test_what_is_no_json_is_named(body: bytes, said: str) -> None:
    with pytest.raises(RetryLater, match=said + r".* where JSON belongs \(HTTP 200\)") as info:
        Response(200, {}, body, NOW).json()
    assert info.value.__context__ is None


def test_json_may_begin_with_a_byte_order_mark_and_call_itself_html() -> None:
    assert Response(200, {"content-type": "text/html"}, b"\xef\xbb\xbf[1]", NOW).json() == [1]


# --- Waiting times, text ---------------------------------------------------------------------------------------------

WAITS = {
    "seconds": ({"retry-after": "120"}, 120),
    "part": ({"retry-after": " 1.5 "}, 1.5),
    "none": ({}, None),
    "words": ({"retry-after": "soon"}, None),
    "negative": ({"retry-after": "-5"}, None),
    "for ever": ({"retry-after": "9" * 400}, LONGEST_WAIT.total_seconds()),
    "date": ({"retry-after": "Tue, 24 Nov 2026 12:00:30 GMT"}, 30),
    "date, other clock": ({"retry-after": "Tue, 24 Nov 2026 13:00:30 GMT", "date": "Tue, 24 Nov 2026 13:00:00 GMT"}, 30),
    "past": ({"retry-after": "Tue, 24 Nov 2026 11:00:00 GMT"}, 0),
    "years": ({"retry-after": "Tue, 24 Nov 2099 12:00:00 GMT"}, LONGEST_WAIT.total_seconds()),
}


@pytest.mark.parametrize(("headers", "seconds"), WAITS.values(), ids=WAITS.keys())
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == (None if seconds is None else NOW + timedelta(seconds=seconds))


@given(st.text(), st.text())
def test_retry_after_takes_any_text(value: str, date: str) -> None:
    found = retry_after({"retry-after": value, "date": date}, NOW)
    assert found is None or NOW <= found <= NOW + LONGEST_WAIT


@given(st.one_of(st.binary(), st.text().map(lambda text: f"<p>{text}".encode("utf-8", "replace"))), st.integers(10, 400))
def test_error_text_is_one_printable_line(body: bytes, limit: int) -> None:
    text = error_text(body, limit)
    assert len(text) <= limit
    assert all(char.isprintable() for char in text)
    assert text == text.strip()


def test_error_text_of_a_page_is_its_words() -> None:
    page = b"<html><head><style>p {color: red}</style><script>var a = 1 < 2</script></head><p>Down for\n\tmaintenance &amp; more"
    assert error_text(page) == "Down for maintenance & more"
    assert error_text(b"x" * 500) == "x" * 297 + "..."


@given(st.text(min_size=6, alphabet=st.characters(codec="utf-8")), st.text(max_size=5), st.text(max_size=5))
def test_redact_leaves_nothing_of_a_secret(secret: str, before: str, behind: str) -> None:
    said = redact(f"{before}\n{secret}\n{behind}", [secret, ""])
    assert secret not in said or secret in "[secret]" or not secret.strip()


# --- Secrets ---------------------------------------------------------------------------------------------------------

SECRET = "s3cr3t-0123456789"
SECRETLY: dict[str, Any] = {
    "method": "POST",
    "params": {"consumer_secret": SECRET},
    "headers": {"Authorization": f"Bearer {SECRET}"},
    "json": {"access_token": SECRET},
}
ECHO = {"Location": f"https://shop.example/?key={SECRET}", "Set-Cookie": f"token={SECRET}"}
FAILING: dict[str, tuple[Script, dict[str, Any]]] = {
    "time-out": (after(3, answer()), {}),
    "disconnect": (then_closed(b""), {}),
    "breaks off": (then_closed(f'HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{{"a": "{SECRET}"'.encode()), {}),
    "bad header": (then_closed(f"HTTP/1.1 200 OK\r\n{SECRET} {SECRET}\r\n\r\n".encode()), {}),
    "redirect": (answer(302, {"echo": SECRET}, ECHO), {}),
    "bad redirect": (answer(302, b"", {"Location": f"https://[::1/?key={SECRET}"}), {}),
    "too large": (answer(200, SECRET.encode() * 10, ECHO), {"max_bytes": 20}),
    "refused address": (answer(), {"public_only": True}),
    "no connection": (answer(), {"url": "http://127.0.0.1:1/"}),
    "line break in a header": (answer(), {"headers": {"Authorization": f"Bearer {SECRET}\nx: y"}}),
    "accent in a header": (answer(), {"headers": {"Authorization": f"Bearer {SECRET}é"}}),
    "bad address": (answer(), {"url": "https://shop.example:99999/"}),
}


def check_silent(failure: SourceFailure) -> None:
    """Nothing of the secret, also where a traceback is shown with the variables of its frames."""
    assert SECRET not in str(failure) + repr(failure) + repr(vars(failure))
    assert (failure.__cause__, failure.__context__) == (None, None)
    shown = traceback.TracebackException.from_exception(failure, capture_locals=True)
    frames = [frame for frame in shown.stack if "analytics_assets_tests" not in frame.filename]
    assert frames
    assert not [frame.name for frame in frames if SECRET in repr(frame.locals)]


@pytest.mark.parametrize(("script", "more"), FAILING.values(), ids=FAILING.keys())
def test_failures_hold_no_secret(script: Script, more: dict[str, Any]) -> None:
    with pytest.raises(SourceFailure) as info:
        ask(Loopback([script]), timeout=0.2, **{**SECRETLY, **more})
    check_silent(info.value)


def test_failures_of_the_caller_hold_no_secret() -> None:
    async def main(server: Loopback, failure: SourceFailure) -> None:
        async with server, Http(patience=0.3) as http:
            one = Call(**{"url": server.url, "account": "a:1", "host": server.host, **SECRETLY})
            with pytest.raises(type(failure)) as info:
                await http.send(one, lambda _: failure)
            check_silent(info.value)

    for failure in (Bug("no"), RetryLater("no"), Throttled("no", retry_at=NOW + timedelta(days=3650))):
        asyncio.run(main(Loopback([answer(400, {"echo": SECRET}, ECHO)]), failure))


def test_representations_hold_no_secret() -> None:
    one = Call(**{"url": "https://shop.example", "account": "a:1", "host": "shop.example", "form": {"key": SECRET}, **SECRETLY})
    response = Response(200, {"set-cookie": SECRET}, SECRET.encode(), NOW)
    assert SECRET not in f"{one!r} {one} {response!r} {response}"


def test_logs_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "httpcore.connection", "httpcore.http11"):
        caplog.set_level(logging.DEBUG, logger=name)
    server = Loopback([answer(200, {"echo": SECRET}, ECHO)])
    assert ask(server, **SECRETLY).status == 200
    assert SECRET in server.asked[0].target
    assert SECRET not in caplog.text
    assert "consumer_secret" not in caplog.text
    logging.getLogger("httpx").warning("still heard")
    assert "still heard" in caplog.text
