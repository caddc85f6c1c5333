"""`analytics migrate`: once, forward only, all or nothing, without superuser, over what an application has already."""

import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import psycopg.sql
import pytest
from sqlalchemy.engine import make_url

from analytics_assets.database import connect
from analytics_assets.migrations import MigrationError, MigrationReport, migrate
from analytics_assets.sql import SQL_ROOT

FIRST = "20261123000100_organizations.sql"
FILES = [
    *(f"migrations/{file.name}" for file in sorted((SQL_ROOT / "migrations").glob("*.sql"))),
    *(
        f"{folder}/{file.name}"
        for folder in ("functions", "views", "policies")
        for file in sorted((SQL_ROOT / folder).glob("*.sql"))
    ),
]
POLICIES = [file for file in FILES if file.startswith("policies/")]
ACME = uuid.UUID(int=10)
# What an application may have already.
SUPABASE = """
    create table public.organizations (
        id uuid primary key default gen_random_uuid(), name text not null, created_at timestamptz not null default now());
    create table public.organization_members (
        organization_id uuid not null references public.organizations (id), user_id uuid not null, role text,
        primary key (organization_id, user_id));
"""

pytestmark = pytest.mark.usefixtures("empty_database")


def apply(root: Path = SQL_ROOT) -> MigrationReport:
    """What `analytics migrate` does."""
    with connect() as connection:
        return migrate(connection, root)


def rows(statement: str, *parameters: Any) -> list[dict[str, Any]]:
    """Rows of one statement, committed."""
    with connect() as connection:
        cursor = connection.execute(psycopg.sql.SQL(statement), parameters or None)
        return cursor.fetchall() if cursor.description else []


def inventory() -> set[str]:
    """Everything in the database that is not PostgreSQL's own: schemas, relations, columns, functions, ledger rows."""
    found = rows("""
        select n.nspname || coalesce('.' || c.relname, '')
               || coalesce('.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || a.attnotnull, '') as thing
        from pg_namespace n left join pg_class c on c.relnamespace = n.oid
        left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
        where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        union all
        select n.nspname || '.' || p.proname || md5(p.prosrc)
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'""")
    things = {row["thing"] for row in found if row["thing"]}
    if rows("select to_regclass('migrations.applied') as ledger")[0]["ledger"]:
        things |= {f"{row['file']} {row['sha256']}" for row in rows("select file, sha256 from migrations.applied")}
    return things


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A copy of sql/ that a test may change."""
    return Path(shutil.copytree(SQL_ROOT, tmp_path / "sql"))


def refused(*words: str, root: Path = SQL_ROOT) -> None:
    """migrate refuses with these words in its message, and leaves the database as it is."""
    before = inventory()
    with pytest.raises(MigrationError) as refusal:
        apply(root)
    for word in words:
        assert word in str(refusal.value)
    assert inventory() == before


def test_an_empty_database_gets_everything_in_order_and_a_second_call_does_nothing() -> None:
    """The ledger holds every file with its checksum; partitions of today are there."""
    assert apply().applied == FILES
    before = inventory()
    assert apply().applied == []
    assert inventory() == before
    assert {row["file"] for row in rows("select file from migrations.applied where length(sha256) = 64")} == set(FILES)
    made = rows("select count(*) from partitions.hourly_facts_" + f"{rows('select now() as n')[0]['n']:%Y%m%d}")
    assert made == [{"count": 0}]


def test_two_processes_at_once() -> None:
    """Both succeed; one of them applies everything, the other waits for it and finds nothing to do."""
    command = [sys.executable, "-m", "analytics_assets.cli", "migrate"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert sorted(f"{len(FILES)} files applied" in text for text in said) == [False, True], said
    assert sum("nothing to do" in text for text in said) == 1, said


def test_an_edited_file_is_refused(sql: Path) -> None:
    """A comment is enough: what ran is no longer what the file says."""
    apply(sql)
    with (sql / "migrations" / FIRST).open("a") as file:
        file.write("-- a remark\n")
    refused(f"migrations/{FIRST} was edited after it was applied", "new migration", root=sql)


def test_a_missing_file_is_refused(sql: Path) -> None:
    """An older checkout must not work on a newer schema unnoticed."""
    apply(sql)
    (sql / "migrations" / FIRST).unlink()
    refused(f"migrations/{FIRST} was applied to this database, but the file is gone", root=sql)


def test_an_older_number_is_refused_and_a_newer_one_applied(sql: Path) -> None:
    """Forward only: a file that slipped in between would run on some databases after, on others before its successor."""
    apply(sql)
    between = sql / "migrations" / "20261123000150_between.sql"
    between.write_text("create table public.between_two (id int);")
    refused(f"migrations/{between.name} is older than", "newer number", root=sql)
    between.rename(sql / "migrations" / "29991231235959_later.sql")
    assert apply(sql).applied == ["migrations/29991231235959_later.sql", *POLICIES]


@pytest.mark.parametrize("name", ["1_short.sql", "20261123000100.sql", "20261123000100_Upper.sql", "20261123000100-dash.sql"])
def test_a_bad_file_name_is_refused(sql: Path, name: str) -> None:
    """Nothing is left out in silence because of how it is called."""
    (sql / "migrations" / name).write_text("select 1;")
    refused(name, "YYYYMMDDHHMMSS_name.sql", root=sql)


def test_a_number_given_twice_is_refused(sql: Path) -> None:
    """Two branches with the same number: their order would be chance."""
    (sql / "migrations" / "20261123000100_another.sql").write_text("select 1;")
    refused("20261123000100_another.sql", FIRST, "same number", root=sql)


@pytest.mark.parametrize("file", ["migrations/29991231235959_broken.sql", "functions/zz_broken.sql", "policies/zz_broken.sql"])
@pytest.mark.parametrize("applied_before", [False, True])
def test_a_failure_leaves_nothing(sql: Path, file: str, applied_before: bool) -> None:
    """Neither its own first statements stay nor the files before it, and the message names file and reason."""
    if applied_before:
        apply()
    (sql / file).write_text("create table public.half (id int);\ninsert into public.half values (1);\nselect 1 / 0;\n")
    refused(f"sql/{file}: division by zero", "Nothing was changed", root=sql)
    assert rows("select to_regclass('public.half') as half") == [{"half": None}]
    (sql / file).unlink()
    assert apply(sql).applied == ([] if applied_before else FILES)


def test_a_connection_that_breaks_off_leaves_nothing(sql: Path) -> None:
    """The server goes away in the middle of a file; the next call begins anew."""
    (sql / "migrations" / "29991231235959_slow.sql").write_text("create table public.half (id int); select pg_sleep(60);")
    failures: list[str] = []

    def migrate_slowly() -> None:
        try:
            apply(sql)
        except MigrationError as error:
            failures.append(str(error))

    worker = threading.Thread(target=migrate_slowly)
    worker.start()
    ended: list[dict[str, Any]] = []
    while worker.is_alive() and not ended:
        ended = rows(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
        )
    worker.join(30)
    assert ended and len(failures) == 1 and "29991231235959_slow.sql" in failures[0]
    assert inventory() == {"public"}
    (sql / "migrations" / "29991231235959_slow.sql").unlink()
    assert apply(sql).applied == FILES


def test_a_changed_function_is_applied_again_and_no_other(sql: Path) -> None:
    """Policies follow, since they look at what is there; a reverted text is a change too."""
    apply(sql)
    file = sql / "functions" / "exchange_rate.sql"
    text = file.read_text()
    file.write_text(text.replace("on_date - 7", "on_date - 3"))
    assert apply(sql).applied == ["functions/exchange_rate.sql", *POLICIES]
    body = rows("select prosrc from pg_proc where oid = 'private.exchange_rate(text, text, date)'::regprocedure")[0]["prosrc"]
    assert "on_date - 3" in body
    assert apply(sql).applied == []
    file.write_text(text)
    assert apply(sql).applied == ["functions/exchange_rate.sql", *POLICIES]


@pytest.fixture
def plain_role(empty_database: str) -> Iterator[tuple[str, str]]:
    """A login that is no superuser, and the test's database as seen by it."""
    name, password = f"analytics_{uuid.uuid4().hex[:12]}", uuid.uuid4().hex
    with connect() as connection:
        may = connection.execute("select rolsuper or rolcreaterole as may from pg_roles where rolname = current_user").fetchone()
        if not may or not may["may"]:
            pytest.skip("the user of DATABASE_URL cannot create roles")
        connection.execute(
            psycopg.sql.SQL("create role {} login nosuperuser password {}").format(
                psycopg.sql.Identifier(name), psycopg.sql.Literal(password)
            )
        )
    yield name, make_url(empty_database).set(username=name, password=password).render_as_string(hide_password=False)
    os.environ["DATABASE_URL"] = empty_database
    owned = psycopg.sql.SQL("reassign owned by {0} to current_user; drop owned by {0}; drop role {0}")
    rows(f"alter database {make_url(empty_database).database} owner to current_user")
    with connect() as connection:
        connection.execute(owned.format(psycopg.sql.Identifier(name)))


@pytest.mark.parametrize(
    "rights",
    [
        "alter database {database} owner to {role}",
        "grant create on database {database} to {role}; grant create on schema public to {role}",
    ],
    ids=["owner of the database", "may only create"],
)
def test_no_superuser_is_needed(plain_role: tuple[str, str], rights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is applied, adoption included, and the pipeline's functions run."""
    role, url = plain_role
    rows(rights.format(database=make_url(url).database, role=role))
    monkeypatch.setenv("DATABASE_URL", url)
    assert rows("select rolsuper, rolname from pg_roles where rolname = current_user") == [{"rolsuper": False, "rolname": role}]
    rows(SUPABASE)
    rows("insert into public.organizations values (%s, 'Acme')", ACME)
    assert apply().applied == FILES
    assert apply().applied == []
    assert rows("select slug from public.organizations") == [{"slug": "acme"}]
    rows("select count(*) from public.aggregate_hourly_data(array[%s]::uuid[], now() - interval '2 hours', now())", ACME)
    assert {
        row["tableowner"]
        for row in rows("select tableowner from pg_tables where schemaname in ('public', 'private', 'partitions', 'migrations')")
    } == {role}


def test_missing_rights_are_named(plain_role: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that may connect and no more."""
    monkeypatch.setenv("DATABASE_URL", plain_role[1])
    refused("permission denied for database", "Nothing was changed")


def test_the_application_goes_on_writing_organizations(plain_role: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As Supabase's users do it: a role with an INSERT grant and a policy, which sees no organisation but its own.

    It failed twice: the role may not run the function of the check on time zones; and the slug of an organisation that
    it cannot see looked free.
    """
    role, url = plain_role
    rows(SUPABASE)
    rows("insert into public.organizations (name) values ('Acme')")
    rows(
        f"alter table public.organizations enable row level security; grant select, insert on public.organizations to {role};"
        f"create policy hers on public.organizations to {role} using (name = 'ACME') with check (true)"
    )
    owner = os.environ["DATABASE_URL"]
    apply()
    monkeypatch.setenv("DATABASE_URL", url)
    rows("insert into public.organizations (name) values ('ACME')")
    seen = rows("select name, slug, time_zone, is_active from public.organizations")
    assert len(seen) == 1 and seen[0] | {"slug": ""} == {"name": "ACME", "slug": "", "time_zone": "UTC", "is_active": True}
    monkeypatch.setenv("DATABASE_URL", owner)
    slugs = [row["slug"] for row in rows("select slug from public.organizations order by slug")]
    assert slugs == ["acme", seen[0]["slug"]] and slugs[1].startswith("acme-")
    rows("insert into public.organizations (name, slug) values ('Another', 'An_Other')")
    assert rows("select partition_key ~ '^an-other-[0-9a-f]{12}$' as fits from public.organizations where name = 'Another'") == [
        {"fits": True}
    ]
