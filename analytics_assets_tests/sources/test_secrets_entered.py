"""A secret that an operator enters in the wrong place is refused, and not repeated."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets.sources import registry
from analytics_assets.sources.secrets import KEYS_VARIABLE, SecretBox
from analytics_assets_tests.sources.hostile import made_up
from analytics_assets_tests.sources.leaks import Search, dump
from analytics_assets_tests.sources.stores import NEW, add_acme, add_store, row_of
from analytics_assets_tests.woocommerce import Connection

KEY, SECRET, TOKEN = "ck_" + made_up("key"), "cs_" + made_up("secret", "/+="), "EAA" + made_up("token")
# Of another account: nothing but its form tells that it is one.
OTHERS = {
    "meta": "EAA" + made_up("other"),
    "shopify": "shpat_" + made_up("other 2"),
    "woocommerce": "cs_" + "0123456789abcdef" * 3,
    "google": "ya29." + made_up("other 3"),
    "google refresh": "1//" + made_up("other 4"),
    "google client": "GOCSPX-" + made_up("other 5"),
}
PASSWORD = made_up("password")
STORE = "https://shop.example"
SEARCH = Search({KEY, SECRET, TOKEN, PASSWORD, *OTHERS.values()})


def spelt(secret: str) -> list[str]:
    """As it is, within other text, in base64, within a URL, cut off, in capitals."""
    encoded = base64.b64encode(f"user:{secret}".encode()).decode()
    return [secret, f"my-{secret}-1", encoded, quote(secret, ""), secret[:60], secret.upper()]


@pytest.fixture
def acme(connection: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Connection]:
    """The organisation, and files with secrets of a store and an ad account."""
    monkeypatch.setenv(KEYS_VARIABLE, NEW)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "woocommerce.json").write_text(json.dumps({"consumer_key": KEY, "consumer_secret": SECRET}))
    (tmp_path / "meta_ads.json").write_text(json.dumps({"access_token": TOKEN}))
    yield add_acme(connection)
    assert not [place for name, text in dump(connection).items() for place in SEARCH.found(name, text)]


def refused(connection: Connection, *arguments: str, kind: str = "woocommerce", command: str = "add") -> str:
    """What the command says; it ends as an error, and nothing is stored."""
    before = connection.execute("select * from public.data_sources").fetchall()
    which = ("--type", kind) if command == "add" else ()
    whole = ["sources", command, "--organization", "acme", *which, "--secret-file", f"{kind}.json", "--no-test", *arguments]
    result = CliRunner().invoke(app, whole)
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.output
    assert not SEARCH.found("said", " ".join(result.output.split())), result.output
    connection.rollback()
    assert connection.execute("select * from public.data_sources").fetchall() == before
    return result.output


def test_in_the_name(acme: Connection) -> None:
    for secret, token in zip(spelt(SECRET), spelt(TOKEN), strict=True):
        said = refused(acme, "--set", f"store_url={STORE}", "--name", secret)
        assert "the name holds one of the secrets; choose another with --name" in said
        assert "choose another with --name" in refused(acme, "--set", "account_id=1", "--name", token, kind="meta_ads")


def test_in_a_setting(acme: Connection) -> None:
    for secret, token in zip(spelt(SECRET), spelt(TOKEN), strict=True):
        for setting in ("store_url={}", "query_auth={}", "{}=true", "store_url=https://{}.example", f"store_url={STORE}/{{}}"):
            store = () if setting.startswith("store_url") else ("--set", f"store_url={STORE}")
            assert "holds a secret" in refused(acme, *store, "--set", setting.format(secret))
        assert "holds a secret" in refused(acme, "--set", f"account_id={token}", kind="meta_ads")
        assert "holds a secret" in refused(acme, "--set", "account_id=1", "--set", f"{token}=1", kind="meta_ads")


URLS = ("https://{key}:{secret}@shop.example", "https://shop.example?consumer_key={key}&consumer_secret={secret}", "https://{secret}@shop.example/",
        "https://shop.example/#{secret}", "https://shop.example:{secret}/", "http://shop.example/?a={secret}", "{key}:{secret}@shop.example",
        "https://user:{secret}@127.0.0.1/", "https://shop.example/{secret}/../")  # fmt: skip


def test_in_the_address(acme: Connection) -> None:
    """One of the source's own, one of somebody else, and a password that nobody could know to be one."""
    for url in URLS:
        assert "'store_url' holds a secret" in refused(acme, "--set", "store_url=" + url.format(key=KEY, secret=SECRET))
        said = refused(acme, "--set", "store_url=" + url.format(key="ck_1", secret=OTHERS["google"]))
        assert "'store_url' has the name or the form of a secret" in said
        if url != URLS[-1]:
            said = refused(acme, "--set", "store_url=" + url.format(key="ck_1", secret=PASSWORD))
            assert said.startswith("error: store_url '") and "expected the store's public address" in said


def test_one_of_another_account(acme: Connection) -> None:
    """Where a vendor's secrets have a form of their own."""
    for secret in OTHERS.values():
        assert "the name has the form of a secret" in refused(acme, "--set", f"store_url={STORE}", "--name", f"shop {secret}")
        for setting in (f"store_url={STORE}/{secret}", f"query_auth={secret}", f"{secret}=1"):
            store = () if setting.startswith("store_url") else ("--set", f"store_url={STORE}")
            assert "form of a secret" in refused(acme, *store, "--set", setting)
        assert "form of a secret" in refused(acme, "--set", f"account_id={secret}", kind="meta_ads")


def test_where_secrets_are_named(acme: Connection) -> None:
    """Given as a setting, as the name of a variable, as the name of a secret, in a file that is none."""
    assert "consumer_secret is a secret" in refused(acme, "--set", f"consumer_secret={SECRET}")
    store = ("--set", f"store_url={STORE}")
    assert "no such environment variable" in refused(acme, *store, "--secret-env", f"consumer_key={SECRET}")
    assert "expected SECRET=VARIABLE" in refused(acme, *store, "--secret-env", SECRET.replace("=", "-"))
    assert "no secret of the name given" in refused(acme, *store, "--secret-env", f"{TOKEN}=HOME")
    Path("woocommerce.json").write_text(f'{{"consumer_key": "{SECRET}')
    assert "expected a JSON object" in refused(acme, *store)
    Path("woocommerce.json").write_text(json.dumps({SECRET: KEY}))
    assert "no secret of the name given" in refused(acme, *store)


def test_with_new_credentials(acme: Connection) -> None:
    """A store that moves, with the key within its new address."""
    source = add_store(acme, box=SecretBox([NEW]))
    acme.commit()
    for url in URLS:
        assert "secret" in refused(acme, "--set", "store_url=" + url.format(key=KEY, secret=SECRET), command="authorize")
    assert registry.clear_settings(row_of(acme, source)) == {"store_url": "https://shop1.example.com"}
