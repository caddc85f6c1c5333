-- Tenants. Both tables are adopted where they exist (Supabase projects usually have them): rows and
-- columns stay, what is missing is added and filled.
-- (Scans of them block for a moment only: a table of tenants is small.)
-- squawk-ignore-file adding-not-nullable-field, constraint-missing-not-valid, require-concurrent-index-creation

create schema if not exists private;
create schema if not exists partitions;
comment on schema private is 'Helpers of the pipeline. No API exposes it.';
comment on schema partitions is 'Children of the partitioned tables. No API exposes it, nobody reads it directly.';
revoke all on schema private from public;
revoke all on schema partitions from public;

create function private.is_time_zone(name text) returns boolean
language plpgsql immutable strict parallel safe set search_path = '' as $$
begin
    -- POSIX forms such as 'UTC+3' have the opposite sign of what people mean by them: only IANA names.
    if name !~ '^[A-Za-z]+([_-][A-Za-z0-9]+)*(/[A-Za-z0-9_+-]+)*$' then
        return false;
    end if;
    perform timestamptz '2000-01-01 00:00+00' at time zone name;
    return true;
exception when invalid_parameter_value then
    return false;
end $$;

-- Text in the form of a partition key: null where nothing of it is left.
create function private.plain_name(name text) returns text
language sql immutable parallel safe set search_path = '' as $$
    select nullif(trim(both '-' from left(regexp_replace(lower(name), '[^a-z0-9]+', '-', 'g'), 50)), '')
$$;

-- The partition key of an organisation that shares none: its slug; an adopted slug of another form gets a piece of the
-- id, so that 'My_Org' and 'my-org' stay two. (A hash: ids made one after the other begin alike.)
create function private.own_key(slug text, id uuid) returns text
language sql immutable parallel safe set search_path = '' as $$
    select case when slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' then slug
           else coalesce(private.plain_name(slug), 'org') || '-' || left(md5(id::text), 12) end
$$;

do $$
begin
    -- A table of our own making is closed until a policy opens it; an adopted one keeps the policies that it has.
    if to_regclass('public.organizations') is null then
        create table public.organizations (id uuid primary key default gen_random_uuid());
        alter table public.organizations enable row level security;
    end if;
end $$;

do $$
declare
    id_type text := (select format_type(atttypid, atttypmod) from pg_attribute
                     where attrelid = 'public.organizations'::regclass and attname = 'id' and not attisdropped);
begin
    if id_type is distinct from 'uuid' then
        raise exception 'organizations.id is %, but must be uuid to be adopted', coalesce(id_type, 'missing')
            using hint = 'Give organizations a uuid column "id" with a primary key, then run the migration again.';
    end if;
    if not exists (
        select from pg_index i
        where i.indrelid = 'public.organizations'::regclass and i.indisunique and i.indpred is null and i.indnkeyatts = 1
          and i.indkey[0] = (select attnum from pg_attribute
                             where attrelid = 'public.organizations'::regclass and attname = 'id')
    ) then
        raise exception 'organizations.id has no primary key or unique index'
            using hint = 'alter table organizations add primary key (id);';
    end if;
end $$;

do $$
begin
    if to_regclass('public.organization_members') is null then
        create table public.organization_members (
            organization_id uuid not null references public.organizations (id) on delete cascade,
            user_id uuid not null,
            role text not null default 'member'
                constraint organization_members_role_known check (role in ('owner', 'admin', 'member', 'viewer')),
            created_at timestamptz not null default now(),
            primary key (organization_id, user_id)
        );
        alter table public.organization_members enable row level security;
    end if;
end $$;

alter table public.organizations
    add column if not exists slug text,
    add column if not exists name text,
    add column if not exists time_zone text default 'UTC',
    add column if not exists currency text default 'USD',
    add column if not exists partition_key text,
    add column if not exists is_active boolean default true,
    add column if not exists created_at timestamptz default now(),
    add column if not exists updated_at timestamptz default now();

-- An adopted slug stays. One that is missing comes of the name; where it is taken, a piece of the id follows.
with wanted as (
    select o.id, coalesce(o.slug, '') = '' as missing,
           coalesce(nullif(o.slug, ''), private.plain_name(o.name), 'org') as base
    from public.organizations o
), numbered as (
    select w.*, row_number() over (partition by w.base order by w.missing, w.id) as n from wanted w
)
update public.organizations o
set slug = case when n.n = 1 then n.base else n.base || '-' || left(md5(o.id::text), 12) end
from numbered n
where n.id = o.id and (n.missing or n.n > 1);

update public.organizations set
    name = coalesce(nullif(name, ''), slug),
    time_zone = case when private.is_time_zone(time_zone) then time_zone else 'UTC' end,
    currency = case when upper(currency) ~ '^[A-Z]{3}$' then upper(currency) else 'USD' end,
    partition_key = coalesce(partition_key, private.own_key(slug, id)),
    is_active = coalesce(is_active, true),
    created_at = coalesce(created_at, now()),
    updated_at = coalesce(updated_at, now());

alter table public.organizations
    alter column slug set not null,
    alter column name set not null,
    alter column time_zone set not null,
    alter column currency set not null,
    alter column partition_key set not null,
    alter column is_active set not null,
    alter column created_at set not null,
    alter column updated_at set not null,
    add constraint organizations_slug_given check (slug <> ''),
    add constraint organizations_partition_key_form check (partition_key ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    add constraint organizations_currency_form check (currency ~ '^[A-Z]{3}$'),
    add constraint organizations_time_zone_known check (private.is_time_zone(time_zone));
create unique index if not exists organizations_slug_key on public.organizations (slug);
create index if not exists organizations_partition_key_idx on public.organizations (partition_key);
comment on column public.organizations.partition_key is
    'Key of the organization dimension of Dagster''s partitions. Organisations may share one.';

alter table public.organization_members
    add column if not exists role text default 'member',
    add column if not exists created_at timestamptz default now();
update public.organization_members set created_at = now() where created_at is null;
alter table public.organization_members alter column created_at set not null;
do $$
begin
    -- An adopted table keeps its own roles, be they an enum; only a text that says nothing is filled.
    if (select format_type(atttypid, null) from pg_attribute
        where attrelid = 'public.organization_members'::regclass and attname = 'role') in ('text', 'character varying') then
        update public.organization_members set role = 'member' where coalesce(role, '') = '';
    end if;
end $$;
create index if not exists organization_members_user_idx
    on public.organization_members (user_id) include (organization_id);

-- An application that writes organizations without knowing of the columns added here must go on working. (With the
-- owner's rights: whoever inserts need not see the slugs of the other organisations.)
create function private.complete_organization() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    base text;
begin
    if coalesce(new.slug, '') = '' then
        base := coalesce(private.plain_name(new.name), 'org');
        new.slug := case when exists (select from public.organizations o where o.slug = base)
            then base || '-' || left(md5(new.id::text), 12) else base end;
    end if;
    new.name := coalesce(new.name, new.slug);
    new.time_zone := coalesce(new.time_zone, 'UTC');
    new.currency := coalesce(new.currency, 'USD');
    new.partition_key := coalesce(new.partition_key, private.own_key(new.slug, new.id));
    new.is_active := coalesce(new.is_active, true);
    new.created_at := coalesce(new.created_at, now());
    new.updated_at := coalesce(new.updated_at, now());
    return new;
end $$;
create trigger complete_organization before insert on public.organizations
    for each row execute function private.complete_organization();
