"""Access tokens for Google, from a server that answers as its token endpoint does."""

import json
from collections.abc import Iterator
from math import gcd, lcm
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import google.auth.jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from google.auth.crypt import RSASigner
from starlette.responses import Response

from analytics_assets.sources.connector import JSON
from analytics_assets.sources.failures import (
    Bug,
    PermissionDenied,
    Reauthorize,
    RetryLater,
    SourceFailure,
    Throttled,
    WrongConfiguration,
)
from analytics_assets.sources.google_analytics import GoogleAnalytics
from analytics_assets.sources.google_keys import KeySigner
from analytics_assets.sources.google_tokens import SCOPE, _Cache, _Kept
from analytics_assets.sources.vendors import Vendors
from analytics_assets_tests.sources.google_property import error, failure, hours, property_of, read, report
from analytics_assets_tests.sources.vendor import Asked, Vendor, reply, serving, with_connector


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


class Google:
    """The token endpoint, and a report that is given to its newest token alone."""

    def __init__(self, lifetime: Any = 3599) -> None:
        self.forms: list[dict[str, str]] = []
        self.reports, self.good, self.lifetime = 0, "", lifetime

    def __call__(self, asked: Asked) -> Response:
        if asked.path == "/token":
            self.forms.append(dict(parse_qsl(asked.body.decode())))
            self.good = f"ya29.minted-{len(self.forms)}"
            return reply({"access_token": self.good, "expires_in": self.lifetime, "token_type": "Bearer"})
        self.reports += 1
        if asked.headers["authorization"] != f"Bearer {self.good}":
            return error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")(asked)
        return reply(report("hourly", hours("2026112000")))


def test_a_refresh_token_is_exchanged_once_and_again_where_the_token_is_refused(vendor: Vendor) -> None:
    vendor.answer = google = Google()
    secrets = {"refresh_token": "1//exchanged-once"}
    for _ in range(2):
        assert len(read(vendor, secrets=secrets)) == 1
    assert google.forms == [
        {
            "grant_type": "refresh_token",
            "refresh_token": "1//exchanged-once",
            "client_id": "deployment-client",
            "client_secret": "deployment-secret",
        }
    ]
    assert google.reports == 2
    google.good = "revoked"
    assert len(read(vendor, secrets=secrets)) == 1
    assert (len(google.forms), google.reports) == (2, 4)


def test_other_credentials_get_a_token_of_their_own(vendor: Vendor) -> None:
    vendor.answer = google = Google()
    own = {"refresh_token": "1//first-of-two", "client_id": "own-client", "client_secret": "own-secret"}
    read(vendor, secrets=own)
    read(vendor, secrets=own | {"refresh_token": "1//second-of-two"})
    assert [(form["refresh_token"], form["client_id"]) for form in google.forms] == [
        ("1//first-of-two", "own-client"), ("1//second-of-two", "own-client"),
    ]  # fmt: skip


@pytest.mark.parametrize("lifetime", [60, "soon", None])
def test_a_token_that_ends_within_a_minute_is_not_kept(vendor: Vendor, lifetime: Any) -> None:
    vendor.answer = google = Google(lifetime)
    for _ in range(2):
        read(vendor, secrets={"refresh_token": f"1//short-lived-{lifetime}"})
    assert len(google.forms) == 2


def test_a_token_that_is_refused_again_after_its_refresh_ends_the_sync(vendor: Vendor) -> None:
    google = Google()
    vendor.answer = lambda asked: google(asked) if asked.path == "/token" else error(401, "UNAUTHENTICATED", "no")(asked)
    assert isinstance(failure(vendor, secrets={"refresh_token": "1//refused-for-good"}), Reauthorize)
    assert [asked.path for asked in vendor.asked] == ["/token", "/v1beta/properties/123:runReport"] * 2


def test_a_given_token_cannot_be_refreshed(vendor: Vendor) -> None:
    vendor.answer = error(401, "UNAUTHENTICATED", "no")
    found = failure(vendor)
    assert isinstance(found, Reauthorize) and "connect the source again" in str(found)
    assert len(vendor.asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"error": "invalid_grant", "error_description": "Token has been revoked."}, Reauthorize, "revoked"),
        (
            400,
            {"error": "invalid_grant", "error_description": "Invalid JWT: check your iat and exp values"},
            Reauthorize,
            "clock",
        ),
        (
            401,
            {"error": "invalid_client", "error_description": "The OAuth client was not found."},
            WrongConfiguration,
            "client_id",
        ),
        (403, {"error": "access_denied"}, PermissionDenied, "access_denied"),
        (429, {"error": "rate_limit_exceeded"}, Throttled, "rate_limit"),
        (503, {"error": "temporarily_unavailable"}, RetryLater, "503"),
        (400, {"error": "internal_failure"}, RetryLater, "internal_failure"),
        (400, {"error": "never_heard_of"}, Bug, "never_heard_of"),
        (400, {"error": "invalid_grant", "error_description": "1//not-to-be-shown is bad"}, Reauthorize, "[secret] is bad"),
        (200, {"no": "token"}, Bug, "access_token"),
    ],
)
def test_refusals_of_the_token_endpoint(vendor: Vendor, status: int, body: JSON, kind: type[SourceFailure], words: str) -> None:
    vendor.answer = lambda _: reply(body, status)
    found = failure(vendor, secrets={"refresh_token": "1//not-to-be-shown"})
    assert type(found) is kind
    assert words in str(found)
    assert "not-to-be-shown" not in str(found) and "deployment-secret" not in str(found)


def test_a_refresh_token_without_a_client_is_never_sent(vendor: Vendor) -> None:
    one = property_of({"refresh_token": "1//without-client"})
    with pytest.raises(WrongConfiguration, match="ANALYTICS_GOOGLE_CLIENT_ID"):
        with_connector(GoogleAnalytics, one, Vendors(google_token_url=f"{vendor.url}/token"), lambda it: it.account())
    assert not vendor.asked


def key_file(key: Any, **more: Any) -> dict[str, str]:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = key.private_bytes(*form).decode()
    document = {"type": "service_account", "client_email": "reader@project.example", "private_key": pem, "private_key_id": "k1"}
    return {"service_account": json.dumps(document | more)}


def test_a_service_account_signs_for_the_deployments_token_endpoint(vendor: Vendor, rsa_key: rsa.RSAPrivateKey) -> None:
    vendor.answer = google = Google()
    read(vendor, secrets=key_file(rsa_key, token_uri="https://collects-assertions.example/token"))
    (form,) = google.forms
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    public = rsa_key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    claims = google_jwt(form["assertion"], public, f"{vendor.url}/token")
    assert (claims["iss"], claims["scope"], claims["exp"] - claims["iat"]) == ("reader@project.example", SCOPE, 3600)


def google_jwt(assertion: str, public: bytes, audience: str) -> Any:
    """The claims; raises where the signature or the audience is wrong."""
    return google.auth.jwt.decode(assertion, certs=public, audience=audience)  # type: ignore[no-untyped-call]


def no_keys() -> list[Any]:
    return [
        {"service_account": "THE-SECRET-TEXT"},
        {"service_account": '["THE-SECRET-TEXT"]'},
        {"service_account": '{"client_email": "a@b.example", "private_key": "THE-SECRET-TEXT"}'},
        {"service_account": '{"client_email": "a@b.example", "private_key": 5, "x": "THE-SECRET-TEXT"}'},
        {"service_account": '{"private_key": "THE-SECRET-TEXT"}'},
        key_file(ec.generate_private_key(ec.SECP256R1())),
        key_file(ed25519.Ed25519PrivateKey.generate()),
    ]


@pytest.mark.parametrize("secrets", no_keys())
def test_what_is_no_key_is_named_and_not_shown(vendor: Vendor, secrets: dict[str, str]) -> None:
    found = failure(vendor, secrets=secrets)
    assert isinstance(found, WrongConfiguration)
    assert str(found).startswith("service_account: ")
    assert "SECRET" not in str(found) and "PRIVATE KEY" not in str(found)
    # Nor with what it is chained to.
    assert found.__cause__ is None and found.__suppress_context__
    assert not vendor.asked


def forged(key: rsa.RSAPrivateKey, **changed: int) -> rsa.RSAPrivateKey:
    """The key with other numbers in it, as a file may hold them."""
    whole = key.private_numbers()
    numbers = {name: getattr(whole, name) for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp")} | changed
    public = rsa.RSAPublicNumbers(whole.public_numbers.e, numbers["p"] * numbers["q"])
    return rsa.RSAPrivateNumbers(**numbers, public_numbers=public).private_key(unsafe_skip_rsa_key_validation=True)


def without_primes() -> rsa.RSAPrivateKey:
    """A key that satisfies every equation, with a number in it that is no prime."""
    e, q = 65537, rsa.generate_private_key(65537, 2048).private_numbers().q
    p = (1 << 1023) + 1
    while p % 3 or gcd(e, p - 1) > 1:
        p += 2
    d = pow(e, -1, lcm(p - 1, q - 1))
    numbers = {"p": p, "q": q, "d": d, "dmp1": d % (p - 1), "dmq1": d % (q - 1), "iqmp": pow(q, -1, p)}
    return forged(rsa.generate_private_key(65537, 2048), **numbers)


def test_the_signature_is_the_one_that_googles_own_library_makes(rsa_key: rsa.RSAPrivateKey) -> None:
    pem = json.loads(key_file(rsa_key)["service_account"])["private_key"]
    ours, theirs = KeySigner(pem, "k1"), RSASigner.from_string(pem, "k1")  # type: ignore[no-untyped-call]
    assert ours.sign(b"text") == ours.sign("text") == theirs.sign(b"text")
    assert ours.key_id == theirs.key_id == "k1"


def test_a_key_whose_numbers_do_not_make_a_key_signs_nothing(vendor: Vendor, rsa_key: rsa.RSAPrivateKey) -> None:
    whole = rsa_key.private_numbers()
    changes = [{name: getattr(whole, name) + 2} for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp")]
    changes += [{"iqmp": 0}, {"d": 1, "dmp1": 1, "dmq1": 1}]
    keys = [forged(rsa_key, **change) for change in changes]
    for key in [*keys, without_primes(), rsa.generate_private_key(65537, 4104)]:
        found = failure(vendor, secrets=key_file(key))
        assert isinstance(found, WrongConfiguration) and str(found).startswith("service_account: it is no key that signs")
    assert not vendor.asked


def test_only_so_many_tokens_are_kept() -> None:
    cache, kept = _Cache(2), _Kept(b"", "token", float("inf"))
    keys = [(UUID(int=1), UUID(int=number)) for number in range(3)]
    cache.put(keys[0], kept)
    cache.put(keys[1], kept)
    assert cache.get(keys[0], b"") == "token"
    cache.put(keys[2], kept)
    # The one that was not used goes first.
    assert [cache.get(key, b"") for key in keys] == ["token", None, "token"]
    assert cache.get(keys[0], b"other credentials") is None
    assert "token" not in repr(kept)
