"""Databases as Supabase prepares them: its roles, schema auth of its own, and default privileges of both times.

``postgres``, who migrates, is no superuser there; schema auth belongs to supabase_auth_admin; what is made in schema public was
open to the API until it became closed for every project on 30 October 2026.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
import psycopg.sql

from analytics_assets_tests.servers import Server

SUPERUSER = "supabase_admin"
ACCESS = "host all all localhost scram-sha-256\n"
#: Logins that the tests use, with one password.
LOGINS = ("postgres", "authenticator", "supabase_auth_admin")
#: open: everything new in public is granted to the API's roles; closed: as it is since 30 October 2026.
REGIMES = ("open", "closed")
USERS = "10000000-0000-0000-0000-00000000000"

_ROLES = """
create role anon nologin inherit;
create role authenticated nologin inherit;
create role service_role nologin inherit bypassrls;
create role authenticator login noinherit;
grant anon, authenticated, service_role to authenticator;
create role supabase_auth_admin login noinherit noreplication;
create role dashboard_user createdb createrole replication;
create role postgres login nosuperuser createdb createrole replication bypassrls;
alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role supabase_auth_admin set search_path = 'auth';
alter role postgres set search_path = "$user", public, extensions;
do $$ begin
    if current_setting('server_version_num')::int >= 160000 then
        grant anon, authenticated, service_role to postgres with admin option;
    end if;
end $$;
"""

_DATABASE = """
grant all on database {database} to postgres, dashboard_user;
create schema extensions;
grant usage on schema extensions to postgres, anon, authenticated, service_role;
grant all on schema extensions to postgres;
grant usage on schema public to anon, authenticated, service_role;
alter schema public owner to pg_database_owner;
grant all on schema public to postgres;
create publication supabase_realtime;

create schema auth authorization supabase_auth_admin;
grant usage on schema auth to anon, authenticated, service_role, postgres;
grant all on schema auth to dashboard_user;
set role supabase_auth_admin;
create table auth.schema_migrations (version varchar(255) primary key);
insert into auth.schema_migrations values ('00'), ('20171026211738'), ('20221208132122'), ('20240612123726');
create table auth.users (
    instance_id uuid, id uuid primary key, aud varchar(255), role varchar(255), email varchar(255),
    encrypted_password varchar(255), email_confirmed_at timestamptz, invited_at timestamptz, confirmation_token varchar(255),
    recovery_token varchar(255), last_sign_in_at timestamptz, raw_app_meta_data jsonb, raw_user_meta_data jsonb,
    is_super_admin boolean, created_at timestamptz, updated_at timestamptz, phone text unique,
    confirmed_at timestamptz generated always as (email_confirmed_at) stored, banned_until timestamptz,
    is_sso_user boolean not null default false, deleted_at timestamptz, is_anonymous boolean not null default false);
comment on table auth.users is 'Auth: people who sign in.';
create unique index users_email_partial_key on auth.users (email) where not is_sso_user;
create index users_instance_id_idx on auth.users (instance_id);
create table auth.identities (
    id uuid primary key default gen_random_uuid(), provider text not null, provider_id text not null,
    user_id uuid not null references auth.users on delete cascade, identity_data jsonb not null,
    email text generated always as (lower(identity_data ->> 'email')) stored, unique (provider, provider_id));
create table auth.sessions (id uuid primary key, user_id uuid not null references auth.users on delete cascade, not_after timestamptz);
create table auth.refresh_tokens (id bigserial primary key, token varchar(255) unique, user_id varchar(255), revoked boolean);
create function auth.uid() returns uuid language sql stable as $f$
    select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
                    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $f$;
create function auth.role() returns text language sql stable as $f$
    select coalesce(nullif(current_setting('request.jwt.claim.role', true), ''),
                    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') $f$;
create function auth.email() returns text language sql stable as $f$
    select coalesce(nullif(current_setting('request.jwt.claim.email', true), ''),
                    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email') $f$;
create function auth.jwt() returns jsonb language sql stable as $f$
    select coalesce(nullif(current_setting('request.jwt.claim', true), ''),
                    nullif(current_setting('request.jwt.claims', true), ''))::jsonb $f$;
alter table auth.schema_migrations enable row level security;
alter table auth.users enable row level security;
alter table auth.identities enable row level security;
alter table auth.sessions enable row level security;
alter table auth.refresh_tokens enable row level security;
grant select on all tables in schema auth to postgres with grant option;
grant all on auth.users, auth.identities, auth.sessions, auth.refresh_tokens to postgres;
grant all on all tables in schema auth to dashboard_user;
grant execute on all functions in schema auth to postgres, dashboard_user;
insert into auth.users (id, aud, role, email, raw_app_meta_data, created_at)
select ('{users}' || n)::uuid, 'authenticated', 'authenticated', 'user' || n || '@example.com', '{{"provider": "email"}}', now()
from generate_series(1, 6) n;
insert into auth.identities (provider, provider_id, user_id, identity_data)
select 'email', u.id, u.id, jsonb_build_object('email', u.email, 'sub', u.id) from auth.users u;
reset role;
"""

# Of what each of the two makes in schema public.
_OPEN = """
alter default privileges for role {maker} in schema public grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role {maker} in schema public grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges for role {maker} in schema public grant all on sequences to postgres, anon, authenticated, service_role;
"""
# TRUNCATE, REFERENCES and TRIGGER stay granted there.
_CLOSED = """
alter default privileges for role postgres in schema public
    revoke select, insert, update, delete on tables from anon, authenticated, service_role;
alter default privileges for role postgres in schema public revoke execute on functions from anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    revoke usage, select on sequences from anon, authenticated, service_role;
"""


def _run(connection: psycopg.Connection[Any], statements: str) -> None:
    connection.execute(psycopg.sql.SQL(statements))


def prepare_server(server: Server) -> None:
    """Supabase's roles, which are the server's, not a database's."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        _run(connection, _ROLES)
        for login in LOGINS:
            _run(connection, f"alter role {login} password '{server.password}'")


def prepare_database(server: Server, name: str, regime: str) -> None:
    """A database as a project's is before its application has made anything."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        _run(connection, f"create database {name}")
    with psycopg.connect(server.url(name)) as connection:
        for maker in (SUPERUSER, "postgres"):
            _run(connection, _OPEN.format(maker=maker))
        if regime == "closed":
            _run(connection, _CLOSED)
        _run(connection, _DATABASE.format(database=name, users=USERS))


_AUTH = """
select 'schema' as kind, n.nspname::text as name, jsonb_build_object('owner', n.nspowner::regrole, 'acl', n.nspacl) as what
from pg_namespace n where n.nspname = 'auth'
union all
select 'relation', c.relname, jsonb_build_object('kind', c.relkind, 'owner', c.relowner::regrole, 'acl', c.relacl, 'rls', c.relrowsecurity,
    'forced', c.relforcerowsecurity, 'options', c.reloptions, 'file', c.relfilenode, 'comment', obj_description(c.oid, 'pg_class'),
    'index', case when c.relkind = 'i' then pg_get_indexdef(c.oid) end)
from pg_class c where c.relnamespace = 'auth'::regnamespace
union all
select 'column', c.relname || '.' || a.attnum, to_jsonb(a) || jsonb_build_object('default', pg_get_expr(d.adbin, d.adrelid))
from pg_class c join pg_attribute a on a.attrelid = c.oid left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where c.relnamespace = 'auth'::regnamespace and c.relkind <> 'i'
union all
select 'function', p.oid::regprocedure::text, jsonb_build_object('owner', p.proowner::regrole, 'acl', p.proacl,
    'definition', pg_get_functiondef(p.oid))
from pg_proc p where p.pronamespace = 'auth'::regnamespace
union all
select 'constraint', c.conrelid::regclass || '.' || c.conname, to_jsonb(pg_get_constraintdef(c.oid))
from pg_constraint c where c.connamespace = 'auth'::regnamespace
union all
select 'trigger', t.tgrelid::regclass || '.' || t.tgname, to_jsonb(pg_get_triggerdef(t.oid))
from pg_trigger t join pg_class c on c.oid = t.tgrelid and c.relnamespace = 'auth'::regnamespace
where not t.tgisinternal  -- those of foreign keys that refer to users, which Supabase allows
union all
select 'policy', p.polrelid::regclass || '.' || p.polname, to_jsonb(p)
from pg_policy p join pg_class c on c.oid = p.polrelid and c.relnamespace = 'auth'::regnamespace
union all
select 'default', format('%s %s', d.defaclrole::regrole, d.defaclobjtype), to_jsonb(d) from pg_default_acl d
where d.defaclnamespace in (0, 'auth'::regnamespace)
union all
select 'role', r.rolname, to_jsonb(r) || jsonb_build_object('in', array(
    select m.roleid::regrole::text from pg_auth_members m where m.member = r.oid and m.roleid::regrole::text !~ '^analytics_' order by 1))
from pg_roles r where r.rolname !~ '^analytics_'
union all
select 'users', u.id::text, to_jsonb(u) || jsonb_build_object('written', u.xmin::text) from auth.users u
union all
select 'identities', i.id::text, to_jsonb(i) || jsonb_build_object('written', i.xmin::text) from auth.identities i
union all
select 'schema_migrations', m.version, to_jsonb(m) || jsonb_build_object('written', m.xmin::text) from auth.schema_migrations m
"""


def auth_inventory(server: Server, database: str) -> dict[str, str]:
    """Everything that is Supabase's: all of schema auth with owners, rights, definitions and rows, and the roles."""
    with psycopg.connect(server.url(database)) as connection:
        found = connection.execute(psycopg.sql.SQL(_AUTH)).fetchall()
    return {f"{kind} {name}": json.dumps(what, sort_keys=True, default=str) for kind, name, what in found}
