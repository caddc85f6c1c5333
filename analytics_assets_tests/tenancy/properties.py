"""What must hold of everything in the project's schemas, as queries of the catalogue that name whatever offends; and for each
something that does offend, so that a query which finds nothing at all is found out."""

from __future__ import annotations

from dataclasses import dataclass

_OURS = "('public'::regnamespace, 'private'::regnamespace, 'partitions'::regnamespace, 'migrations'::regnamespace)"
# Roles that a signed-in or anonymous user comes with.
_API = "(values ('anon'), ('authenticated')) as api (role)"


@dataclass(frozen=True)
class Property:
    """``finds``: a query with a row for each offender, in its first column the name; ``offence``: makes one called like %ende%."""

    finds: str
    offence: str


PROPERTIES = {
    "row-level security on every table": Property(
        f"select c.oid::regclass::text from pg_class c where c.relnamespace in {_OURS} and c.relkind in ('r', 'p') and not c.relrowsecurity",
        "create table public.offender (id int primary key)",
    ),
    "a policy on every table that the API's roles may read or write": Property(
        f"""select distinct c.oid::regclass::text from pg_class c cross join {_API}
        where c.relnamespace in {_OURS} and c.relkind in ('r', 'p')
          and (has_any_column_privilege(api.role, c.oid, 'select, insert, update, references')
               or has_table_privilege(api.role, c.oid, 'delete, truncate, trigger'))
          and not exists (select from pg_policy p where p.polrelid = c.oid and api.role::regrole = any (p.polroles))""",
        "create table public.offender (id int primary key); alter table public.offender enable row level security;"
        " grant select on public.offender to authenticated",
    ),
    "policies name their roles, and neither everybody nor anon": Property(
        """select p.polrelid::regclass || ' ' || p.polname from pg_policy p join pg_class c on c.oid = p.polrelid
        where c.relnamespace <> 'auth'::regnamespace and (0 = any (p.polroles) or 'anon'::regrole = any (p.polroles))""",
        "create policy offender on public.orders using (false)",
    ),
    "policies by which signed-in users write have a condition": Property(
        """select p.polrelid::regclass || ' ' || p.polname from pg_policy p
        where 'authenticated'::regrole = any (p.polroles) and p.polcmd <> 'r' and p.polpermissive
          and (p.polcmd <> 'a' and coalesce(pg_get_expr(p.polqual, p.polrelid), 'true') !~ '(org_ids|uid)'
               or p.polcmd <> 'd' and coalesce(pg_get_expr(p.polwithcheck, p.polrelid), pg_get_expr(p.polqual, p.polrelid), 'true')
                  !~ '(org_ids|uid)')""",
        "create policy offender on public.orders for update to authenticated using (true)",
    ),
    "no policy is true for who has no claim": Property(
        """select p.polrelid::regclass || ' ' || p.polname from pg_policy p
        where concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
            ~* '(uid|jwt|role|current_setting)[^=]*\\) is null'""",
        "create policy offender on public.orders for select to authenticated using (auth.uid() is null or false)",
    ),
    "policies ask for the user once a statement, not once a row": Property(
        """select p.polrelid::regclass || ' ' || p.polname
        from pg_policy p
        cross join lateral concat(pg_get_expr(p.polqual, p.polrelid), ' ', pg_get_expr(p.polwithcheck, p.polrelid)) as e (text)
        where regexp_replace(e.text, 'select (auth|private)\\.[a-z_]+\\([^)]*\\)', '', 'gi') ~ '(auth|private)\\.[a-z_]+\\('""",
        "create policy offender on public.orders for select to authenticated using (organization_id = auth.uid())",
    ),
    "policies trust nothing that users write about themselves": Property(
        """select p.polrelid::regclass || ' ' || p.polname from pg_policy p
        where concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) ~ '(user_meta|raw_user)'""",
        "create policy offender on public.orders for select to authenticated"
        " using (((select auth.jwt()) -> 'user_metadata' ->> 'admin') = 'yes')",
    ),
    "one permissive policy a table, role and action": Property(
        """select p.polrelid::regclass || ' ' || r.role::regrole || ' ' || a.action || ' ' || string_agg(p.polname, ' ')
        from pg_policy p cross join unnest(p.polroles) as r (role)
        cross join unnest(case p.polcmd when '*' then '{r,a,w,d}'::text[] else array[p.polcmd::text] end) as a (action)
        where p.polpermissive group by p.polrelid, r.role, a.action having count(*) > 1""",
        "create policy offender on public.orders for select to authenticated using (false)",
    ),
    "views have the rights of who asks": Property(
        f"""select c.oid::regclass::text from pg_class c
        where c.relnamespace in {_OURS} and c.relkind = 'v' and not coalesce(c.reloptions, '{{}}') && '{{security_invoker=true,security_invoker=on}}'""",
        "create view public.offender as select 1 as one",
    ),
    "nothing shows the users of schema auth": Property(
        f"""select distinct r.ev_class::regclass::text from pg_depend d join pg_rewrite r on r.oid = d.objid
        join pg_class c on c.oid = r.ev_class and c.relnamespace in {_OURS} where d.refobjid = 'auth.users'::regclass""",
        "create view public.offender with (security_invoker = true) as select id from auth.users",
    ),
    "no materialised view and no foreign table, which have no row-level security": Property(
        f"select c.oid::regclass::text from pg_class c where c.relnamespace in {_OURS} and c.relkind in ('m', 'f')",
        "create materialized view public.offender as select 1 as one",
    ),
    "functions have a fixed search_path": Property(
        f"""select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace in {_OURS} and not exists (select from unnest(p.proconfig) as s (setting) where s.setting like 'search_path=%')""",
        "create function public.offender() returns int language sql return 1",
    ),
    "functions with their owner's rights are called by no user": Property(
        f"""select distinct p.oid::regprocedure::text from pg_proc p cross join {_API}
        where p.pronamespace in {_OURS} and p.prosecdef and has_function_privilege(api.role, p.oid, 'execute')""",
        "create function private.offender() returns int language sql security definer set search_path = '' as 'select 1';"
        " grant execute on function private.offender() to authenticated",
    ),
    "no extension in schema public": Property(
        "select e.extname::text from pg_extension e where e.extnamespace = 'public'::regnamespace",
        "update pg_extension set extnamespace = 'public'::regnamespace, extname = 'offender' where extname = 'plpgsql'",
    ),
    "foreign keys to users are to their primary key": Property(
        """select c.conrelid::regclass || ' ' || c.conname from pg_constraint c join pg_index i on i.indexrelid = c.conindid
        where c.contype = 'f' and c.confrelid = 'auth.users'::regclass and c.connamespace <> 'auth'::regnamespace and not i.indisprimary""",
        "alter table auth.users add column at timestamptz unique; create table public.offender (at timestamptz references auth.users (at))",
    ),
    "no index stands twice, and none is invalid": Property(
        f"""select i.indrelid::regclass || ' ' || string_agg(i.indexrelid::regclass::text, ' ')
        from pg_index i join pg_class c on c.oid = i.indrelid and c.relnamespace in {_OURS}
        group by i.indrelid, regexp_replace(pg_get_indexdef(i.indexrelid), ' INDEX \\S+ ', ' '), i.indisvalid
        having count(*) > 1 or not i.indisvalid""",
        "create index offender on public.orders (order_id); create index offender_2 on public.orders (order_id)",
    ),
    "every table has a primary key": Property(
        f"""select c.oid::regclass::text from pg_class c where c.relnamespace in {_OURS} and c.relkind in ('r', 'p')
          and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)""",
        "create table public.offender (id int)",
    ),
    "no column of a type that a dump and restore to a newer server cannot take": Property(
        f"""select c.oid::regclass || '.' || a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid
        where c.relnamespace in {_OURS} and a.atttypid in ('regproc'::regtype, 'regprocedure'::regtype, 'regoper'::regtype,
            'regoperator'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype, 'regnamespace'::regtype, 'regcollation'::regtype)""",
        "create table public.offender (id int primary key, function regproc)",
    ),
    "autovacuum works on every table": Property(
        f"select c.oid::regclass::text from pg_class c where c.relnamespace in {_OURS} and c.reloptions::text ~ 'autovacuum_enabled=(false|off|0)'",
        "create table public.offender (id int primary key) with (autovacuum_enabled = off)",
    ),
}
