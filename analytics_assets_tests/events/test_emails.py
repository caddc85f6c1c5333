"""No e-mail address in clear outside raw pages: one through every field of every call, then looked for in every table."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import UUID

import psycopg.sql
import pytest

from analytics_assets.events.emails import hidden_id, hide_emails, masked, whole_email
from analytics_assets_tests.events.serving import Caller, Connection

ORG = str(UUID("11111111-2222-3333-4444-555555555555"))
EMAIL = "Ann.O+Neil@Shop.example"
_KINDS = ("track", "identify", "page", "screen", "group", "alias")


def hashed(email: str, organization: str = ORG) -> str:
    """The hash of an address that is written as private.email_hash wants it."""
    return hashlib.sha256(f"{organization}:{email}".encode()).hexdigest()


ANN = hashed("ann@b.example")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann@b.example", ANN), (" Ann@B.example ", ANN), ("ann%40b.example", ANN), ("a%6En%40B%2Eexample", ANN),
        ("o'neil@b.example", hashed("o'neil@b.example")), ("ann%2Btag%40b.example", hashed("ann+tag@b.example")),
        ("https://s.example/?m=ann%40b.example&x=1", f"https://s.example/?m={ANN}&x=1"),
        ("/in?to=https%3A%2F%2Fs.example%2F%3Fm%3Dann%2540b.example%26x%3D1", f"/in?to=https%3A%2F%2Fs.example%2F%3Fm%3D{ANN}%26x%3D1"),
        ("50% of ann@b.example", f"50% of {ANN}"), ("mailto:ann@b.example", f"mailto:{ANN}"),
        ("@ann", "@ann"), ("100%25", "100%25"), ("a%40", "a%40"), ("@segment/analytics-node", "@segment/analytics-node"),
        ("https://s.example/@ann.b/post", "https://s.example/@ann.b/post"), ("ann@localhost", "ann@localhost"),
    ],
)  # fmt: skip
def test_a_text(text: str, expected: str) -> None:
    """In clear, within a sentence, percent-encoded once or twice; what is no address stays as it is."""
    assert hide_emails(ORG, text) == expected
    assert (masked(text) == text) == (expected == text)


def test_an_id() -> None:
    """One that is an address has its hash, and fits its column whatever it holds."""
    assert hidden_id(ORG, " ANN@b.example") == hidden_id(ORG, "ann%40b.example") == f"email:{ANN}"
    assert hidden_id(ORG, "auth:ann@b.example") == f"auth:{ANN}"
    assert hidden_id(ORG, "ann") == "ann" and hidden_id(ORG, None) is None
    long = hidden_id(ORG, ",".join(f"a{number}@b.cd" for number in range(25)))
    assert long is not None and long.startswith("id:") and len(long) == 67
    assert whole_email(ORG, "to ann@b.example") is None


def test_the_searches_take_no_longer_than_the_text_is_long() -> None:
    """A text made to be slow: a search without bounds would not come to an end here."""
    for text in ("a" * 200_000 + "@", "%2525" * 40_000, "a%40" * 50_000, "%61" * 60_000 + "%40"):
        assert "@" not in hide_emails(ORG, text)[:-1]


def forms(number: int) -> dict[str, Any]:
    """An event in whose every field, and under names nobody knows, the address stands."""
    url = f"https://s.example/?mail={quote(EMAIL)}&next={quote(quote(EMAIL))}&clear={EMAIL}"
    deep = {"any": [EMAIL, {"name": f"to {EMAIL}!"}], EMAIL: 1, "url": url, "referrer": url, "title": EMAIL}
    return {
        "messageId": f"{number} {EMAIL}", "userId": EMAIL, "anonymousId": EMAIL, "previousId": quote(EMAIL), "groupId": EMAIL,
        "event": f"Wrote to {EMAIL}", "name": EMAIL, "category": "c" * 40 + EMAIL, "integrations": {EMAIL: True}, "other": EMAIL,
        "properties": {**deep, "label": "l" * 90 + EMAIL, "category": "c" * 40 + EMAIL, "action": EMAIL, "currency": EMAIL,
                       "email": EMAIL, "revenue": 1},
        "traits": {**deep, "email": EMAIL, "createdAt": EMAIL},
        "context": {**deep, "page": deep, "traits": {"email": EMAIL}, "sessionId": EMAIL, "ip": EMAIL,
                    "userAgent": "Mozilla " + "u" * 985 + EMAIL, "os": {"name": EMAIL}, "location": {"country": EMAIL, "city": EMAIL}},
    }  # fmt: skip


def broken() -> Iterator[dict[str, Any]]:
    """Events that are rejected, each for a value that holds the address."""
    for number, (name, value) in enumerate(
        [("event", "e" * 70 + EMAIL + "e" * 40), ("event", EMAIL + "\x00"), ("userId", "u" * 75 + EMAIL + "u" * 255), ("userId", [EMAIL]),
         ("timestamp", EMAIL), ("properties", {"revenue": EMAIL}), ("properties", {"revenue": 1, "currency": EMAIL}),
         ("properties", {EMAIL: {EMAIL: "\x00"}}), ("type", EMAIL)]
    ):  # fmt: skip
        yield {"type": "track", **forms(100 + number), "event": "Order Completed", name: value}


def found_in(connection: Connection, words: tuple[str, ...]) -> set[str]:
    """Tables, raw pages left out, in whose rows one of the words stands (bytes as what they say)."""
    tables = connection.execute(
        "select c.oid::regclass::text as name, n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname in ('public', 'private', 'partitions') and c.relkind in ('r', 'p') and c.relname not like 'raw_data_backup%%'"
    ).fetchall()
    assert len(tables) > 40
    found = set()
    for table in tables:
        name = psycopg.sql.Identifier(table["nspname"], table["relname"])
        for row in connection.execute(psycopg.sql.SQL("select * from {}").format(name)).fetchall():
            text = repr([bytes(value).decode("latin-1") if isinstance(value, bytes) else value for value in row.values()]).lower()
            if any(word in text for word in words):
                found.add(table["name"])
    return found


def test_no_table_holds_an_address(caller: Caller, connection: Connection) -> None:
    """Through every field of every call, single and in batches, taken in and rejected; ids are the same wherever they stand."""
    for number, kind in enumerate(_KINDS):
        assert caller.post(f"/v1/{kind}", forms(number)).status_code == 200
        plain = {"type": kind, "userId": f"{number}", "event": "E", "previousId": "p", "messageId": f"p{number}"}
        assert caller.send(dict(forms(10 + number), type=kind), plain).status_code == 200
    assert caller.send(*broken()).status_code == 200

    assert connection.execute("select count(*) as n from public.event_tracking").fetchall() == [{"n": 18}]
    rejected = connection.execute("select reason, content from public.quarantine").fetchall()
    assert len(rejected) == 9
    assert found_in(connection, ("ann.o", "ann%", "o+neil", "shop.example")) == set()
    # The search finds what is there.
    connection.execute("update public.quarantine set content = %s", (EMAIL.encode(),))
    assert found_in(connection, ("ann.o", "shop.example")) == {"quarantine"}
    connection.rollback()

    organization = str(connection.execute("select id from public.organizations").fetchall()[0]["id"])
    ann = hashed(EMAIL.lower(), organization)
    users = connection.execute(
        "select visitor_id, user_id, email_hash from public.visitors where user_id like 'email:%'"
    ).fetchall()
    assert users == [{"visitor_id": f"email:{ann}", "user_id": f"email:{ann}", "email_hash": bytes.fromhex(ann)}]
    aliases = connection.execute(
        "select distinct metadata ->> 'previousId' as id from public.event_tracking where event_type = 'alias' and user_id like 'email:%'"
    ).fetchall()
    assert aliases == [{"id": f"email:{ann}"}]
    contents = [json.loads(bytes(row["content"])) for row in rejected]
    assert any(content["context"]["traits"]["email"] == ann for content in contents)


def test_a_user_whose_id_is_an_address_is_the_stores_customer(caller: Caller, connection: Connection) -> None:
    """Also where no trait says so, and however the address is written."""
    assert caller.send({"type": "track", "event": "E", "userId": "BOB%40b.example", "messageId": "1"}).status_code == 200
    row = connection.execute(
        "select email_hash = private.email_hash(organization_id, 'bob@b.example') as is_hers from public.visitors"
    ).fetchall()
    assert row == [{"is_hers": True}]


def test_a_text_of_a_store(connection: Connection) -> None:
    """The database's own function, for records of a store: the same hash in clear, and nothing readable of an encoded one."""
    hidden = connection.execute(
        "select private.hide_emails(%s, v) as v from unnest(%s::text[]) with ordinality as t (v, n) order by n",
        (ORG, ['{"a": "Ann@B.example", "b": ["to ann@b.example!"]}', "x?m=ann%2540b.example&y", "nothing @ all", "100%25", ""]),
    ).fetchall()
    texts = [row["v"] for row in hidden]
    assert texts[0].startswith(f'{{"a": "{ANN}", "b": ["to ') and "example" not in texts[0]
    assert texts[1].startswith("x?m=") and texts[1].endswith("&y") and "ann" not in texts[1] and len(texts[1]) == 70
    assert texts[2:] == ["nothing @ all", "100%25", ""]
