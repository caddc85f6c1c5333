"""`analytics sources` as an operator meets it, against the sandbox server; no word of it shows a secret."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets.sandbox.app import connection_of, running, vendor_environment
from analytics_assets.sandbox.faults import Fault
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import make_world
from analytics_assets.sources import registry
from analytics_assets.sources.secrets import KEYS_VARIABLE, SecretBox
from analytics_assets_tests.sources.stores import NEW, OLD, TOKEN
from analytics_assets_tests.woocommerce import Connection

WORLD = make_world(3, date(2026, 11, 1))
ONE = WORLD.organizations[0]
KEY, SECRET = (connection_of(ONE, "woocommerce", "http://127.0.0.1")[1][name] for name in ("consumer_key", "consumer_secret"))
#: In one test or another these are given, typed or stored.
NEVER_SHOWN = (KEY, SECRET, TOKEN, "PRIVATE KEY", "gAAAA", NEW, OLD)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Sandbox, str]]:
    """A running sandbox and its address."""
    sandbox = Sandbox(WORLD)
    with running(sandbox) as base:
        yield sandbox, base


@pytest.fixture
def pointed(server: tuple[Sandbox, str], monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox without faults, and the environment of a command pointed at it."""
    for name, value in {**vendor_environment(server[1]), "KEY_VARIABLE": KEY, "SECRET_VARIABLE": SECRET}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(KEYS_VARIABLE, NEW)
    server[0].faults.clear()
    return server[0]


@pytest.fixture
def sandbox(pointed: Sandbox, connection: Connection) -> Sandbox:
    """The same, with a database that has the organisation acme."""
    connection.execute("insert into public.organizations (slug, time_zone, currency) values ('acme', 'UTC', 'USD')")
    connection.commit()
    return pointed


@pytest.fixture
def store(sandbox: Sandbox, server: tuple[Sandbox, str]) -> list[str]:
    """Arguments of `sources add` for the first store, with its secrets from the environment."""
    url = f"{server[1]}/stores/{ONE.slug}"
    return ["--type", "woocommerce", "--set", f"store_url={url}", *FROM_ENVIRONMENT]


FROM_ENVIRONMENT = ["--secret-env", "consumer_key=KEY_VARIABLE", "--secret-env", "consumer_secret=SECRET_VARIABLE"]


def told(code: int, command: str, *arguments: str) -> str:
    """`analytics sources COMMAND --organization acme ARGUMENTS` ends with the code; what it says, on one line each."""
    whole = ["sources", command, *(["--organization", "acme"] if command != "rotate-keys" else []), *arguments]
    result = CliRunner().invoke(app, whole)
    assert result.exit_code == code and (code or result.exception is None), f"{result.output} {result.exception!r}"
    assert not any(secret in result.output for secret in NEVER_SHOWN), result.output
    return result.output


def rows(connection: Connection) -> list[dict[str, Any]]:
    """The table, as it stands now."""
    connection.rollback()
    return connection.execute("select * from public.data_sources order by source_type, source_name").fetchall()


def test_from_added_to_removed(connection: Connection, store: list[str]) -> None:
    """A real call proves the credentials and says zone and currency; then it is listed, tested, paused, removed."""
    output = told(0, "add", *store, "--name", "The store", "--frequency", "30", "--from", "2026-11-05")
    assert "woocommerce The store added to acme; synced every 30 minutes" in output
    assert f"account {ONE.name}: {ONE.time_zone}, {ONE.currency}" in output
    (row,) = rows(connection)
    assert (row["time_zone"], row["currency"], row["account_name"]) == (ONE.time_zone, ONE.currency, ONE.name)
    assert row["history_from"] == date(2026, 11, 5) and not any(secret in str(row) for secret in (KEY, SECRET))
    listed = told(0, "list")
    assert "1 sources" in listed and re.search(r"acme +woocommerce +The store +new +\d{4}-.* 30m +Europe/Berlin +EUR", listed), (
        listed
    )
    assert "woocommerce The store: answers\n" in told(0, "test")
    assert "is paused" in told(0, "pause", "--name", "The store") and " paused " in told(0, "list")
    assert "is synced again" in told(0, "resume", "--type", "woocommerce") and " new " in told(0, "list")
    assert "its data stays" in told(0, "remove") and " removed " in told(0, "list")
    assert "has no credentials: connect it with" in told(1, "test")
    assert "The store added" in told(0, "add", *store, "--name", "The store")
    assert rows(connection)[0]["id"] == row["id"]
    assert "is there already" in told(1, "add", *store, "--name", "The store")
    assert "count twice" in told(1, "add", *store)


@pytest.mark.parametrize("vendor", ["google_analytics", "meta_ads", "shopify"])
def test_the_other_vendors(
    connection: Connection, sandbox: Sandbox, server: tuple[Sandbox, str], tmp_path: Path, vendor: str
) -> None:
    """Secrets from a file; what a name by default is; a key file goes in as it was downloaded."""
    settings, secrets = connection_of(ONE, vendor, server[1])
    file = tmp_path / "secrets.json"
    content = secrets["service_account"] if vendor == "google_analytics" else secrets
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    output = told(0, "add", "--type", vendor, *given, "--secret-file", str(file))
    (row,) = rows(connection)
    assert f"{vendor} {row['source_name']} added" in output and row["source_name"] in str(settings)
    assert row["time_zone"] in output and row["currency"] in output
    assert f"{vendor} {row['source_name']}: answers" in told(0, "test", "--type", vendor)
    assert not any(value in output + str(row) for value in secrets.values() if isinstance(value, str))


def test_what_is_wrong_is_said_and_nothing_stored(
    connection: Connection, sandbox: Sandbox, store: list[str], server: tuple[Sandbox, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong credentials, missing rights, no store at the address, a store that is down; each with what to do."""
    monkeypatch.setenv("SECRET_VARIABLE", "cs_" + "0" * 40)
    wrong = told(1, "add", *store)
    assert "reauthorize: " in wrong and "make new ones at the vendor" in wrong and "Nothing was stored (--no-test" in wrong
    monkeypatch.setenv("SECRET_VARIABLE", SECRET)
    sandbox.faults.add(Fault("forbidden", vendor="woocommerce"))
    assert "permission: " in (denied := told(1, "add", *store)) and "make a key with the permission Read" in denied
    sandbox.faults.clear()
    elsewhere = [part.replace(ONE.slug, "no-store") for part in store]
    assert "configuration: " in told(1, "add", *elsewhere)
    sandbox.faults.add(Fault("429", vendor="woocommerce", seconds=3600))
    busy = told(1, "add", *store)
    assert re.search(r"throttled: .*not before \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC. The vendor asks for a pause", busy), busy
    sandbox.faults.clear()
    sandbox.faults.add(Fault("disconnect", vendor="woocommerce"))
    assert "retry: " in (down := told(1, "add", *store)) and "try again in some minutes" in down
    private = told(1, "add", "--type", "woocommerce", "--set", "store_url=https://127.0.0.1:1/shop", *FROM_ENVIRONMENT)
    assert "store_url" in private
    assert "http://" in told(1, "add", "--type", "woocommerce", "--set", "store_url=http://shop.example.com", *FROM_ENVIRONMENT)
    assert rows(connection) == []
    output = told(0, "add", *store, "--no-test")
    assert "not tested; zone and currency are the organisation's" in output
    assert [(row["time_zone"], row["currency"]) for row in rows(connection)] == [("UTC", "USD")]
    sandbox.faults.clear()
    told(0, "test")
    assert [(row["time_zone"], row["currency"]) for row in rows(connection)] == [(ONE.time_zone, ONE.currency)]


def test_a_stopped_source_is_tested_and_goes_on(connection: Connection, sandbox: Sandbox, store: list[str]) -> None:
    """As long as the vendor refuses it stays stopped; the list says why and how late it is."""
    told(0, "add", *store, "--name", "shop")
    connection.execute(
        "update public.data_sources set failure_kind = 'reauthorize', failures = 3, sync_status = 'failed', last_error = 'key [x] is"
        " gone', last_sync_at = now() - interval '3 days', next_sync_at = now() - interval '1 day'"
    )
    connection.commit()
    listed = told(0, "list")
    assert re.search(r" stopped +\d{4}-\d\d-\d\d \d\d:\d\d +2d 23h +15m +reauthorize ", listed), listed
    assert "acme woocommerce shop: reauthorize, 3 times: key [x] is gone" in listed
    sandbox.faults.add(Fault("revoked", vendor="woocommerce"))
    assert "woocommerce shop: reauthorize: " in told(1, "test")
    assert rows(connection)[0]["failure_kind"] == "reauthorize"
    sandbox.faults.clear()
    assert "answers; it had been stopped and goes on now" in told(0, "test")
    (row,) = rows(connection)
    assert row["failure_kind"] is None and row["sync_status"] == "idle" and " ok " in told(0, "list")


def test_new_credentials(connection: Connection, store: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad ones are refused and the old ones stay; a store that moved is told its address with them."""
    told(0, "add", *store, "--name", "shop")
    before = rows(connection)[0]["connection_config"]
    monkeypatch.setenv("SECRET_VARIABLE", "cs_" + "1" * 40)
    assert "Its old secrets are kept." in told(1, "authorize", *FROM_ENVIRONMENT)
    assert rows(connection)[0]["connection_config"] == before
    monkeypatch.setenv("SECRET_VARIABLE", SECRET)
    assert "has new secrets and is due now" in told(0, "authorize", *FROM_ENVIRONMENT)
    after = rows(connection)[0]["connection_config"]
    assert after["$secrets"]["ct"] != before["$secrets"]["ct"] and after["store_url"] == before["store_url"]
    told(0, "authorize", "--set", "store_url=https://new.example.com", "--no-test", *FROM_ENVIRONMENT)
    assert rows(connection)[0]["connection_config"]["store_url"] == "https://new.example.com"


def test_a_token_that_the_test_refreshed_is_what_is_stored(
    connection: Connection, sandbox: Sandbox, server: tuple[Sandbox, str], tmp_path: Path
) -> None:
    """Shopify's refresh token is used up by its use: the one given would be of no use any more."""
    settings, secrets = connection_of(ONE, "shopify", server[1])
    file = tmp_path / "secrets.json"
    refresh = "shprt_" + ONE.secret("shopify refresh")
    file.write_text(json.dumps({**secrets, "refresh_token": refresh, "expires_at": "2026-01-01T00:00:00Z"}))
    told(0, "add", "--type", "shopify", "--set", f"shop={settings['shop']}", "--secret-file", str(file))

    def stored() -> dict[str, Any]:
        return dict(registry.open_source(registry.get(connection, "acme"), SecretBox([NEW])).secrets)

    first = stored()
    assert first["refresh_token"] != refresh and first["access_token"] != secrets["access_token"]
    told(0, "test")
    assert stored() == first
    sandbox.faults.add(Fault("expired", vendor="shopify"))
    told(0, "test")
    connection.rollback()
    assert stored()["refresh_token"] != first["refresh_token"]


def test_keys_are_rotated(connection: Connection, store: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """To the first key; a source whose key is gone is named, and the way back."""
    told(0, "add", *store)
    monkeypatch.setenv(KEYS_VARIABLE, OLD)
    assert "Put the old key back" in told(1, "rotate-keys")
    assert "Put the old key back" in told(1, "test")
    monkeypatch.setenv(KEYS_VARIABLE, f"{OLD},{NEW}")
    assert "1 sealed anew, 0 already current" in told(0, "rotate-keys")
    assert "0 sealed anew, 1 already current" in told(0, "rotate-keys")
    monkeypatch.setenv(KEYS_VARIABLE, OLD)
    told(0, "test")


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("expected KEY=VALUE", ["--set", "store_url"]),
        ("--set store_url is given twice", ["--set", "store_url=a", "--set", "store_url=b"]),
        ("consumer_key is a secret.*--secret-file", ["--set", f"consumer_key={KEY}"]),
        ("expected SECRET=VARIABLE", ["--secret-env", SECRET]),
        ("no such environment variable", ["--secret-env", f"consumer_secret={SECRET}"]),
        ("needs consumer_key and consumer_secret: give --secret-file", []),
        ("expected a JSON object", ["--secret-file", "list.json"]),
        ("does.*not.*exist", ["--secret-file", "none.json"]),
        ("frequency.*greater than or equal to 1", ["--frequency", "0"]),
        ("does not match the format", ["--from", "monday"]),
    ],
)
def test_called_wrongly(
    pointed: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, arguments: list[str]
) -> None:
    """Exit status 2; a secret that was given in the wrong place is not shown again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text(json.dumps([SECRET]))
    output = told(2, "add", "--type", "woocommerce", *arguments)
    assert re.search(words, re.sub(r"\s*│?\n│?\s*", " ", output)), output


def test_refused_in_one_line(sandbox: Sandbox, store: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 1."""
    assert "type 'fax' is not known; there are: google_analytics" in told(1, "add", "--type", "fax", *FROM_ENVIRONMENT)
    assert "error: woocommerce has no secret of the name given; it has" in told(
        1, "add", "--type", "woocommerce", "--secret-env", f"{SECRET}=KEY_VARIABLE"
    )
    assert "acme has no source" in told(1, "pause")
    assert "no organisation 'nobody'" in CliRunner().invoke(app, ["sources", "list", "--organization", "nobody"]).output
    monkeypatch.setenv(KEYS_VARIABLE, f"{NEW},{SECRET}")
    ended = subprocess.run(
        [sys.executable, "-m", "analytics_assets.cli", "sources", "add", "--organization", "acme", *store],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 1 and ended.stderr.startswith(f"error: {KEYS_VARIABLE}: number 2 of 2 is no key"), ended.stderr
    assert len(ended.stderr.splitlines()) == 1 and SECRET not in ended.stderr


def test_secrets_are_typed_unseen(connection: Connection, store: list[str]) -> None:
    """On a terminal it asks for them, and what is typed does not come back."""
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "analytics_assets.cli", "sources", "add", "--organization", "acme", *store[:4]]
    # (A session of its own: otherwise the hidden prompt would open the terminal of whoever runs the tests.)
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True, close_fds=True)
    os.close(its)
    screen, answers = "", {"consumer_key": KEY, "consumer_secret": SECRET}
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                screen += os.read(ours, 4096).decode()
            except OSError:
                break
        for name in list(answers):
            # The prompt stands there a moment before the terminal is silent; nobody types as fast as this.
            if f"{name}:" in screen and not termios.tcgetattr(ours)[3] & termios.ECHO:
                os.write(ours, (answers.pop(name) + "\n").encode())
    os.close(ours)
    assert process.wait(30) == 0, screen
    assert "added to acme" in screen and KEY not in screen and SECRET not in screen
    (row,) = rows(connection)
    assert registry.open_source(row, SecretBox([NEW])).secrets == {"consumer_key": KEY, "consumer_secret": SECRET}
