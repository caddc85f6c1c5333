"""Whatever a vendor sends back and a tenant enters: no secret of a source, in no spelling, is stored, logged or shown.

The vendor is ``hostile``. Searched are the whole database (also what is packed in it), what is logged, what is said.
"""

import asyncio
import base64
import json
import logging
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import psycopg.sql
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets.sources import registry
from analytics_assets.sources.connectors import CONNECTORS
from analytics_assets.sources.engine import Engine, SyncReport
from analytics_assets.sources.secrets import KEYS_VARIABLE
from analytics_assets_tests.sources.hostile import Hostile, made_up
from analytics_assets_tests.sources.stores import NEW, add_acme
from analytics_assets_tests.sources.vendor import serving
from analytics_assets_tests.woocommerce import Connection

MARKS = "/+=_-.~"
TOKEN_MODES = ("token data", "token 400", "token 401", "token 500")
MODES = (
    "data", "zone", "currency", "nul", "cursor", "drain", "broken", "refusal", "truncated", "html 200", "html 503",
    *(f"error {status}" for status in (400, 401, 403, 404, 409, 429, 500)),
    "redirect host", "redirect path", "redirect odd", *TOKEN_MODES, "data",
)  # fmt: skip
# So many characters of a secret in a row are found for certain.
LEAST = 15
_GRAM, _STEP = 12, 4


def key_file() -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "type": "service_account",
        "client_email": "reader@acme.example",
        "private_key_id": made_up("key id"),
        "private_key": key.private_bytes(*form).decode(),
        "token_uri": "https://oauth2.googleapis.com/token",
    }


KEY_FILE = key_file()
#: Name: type, settings, secrets, days of history.
SOURCES: dict[str, tuple[str, dict[str, Any], dict[str, Any], int]] = {
    "ga service": ("google_analytics", {"property_id": "1"}, {"service_account": json.dumps(KEY_FILE)}, 2),
    "ga refresh": ("google_analytics", {"property_id": "2"}, {"refresh_token": "1//" + made_up("google refresh", MARKS)}, 2),
    "ga token": ("google_analytics", {"property_id": "3"}, {"access_token": "ya29." + made_up("google token", MARKS)}, 2),
    "meta": ("meta_ads", {"account_id": "11"}, {"access_token": "EAA" + made_up("meta", MARKS), "app_secret": made_up("app")}, 2),
    "meta 2": ("meta_ads", {"account_id": "12"}, {"access_token": "EAA" + made_up("meta 2")}, 2),
    "woo": (
        "woocommerce",
        {"store_url": "one"},
        {"consumer_key": "ck_" + made_up("k1"), "consumer_secret": "cs_" + made_up("s1", MARKS)},
        2,
    ),
    "woo 2": (
        "woocommerce",
        {"store_url": "two", "query_auth": True},
        {"consumer_key": "ck_" + made_up("k2", MARKS), "consumer_secret": "cs_" + made_up("s2")},
        2,
    ),
    "shop": ("shopify", {"shop": "one.myshopify.com"}, {"access_token": "shpat_" + made_up("shopify", MARKS)}, 2),
    "shop refresh": (
        "shopify",
        {"shop": "two.myshopify.com"},
        {
            "access_token": "shpat_" + made_up("shopify 2"),
            "refresh_token": "shprt_" + made_up("shopify 2 refresh"),
            "expires_at": "2026-01-01T00:00:00Z",
        },
        2,
    ),
    "shop client": (
        "shopify",
        {"shop": "three.myshopify.com"},
        {"client_id": made_up("client id"), "client_secret": made_up("client secret")},
        20,
    ),
}


def given() -> set[str]:
    """Every secret text that a source or the deployment has."""
    texts = {made_up(name) for name in ("google client", "meta app", "shopify client")} | {KEY_FILE["private_key_id"]}
    texts |= {line for line in KEY_FILE["private_key"].splitlines() if "---" not in line}
    for _, _, secrets, _ in SOURCES.values():
        texts |= {value for name, value in secrets.items() if name not in ("service_account", "expires_at")}
    return texts


# --- Searching ---------------------------------------------------------------------------------------------------------


class Search:
    """Finds pieces of secrets, whichever way they are written, in capitals or not."""

    def __init__(self, secrets: set[str]) -> None:
        self.grams: dict[str, str] = {}
        for secret in secrets:
            raw = secret.encode()
            forms = [secret, json.dumps(secret).replace("/", "\\/"), quote(secret, ""), quote(quote(secret, ""), ""), raw.hex()]
            forms += [base64.b64encode(b"x" * offset + raw)[4 if offset else 0 : -4].decode() for offset in range(3)]
            forms += [form.replace("+", "-").replace("/", "_") for form in forms[-3:]] + [quote(form, "") for form in forms[-3:]]
            for form in map(str.lower, forms):
                self.grams.update((form[at : at + _GRAM], secret) for at in range(len(form) - _GRAM + 1))

    def found(self, where: str, text: str) -> list[str]:
        """One line for each place."""
        low, places = text.lower(), []
        for at in range(0, len(low) - _GRAM + 1, _STEP):
            if low[at : at + _GRAM] in self.grams:
                places.append(f"{where}: {text[max(0, at - 60) : at + 40]!r}")
        return places[:3]


def _texts(value: Any) -> Iterator[str]:
    """What a column holds, also as the text that was packed."""
    if isinstance(value, bytes | memoryview):
        raw = bytes(value)
        yield raw.decode("utf-8", "replace")
        try:
            yield zlib.decompress(raw).decode("utf-8", "replace")
        except zlib.error:
            return
    elif value is not None:
        yield str(value)


def dump(connection: Connection) -> dict[str, str]:
    """Every table and partition of every schema of the database as text, by name."""
    connection.rollback()
    columns = connection.execute(
        "select n.nspname as schema, c.relname as name, array_agg(a.attname::text) as columns,"
        " array_agg(a.atttypid = 'bytea'::regtype) as binary from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')"
        " group by 1, 2"
    ).fetchall()
    found = {}
    for table in columns:
        wanted = [
            psycopg.sql.SQL("{}" if is_binary else "{}::text").format(psycopg.sql.Identifier(name))
            for name, is_binary in zip(table["columns"], table["binary"], strict=True)
        ]
        statement = psycopg.sql.SQL("select {} from {}").format(
            psycopg.sql.SQL(", ").join(wanted), psycopg.sql.Identifier(table["schema"], table["name"])
        )
        with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
            rows = cursor.execute(statement).fetchall()
        found[f"{table['schema']}.{table['name']}"] = "\n".join(text for row in rows for value in row for text in _texts(value))
    connection.rollback()
    return found


class Logged(logging.Handler):
    """Everything that is logged, whatever for: message, arguments, traceback."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.texts: list[str] = []
        self.formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts += [self.format(record), repr(record.__dict__)]


@pytest.fixture
def logged() -> Iterator[Logged]:
    handler, names = (
        Logged(),
        ("", "httpx", "httpcore", "psycopg", "asyncio", "analytics_assets", "dagster", "tenacity", "google"),
    )
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


# --- The vendor and its sources ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def hostile(server: Any, monkeypatch: pytest.MonkeyPatch, database: str) -> Hostile:
    """A vendor that has heard nothing yet, and the environment pointed at it."""
    server.reset()
    hostile = Hostile(server.url, owners={SOURCES["ga refresh"][2]["refresh_token"]: "2"})
    server.answer = hostile.answer
    for name, value in {**hostile.environment(), KEYS_VARIABLE: NEW}.items():
        monkeypatch.setenv(name, value)
    return hostile


def settings_of(name: str, hostile: Hostile) -> dict[str, Any]:
    settings = dict(SOURCES[name][1])
    if "store_url" in settings:
        settings["store_url"] = f"{hostile.base}/stores/{settings['store_url']}"
    return settings


@pytest.fixture
def connected(hostile: Hostile, connection: Connection) -> Connection:
    """All sources added, without a call."""
    add_acme(connection)
    for name, (kind, _, secrets, days) in SOURCES.items():
        first = (datetime.now(UTC) - timedelta(days=days)).date()
        registry.add(connection, "acme", kind, name, settings_of(name, hostile), secrets, history_from=first)
    return connection


def again(connection: Connection) -> None:
    """Every source as if it had never been synced."""
    connection.execute(
        "update public.data_sources set last_sync_at = null, failure_kind = null, failures = 0, next_sync_at = now(),"
        " time_zone = 'Asia/Tokyo', currency = 'JPY'"
    )
    connection.commit()


def one_pass(hostile: Hostile, connection: Connection, mode: str) -> SyncReport:
    again(connection)
    hostile.mode = mode
    return asyncio.run(Engine(http_options={"patience": 0.0}).run())


def check_nowhere(hostile: Hostile, connection: Connection, *said: str) -> None:
    """Nothing that is secret stands in the database, or in what was said."""
    search = Search(given() | hostile.secrets())
    places = [place for name, text in dump(connection).items() for place in search.found(name, text)]
    places += [place for text in said for place in search.found("said", text)]
    assert not places, "\n".join(places[:40])


# --- Tests -------------------------------------------------------------------------------------------------------------


def test_the_search_finds_every_spelling(connection: Connection) -> None:
    secret = made_up("needle", MARKS)
    search = Search({secret})
    packed = zlib.compress(f"body {secret} end".encode())
    connection.execute("create table public.hay (a bytea, b jsonb, c text[])")
    for row in (
        (packed, None, None),
        (secret[:LEAST].encode(), None, None),
        (None, json.dumps({secret: 1}), None),
        (None, None, [secret]),
    ):
        connection.execute("truncate public.hay")
        connection.execute("insert into public.hay values (%s, %s, %s)", row)
        connection.commit()
        assert search.found("hay", dump(connection)["public.hay"]), row
    for form in (
        secret.upper(),
        base64.b64encode(b"ab" + secret.encode()).decode(),
        quote(secret, ""),
        f"cut {secret[40 : 40 + LEAST]}",
    ):
        assert search.found("", f"x {form}"), form
    assert not search.found("", f"{made_up('other', MARKS)} {secret[: _GRAM - 1]}")


def test_nothing_that_vendors_send_back_is_stored_or_logged(
    hostile: Hostile, connected: Connection, logged: Logged, capfd: pytest.CaptureFixture[str]
) -> None:
    import time, sys

    out = open("/tmp/w/survey3.txt", "w")
    for mode in MODES:
        t = time.time()
        try:
            report = one_pass(hostile, connected, mode)
        except Exception as error:
            print("DIED", mode, type(error), str(error)[:300], file=out)
            connected.rollback()
            connected.execute("update public.data_sources set lease_owner=null, lease_until=null")
            connected.commit()
            continue
        t2 = time.time()
        said = repr(report.failures) + repr(report.failed_organizations) + "\n".join(logged.texts) + "".join(capfd.readouterr())
        logged.texts.clear()
        search = Search(given() | hostile.secrets())
        t3 = time.time()
        places = search.found(mode, said)
        d = dump(connected)
        places += [place for name, text in d.items() for place in search.found(name, text)]
        if places:
            print("LEAKS", mode, *places, sep="\n  ", file=out)
        print(
            mode,
            dict(report.outcomes),
            round(t2 - t, 2),
            round(t3 - t2, 2),
            round(time.time() - t3, 2),
            sum(map(len, d.values())),
            len(search.grams),
            file=out,
        )
        print(*report.failures, sep="\n    ", file=out, flush=True)
