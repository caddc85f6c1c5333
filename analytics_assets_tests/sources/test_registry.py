"""Sources as an operator connects, pauses, authorizes and removes them."""

import json
import threading
import uuid
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from analytics_assets.database import connect
from analytics_assets.organizations.registry import OrganizationError
from analytics_assets.sources import registry
from analytics_assets.sources.connector import JSON, Account
from analytics_assets.sources.failures import WrongConfiguration
from analytics_assets.sources.registry import SourceError
from analytics_assets_tests.sources.stores import (
    ACCOUNT,
    BOX,
    KEY,
    KEY_DOCUMENT,
    SECRET,
    TOKEN,
    WOO,
    add_acme,
    add_store,
    row_of,
)
from analytics_assets_tests.woocommerce import Connection


@pytest.fixture
def acme(connection: Connection) -> Connection:
    """A database with the organisation acme."""
    return add_acme(connection)


def refused(words: str, connection: Connection, *arguments: Any, **options: Any) -> None:
    """``add`` says why, shows no secret, and stores nothing."""
    before = connection.execute("select count(*) as n from public.data_sources").fetchone()
    with pytest.raises((SourceError, WrongConfiguration, OrganizationError), match=words) as refusal:
        registry.add(connection, *arguments, **dict[str, Any](box=BOX) | options)
    assert not any(secret in str(refusal.value) for secret in (KEY, SECRET, TOKEN))
    assert connection.execute("select count(*) as n from public.data_sources").fetchone() == before


def test_added_it_is_sealed_and_due(acme: Connection) -> None:
    """Settings in their normal form and in clear, secrets nowhere; zone and currency are the account's."""
    identifier = add_store(acme, history_from=date(2026, 3, 1), frequency_minutes=30)
    row = row_of(acme, identifier)
    config = row["connection_config"]
    assert config["store_url"] == "https://shop1.example.com" and set(config) == {"store_url", "$secrets"}
    assert set(config["$secrets"]) == {"$enc", "kid", "ct"}
    assert (row["source_name"], row["time_zone"], row["currency"], row["account_name"]) == (
        "shop1.example.com", "Europe/Berlin", "EUR", "The Shop",
    )  # fmt: skip
    assert row["is_connected"] and row["is_active"] and row["sync_frequency_minutes"] == 30
    assert row["history_from"] == date(2026, 3, 1) and row["failure_kind"] is None
    assert not any(secret in str(row) for secret in (KEY, SECRET))
    found = registry.get(acme, "acme")
    source = registry.open_source(found, BOX)
    assert source.secrets == WOO and source.settings == {"store_url": "https://shop1.example.com"}
    assert not any(secret in f"{source!r} {source} {source.secrets}" for secret in (KEY, SECRET))
    (told,) = registry.listed(acme, "acme")
    assert told["status"] == "new" and told["late_by"] is None and told["settings"] == source.settings
    assert BOX.key_id not in str(told)


def test_without_an_answer_zone_and_currency_are_the_organisations(acme: Connection) -> None:
    """Until the vendor says otherwise; of a source that was synced, they are its sync's affair."""
    identifier = add_store(acme, account=None)
    assert row_of(acme, identifier)["time_zone"] == "Asia/Tokyo"
    found = registry.get(acme, "acme")
    assert registry.answers(acme, found, ACCOUNT) is False
    assert (row_of(acme, identifier)["time_zone"], row_of(acme, identifier)["currency"]) == ("Europe/Berlin", "EUR")
    acme.execute("update public.data_sources set last_sync_at = now(), failure_kind = 'permission', failures = 3")
    assert registry.answers(acme, found, Account("UTC", "USD")) is True
    row = row_of(acme, identifier)
    assert (row["time_zone"], row["account_name"], row["failure_kind"], row["failures"]) == ("Europe/Berlin", "The Shop", None, 0)
    acme.execute("update public.data_sources set failure_kind = 'throttled', next_sync_at = now() + interval '1 hour'")
    before = row_of(acme, identifier)["next_sync_at"]
    assert registry.answers(acme, found, ACCOUNT) is False and row_of(acme, identifier)["next_sync_at"] == before


@pytest.mark.parametrize(
    ("words", "source_type", "name", "settings", "secrets"),
    [
        ("the name holds one of the secrets", "woocommerce", f"shop {SECRET}", {"store_url": "https://a.example.com"}, WOO),
        ("holds a secret", "woocommerce", None, {"store_url": f"https://{KEY}.example.com"}, WOO),
        ("'consumer_secret' holds a secret", "woocommerce", None, {"store_url": "https://a.example.com", "consumer_secret": "x"}, WOO),
        ("name or the form of a secret", "woocommerce", None, {"store_url": f"https://a.example.com/ck_{'0' * 32}"}, WOO),
        ("needs consumer_key and consumer_secret; only consumer_key given", "woocommerce", None, {}, {"consumer_key": KEY}),
        ("consumer_secret: expected a text", "woocommerce", None, {}, WOO | {"consumer_secret": "short"}),
        ("consumer_secret: has blanks, line breaks", "woocommerce", None, {}, WOO | {"consumer_secret": f"{SECRET} {KEY}"}),
        ("no secret of the name given 'consumer_ky'; it has consumer_key", "woocommerce", None, {}, {"consumer_ky": KEY}),
        ("no secret of the name given; it has", "meta_ads", None, {"account_id": "1"}, {TOKEN: "access_token"}),
        ("service_account: expected the JSON text", "google_analytics", None, {"property_id": "1"}, {"service_account": TOKEN}),
        ("type 'fax' is not known; there are: google_analytics", "fax", None, {}, WOO),
        ("name .*expected 1 to 255 printable", "woocommerce", "a\nb", {"store_url": "https://a.example.com"}, WOO),
    ],
)  # fmt: skip
def test_what_a_source_cannot_be(
    acme: Connection, words: str, source_type: str, name: str | None, settings: JSON, secrets: JSON
) -> None:
    """It is said why, without the secret; nothing is stored."""
    refused(words, acme, "acme", source_type, name, settings, secrets)


def test_other_things_that_are_refused(acme: Connection) -> None:
    """Organisation, dates, frequencies, a zone that is none, a name or an account that is there already."""
    store = ("acme", "woocommerce", None, {"store_url": "https://shop1.example.com"}, WOO)
    refused("no organisation 'nobody'", acme, "nobody", *store[1:])
    refused("expected a date from 1990", acme, *store, history_from=date.today() + timedelta(days=2))
    refused("frequency 0: expected minutes", acme, *store, frequency_minutes=0)
    refused("refuses this woocommerce source.*'Mars/Base'", acme, *store, account=Account("Mars/Base", "EUR"))
    add_store(acme)
    refused("is there already; new credentials go in with `analytics sources authorize`", acme, *store)
    refused("is connected as woocommerce 'shop1.example.com' of acme; its figures would count twice", acme,
            "acme", "woocommerce", "again", *store[3:])  # fmt: skip


def test_which_one_is_meant(acme: Connection) -> None:
    """By type and name as far as needed."""
    with pytest.raises(SourceError, match="acme has no source; see `analytics sources list"):
        registry.get(acme, "acme")
    add_store(acme, 1)
    registry.add(acme, "acme", "meta_ads", "ads", {"account_id": "act_1"}, {"access_token": TOKEN}, box=BOX)
    assert (
        registry.get(acme, "acme", "meta_ads")["source_name"] == registry.get(acme, "acme", None, "ads")["source_name"] == "ads"
    )
    with pytest.raises(SourceError, match=r"2 sources that fit: meta_ads 'ads', woocommerce 'shop1.example.com'. Say which"):
        registry.get(acme, "acme")
    with pytest.raises(OrganizationError, match="no organisation 'nobody'"):
        registry.get(acme, "nobody")


def test_removed_and_connected_again(acme: Connection) -> None:
    """No credentials are left, facts keep their source: the same account comes back to the same row only."""
    identifier = add_store(acme)
    acme.execute(
        "insert into public.sync_streams (organization_id, data_source_id, stream, purpose, window_start, window_end)"
        " select organization_id, id, 'orders', 'incremental', now() - interval '1 day', now() from public.data_sources"
    )
    registry.remove(acme, registry.get(acme, "acme"))
    row = row_of(acme, identifier)
    assert (
        row["connection_config"] == {"store_url": "https://shop1.example.com"}
        and not row["is_connected"]
        and not row["is_active"]
    )
    assert acme.execute("select from public.sync_streams").fetchall() == []
    found = registry.get(acme, "acme")
    assert [one["status"] for one in registry.listed(acme)] == ["removed"]
    for change in (registry.pause, registry.resume):
        with pytest.raises(SourceError, match="has no credentials: connect it with"):
            change(acme, found)
    with pytest.raises(SourceError, match="has no credentials"):
        registry.open_source(found, BOX)
    with pytest.raises(SourceError, match=r"was removed, and its data kept, as woocommerce 'shop1.example.com'"):
        add_store(acme, 1, "another name")
    with pytest.raises(SourceError, match="was another account, whose data is kept; choose another name"):
        add_store(acme, 2, "shop1.example.com")
    assert add_store(acme) == identifier
    assert registry.open_source(registry.get(acme, "acme"), BOX).secrets == WOO
    assert row_of(acme, identifier)["is_active"]


def test_a_source_of_files_is_connected(acme: Connection) -> None:
    """By its name, where zone and currency of the files are the account's."""
    acme.execute(
        "insert into public.data_sources (organization_id, source_type, source_name, time_zone, currency)"
        " select id, 'woocommerce', 'woocommerce', 'Europe/Berlin', 'EUR' from public.organizations"
    )
    acme.commit()
    (before,) = registry.find(acme, "acme")
    assert [one["status"] for one in registry.listed(acme)] == ["files"]
    with pytest.raises(SourceError, match=r"holds data from files, read as Europe/Berlin, EUR, but the account has UTC, EUR"):
        add_store(acme, 1, "woocommerce", account=Account("UTC", "EUR"))
    assert add_store(acme, 1, "woocommerce") == before["id"]


def test_two_that_add_the_same_account_at_once(acme: Connection) -> None:
    """Under two names, which no key of the table holds back: one of them is refused."""
    start, told = threading.Barrier(2), list[str]()

    def work(name: str) -> None:
        with connect() as connection:
            start.wait(10)
            try:
                add_store(connection, 1, name)
                told.append("added")
            except SourceError as error:
                told.append(str(error))

    workers = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert sorted(told)[0] == "added" and "would count twice" in sorted(told)[1]


def _at_work(connection: Connection, identifier: UUID) -> None:
    """A worker holds the source and has opened a log."""
    connection.execute(
        "update public.data_sources set lease_owner = %s, lease_until = now() + interval '1 minute', sync_status = 'running'"
        " where id = %s", (uuid.uuid4(), identifier),
    )  # fmt: skip
    connection.execute("select private.ensure_partitions('sync_logs', now(), now() + interval '1 us')")
    connection.execute(
        "insert into public.sync_logs (organization_id, started_at, data_source_id, sync_type, status)"
        " select organization_id, now(), id, 'full', 'started' from public.data_sources where id = %s", (identifier,),
    )  # fmt: skip
    connection.commit()


def test_paused_resumed_authorized(acme: Connection) -> None:
    """A pause lets a sync end; new credentials, or none, end it: it would stop the source again, or store what nobody wants."""
    identifier = add_store(acme)
    _at_work(acme, identifier)
    found = registry.get(acme, "acme")
    registry.pause(acme, found)
    row = row_of(acme, identifier)
    assert not row["is_active"] and row["lease_owner"] is not None
    assert [one["status"] for one in registry.listed(acme)] == ["paused"]
    acme.execute(
        "update public.data_sources set failure_kind = 'reauthorize', failures = 4, last_error = 'no', sync_status = 'failed',"
        " next_sync_at = now() + interval '1 day'"
    )
    registry.resume(acme, found)
    row = row_of(acme, identifier)
    assert row["is_active"] and (row["failure_kind"], row["failures"], row["last_error"], row["sync_status"]) == (
        None,
        0,
        None,
        "idle",
    )
    (due,) = acme.execute("select next_sync_at <= now() as due from public.data_sources").fetchall()
    assert due["due"]
    acme.execute("update public.data_sources set failure_kind = 'reauthorize', failures = 1")
    registry.authorize(acme, found, {"consumer_key": KEY[::-1], "consumer_secret": SECRET[::-1]}, box=BOX)
    row = row_of(acme, identifier)
    assert row["lease_owner"] is None and row["failure_kind"] is None
    assert acme.execute("select status, error_message ~ 'new credentials' as why from public.sync_logs").fetchall() == [
        {"status": "failed", "why": True}
    ]
    assert registry.open_source(registry.get(acme, "acme"), BOX).secrets["consumer_key"] == KEY[::-1]
    _at_work(acme, identifier)
    registry.remove(acme, found)
    assert row_of(acme, identifier)["lease_owner"] is None
    assert {one["status"] for one in acme.execute("select status from public.sync_logs").fetchall()} == {"failed"}


def test_a_store_may_move_an_account_may_not(acme: Connection) -> None:
    """New credentials with another address; never another account under the same facts."""
    add_store(acme)
    registry.authorize(acme, registry.get(acme, "acme"), WOO, settings={"store_url": "https://new.example.com"}, box=BOX)
    assert registry.clear_settings(registry.get(acme, "acme")) == {"store_url": "https://new.example.com"}
    registry.add(acme, "acme", "meta_ads", None, {"account_id": "1"}, {"access_token": TOKEN}, box=BOX)
    with pytest.raises(SourceError, match="account_id '2' is another account than '1'; add it as a new source"):
        registry.authorize(
            acme, registry.get(acme, "acme", "meta_ads"), {"access_token": TOKEN}, settings={"account_id": "2"}, box=BOX
        )
    with pytest.raises(WrongConfiguration, match="needs access_token; none given"):
        registry.authorize(acme, registry.get(acme, "acme", "meta_ads"), {}, box=BOX)


def test_a_key_file_goes_in_as_an_object_or_as_text(acme: Connection) -> None:
    """And comes out as text."""
    for number, document in enumerate((KEY_DOCUMENT, json.dumps(KEY_DOCUMENT))):
        registry.add(
            acme,
            "acme",
            "google_analytics",
            None,
            {"property_id": f"properties/{number + 1}"},
            {"service_account": document},
            box=BOX,
        )
        source = registry.open_source(registry.get(acme, "acme", None, str(number + 1)), BOX)
        assert json.loads(source.secrets["service_account"]) == KEY_DOCUMENT and source.settings["property_id"] == str(number + 1)


def test_late_and_stopped_in_the_list(acme: Connection) -> None:
    """Late: since a sync was to be had. What waits for an operator has no next try."""
    add_store(acme)
    acme.execute(
        "update public.data_sources set last_sync_at = now() - interval '75 minutes', failure_kind = 'bug', last_error = 'x'"
    )
    (row,) = registry.listed(acme, "acme")
    assert (row["status"], row["late_by"], row["next_sync_at"]) == ("stopped", timedelta(minutes=60), None)
    acme.execute("update public.data_sources set failure_kind = 'retry'")
    (row,) = registry.listed(acme, "acme")
    assert row["status"] == "retrying" and row["next_sync_at"] is not None
    acme.execute(
        "update public.data_sources set failure_kind = null, lease_owner = id, lease_until = now() + interval '1 minute'"
    )
    assert [one["status"] for one in registry.listed(acme)] == ["running"]
    acme.execute("update public.data_sources set lease_owner = null, lease_until = null, last_sync_at = now()")
    (row,) = registry.listed(acme)
    assert (row["status"], row["late_by"]) == ("ok", None)
    with pytest.raises(OrganizationError):
        registry.listed(acme, "nobody")
