-- Messages of tracking clients (pg_temp.staged_events) into event_tracking, visitor_sessions, live_sessions and visitors,
-- of many organisations at once.
--
-- Whatever the order and the cutting into batches, the rows are the same: a message counts once (organisation and id),
-- an id that is known belongs to its user from its first event on (private.take_in_identities), sessions are intervals
-- of a visitor's events (private.assign_sessions). Hours that are over become stale for the asset event_tracking in the same
-- transaction; the running hour is taken by its tick. Two connections that store events of one organisation take turns.
-- Returns how many messages were stored, and how many had been before. Staged rows that are known are deleted, and so are those
-- of organisations that are gone, which count nowhere.
--
-- (Generic plans: planning anew costs as much as storing a thousand events. Lookups by key stand in functions of their own,
-- where a table that was small when they were planned cannot make them read it whole. No merge joins: what is joined beside them
-- are the batch's own tables, and sorting their wide rows costs more than all else of the join.)
create or replace function private.store_events() returns table (stored bigint, duplicates bigint)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off
set enable_mergejoin = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    received bigint;
    fresh bigint;
    organization_ids uuid[];
    present_ids uuid[];
    links bigint;
begin
    perform private.prepare_event_tables();
    perform private.find_event_runs();
    select sum(r.events), array_agg(distinct r.organization_id) into received, organization_ids from pg_temp.event_runs r;
    if received is null then
        return query select 0::bigint, 0::bigint;
        return;
    end if;
    present_ids := private.lock_organizations('events', organization_ids);
    if cardinality(present_ids) < cardinality(organization_ids) then
        -- Deleted since their keys were looked up.
        delete from pg_temp.staged_events s where s.organization_id <> all (present_ids);
        delete from pg_temp.event_runs r where r.organization_id <> all (present_ids);
        select sum(r.events) into received from pg_temp.event_runs r;
        if received is null then
            return query select 0::bigint, 0::bigint;
            return;
        end if;
    end if;

    if private.rename_staged_events(present_ids) then
        delete from pg_temp.event_runs;
        perform private.find_event_runs();
    end if;

    -- Nearly always all of them are new, and each is written at once; else those that are known are looked for.
    begin
        insert into public.event_messages (organization_id, id) select s.organization_id, s.id from pg_temp.staged_events s;
        fresh := received;
    exception when unique_violation then
        fresh := private.drop_known_events();
        delete from pg_temp.event_runs;
        perform private.find_event_runs();
    end;
    if fresh = 0 then
        return query select 0::bigint, received;
        return;
    end if;

    -- Before the statements that read or write the parents, which cannot have them altered meanwhile.
    perform private.ensure_partitions('event_tracking', m.month, m.month + interval '1 microsecond'),
            private.ensure_partitions('visitor_sessions', m.month, m.month + interval '1 microsecond')
    from (
        select date_trunc('month', a.at) as month
        from pg_temp.event_runs r
        cross join lateral (values (r.first_at), (r.last_at)) a (at)
        union
        -- A run of less than a month lies in those of its ends.
        select date_trunc('month', s."timestamp")
        from pg_temp.staged_events s
        where exists (select from pg_temp.event_runs r where r.last_at - r.first_at > interval '28 days')
        order by 1
    ) m;

    links := private.find_event_links();
    if links > 0 then
        perform private.take_in_identities();
    end if;
    perform private.find_event_visitors();
    perform private.assign_sessions();

    insert into public.event_tracking
        (organization_id, "timestamp", received_at, id, event_value, event_type, session_id, visitor_id, user_id,
         anonymous_id, known_as, event_name, event_category, event_action, event_label, currency, page_url, metadata)
    select s.organization_id, s."timestamp", s.received_at, s.id, s.event_value, s.event_type, n.session_id, n.visitor_id,
           case when n.is_known then n.visitor_id end, s.anonymous_id,
           nullif(coalesce(s.user_id, s.anonymous_id), n.visitor_id), s.event_name, s.event_category, s.event_action,
           s.event_label, s.currency, s.page_url,
           -- What is known of the person stays with its event: another identity may take it elsewhere.
           case when s.email_hash is null and s.signed_up_at is null then s.metadata
                else s.metadata || jsonb_build_object('person', jsonb_strip_nulls(jsonb_build_object(
                    'email_hash', encode(s.email_hash, 'hex'), 'signed_up_at', s.signed_up_at))) end
    from pg_temp.staged_events s
    left join pg_temp.event_islands r
        on r.organization_id = s.organization_id and r.sent_id = coalesce(s.user_id, s.anonymous_id)
       and r.own_id = coalesce(s.own_session_id, '')
    left join (
        select p.place, i.session_id, p.visitor_id, p.is_known
        from pg_temp.event_parts p
        join pg_temp.event_islands i using (visitor_no, own_id, island_start)
        where p.place is not null
    ) e on e.place = s.ctid
    cross join lateral (
        select coalesce(r.session_id, e.session_id) as session_id, coalesce(r.visitor_id, e.visitor_id) as visitor_id,
               coalesce(r.is_known or s.user_id is not null, e.is_known) as is_known
    ) n
    order by s.organization_id, s."timestamp", s.id;
    perform private.write_sessions();
    perform private.write_visitors();
    perform private.write_live_sessions();
    -- The ledger last, in one order by everybody: hours, then days, then what follows days.
    if links > 0 then
        perform private.move_visitor_days();
    end if;
    perform private.mark_event_hours();
    if links > 0 then
        perform private.mark_moved_days();
    end if;
    return query select fresh, received - fresh;
end $$;

-- Notes the messages of the batch that are new. Of the staged rows leave those that are known, and of doubles within the batch all but
-- the earliest. Returns how many stay.
drop function if exists private.drop_known_events(uuid[], uuid[]);
create or replace function private.drop_known_events() returns bigint
language plpgsql set search_path = '' set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    fresh bigint;
    organization_ids uuid[];
    ids uuid[];
begin
    with noted as (
        insert into public.event_messages as m (organization_id, id)
        select s.organization_id, s.id from pg_temp.staged_events s
        on conflict do nothing
        returning m.organization_id, m.id
    )
    select count(*), array_agg(n.organization_id), array_agg(n.id) into fresh, organization_ids, ids from noted n;
    with kept as materialized (
        select distinct on (s.organization_id, s.id) s.ctid as place
        from pg_temp.staged_events s
        join unnest(organization_ids, ids) n (organization_id, id) using (organization_id, id)
        order by s.organization_id, s.id, s."timestamp", s.received_at, s.slot
    )
    delete from pg_temp.staged_events s where not exists (select from kept k where k.place = s.ctid);
    return fresh;
end $$;

-- Where one batch is worked on. Once a connection, since making a table writes to the catalogue; emptied by each commit.
create or replace function private.prepare_event_tables() returns void
language plpgsql set search_path = '' set client_min_messages = warning as $$
begin
    if to_regclass('pg_temp.event_parts') is not null then
        -- A second batch of one transaction.
        delete from pg_temp.event_runs; delete from pg_temp.event_links; delete from pg_temp.event_moves;
        delete from pg_temp.event_visitors; delete from pg_temp.event_points; delete from pg_temp.event_neighbours;
        delete from pg_temp.event_parts; delete from pg_temp.event_islands; delete from pg_temp.event_removed;
        delete from pg_temp.event_renamed; delete from pg_temp.event_people; delete from pg_temp.event_instants;
        delete from pg_temp.event_live_kept; delete from pg_temp.event_live; delete from pg_temp.event_moved_days;
        return;
    end if;
    -- What each id did in the batch (private.find_event_runs).
    create temp table event_runs (
        organization_id uuid, sent_id text, own_id text, first_at timestamptz, last_at timestamptz, events bigint, page_views bigint,
        is_user boolean, says boolean, place tid, first_place tid) on commit delete rows;
    -- Ids that this batch links to users, where it changes what is known.
    create temp table event_links (
        organization_id uuid, known_as text, user_id text, identified_at timestamptz) on commit delete rows;
    -- Ids whose events belong to another visitor now.
    create temp table event_moves (
        organization_id uuid, sent_id text, old_visitor_id text, visitor_id text, was_known boolean) on commit delete rows;
    -- The visitors behind the ids that were sent (null: of sessions broken up), numbered, with what is stored of them.
    -- is_alone: the only id of its visitor.
    create temp table event_visitors (
        organization_id uuid, sent_id text, visitor_id text, visitor_no bigint, is_known boolean, is_alone boolean, first_seen_at timestamptz,
        signed_up_at timestamptz, user_id text, email_hash bytea) on commit delete rows;
    -- Events whose session is looked for. place: of a staged row; else a stored event whose session is broken up.
    -- own_id: the client's own session id; empty where it sends none.
    create temp table event_points (
        organization_id uuid, visitor_id text, visitor_no bigint, own_id text, at timestamptz, pages integer, id uuid,
        old_visitor_id text, old_session_id text, place tid, is_known boolean) on commit delete rows;
    -- Stored sessions that they may belong to.
    create temp table event_neighbours (
        organization_id uuid, visitor_id text, visitor_no bigint, own_id text, session_id text, started_at timestamptz,
        last_activity timestamptz, events integer, page_views integer) on commit delete rows;
    -- Both, with the start of the session that they make.
    create temp table event_parts (
        organization_id uuid, visitor_id text, visitor_no bigint, own_id text, started_at timestamptz,
        last_activity timestamptz, events integer, page_views integer, id uuid, old_visitor_id text,
        old_session_id text, place tid, is_known boolean, is_session boolean, island_start timestamptz) on commit delete rows;
    -- The sessions that are new or changed. sent_id: of the run that is all that the batch has of it. place, first_place: of the
    -- staged rows that say what live eyes need. is_stored: it is there and goes on.
    create temp table event_islands (
        organization_id uuid, visitor_id text, visitor_no bigint, sent_id text, own_id text, island_start timestamptz,
        last_activity timestamptz, events bigint, page_views bigint, session_id text, place tid, first_place tid, is_user boolean,
        is_known boolean, is_stored boolean)
        on commit delete rows;
    -- Stored sessions that are no more, with the one that their start is in now.
    create temp table event_removed (
        organization_id uuid, visitor_id text, session_id text, started_at timestamptz, last_activity timestamptz,
        is_own boolean, visitor_no bigint, own_id text, island_start timestamptz) on commit delete rows;
    -- Stored events whose session has another id now: one, or all of a session from its start to its end.
    create temp table event_renamed (
        organization_id uuid, visitor_id text, started_at timestamptz, last_activity timestamptz, id uuid, old_session_id text,
        session_id text) on commit delete rows;
    -- What moved events say of their new visitors.
    create temp table event_people (
        organization_id uuid, visitor_id text, first_seen_at timestamptz, signed_up_at timestamptz, email_hash bytea)
        on commit delete rows;
    -- Instants whose hours change beside those of the batch's events.
    create temp table event_instants (organization_id uuid, at timestamptz) on commit delete rows;
    -- What sessions say to live eyes: kept of those that became part of others, and told together.
    create temp table event_live_kept (
        visitor_no bigint, own_id text, island_start timestamptz, page_url text, referrer text, user_agent text, ip_address inet,
        country text, city text, device_type text, browser text, os text, page_at timestamptz, referrer_at timestamptz,
        agent_at timestamptz, place_at timestamptz, address_at timestamptz) on commit delete rows;
    create temp table event_live (like pg_temp.event_live_kept) on commit delete rows;
    create temp table event_moved_days (
        organization_id uuid, date date, old_visitor_id text, visitor_id text) on commit delete rows;
    perform private.plain_event_tables();
end $$;

-- Hours of the batch's events, and of what else it changed, become stale once they are over (by the ledger's bucket: of a
-- half-hour zone's hour that still runs the bucket's tick may be past; it is computed again when that hour ends).
create or replace function private.mark_event_hours() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    ids uuid[];
    buckets timestamptz[];
    ends timestamptz[];
begin
    select array_agg(h.organization_id order by h.organization_id, h.bucket),
           array_agg(h.bucket order by h.organization_id, h.bucket),
           array_agg(h.hour_end order by h.organization_id, h.bucket)
    into ids, buckets, ends
    from (
        select q.organization_id, date_trunc('hour', l.hour) as bucket, max(l.hour) + interval '1 hour' as hour_end
        from (
            -- Every zone's hours begin at a quarter; a run of less than one lies in those of its ends.
            select r.organization_id, date_bin('15 minutes', a.at, timestamptz '2000-01-01 00:00+00') as at
            from pg_temp.event_runs r
            cross join lateral (values (r.first_at), (r.last_at)) a (at)
            union
            select s.organization_id, date_bin('15 minutes', s."timestamp", timestamptz '2000-01-01 00:00+00')
            from pg_temp.staged_events s
            where exists (select from pg_temp.event_runs r where r.last_at - r.first_at > interval '15 minutes')
            union
            select i.organization_id, date_bin('15 minutes', i.at, timestamptz '2000-01-01 00:00+00')
            from pg_temp.event_instants i
        ) q
        join public.organizations g on g.id = q.organization_id
        cross join lateral (select private.local_hour(q.at, g.time_zone) as hour offset 0) l
        group by 1, 2
        having date_trunc('hour', l.hour) + interval '1 hour' <= now()
    ) h;
    if ids is not null then
        perform private.mark_stale('event_tracking', ids, buckets);
        update public.partition_ledger l set next_attempt_at = k.hour_end
        from unnest(ids, buckets, ends) k (organization_id, bucket, hour_end)
        where k.hour_end > now() and l.organization_id = k.organization_id and l.asset = 'event_tracking' and l.bucket = k.bucket;
    end if;
end $$;
