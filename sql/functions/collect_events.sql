-- The collector's ways in. Its role may call these and nothing else of the kind: they write with the owner's rights what
-- storing an event takes (messages, identities, visitors, sessions, the ledger), none of which the role could touch.
--
-- A connection's temporary tables belong to whoever makes them, and what their owner hangs on them (a trigger, a view in
-- place of a table, a type of a builtin's name) would run with the rights of the function that uses them. So these functions make
-- the tables themselves, and refuse a connection that has made anything of its own.

create or replace function private.refuse_foreign_temporaries() returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    foreign_type text := (select t.typname from pg_type t
                          where t.typnamespace = pg_my_temp_schema() and t.typowner <> current_user::regrole limit 1);
begin
    if foreign_type is not null then
        raise exception 'this connection has made % of its own: events are stored over connections that have not', foreign_type
            using errcode = 'insufficient_privilege';
    end if;
end $$;

create or replace function private.open_event_stage() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set client_min_messages = warning as $$
begin
    perform private.refuse_foreign_temporaries();
    perform private.make_event_stage();
    grant insert on pg_temp.staged_events to analytics_collector, analytics_pipeline;
end $$;

create or replace function private.collect_events() returns table (stored bigint, duplicates bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform private.refuse_foreign_temporaries();
    return query select * from private.store_events();
end $$;

-- Whether a rejected event speaks of somebody who was erased (the role reads no ids of theirs).
create or replace function private.event_speaks_of_erased(organization uuid, content bytea) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform private.refuse_foreign_temporaries();
    return private.speaks_of_erased(organization, null, 'events', content);
end $$;

-- The source that an organisation's tracked events belong to; made at its first key, or its first event.
create or replace function private.ensure_event_sources(organization_ids uuid[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into public.data_sources (organization_id, source_type, source_name, time_zone, currency)
    select o.id, 'events', 'events', o.time_zone, o.currency
    from public.organizations o
    where o.id = any (organization_ids)
      and not exists (select from public.data_sources s where s.organization_id = o.id and s.source_type = 'events')
    on conflict do nothing
$$;
