"""By what a person is known, and who is not taken for them; the tokens stand in the order of the ids."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from analytics_assets.personal_data.erasure import erase
from analytics_assets_tests.personal_data.people import NOON
from analytics_assets_tests.woocommerce import Connection, add_organization, customer, order


class Shop:
    """Rows of stores and of a site, as the pipeline leaves them; nothing is committed."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.id = connection, add_organization(connection)
        self.sources = {name: self._source(name) for name in ("woocommerce", "shopify")}

    def _source(self, kind: str) -> UUID:
        (row,) = self.connection.execute(
            "insert into public.data_sources (organization_id, source_type, source_name, time_zone, currency)"
            " values (%s, %s, 'store', 'UTC', 'EUR') returning id",
            (self.id, kind),
        ).fetchall()
        return UUID(str(row["id"]))

    def customer(self, source: str, number: str, email: str | None) -> None:
        self.connection.execute(
            "insert into public.customers (organization_id, data_source_id, customer_key, customer_id, email_hash, channel_id)"
            " values (%s, %s, 'id:' || %s, %s, private.email_hash(%s, %s), 3)",
            (self.id, self.sources[source], number, number, self.id, email),
        )

    def order(self, source: str, number: str, customer: str | None, email: str | None) -> None:
        self.connection.execute(
            "insert into public.orders (organization_id, data_source_id, bucket_at, occurred_at, placed_at, modified_at, fetched_at,"
            " channel_id, is_counted, currency, order_id, status, items_sold, gross_sales, discounts, shipping, taxes, total, content_md5,"
            " customer_id, customer_key, email_hash) select %(org)s, %(source)s, now(), now(), now(), now(), now(), 3, true, 'EUR',"
            " %(number)s, 'paid', 1, 1, 0, 0, 0, 1, gen_random_uuid(), %(customer)s, coalesce('id:' || %(customer)s, 'email:' || encode(h, 'hex')), h"
            " from private.email_hash(%(org)s, %(email)s) h",
            {"org": self.id, "source": self.sources[source], "number": number, "customer": customer, "email": email},
        )

    def visitor(self, visitor: str, email: str | None, *, is_user: bool = True) -> None:
        self.connection.execute(
            "insert into public.visitors values (%s, now(), null, %s, %s, private.email_hash(%s, %s))",
            (self.id, visitor, visitor if is_user else None, self.id, email),
        )

    def known(self, known_as: str, user: str) -> None:
        self.connection.execute("insert into public.event_identities values (%s, now(), %s, %s)", (self.id, known_as, user))

    def found(self, user_ids: list[str], emails: list[str]) -> dict[str, str]:
        """scope:id -> token of everything that belongs to the person; taken back."""
        self.connection.execute("savepoint before")
        self.connection.execute(
            "select private.begin_erasure(%s, %s::text[], (select array_agg(private.email_hash(%s, e)) from unnest(%s::text[]) e))",
            (self.id, user_ids, self.id, emails),
        )
        names = {str(source): name for name, source in self.sources.items()}
        rows = self.connection.execute(
            "select scope, plain, token from public.erased_ids where plain is not null and organization_id = %s", (self.id,)
        ).fetchall()
        self.connection.execute("rollback to before")
        return {f"{names.get(row['scope'], row['scope'])}:{row['plain']}": row["token"] for row in rows}

    def names(self, *arguments: Any) -> set[str]:
        """The same without hashes and tokens."""
        return {name for name in self.found(*arguments) if not name.startswith(("email:", "site:email:"))}


@pytest.fixture
def shop(connection: Connection) -> Shop:
    """An organisation with two stores and a site."""
    return Shop(connection)


def test_everything_that_hangs_together_is_found(shop: Shop) -> None:
    """From any end of it: ids given up and devices, the address, the store's number."""
    for known_as, user in (("device-1", "u1"), ("old-u", "u1"), ("device-0", "old-u")):
        shop.known(known_as, user)
    shop.visitor("u1", "a@x.example")
    shop.visitor("device-9", "a@x.example", is_user=False)
    shop.customer("woocommerce", "7", "a@x.example")
    shop.customer("shopify", "u1", None)
    shop.order("shopify", "o1", "12", "a@x.example")
    shop.customer("shopify", "12", None)
    everything = {"site:u1", "site:old-u", "site:device-1", "site:device-0", "site:device-9",
                  "woocommerce:7", "shopify:u1", "shopify:12"}  # fmt: skip
    assert shop.names([], ["A@x.example "]) == everything
    for one in ("u1", "device-0", "device-9"):
        assert shop.names([one], []) == everything


def test_pages_that_were_not_taken_in_yet_are_looked_at(shop: Shop) -> None:
    """Nothing is known of them but what lies on such a page; from either end."""
    shop.connection.execute("select private.ensure_partitions('raw_data_backup', %s, %s + interval '1 us')", (NOON, NOON))
    for stream, page in (
        ("customers", [customer(7, "a@x.example", NOON)]),
        ("orders", [order(1, NOON, customer=8, email="b@x.example"), order(2, NOON, customer=9, email="a@x.example")]),
    ):
        shop.connection.execute(
            "insert into public.raw_data_backup (organization_id, fetched_at, data_source_id, source, stream, content_sha256, raw_data)"
            " values (%s, %s, %s, 'woocommerce', %s, sha256('x'), %s)",
            (shop.id, NOON, shop.sources["woocommerce"], stream, Jsonb(page)),
        )
    shop.customer("woocommerce", "9", "spouse@x.example")
    assert shop.names(["7"], []) == {"site:7", "woocommerce:7"}
    assert shop.names([], ["a@x.example"]) == {"woocommerce:7"} and shop.names([], ["b@x.example"]) == {"woocommerce:8"}
    assert len(shop.found(["7"], [])) == 4


def test_others_are_not_taken_for_them(shop: Shop) -> None:
    """An order that another customer placed with the address; the same number at another store, with another address; whoever
    used the same device later; another organisation is another world."""
    shop.customer("woocommerce", "7", "a@x.example")
    shop.customer("woocommerce", "8", "spouse@x.example")
    shop.order("woocommerce", "o1", "8", "a@x.example")
    shop.order("woocommerce", "o2", "7", "office@x.example")
    shop.customer("woocommerce", "9", "office@x.example")
    shop.customer("shopify", "7", "stranger@x.example")
    shop.visitor("7", "a@x.example")
    shop.known("device-1", "7")
    shop.visitor("u2", "other@x.example")
    assert shop.names([], ["a@x.example"]) == {"woocommerce:7", "site:7", "site:device-1"}
    assert shop.names(["u2"], []) == {"site:u2"}
    shop.found([], ["a@x.example"])
    shop.connection.execute(
        "select private.begin_erasure(%s, '{}', array[private.email_hash(%s, 'a@x.example')])", (shop.id, shop.id)
    )
    rows = shop.connection.execute("select order_id, customer_id, email_hash from public.orders order by order_id").fetchall()
    assert rows[0]["customer_id"] == "8" and str(rows[1]["customer_id"]).startswith("erased_")
    hashes = shop.connection.execute(
        "select private.email_hash(%s, e) as hash from unnest(array['a@x.example', 'office@x.example']) e", (shop.id,)
    ).fetchall()
    assert {row["email_hash"] for row in rows}.isdisjoint(row["hash"] for row in hashes)
    left = shop.connection.execute("select customer_key from public.customers order by 1").fetchall()
    assert [row["customer_key"] for row in left if "erased" not in row["customer_key"]] == ["id:7", "id:8", "id:9"]
    shop.connection.rollback()


def test_an_id_that_an_older_version_kept_in_clear_is_found(shop: Shop) -> None:
    """The address as it was sent then, and its hash as it is kept now, are one person."""
    shop.visitor("Ann@x.example", None)
    shop.known("device-1", "Ann@x.example")
    shop.customer("woocommerce", "7", "ann@x.example")
    shop.connection.commit()
    assert set(erase(shop.connection, "acme", [], ["Ann@x.example"]).counts) == {"visitors", "event_identities", "customers"}
    rows = shop.connection.execute(
        "select visitor_id, (select known_as from public.event_identities) from public.visitors"
    ).fetchall()
    shop.connection.commit()
    assert len(rows) == 1 and all(value.startswith("erased_") for value in rows[0].values())


def test_tokens_stand_in_the_order_of_what_they_stand_for(shop: Shop) -> None:
    """So that the first of several customers with an address, or the lowest hash of a visitor, is the same one afterwards. One id
    known to a store and the site has one token."""
    emails = [f"{uuid4().hex}@x.example" for _ in range(9)]
    for number, email in zip(("9", "10", "100", "a", "Z", "0", "é", "id-2", "id-10"), emails, strict=True):
        shop.customer("woocommerce", number, email)
        shop.visitor(number, email)
    found = shop.found([], emails)
    ids = {name.removeprefix("site:"): token for name, token in found.items() if name.startswith("site:") and "email" not in name}
    assert len(ids) == 9 and all(found[f"woocommerce:{one}"] == token for one, token in ids.items())
    by_bytes = sorted(ids, key=lambda one: one.encode())
    assert [ids[one] for one in by_bytes] == sorted(ids.values())
    tokens = {name.removeprefix("email:"): token for name, token in found.items() if name.startswith("email:")}
    hashes = [
        shop.connection.execute("select encode(private.email_hash(%s, %s), 'hex') as h", (shop.id, tokens[old])).fetchone()
        for old in sorted(tokens)
    ]
    assert len(tokens) == 9 and [row["h"] for row in hashes if row] == sorted(row["h"] for row in hashes if row)
    shop.connection.rollback()
