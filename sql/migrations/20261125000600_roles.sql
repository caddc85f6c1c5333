-- Roles, and on plain PostgreSQL what Supabase brings: the API's roles and schema auth.
--
-- Roles belong to the server, not to the database: of two databases that are migrated at once the second finds them made.
do $$
declare
    role_name text;
begin
    foreach role_name in array array['anon', 'authenticated', 'service_role',
                                     'analytics_pipeline', 'analytics_collector', 'analytics_bi'] loop
        begin
            if not exists (select from pg_catalog.pg_roles where rolname = role_name) then
                execute format('create role %I nologin noinherit', role_name);
            end if;
        exception
            when duplicate_object or unique_violation then null;
            when insufficient_privilege then
                raise exception 'role % is missing, and % may not create roles', role_name, current_user
                    using hint = 'Let an administrator run, in this database: create role anon nologin; create role authenticated nologin; '
                        'create role service_role nologin; create role analytics_pipeline nologin; create role analytics_collector nologin; '
                        'create role analytics_bi nologin; grant analytics_pipeline, analytics_collector to '
                        || quote_ident(current_user) || '; Or give ' || quote_ident(current_user) || ' the attribute CREATEROLE.';
        end;
    end loop;
end $$;

-- Whoever migrates may put its rights down to those of the pipeline and of the collector, which its commands do.
do $$
declare
    role_name text;
begin
    foreach role_name in array array['analytics_pipeline', 'analytics_collector'] loop
        begin
            if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
                execute format('grant %I to %I', role_name, current_user);
            end if;
        exception when insufficient_privilege then
            -- Made by somebody else, who has granted it or has not: then its login stands for itself.
            null;
        end;
    end loop;
end $$;

do $$
begin
    if to_regnamespace('auth') is not null then
        return;
    end if;
    create schema auth;
    comment on schema auth is 'Users and the claims of a request, with the names that Supabase gives them.';
    create table auth.users (id uuid primary key default gen_random_uuid(), created_at timestamptz not null default now());
    alter table auth.users enable row level security;
    create function auth.jwt() returns jsonb
    language sql stable set search_path = '' as $f$
        select nullif(current_setting('request.jwt.claims', true), '')::jsonb
    $f$;
    create function auth.uid() returns uuid
    language sql stable set search_path = '' as $f$
        select nullif(auth.jwt() ->> 'sub', '')::uuid
    $f$;
    create function auth.role() returns text
    language sql stable set search_path = '' as $f$
        select coalesce(auth.jwt() ->> 'role', current_user::text)
    $f$;
    grant usage on schema auth to anon, authenticated, service_role;
    grant execute on function auth.jwt(), auth.uid(), auth.role() to anon, authenticated, service_role;
end $$;

-- What is added later is closed to the API until a policy file opens it, also where Supabase's defaults open it.
alter default privileges in schema public revoke all on tables from anon, authenticated, service_role;
alter default privileges in schema public revoke all on sequences from anon, authenticated, service_role;
alter default privileges in schema public revoke all on functions from anon, authenticated, service_role;
