"""The catalogue of a fresh database, held against properties.py and against the project's own lists of what is its own."""

from collections.abc import Iterator
from pathlib import Path

import psycopg.sql
import pytest

from analytics_assets.database import connect
from analytics_assets_tests.conftest import _drop_database, _make_database
from analytics_assets_tests.tenancy.callers import Connection, rows
from analytics_assets_tests.tenancy.properties import PROPERTIES


@pytest.fixture(scope="module")
def fresh(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A migrated database for this file, in which nothing is committed."""
    name = f"{template_database}_properties"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", _make_database(server_url, name, template_database))
        with connect() as connection:
            yield connection
            connection.rollback()
    _drop_database(server_url, name)


def offenders(connection: Connection, name: str) -> list[str]:
    """What the catalogue says against a property."""
    return [str(next(iter(row.values()))) for row in rows(connection, PROPERTIES[name].finds)]


@pytest.mark.parametrize("name", PROPERTIES)
def test_it_holds_and_would_be_seen_if_it_did_not(fresh: Connection, name: str) -> None:
    """Nothing offends; what does is found."""
    assert offenders(fresh, name) == []
    with fresh.transaction(force_rollback=True):
        fresh.execute(psycopg.sql.SQL(PROPERTIES[name].offence))
        found = offenders(fresh, name)
        assert found and all("offender" in one for one in found), found


def test_the_lists_of_what_is_ours_are_what_migrations_make(fresh: Connection) -> None:
    """A table or function that is added and not listed would keep whatever rights it has, and its rows when a tenant goes; one
    that is listed and not there is an application's, perhaps, by that name."""
    made = "c.relkind in ('r', 'p') and c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)"
    assert rows(fresh, f"select oid::regclass::text as t from pg_class c where {made} order by 1") == rows(
        fresh, "select t::text from private.own_tables() t order by 1"
    )
    # What check constraints call runs with the rights of whoever writes.
    functions = "p.pronamespace in ('public'::regnamespace, 'private'::regnamespace) and p.proname <> 'is_time_zone'"
    assert rows(fresh, f"select oid::regprocedure::text as f from pg_proc p where {functions} order by 1") == rows(
        fresh, "select f::text from private.own_functions() f order by 1"
    )


def test_every_name_of_the_lists_is_there() -> None:
    """Written in own_tables.sql and made by no migration, it would be taken for ours in a database of an application."""
    text = Path(__file__).parents[2].joinpath("sql/functions/own_tables.sql").read_text()
    listed = text.split("relname in (")[1].split(")")[0]
    made = "".join(file.read_text() for file in Path(__file__).parents[2].joinpath("sql/migrations").glob("*.sql"))
    for name in listed.replace("'", "").replace("\n", "").split(","):
        assert f"create table public.{name.strip()} (" in made, name
