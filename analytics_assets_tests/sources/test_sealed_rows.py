"""Sources in the database: sealed, each bound to its row, and refused where a secret would stand in clear."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb
from sqlalchemy.engine import make_url

from analytics_assets.database import connect
from analytics_assets.sources import registry
from analytics_assets.sources.connector import JSON
from analytics_assets.sources.failures import WrongConfiguration
from analytics_assets.sources.secrets import SealedElsewhere, SecretBox
from analytics_assets_tests.sources.stores import (
    BOX,
    NEW,
    OLD,
    OTHER,
    WOO,
    add_acme,
    add_store,
)
from analytics_assets_tests.woocommerce import Connection


@pytest.fixture
def acme(connection: Connection) -> Connection:
    """A database with the organisation acme."""
    return add_acme(connection)


def test_a_copied_ciphertext_does_not_open(acme: Connection) -> None:
    """Whoever may write the table cannot have one tenant's credentials used for another's source."""
    first, second = add_store(acme, 1), add_store(acme, 2)
    acme.execute(
        "update public.data_sources set connection_config = jsonb_set(connection_config, '{$secrets}', (select connection_config ->"
        " '$secrets' from public.data_sources where id = %s)) where id = %s",
        (first, second),
    )
    with pytest.raises(SealedElsewhere):
        registry.open_source(registry.get(acme, "acme", None, "shop2.example.com"), BOX)


def test_rotated_tokens_are_stored_under_a_lock(acme: Connection) -> None:
    """Two that refresh at once: the second sees what the first has stored, and one whose refresh fails leaves no trace."""
    registry.add(
        acme, "acme", "shopify", None, {"shop": "x"}, {"access_token": "shpat_" + "0" * 32, "refresh_token": "first1"}, box=BOX
    )
    row = registry.get(acme, "acme")
    acme.commit()
    seen = list[str]()

    async def refresh(secrets: Mapping[str, Any]) -> JSON | None:
        seen.append(secrets["refresh_token"])
        await asyncio.sleep(0.05)
        return {**secrets, "refresh_token": f"after-{secrets['refresh_token']}"}

    async def leave(secrets: Mapping[str, Any]) -> JSON | None:
        return None

    async def fail(secrets: Mapping[str, Any]) -> JSON | None:
        raise WrongConfiguration("the vendor refuses")

    async def both() -> None:
        with connect() as one, connect() as other:
            await asyncio.gather(registry.saver(one, row, BOX)(refresh), registry.saver(other, row, BOX)(refresh))

    async def save(change: Callable[[Mapping[str, Any]], Awaitable[JSON | None]]) -> Mapping[str, Any]:
        return await registry.saver(acme, row, BOX)(change)

    asyncio.run(both())
    assert seen == ["first1", "after-first1"]
    with pytest.raises(WrongConfiguration):
        asyncio.run(save(fail))
    kept = asyncio.run(save(leave))
    assert kept["refresh_token"] == "after-after-first1" and "shpat" not in str(kept)
    assert registry.open_source(registry.get(acme, "acme"), BOX).secrets == kept


class _Breaks(SecretBox):
    """Ends the process' work in the middle of a batch."""

    def __init__(self, keys: list[str], after: int) -> None:
        super().__init__(keys)
        self.after = after

    def rotate(self, organization_id: UUID, source_id: UUID, sealed: Mapping[str, Any]) -> dict[str, Any]:
        self.after -= 1
        if self.after < 0:
            raise KeyboardInterrupt
        return super().rotate(organization_id, source_id, sealed)


def test_rotation_of_all(acme: Connection) -> None:
    """Broken off in the third batch, two batches are done; run again it does the rest; once more, nothing."""
    old, new = SecretBox([OLD]), [NEW, OLD]
    for number in range(7):
        add_store(acme, number, box=old)
    before = {row["id"]: row["connection_config"] for row in registry.find(acme)}
    with pytest.raises(KeyboardInterrupt), connect() as connection:
        registry.rotate_keys(connection, _Breaks(new, 5), batch=2)
    box = SecretBox(new)
    current = [row for row in registry.find(acme) if box.is_current(row["connection_config"]["$secrets"])]
    assert len(current) == 4
    acme.commit()
    assert registry.rotate_keys(acme, box, batch=2) == registry.Rotation(3, 4, (), 0)
    assert registry.rotate_keys(acme, box, batch=2) == registry.Rotation(0, 7, (), 0)
    for row in registry.find(acme):
        assert SecretBox([NEW]).open(row["organization_id"], row["id"], row["connection_config"]["$secrets"]) == WOO
        assert registry.clear_settings(row) == {name: value for name, value in before[row["id"]].items() if name != "$secrets"}


def test_rotation_passes_over_what_it_cannot_do(acme: Connection) -> None:
    """A source without its key is named and left as it is; one that a sync is just writing is counted."""
    lost, busy = add_store(acme, 1, box=SecretBox([OTHER])), add_store(acme, 2, box=SecretBox([OLD]))
    add_store(acme, 3, box=SecretBox([OLD]))
    with connect() as worker:
        worker.execute("select from public.data_sources where id = %s for update", (busy,))
        rotation = registry.rotate_keys(acme, SecretBox([NEW, OLD]), batch=1)
    assert (rotation.rotated, rotation.current, rotation.left) == (1, 0, 1)
    assert len(rotation.unreadable) == 1 and str(lost) in rotation.unreadable[0]
    again = registry.rotate_keys(acme, SecretBox([NEW, OLD]))
    assert (again.rotated, again.current, again.left, len(again.unreadable)) == (1, 1, 0, 1)


@pytest.fixture(scope="module")
def shared_database(server_url: str, template_database: str) -> Iterator[str]:
    """A migrated database for the constraint's cases."""
    name = f"analytics_sources_{uuid.uuid4().hex[:12]}"
    server = server_url.replace("+psycopg", "")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name} template {template_database}")
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def table(shared_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """One transaction with one organisation, rolled back at the end."""
    monkeypatch.setenv("DATABASE_URL", shared_database)
    with connect() as connection:
        connection.execute("insert into public.organizations (slug) values ('acme')")
        yield connection
        connection.rollback()


def _store(connection: Connection, config: Mapping[str, Any]) -> None:
    connection.execute(
        "insert into public.data_sources (organization_id, source_type, source_name, time_zone, currency, connection_config)"
        " select id, 'shopify', 's', 'UTC', 'EUR', %s from public.organizations",
        (Jsonb(config),),
    )


SEALED = {"$enc": "v1", "kid": "0", "ct": "gAAAAA"}
NAMES = (
    "access_token refresh_token id_token token client_secret app_secret consumer_key consumer_secret service_account private_key"
    " api_key apikey password passwd secret secrets authorization credentials Access_Token PASSWORD"
)
FORMS = [
    "EAA" + "x" * 20, "shpat_" + "0" * 16, "shprt_" + "0" * 16, "ck_" + "a" * 32, "cs_" + "0" * 32, "ya29.a0" + "A" * 16,
    "1//0" + "g" * 16, "GOCSPX-abc", "-----BEGIN PRIVATE KEY-----", f"https://shop.example/?key=ck_{'b' * 40}",
]  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        *({name: "x"} for name in NAMES.split()),
        *({"note": form} for form in FORMS),
        {"a": {"b": [{"password": "x"}]}},
        {"a": [["-----BEGIN EC PRIVATE KEY-----\nMHc"]]},
        {"ya29." + "k" * 20: "as a name"},
        {"access_token": {"nested": 1}},
        {"$secrets": SEALED, "token": "x"},
        {"$secrets": {"access_token": "x"}},
        {"$secrets": {**SEALED, "access_token": "x"}},
        {"$secrets": "x"},
        {"$secrets": ["x"]},
        {"$secrets": None},
        {"$secrets": {}},
    ],
    ids=lambda config: str(config)[:50],
)
def test_the_database_refuses_a_secret_in_clear(table: Connection, config: dict[str, Any]) -> None:
    """Whoever writes it, by name or by form, however deep; also in place of what is sealed."""
    with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.InvalidParameterValue)):
        _store(table, config)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"store_url": "https://token.example.com/secret", "query_auth": True},
        {"property_id": "1", "note": "the password is kept elsewhere; EAA, ck_, 1//2"},
        {"shop": "x.myshopify.com", "$secrets": SEALED},
    ],
    ids=str,
)
def test_the_database_takes_what_is_no_secret(table: Connection, config: dict[str, Any]) -> None:
    """Words that only resemble one."""
    _store(table, config)
    (row,) = table.execute("select is_connected from public.data_sources").fetchall()
    assert row["is_connected"] == ("$secrets" in config)
