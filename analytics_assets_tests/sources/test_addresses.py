"""Addresses that tenants give: their normal form, what is refused, and what names may resolve to."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_assets.sources.addresses import check_store_url, is_public, normal_host, resolve_public
from analytics_assets.sources.failures import RetryLater, WrongConfiguration
from analytics_assets_tests.sources.loopback import resolve_as

ALLOWED = ("127.0.0.1:8080", "shop.internal:443", "[::1]:9000", "shop:443")
PUBLIC = "93.184.216.34"

# --- The normal form -------------------------------------------------------------------------------------------------

NORMAL = {
    "https://shop.example": "https://shop.example",
    " https://Shop.Example./ ": "https://shop.example",
    "HTTPS://shop.example:443/": "https://shop.example",
    "https://shop.example:8443/a/b//": "https://shop.example:8443/a/b",
    "https://shop.example/Laden/Größe": "https://shop.example/Laden/Gr%C3%B6%C3%9Fe",
    "https://shop.example/a%20b": "https://shop.example/a%20b",
    "https://Bücher.example": "https://xn--bcher-kva.example",
    f"https://{PUBLIC}": f"https://{PUBLIC}",
    "https://[2606:2800:220:1:0:0:0:1946]/x": "https://[2606:2800:220:1::1946]/x",
    "http://127.0.0.1:8080/stores/acme": "http://127.0.0.1:8080/stores/acme",
    "https://127.0.0.1:8080/x": "https://127.0.0.1:8080/x",
    "http://[::1]:9000": "http://[::1]:9000",
    "https://shop.internal": "https://shop.internal",
    "https://shop": "https://shop",
}


@pytest.mark.parametrize(("url", "normal"), NORMAL.items())
def test_store_urls_have_one_form(url: str, normal: str) -> None:
    assert check_store_url(url, ALLOWED) == normal
    assert check_store_url(normal, ALLOWED) == normal


REFUSED = {
    "": "begin with https",
    "shop.example": "begin with https",
    "ftp://shop.example": "begin with https",
    "file:///etc/passwd": "begin with https",
    "http://shop.example": "plain http",
    "http://127.0.0.1:8081": "plain http",
    "http://shop.internal": "plain http",
    "https://": "host is missing",
    "https:///shop": "host is missing",
    "https://:443": "host is missing",
    "https://shop.example:": "port",
    "https://shop.example:0": "port",
    "https://shop.example:99999": "port",
    "https://shop.example:x": "port",
    "https://[::1": "cannot be read",
    "https://shop.example\\@10.0.0.1": "backslash",
    "https://shop .example": "blank",
    "https://shop.example/a\nb": "control character",
    "https://-shop.example": "no host name",
    "https://shop..example": "no host name",
    "https://sh%6fp.example": "no host name",
    "https://" + "a" * 64 + ".example": "no host name",
    "https://shop\u00ad\u200b\u202e.example": "no host name",
    "https://localhost": "no name of the public internet",
    "https://my.localhost": "no name of the public internet",
    "https://intranet/": "no name of the public internet",
    "https://shop.example/../x": "folder",
    "https://shop.example/a/%2E%2e": "folder",
    "https://127.0.0.1": "127.0.0.1 is no address of the public internet",
    "https://10.1.2.3/": "no address of the public internet",
    "https://169.254.169.254/latest": "no address of the public internet",
    "https://0.0.0.0": "no address of the public internet",
    "https://[::]": "no address of the public internet",
    "https://[::ffff:10.0.0.1]": "no address of the public internet",
    "https://[fe80::1%25eth0]": "no address of the public internet|no host name|zone",
    "https://127.0.0.1.": "no address of the public internet",
    "https://１２７.０.０.１": "127.0.0.1 is no address of the public internet",
    "https://127。0。0。1": "127.0.0.1 is no address of the public internet",
    "https://2130706433": "four decimal numbers",
    "https://0x7f000001": "four decimal numbers",
    "https://0x7f.1": "four decimal numbers",
    "https://0177.0.0.1": "four decimal numbers",
    "https://127.1": "four decimal numbers",
    "https://127.0.0.1.5": "four decimal numbers",
    "https://256.1.1.1": "four decimal numbers",
}


@pytest.mark.parametrize(("url", "said"), REFUSED.items())
def test_store_urls_that_are_refused(url: str, said: str) -> None:
    with pytest.raises(WrongConfiguration, match=rf"(?s)^store_url .*({said})") as info:
        check_store_url(url, ALLOWED)
    assert "https://shop.example" in str(info.value)


SECRETIVE = {
    "https://ck_1:cs_2@shop.example/": "shop.example",
    "https://ck_1:cs/_2@shop.example/": "shop.example",
    "https://ck_1:cs_2?x@shop.example/": "https://",
    "ck_1:cs_2@shop.example": "shop.example",
    "https://shop.example/?consumer_secret=cs_2": "shop.example",
    "https://shop.example/?mail=a@b.example&key=cs_2": "https://",
    "https://shop.example/#cs_2": "shop.example",
    "https://shop.example:cs_2/": "shop.example:...",
    "https://shop.example?": "shop.example",
    "http://ck_1:cs_2@127.0.0.1:8080/": "127.0.0.1:8080",
    "https://ck_1:cs_2@shop .example/?cs_2": "shop .example",
}


@pytest.mark.parametrize(("url", "shown"), SECRETIVE.items())
def test_keys_within_a_store_url_are_refused_and_not_repeated(url: str, shown: str) -> None:
    with pytest.raises(WrongConfiguration) as info:
        check_store_url(url, ALLOWED)
    value = str(info.value).split("': ")[0]
    assert shown in value
    assert not any(secret in str(info.value) for secret in ("cs_2", "_2", "ck_1", "mail"))
    assert info.value.__context__ is None or info.value.__suppress_context__


@given(st.one_of(st.text(), st.text(alphabet="https:/.@[]%?#0127aä-_\\ ").map(lambda text: f"https://{text}")))
def test_any_text_has_a_normal_form_or_a_reason(url: str) -> None:
    try:
        normal = check_store_url(url, ALLOWED)
    except WrongConfiguration:
        return
    assert check_store_url(normal, ALLOWED) == normal
    assert not set("@?#\\ ") & set(normal.removeprefix("https://").split("/")[0])
    assert normal.isascii()


# --- Public and not --------------------------------------------------------------------------------------------------

PRIVATE_ADDRESSES = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", f"::ffff:{PUBLIC}", "fe80::1", "fe80::1%eth0", "fec0::1"),
    *("fc00::1", "fd12:3456::1", "ff02::1", "100::1", "2001:db8::1", "2001:2::1", "3fff::1", "5f00::1", "4000::1"),
    # 127.0.0.1, 10.0.0.1 within NAT64, 6to4 and Teredo.
    *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:7f00:1::1", "2002:a00:1::1"),
    *("2001:0:4136:e378:8000:63bf:f5ff:fffe", "2001::1"),
    *("", "shop.example", "2130706433", "0177.0.0.1", "127.1", "0x7f.0.0.1"),
)
PUBLIC_ADDRESSES = (
    *(PUBLIC, "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.1", "223.255.255.255"),
    *("2606:2800:220:1::1946", "2001:4860:4860::8888", "2a00:1450:4001::1", "64:ff9b::5db8:d822"),
)


@pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


MIXED = {
    "private": ["10.0.0.5"],
    "public, then private": [PUBLIC, "192.168.0.1"],
    "private, then public": ["169.254.169.254", PUBLIC],
    "public IPv4, local IPv6": [PUBLIC, "fe80::1%2"],
    "mapped": [f"::ffff:{PUBLIC}"],
}


@pytest.mark.parametrize("addresses", MIXED.values(), ids=MIXED.keys())
def test_a_name_with_any_private_address_is_refused(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_as(monkeypatch, {"shop.example": [addresses]})
    with pytest.raises(WrongConfiguration, match=r"^store_url: shop\.example leads to .* no address of the public internet"):
        asyncio.run(resolve_public("shop.example", 443, ALLOWED))
    assert asyncio.run(resolve_public("shop.example", 443, ["shop.example:443"])) == addresses


def test_names_are_resolved_in_their_normal_form(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolve_as(monkeypatch, {"xn--bcher-kva.example": [[PUBLIC, "2606:2800:220:1::1946", PUBLIC]], "gone.example": [[]]})
    assert asyncio.run(resolve_public("BÜCHER.example.", 443, ())) == [PUBLIC, "2606:2800:220:1::1946"]
    assert asked == ["xn--bcher-kva.example"]
    with pytest.raises(RetryLater, match=r"gone\.example: the name is not known"):
        asyncio.run(resolve_public("gone.example", 443, ()))


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.", "[::1]", "１２７.０.０.１", "a b"])
def test_odd_spellings_are_refused_before_they_are_resolved(host: str) -> None:
    with pytest.raises(WrongConfiguration, match=r"^store_url: "):
        asyncio.run(resolve_public(host, 443, ALLOWED))


def test_a_port_that_is_not_allowed_is_refused() -> None:
    assert asyncio.run(resolve_public("127.0.0.1", 8080, ALLOWED)) == ["127.0.0.1"]
    with pytest.raises(WrongConfiguration, match=r"adds 127\.0\.0\.1:8081 to ANALYTICS_STORE_HOSTS"):
        asyncio.run(resolve_public("127.0.0.1", 8081, ALLOWED))


def test_hosts_have_one_spelling() -> None:
    assert [normal_host(host) for host in ("SHOP.example.", "[2001:DB8::0:1]", "1.2.3.4")] == [
        "shop.example",
        "2001:db8::1",
        "1.2.3.4",
    ]
