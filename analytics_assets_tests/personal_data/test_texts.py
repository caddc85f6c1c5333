"""Where an erased address is found in texts and pages, and what is left alone."""

import json
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from analytics_assets_tests.personal_data.people import NOON
from analytics_assets_tests.personal_data.test_who_is_found import Shop
from analytics_assets_tests.woocommerce import Connection, customer, order

ANN, NEIL = "ann@x.example", "o'neil@x.example"


@pytest.fixture
def erased(connection: Connection) -> Shop:
    """Somebody with two addresses was erased; not committed."""
    shop = Shop(connection)
    connection.execute(
        "select private.begin_erasure(%s, '{}', array[private.email_hash(%s, %s), private.email_hash(%s, %s)])",
        (shop.id, shop.id, ANN, shop.id, NEIL),
    )
    return shop


def _hidden(shop: Shop, text: str) -> str:
    row = shop.connection.execute("select private.hide_erased(%s, %s) as text", (shop.id, text)).fetchone()
    assert row is not None
    return str(row["text"])


@pytest.mark.parametrize(
    "text",
    ["Ann@X.example", "ring ann@x.example.", "<ann@x.example>, and others", "a?mail=ann%40x.example&b", "a%2540ann%2540x", "(ann@x.example)!",
     json.dumps({"note": "two lines\nann@x.example\tand \"ann@x.example\""}), "mailto:ANN@x.example?subject=x", "to=ann@x.example;bob@x.example"],
)  # fmt: skip
def test_an_address_is_found_wherever_it_stands(erased: Shop, text: str) -> None:
    """In clear, encoded as in a URL, at the end of a sentence, within JSON; what is around it stays."""
    hidden = _hidden(erased, text)
    is_hers = "ann@x.example" in text.lower() or "ann%40x.example" in text
    assert (hidden != text) == is_hers
    if is_hers:
        assert "ann" not in hidden.lower() and hidden.count("@erased.invalid") == text.lower().count("x.example") - text.count(
            "bob@"
        )
        assert all(part in hidden for part in text.split() if "x.example" not in part.lower())
    if text.startswith("{"):
        assert json.loads(hidden)["note"].startswith("two lines\n")


def test_a_hash_gives_way_to_a_hash(erased: Shop) -> None:
    """Within an id, an address of a page, or a message."""
    row = erased.connection.execute("select encode(private.email_hash(%s, %s), 'hex') as h", (erased.id, ANN)).fetchone()
    assert row is not None
    for text in (f"email:{row['h']}", f"/u/{row['h']}?x=1", f'{{"id": "{row["h"]}"}}'):
        hidden = _hidden(erased, text)
        assert row["h"] not in hidden and len(hidden) == len(text)


@pytest.mark.parametrize(
    "text",
    ["", "@", "ann@", "@x.example", "joann@x.example", "ann@x.example.org", "ann@y.example", "0" * 64, "%40" * 9, "a@" * 900],
)
def test_others_are_left_alone(erased: Shop, text: str) -> None:
    """Addresses that hold hers, or nearly."""
    assert _hidden(erased, text) == text


def test_records_of_a_page_are_told_apart(erased: Shop) -> None:
    """A guest with an apostrophe in the address; a broken record of hers; a mention in another's; others value for value."""
    records: list[Any] = [
        order(1, NOON, email=NEIL, billing={"email": NEIL, "first_name": "Neil"}),
        order(2, NOON, "who knows", billing={"email": ANN}, line_items="Neil"),
        order(3, NOON, customer=5, billing={"email": "bob@x.example", "first_name": "Bob"}, customer_note=f"for {ANN}"),
        order(4, NOON, customer=6, billing={"email": "cem@x.example", "first_name": "Cem"}, tax_lines=[{"rate": 1.50}]),
        "no record", None, 5,
    ]  # fmt: skip
    row = erased.connection.execute(
        "select private.without_erased(%s, %s, 'woocommerce', 'orders', %s) as page",
        (erased.id, erased.sources["woocommerce"], Jsonb(records)),
    ).fetchone()
    assert row is not None
    neil, broken, bob, *others = row["page"]
    assert set(neil["billing"]) == {"email"} and neil["billing"]["email"].endswith("@erased.invalid")
    assert {key: neil[key] for key in ("id", "total", "date_paid_gmt", "line_items")} == {
        key: records[0][key] for key in ("id", "total", "date_paid_gmt", "line_items")
    }
    assert broken["total"] == "erased" and "line_items" not in broken
    assert bob["billing"] == {"email": "bob@x.example", "first_name": "Bob"} and bob["customer_note"].endswith("@erased.invalid")
    assert others == records[3:]
    one = customer(9, ANN, NOON) | {"first_name": "Ann"}
    row = erased.connection.execute(
        "select private.without_erased(%s, %s, 'woocommerce', 'customers', %s) as page",
        (erased.id, erased.sources["woocommerce"], Jsonb(one)),
    ).fetchone()
    assert row is not None and set(row["page"]) >= {"id", "email", "date_created"} and "first_name" not in row["page"]
