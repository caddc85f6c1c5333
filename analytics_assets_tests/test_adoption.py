"""Tables that an application has already are adopted: rows, values and habits stay, what is missing is added."""

import re
import uuid

import pytest

from analytics_assets.database import connect
from analytics_assets.organizations import registry
from analytics_assets_tests.test_migrations import FIRST, SUPABASE, apply, refused, rows

A, B, C, D = (uuid.UUID(int=number) for number in (10, 11, 12, 13))

pytestmark = pytest.mark.usefixtures("empty_database")


def test_adopted_tables_keep_their_rows() -> None:
    """Names as people write them: the same twice, empty, of signs only, in other scripts, long.

    The ids are of the time-ordered kind (version 7). Slugs of equal names ended in the beginning of the id, which
    is equal too where rows are made in one millisecond: the unique index failed, and with it the adoption.
    """
    names = ["Acme", "Acme", "ACME!", "Grünkern & Söhne", "!!!", "", "Công ty Việt", "日本", "x" * 300, "cell-01", "-a-"]
    ids = [uuid.UUID(f"0198c0de-0000-7000-8000-0000000000{number:02}") for number in range(len(names))]
    rows(SUPABASE)
    for number, (key, name) in enumerate(zip(ids, names, strict=True)):
        rows("insert into public.organizations values (%s, %s, '2020-02-02')", key, name)
        rows("insert into public.organization_members values (%s, %s, %s)", key, A, ["", "owner", "editor"][number % 3])
    apply()
    kept = rows("select * from public.organizations order by id")
    assert [row["id"] for row in kept] == ids
    slugs = [row["slug"] for row in kept]
    assert [slug for slug in slugs if len(slug) < 10] == ["acme", "org", "cell-01", "a"]
    assert [row["name"] for row in kept] == [name or slug for name, slug in zip(names, slugs, strict=True)]
    assert all(re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", slug) for slug in slugs) and len(set(slugs)) == len(names)
    assert [row["partition_key"] for row in kept] == slugs
    assert {(row["time_zone"], row["currency"], row["is_active"], f"{row['created_at']:%Y}") for row in kept} == {
        ("UTC", "USD", True, "2020")
    }
    members = rows("select role from public.organization_members order by organization_id")
    assert [row["role"] for row in members] == [["member", "owner", "editor"][number % 3] for number in range(len(names))]
    assert apply().applied == []


def test_an_adopted_slug_stays_as_the_application_wrote_it() -> None:
    """It stands in the application's addresses. What did not look like a partition key was rewritten once, and of two
    that became alike ('a-b' and 'a--b', or 60 letters that differ in the last) one got a tail."""
    slugs = ["my-org", "My_Org", "a-b", "a--b", "z" * 59 + "1", "z" * 59 + "2", "", None, "münchen"]
    rows("create table public.organizations (id uuid primary key, slug text, name text)")
    for number, slug in enumerate(slugs):
        rows("insert into public.organizations values (%s, %s, 'N')", uuid.UUID(int=number), slug)
    apply()
    kept = rows("select slug, partition_key from public.organizations order by id")
    assert [row["slug"] for row in kept] == [*slugs[:6], "n", "n-" + kept[7]["slug"][2:], "münchen"]
    keys = [row["partition_key"] for row in kept]
    assert keys[0] == "my-org" and keys[1].startswith("my-org-") and keys[8].startswith("m-nchen-")
    assert len(set(keys)) == len(slugs)
    with connect() as connection:
        registry.spread(connection, 2)
        assert len(registry.spread(connection, 0)) == len(slugs)
    assert [row["partition_key"] for row in rows("select partition_key from public.organizations order by id")] == keys


def test_slugs_that_stand_twice_become_two() -> None:
    """The first keeps it: a slug names one organisation from then on."""
    rows("create table public.organizations (id uuid primary key, slug text, name text)")
    rows("insert into public.organizations values (%s, 'same', 'x'), (%s, 'same', 'y'), (%s, null, 'same')", A, B, C)
    apply()
    slugs = [row["slug"] for row in rows("select slug from public.organizations order by id")]
    assert slugs[0] == "same" and len({*slugs}) == 3 and all(slug.startswith("same-") for slug in slugs[1:])


def test_columns_of_the_same_name_keep_their_values_and_defaults() -> None:
    """What cannot be used as it is (no such zone, no such currency) becomes the default; the rest stands."""
    rows(
        "create table public.organizations (id uuid primary key, name text, time_zone text, currency varchar(3),"
        " is_active boolean default false)"
    )
    rows(
        "insert into public.organizations values (%s, 'a', 'Asia/Kathmandu', 'npr', false), (%s, 'b', 'Nowhere', '?', null)", A, B
    )
    apply()
    found = rows("select name, time_zone, currency, is_active from public.organizations order by id")
    assert [tuple(row.values()) for row in found] == [("a", "Asia/Kathmandu", "NPR", False), ("b", "UTC", "USD", True)]
    rows("insert into public.organizations (id, name) values (%s, 'c')", C)
    made = rows("select time_zone, currency, is_active from public.organizations where id = %s", C)
    assert [tuple(row.values()) for row in made] == [("UTC", "USD", False)]


def test_members_with_roles_of_an_enum() -> None:
    """The adoption failed on the enum: the text that fills empty roles is no value of it."""
    rows("create type public.member_role as enum ('boss', 'worker');")
    rows(
        "create table public.organizations (id uuid primary key, name text);"
        "create table public.organization_members (organization_id uuid references public.organizations,"
        " user_id uuid, role public.member_role default 'worker');"
    )
    rows("insert into public.organizations values (%s, 'a')", A)
    rows("insert into public.organization_members values (%s, %s, 'boss'), (%s, %s, null)", A, B, A, C)
    apply()
    assert [row["role"] for row in rows("select role from public.organization_members order by user_id")] == ["boss", None]
    rows("insert into public.organization_members (organization_id, user_id) values (%s, %s)", A, D)
    assert rows("select role from public.organization_members where user_id = %s", D) == [{"role": "worker"}]


def test_members_may_take_roles_that_their_application_invents_later() -> None:
    """A check on the roles of an adopted table that happened to hold only known ones stopped the application."""
    rows(SUPABASE)
    rows("insert into public.organizations values (%s, 'a')", A)
    rows("insert into public.organization_members values (%s, %s, 'owner')", A, B)
    apply()
    rows("insert into public.organization_members values (%s, %s, 'billing')", A, C)
    assert len(rows("select role from public.organization_members")) == 2


@pytest.mark.parametrize("members", ["", "create table public.organization_members (organization_id bigint, user_id uuid);"])
def test_numbers_as_ids_are_refused(members: str) -> None:
    """Also where there are no members: the table made for them failed first, with words about a foreign key."""
    rows("create table public.organizations (id bigint primary key, name text);" + members)
    rows("insert into public.organizations values (7, 'Seven')")
    refused(f"sql/migrations/{FIRST}: organizations.id is bigint, but must be uuid", "uuid column", "Nothing was changed")
    assert rows("select * from public.organizations") == [{"id": 7, "name": "Seven"}]


def test_ids_without_a_key_are_refused() -> None:
    """Nothing could refer to them."""
    rows("create table public.organizations (id uuid, name text)")
    refused("organizations.id has no primary key or unique index", "add primary key (id)")
