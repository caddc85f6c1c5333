-- Sessions of visitors: intervals, into which events (points) are put.
--
-- The client's own session id makes a session of all events of its visitor that carry it. Other events of a visitor are
-- one session as long as no more than 30 minutes pass between one and the next; its id comes of the visitor and
-- its start. Stored sessions are taken as intervals and never read event by event; an event that lies before, after or
-- between them extends them or makes one of two.

-- The sessions of the batch's events into pg_temp.event_islands: by runs (private.place_event_runs); of other events, and of sessions
-- that were broken up, event by event: with the start of the session that they make into pg_temp.event_parts.
create or replace function private.assign_sessions() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    if private.place_event_runs() = 0 and not exists (select from pg_temp.event_points) then
        return;
    end if;
    update pg_temp.event_points p set visitor_no = v.visitor_no
    from pg_temp.event_visitors v
    where v.organization_id = p.organization_id and v.visitor_id = p.visitor_id and v.sent_id is null;
    insert into pg_temp.event_points (organization_id, visitor_id, visitor_no, own_id, at, pages, place, is_known)
    select s.organization_id, v.visitor_id, v.visitor_no,
           -- One that looks like an id made here must not meet it.
           case when s.own_session_id ~ '^s_[0-9a-f]{24}$' then 'own_' || s.own_session_id else coalesce(s.own_session_id, '') end,
           s."timestamp", (s.event_type in ('page', 'screen'))::integer, s.ctid, v.is_known or s.user_id is not null
    from pg_temp.staged_events s
    join pg_temp.event_visitors v
        on v.organization_id = s.organization_id and v.sent_id = coalesce(s.user_id, s.anonymous_id)
    where not exists (
        select from pg_temp.event_islands i
        where i.organization_id = s.organization_id and i.sent_id = coalesce(s.user_id, s.anonymous_id)
          and i.own_id = coalesce(s.own_session_id, ''));

    perform private.find_session_neighbours(min(p.at), max(p.at)) from pg_temp.event_points p;

    with parts as (
        select p.organization_id, p.visitor_id, p.visitor_no, p.own_id, p.at as started_at, p.at as last_activity,
               1 as events, p.pages as page_views, p.id, p.old_visitor_id, p.old_session_id, p.place, p.is_known,
               false as is_session
        from pg_temp.event_points p
        union all
        select n.organization_id, n.visitor_id, n.visitor_no, n.own_id, n.started_at, n.last_activity, n.events, n.page_views,
               null, n.visitor_id, n.session_id, null, null, true
        from pg_temp.event_neighbours n
    ), followed as (
        select p.*, max(p.last_activity) over (
                   partition by p.visitor_no, p.own_id collate "C" order by p.started_at, p.last_activity
                   rows between unbounded preceding and 1 preceding) as active_until
        from parts p
    )
    insert into pg_temp.event_parts
        (organization_id, visitor_id, visitor_no, own_id, started_at, last_activity, events, page_views, id, old_visitor_id,
         old_session_id, place, is_known, is_session, island_start)
    select f.organization_id, f.visitor_id, f.visitor_no, f.own_id, f.started_at, f.last_activity, f.events, f.page_views, f.id,
           f.old_visitor_id, f.old_session_id, f.place, f.is_known, f.is_session,
           max(case when f.active_until is null or f.own_id = '' and f.started_at > f.active_until + interval '30 minutes'
                    then f.started_at end) over (
               partition by f.visitor_no, f.own_id collate "C" order by f.started_at, f.last_activity rows unbounded preceding)
    from followed f;

    insert into pg_temp.event_islands
        (organization_id, visitor_id, visitor_no, own_id, island_start, last_activity, events, page_views, place, first_place, is_user,
         is_stored, session_id)
    select i.organization_id, i.visitor_id, i.visitor_no, i.own_id, i.island_start, i.last_activity, i.events, i.page_views,
           i.place, i.place, i.is_user, false,
           case when i.own_id = ''
               then 's_' || left(md5(i.visitor_id || '|' || round(date_part('epoch', i.island_start) * 1000000)::bigint), 24)
               else i.own_id end
    from (
        select p.organization_id, p.visitor_id, p.visitor_no, p.own_id, p.island_start, max(p.last_activity) as last_activity,
               sum(p.events) as events, sum(p.page_views) as page_views,
               case when count(p.place) = 1 then max(p.place) end as place, coalesce(bool_or(p.is_known), false) as is_user
        from pg_temp.event_parts p
        group by p.visitor_no, p.own_id, p.island_start, p.organization_id, p.visitor_id
        having not bool_and(p.is_session)
    ) i;
end $$;

-- Stored sessions that events of the batch may belong to, into pg_temp.event_neighbours.
--
-- Nearly all of them began in the 31 days before; only those partitions are looked at. An older one is looked for where
-- none of these decides, and the visitor is known for longer: a session that has gone on for more than a month, or a
-- visitor who comes back after one.
create or replace function private.find_session_neighbours(first_at timestamptz, last_at timestamptz) returns void
language plpgsql set search_path = '' set timezone = 'UTC' set enable_seqscan = off set jit = off
set plan_cache_mode = force_generic_plan as $$
declare
    window_start timestamptz := first_at - interval '31 days';
    window_end timestamptz := last_at + interval '30 minutes';
    wide boolean;
begin
    insert into pg_temp.event_neighbours
        (organization_id, visitor_id, visitor_no, own_id, session_id, started_at, last_activity, events, page_views)
    select k.organization_id, k.visitor_id, k.visitor_no, '', s.session_id, s.started_at, s.last_activity, s.events, s.page_views
    from (
        select p.organization_id, p.visitor_id, p.visitor_no, min(p.at) as first_at, max(p.at) as last_at
        from pg_temp.event_points p where p.own_id = ''
        group by p.visitor_no, p.organization_id, p.visitor_id
    ) k
    cross join lateral (
        select s.session_id, s.started_at, s.last_activity, s.events, s.page_views
        from public.visitor_sessions s
        where s.organization_id = k.organization_id and s.visitor_id = k.visitor_id and not s.is_own
          and s.started_at >= window_start and s.started_at <= window_end
          -- (Put so that it does not choose partitions anew for every visitor.)
          and s.started_at - interval '30 minutes' <= k.last_at and s.last_activity >= k.first_at - interval '30 minutes'
        offset 0
    ) s;
    insert into pg_temp.event_neighbours
        (organization_id, visitor_id, visitor_no, own_id, session_id, started_at, last_activity, events, page_views)
    select k.organization_id, k.visitor_id, k.visitor_no, k.own_id, k.own_id, s.started_at, s.last_activity, s.events, s.page_views
    from (
        select distinct p.organization_id, p.visitor_id, p.visitor_no, p.own_id from pg_temp.event_points p where p.own_id <> ''
    ) k
    cross join lateral (
        select s.started_at, s.last_activity, s.events, s.page_views
        from public.visitor_sessions s
        where s.organization_id = k.organization_id and s.visitor_id = k.visitor_id and s.is_own
          and s.session_id = k.own_id
          -- It may begin long after the event that comes late.
          and s.started_at >= window_start
        offset 0
    ) s;
    select exists (select from pg_temp.event_visitors v where v.first_seen_at < window_start) into wide;
    if wide then
        perform private.find_old_session_neighbours(window_start);
    end if;
end $$;

create or replace function private.find_old_session_neighbours(window_start timestamptz) returns void
language plpgsql set search_path = '' set timezone = 'UTC' set enable_seqscan = off set jit = off
set plan_cache_mode = force_generic_plan as $$
begin
    insert into pg_temp.event_neighbours
        (organization_id, visitor_id, visitor_no, own_id, session_id, started_at, last_activity, events, page_views)
    select k.organization_id, k.visitor_id, k.visitor_no, k.own_id, s.session_id, s.started_at, s.last_activity, s.events, s.page_views
    from (
        select p.organization_id, p.visitor_id, p.visitor_no, p.own_id, min(p.at) as first_at
        from pg_temp.event_points p
        where p.visitor_no in (select v.visitor_no from pg_temp.event_visitors v where v.first_seen_at < window_start)
        group by p.visitor_no, p.own_id, p.organization_id, p.visitor_id
    ) k
    cross join lateral (
        select s.session_id, s.started_at, s.last_activity, s.events, s.page_views
        from public.visitor_sessions s
        where s.organization_id = k.organization_id and s.visitor_id = k.visitor_id
          and case when k.own_id = '' then not s.is_own and s.started_at < window_start
                        and s.last_activity >= k.first_at - interval '30 minutes'
                   else s.is_own and s.session_id = k.own_id end
        offset 0
    ) s
    where not exists (
        select from pg_temp.event_neighbours n
        where n.visitor_no = k.visitor_no and n.own_id = k.own_id and (k.own_id <> '' or n.started_at <= k.first_at));
end $$;

-- Sessions that are new, changed or no more, and the events whose session has another id now.
create or replace function private.write_sessions() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    removed bigint;
begin
    insert into pg_temp.event_removed (organization_id, visitor_id, session_id, started_at, last_activity, is_own)
    select p.organization_id, p.visitor_id, p.old_session_id, p.started_at, p.last_activity, p.own_id <> ''
    from pg_temp.event_parts p
    where p.is_session and p.started_at <> p.island_start;
    get diagnostics removed = row_count;
    if removed > 0 or exists (select from pg_temp.event_moves) then
        perform private.follow_removed_sessions();
        perform private.rewrite_sessions();
    end if;
    insert into public.visitor_sessions as s
        (organization_id, started_at, last_activity, events, page_views, is_own, session_id, visitor_id)
    select i.organization_id, i.island_start, i.last_activity, i.events, i.page_views, i.own_id <> '', i.session_id, i.visitor_id
    from pg_temp.event_islands i
    order by i.visitor_no
    on conflict (organization_id, visitor_id, session_id, started_at) do update set
        last_activity = excluded.last_activity, events = excluded.events, page_views = excluded.page_views;
end $$;

-- Where sessions that are no more went: the session in which its start lies, and events whose session has another id now. (Apart from
-- the statements that look stored rows up, and so may not be hashed: with nested loops this grew with the square of the batch.)
create or replace function private.follow_removed_sessions() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    update pg_temp.event_removed r set visitor_no = p.visitor_no, own_id = p.own_id, island_start = p.island_start
    from (
        select distinct on (p.organization_id, p.old_visitor_id, p.old_session_id, p.started_at)
               p.organization_id, p.old_visitor_id, p.old_session_id, p.started_at, p.visitor_no, p.own_id, p.island_start
        from pg_temp.event_parts p
        where p.old_session_id is not null
        order by p.organization_id, p.old_visitor_id, p.old_session_id, p.started_at, p.visitor_no
    ) p
    where p.organization_id = r.organization_id and p.old_visitor_id = r.visitor_id and p.old_session_id = r.session_id
      and p.started_at = r.started_at;
    insert into pg_temp.event_renamed (organization_id, visitor_id, started_at, last_activity, id, old_session_id, session_id)
    select p.organization_id, p.visitor_id, p.started_at, p.last_activity, p.id, p.old_session_id, i.session_id
    from pg_temp.event_parts p
    join pg_temp.event_islands i on i.visitor_no = p.visitor_no and i.own_id = p.own_id and i.island_start = p.island_start
    where p.id is not null or p.is_session and p.own_id = '' and p.started_at <> p.island_start;
end $$;

create or replace function private.rewrite_sessions() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
begin
    delete from public.visitor_sessions s
    using pg_temp.event_removed r
    where s.organization_id = r.organization_id and s.visitor_id = r.visitor_id and s.session_id = r.session_id
      and s.started_at = r.started_at;
    insert into pg_temp.event_instants (organization_id, at)
    select p.organization_id, p.started_at from pg_temp.event_parts p where p.is_session and p.started_at <> p.island_start
    union all
    -- Sessions of moved events may begin where no event of the batch is.
    select i.organization_id, i.island_start from pg_temp.event_islands i where exists (select from pg_temp.event_moves);

    update public.event_tracking e set session_id = r.session_id
    from pg_temp.event_renamed r
    where r.id is null and e.organization_id = r.organization_id and e.visitor_id = r.visitor_id
      and e."timestamp" between r.started_at and r.last_activity and e.session_id = r.old_session_id;
    update public.event_tracking e set session_id = r.session_id
    from pg_temp.event_renamed r
    where r.id is not null and e.organization_id = r.organization_id and e."timestamp" = r.started_at and e.id = r.id
      and e.session_id <> r.session_id;
end $$;
