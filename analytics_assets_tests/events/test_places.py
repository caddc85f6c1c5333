"""User agents and addresses: what is read from them, and what is stored."""

from ipaddress import ip_network

import pytest

from analytics_assets.events.addresses import AddressRules, country_code, place_of, read_address
from analytics_assets.events.agents import describe

CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0"


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36 Edg/120.0.0.0", ("desktop", "Edge", "Windows")),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Safari/605.1.15",
         ("desktop", "Safari", "Mac OS X")),
        ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0", ("desktop", "Firefox", "Ubuntu")),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME} Safari/537.36", ("desktop", "Chrome", "Chrome OS")),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148"
         " Safari/604.1", ("mobile", "Mobile Safari", "iOS")),
        (f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {CHROME} Mobile Safari/537.36", ("mobile", "Chrome Mobile", "Android")),
        (f"Mozilla/5.0 (Linux; Android 13; SM-X906C) {CHROME} Safari/537.36", ("tablet", "Chrome", "Android")),
        ("Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148"
         " Safari/604.1", ("tablet", "Mobile Safari", "iOS")),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", ("bot", "Googlebot", None)),
        (f"Mozilla/5.0 (X11; Linux x86_64) {CHROME.replace('Chrome', 'HeadlessChrome')} Safari/537.36",
         ("bot", "HeadlessChrome", "Linux")),
        ("Mozilla/5.0 (PlayStation 5 3.03/SmartTV) AppleWebKit/605.1.15 (KHTML, like Gecko)", ("other", "Apple Mail", None)),
        ("curl/8.0", ("other", "curl", None)),
        ("", ("other", None, None)),
        ("(" * 100_000, ("other", None, None)),
    ],
)  # fmt: skip
def test_agents(agent: str, expected: tuple[str, str | None, str | None]) -> None:
    """Device, browser and system of what people use."""
    assert tuple(describe(agent)) == expected


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("203.0.113.77", "203.0.113.0"), ("203.0.113.77:5000", "203.0.113.0"), ("2001:db8:1:2::3", "2001:db8:1::"),
        ("[2001:db8:1:2::3]:443", "2001:db8:1::"), ("::ffff:203.0.113.77", "203.0.113.0"), ("fe80::1%eth0", "fe80::"),
        ("0.0.0.0", None), ("::", None), ("unknown", None), ("", None), ("203.0.113.300", None),
    ],
)  # fmt: skip
def test_addresses_are_cut(text: str, kept: str | None) -> None:
    """To /24 and /48 before they are stored; what is none is none."""
    address = AddressRules().kept(read_address(text))
    assert (str(address) if address else None) == kept


def test_whose_word_counts() -> None:
    """X-Forwarded-For only from trusted proxies; the last address that is none of theirs."""
    rules = AddressRules(proxies=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))
    assert str(rules.client("10.0.0.1", ["1.1.1.1, 198.51.100.7", "10.2.3.4"])) == "198.51.100.7"
    assert str(rules.client("192.0.2.5", ["198.51.100.7"])) == "192.0.2.5"
    assert str(rules.client("2001:db8::1", ["198.51.100.7"])) == "198.51.100.7"
    assert rules.client("10.0.0.1", ["198.51.100.7, nonsense"]) is None
    assert str(rules.client("10.0.0.1", [])) == "10.0.0.1"
    assert str(AddressRules().client("10.0.0.1", ["198.51.100.7"])) == "10.0.0.1"
    assert AddressRules().client(None, []) is None


def test_places() -> None:
    """Country and city by the headers of those who stand in front."""
    assert place_of({b"cf-ipcountry": b"de", b"x-vercel-ip-city": b"M%C3%BCnchen"}) == ("DE", "München")
    assert place_of({b"cf-ipcountry": b"XX", b"cloudfront-viewer-country": b"FR"}) == ("FR", None)
    assert place_of({b"x-country-code": b"Germany", b"x-city": b"\x00\xff"}) == (None, "\ufffd")
    assert place_of({}) == (None, None)
    assert country_code(5) is None
