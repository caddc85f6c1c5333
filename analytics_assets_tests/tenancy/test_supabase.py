"""`analytics migrate` as Supabase's ``postgres``, before and since 30 October 2026; then as PostgREST asks for tenants."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import psycopg.sql
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets_tests.servers import Server, embedded_binaries, run_server, system_binaries, version
from analytics_assets_tests.tenancy import supabase
from analytics_assets_tests.tenancy.access import WITHHELD, expected
from analytics_assets_tests.tenancy.callers import ACME, OTHER, USERS, Connection, columns, fill, qualified, rows
from analytics_assets_tests.tenancy.properties import PROPERTIES

SERVERS = {version(binaries): binaries for binaries in (*reversed(system_binaries()), embedded_binaries())}


@dataclass(frozen=True)
class Project:
    """A migrated project: its server and database, what was Supabase's before, and what was said."""

    server: Server
    database: str
    before: dict[str, str]
    said: tuple[str, str]
    columns: dict[str, list[str]]

    def connect(self, login: str) -> Connection:
        """A connection of one of its logins."""
        return psycopg.connect(self.server.url(self.database, login), row_factory=dict_row)


@pytest.fixture(scope="module", params=sorted(SERVERS), ids=lambda number: f"postgresql{number}")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with Supabase's roles: those of the machine, and the embedded one."""
    binaries: Path = SERVERS[request.param]
    with run_server(binaries, supabase.SUPERUSER, supabase.ACCESS, {"max_locks_per_transaction": "256"}) as running:
        supabase.prepare_server(running)
        yield running


@pytest.fixture(scope="module", params=supabase.REGIMES)
def project(request: pytest.FixtureRequest, server: Server) -> Project:
    """Migrated twice as ``postgres``, then filled."""
    supabase.prepare_database(server, request.param, request.param)
    before = supabase.auth_inventory(server, request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", server.url(request.param, "postgres"))
        results = [CliRunner().invoke(app, ["migrate"]) for _ in range(2)]
    assert [result.exit_code for result in results] == [0, 0], "\n".join(
        f"{result.output}{result.stderr}{result.exception!r}" for result in results
    )
    with psycopg.connect(server.url(request.param, "postgres"), row_factory=dict_row) as connection:
        fill(connection)
        found = {name: [column["name"] for column in columns(connection, name)] for name in expected()}
    return Project(server, request.param, before, (results[0].output, results[1].output), found)


@pytest.fixture
def api(project: Project) -> Iterator[Connection]:
    """As PostgREST connects."""
    with project.connect("authenticator") as connection:
        yield connection
        connection.rollback()


def ask(connection: Connection, role: str, user: str | None = None) -> None:
    """Begins a request, as PostgREST does: role and claims for one transaction."""
    claims = {"role": role, "aud": role} | ({"sub": str(USERS[user])} if user else {})
    connection.rollback()
    connection.execute(
        "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)", (role, json.dumps(claims))
    )


def test_migrated_twice_and_nothing_of_supabase_changed(project: Project) -> None:
    """The second time it has nothing to do; schema auth, its rows and the roles are what they were."""
    first, second = project.said
    assert "files applied" in first and "nothing to do" in second
    assert len(project.before) > 100 and any(name.startswith("users ") for name in project.before)
    after = supabase.auth_inventory(project.server, project.database)
    assert {name for name in after.keys() | project.before.keys() if after.get(name) != project.before.get(name)} == set()


def test_a_member_reads_its_own_organisation_and_nothing_else(project: Project, api: Connection) -> None:
    """Every relation of the matrix: rows of acme alone, none of what only its owners read, or refused."""
    for name, cells in expected().items():
        ask(api, "authenticated", "member")
        keyed, own = "id" if name == "organizations" else "organization_id", project.columns[name]
        statement = f"select {keyed if keyed in own else own[0]} as found from {qualified(name)}"
        if "r" not in cells["member"] and "r" in cells["owner"]:
            assert rows(api, statement) == [], name
        elif "r" not in cells["member"]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                rows(api, statement)
        elif keyed in own:
            found = {row["found"] for row in rows(api, statement)}
            assert found == {ACME} or (not found and name in VIEWS_WITHOUT_ROWS), name
        else:
            assert rows(api, statement), name


# Of the rows that every table gets, these views show none.
VIEWS_WITHOUT_ROWS = (
    "source_status",
    "realtime_sessions",
    "live_activity",
    "metric_ratios",
    "daily_aggregates",
    "hourly_aggregates",
)


def test_nobody_else_reads_it(api: Connection) -> None:
    """anon is refused everywhere; whoever was removed, and whoever has no claim, sees no row."""
    for name in expected():
        ask(api, "anon")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(api, f"select 1 from {qualified(name)}")
    for user in ("removed", "other", None):
        ask(api, "authenticated", user)
        assert rows(api, "select id from public.organizations where id = %s", ACME) == []
        assert rows(api, "select order_id from public.orders where organization_id = %s", ACME) == []


def test_sealed_secrets_are_read_by_nobody(api: Connection) -> None:
    """By no role of the API, be it the one that passes row-level security by."""
    for role, user in (("anon", None), ("authenticated", "owner"), ("service_role", None)):
        for name, withheld in WITHHELD.items():
            for column in withheld.split():
                ask(api, role, user)
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    rows(api, f"select {column} from public.{name}")


def test_the_services_role_reads_all_and_writes_as_written_down(project: Project, api: Connection) -> None:
    """service_role has BYPASSRLS there: what it may do is said by its grants alone."""
    with project.connect("postgres") as connection:
        for name, cells in expected().items():
            (row,) = rows(
                connection,
                "select has_any_column_privilege(r, t, 'select') as r, has_any_column_privilege(r, t, 'insert') as i,"
                " has_any_column_privilege(r, t, 'update') as w, has_table_privilege(r, t, 'delete') as d,"
                " has_table_privilege(r, t, 'truncate, references, trigger') as more"
                " from (values ('service_role'::name, %s::regclass::oid)) v (r, t)",
                qualified(name),
            )
            assert "".join(right for right, may in row.items() if may) == cells["service"], name
    ask(api, "service_role")
    assert len(rows(api, "select id from public.organizations")) == 2


def test_the_api_roles_got_nothing_by_default(project: Project) -> None:
    """No right of theirs on any table, sequence or function of the project that no policy file has given: none on partitions,
    none to call a function but what policies call."""
    with project.connect("postgres") as connection:
        open_tables = rows(
            connection,
            """
            select c.oid::regclass::text as name, r.rolname::text as role, p.privilege_type
            from pg_class c cross join lateral aclexplode(c.relacl) p join pg_roles r on r.oid = p.grantee
            where r.rolname in ('anon', 'authenticated', 'service_role') and c.relkind in ('r', 'p', 'v', 'S')
              and (p.privilege_type <> 'SELECT' or r.rolname = 'anon' or c.relkind = 'S')
              and c.relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'partitions'::regnamespace)""",
        )
        callable_by_api = rows(
            connection,
            """
            select distinct p.oid::regprocedure::text as name from pg_proc p cross join (values ('anon'), ('authenticated'), ('service_role')) r (role)
            where p.pronamespace = 'public'::regnamespace and has_function_privilege(r.role, p.oid, 'execute')""",
        )
    assert open_tables == [] and callable_by_api == []


@pytest.mark.parametrize("name", PROPERTIES)
def test_what_holds_of_every_table_and_function_holds_there(project: Project, name: str) -> None:
    """As in a plain database; with default privileges of Supabase there is more to take back."""
    with project.connect("postgres") as connection:
        assert rows(connection, PROPERTIES[name].finds) == []


def test_what_is_made_later_is_closed(project: Project) -> None:
    """Also where Supabase's defaults opened it."""
    with project.connect("postgres") as connection:
        rows(connection, "create table public.later (id int); create function public.later() returns int language sql return 1")
        for role in ("anon", "authenticated", "service_role"):
            (row,) = rows(
                connection,
                f"select has_table_privilege('{role}', 'public.later', 'select, insert, update, delete, truncate') as reads,"
                f" exists (select from pg_proc p cross join lateral aclexplode(p.proacl) a where p.proname = 'later'"
                f" and a.grantee = '{role}'::regrole) as calls",
            )
            assert row == {"reads": False, "calls": False}, role
        connection.rollback()


_APPLICATION = """
create table public.organizations (id uuid primary key default gen_random_uuid(), name text not null);
create table public.organization_members (
    organization_id uuid not null references public.organizations on delete cascade,
    user_id uuid not null references auth.users on delete cascade, role text not null default 'member', primary key (organization_id, user_id));
alter table public.organizations enable row level security;
create policy "members see theirs" on public.organizations for select to authenticated
    using (id in (select m.organization_id from public.organization_members m where m.user_id = auth.uid()));
grant select, insert, update on public.organizations, public.organization_members to service_role;
grant select on public.organizations, public.organization_members to authenticated;
insert into public.organizations values ('{acme}', 'Acme'), ('{other}', 'Other');
insert into public.organization_members values ('{acme}', '{users}1', 'owner'), ('{other}', '{users}2', 'owner');
"""


def test_an_application_that_is_there_goes_on_working(server: Server) -> None:
    """Its server makes organisations with service_role's key, its members see what its policies say, and the project's tables follow
    its members; without policies of its own a table was open to all who sign in, and is its members' now."""
    supabase.prepare_database(server, "adopted", "open")
    with psycopg.connect(server.url("adopted", "postgres"), row_factory=dict_row) as connection:
        rows(connection, _APPLICATION.format(acme=ACME, other=OTHER, users=supabase.USERS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", server.url("adopted", "postgres"))
        result = CliRunner().invoke(app, ["migrate"])
        assert result.exit_code == 0, (result.output, result.exception)
    with psycopg.connect(server.url("adopted", "authenticator"), row_factory=dict_row) as api:
        ask(api, "service_role")
        (new,) = rows(api, "insert into public.organizations (name) values ('New') returning id, slug")
        assert new["slug"] == "new"
        rows(api, "insert into public.organization_members values (%s, %s, 'admin')", new["id"], f"{supabase.USERS}1")
        api.commit()
        for user, seen in (("1", {ACME, new["id"]}), ("2", {OTHER}), ("3", set())):
            api.rollback()
            claims = json.dumps({"sub": f"{supabase.USERS}{user}", "role": "authenticated"})
            api.execute("select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)", (claims,))
            assert {row["id"] for row in rows(api, "select id from public.organizations")} == seen
            found = rows(api, "select organization_id from public.organization_members")
            assert {row["organization_id"] for row in found} == seen
            for organization in seen:
                rows(
                    api,
                    "insert into public.funnels (organization_id, funnel_name, unit, window_seconds, steps)"
                    " values (%s, 'f', 'user', 60, '[{\"event\": \"e\"}]')",
                    organization,
                )
            assert {row["organization_id"] for row in rows(api, "select organization_id from public.funnels")} == seen
        ask(api, "anon")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(api, "select 1 as n from public.organization_members")
        api.rollback()
    with psycopg.connect(server.url("adopted", "supabase_auth_admin")) as auth:
        auth.execute("delete from auth.users where id = %s", (f"{supabase.USERS}1",))
    with psycopg.connect(server.url("adopted", "postgres"), row_factory=dict_row) as connection:
        left = rows(connection, "select user_id::text as id from private.memberships")
        assert left == [{"id": f"{supabase.USERS}2"}], "a user who is deleted belongs nowhere"
