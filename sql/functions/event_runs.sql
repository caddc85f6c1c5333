-- Runs: what one id did in a batch, told together. Nearly every id's events of a batch make one session or go on with one, and
-- then all that is stored of them but the events themselves is found by the run: a third as many rows as there are events.
-- Ids of which that does not hold go event by event (private.assign_sessions).

-- The runs of the staged events (organisation, id as sent, the client's own session id or ''), into pg_temp.event_runs.
--
-- place: the staged row that says all that live eyes need of the run (page, agent, place and address are those of its last event);
-- first_place: the one whose referrer counts. Null where events of one instant, or events that lack something, have to be told
-- together (private.describe_sessions).
create or replace function private.find_event_runs() returns void
language plpgsql set search_path = '' set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    insert into pg_temp.event_runs
        (organization_id, sent_id, own_id, first_at, last_at, events, page_views, is_user, says, place, first_place)
    select r.organization_id, r.sent_id, r.own_id, r.first_at, r.last_at, r.events, r.page_views, r.said & 32 <> 0, r.said & 64 <> 0,
           case when r.is_plain then r.last_place end, case when r.is_plain then r.first_place end
    from (
        select e.organization_id, e.sent_id, e.own_id, min(e.at) as first_at, max(e.at) as last_at, count(*) as events,
               count(*) filter (where e.is_page) as page_views, bit_or(e.said) as said,
               max(e.place) filter (where e.next_at is null) as last_place,
               max(e.place) filter (where e.previous_at is null) as first_place,
               not bool_or(e.next_at = e.at) is true
               -- Of what any event says the last one says all, and of the referrer the first.
               and bit_or(e.said) & 29 = max(e.said & 29) filter (where e.next_at is null)
               and bit_or(e.said) & 2 = max(e.said & 2) filter (where e.previous_at is null) as is_plain
        from (
            select s.organization_id, k.sent_id, k.own_id, k.said, s."timestamp" as at, s.ctid as place,
                   s.event_type in ('page', 'screen') as is_page,
                   lag(s."timestamp") over w as previous_at, lead(s."timestamp") over w as next_at, k.bucket
            from pg_temp.staged_events s
            cross join lateral (
                select coalesce(s.user_id, s.anonymous_id) collate "C" as sent_id, coalesce(s.own_session_id, '') collate "C" as own_id,
                       hashtext(coalesce(s.user_id, s.anonymous_id)) as bucket,
                       case when s.page_url is not null then 1 else 0 end | case when s.referrer is not null then 2 else 0 end
                       | case when num_nonnulls(s.user_agent, s.device_type, s.browser, s.os) > 0 then 4 else 0 end
                       | case when num_nonnulls(s.country, s.city) > 0 then 8 else 0 end
                       | case when s.ip_address is not null then 16 else 0 end
                       | case when s.user_id is not null then 32 else 0 end
                       | case when s.signed_up_at is not null or s.email_hash is not null
                                or s.event_name in ('Signed Up', 'Account Created') then 64 else 0 end as said
            ) k
            -- (By a number first: a comparison of texts costs ten times as much.)
            window w as (partition by k.bucket, s.organization_id, k.sent_id, k.own_id order by s."timestamp")
        ) e
        group by e.bucket, e.organization_id, e.sent_id, e.own_id
    ) r;
end $$;

-- Sessions of the runs that make one, or go on with one, into pg_temp.event_islands. Returns of how many runs that does not hold.
--
-- It holds where an id is all of its visitor's in the batch, no pause in it can end a session, and of the stored sessions that it may
-- belong to there is none, or one that began before it. Looked at is what private.find_session_neighbours looks at.
create or replace function private.place_event_runs() returns bigint
language plpgsql set search_path = '' set timezone = 'UTC' set enable_seqscan = off set jit = off
set plan_cache_mode = force_generic_plan as $$
declare
    runs bigint;
    placed bigint;
    window_start timestamptz;
    window_end timestamptz;
begin
    select count(*), min(r.first_at) - interval '31 days', max(r.last_at) + interval '30 minutes'
    into runs, window_start, window_end
    from pg_temp.event_runs r;
    insert into pg_temp.event_islands
        (organization_id, visitor_id, visitor_no, sent_id, own_id, island_start, last_activity, events, page_views, place, first_place,
         is_user, is_known, is_stored, session_id)
    select r.organization_id, r.visitor_id, r.visitor_no, r.sent_id, r.own_id, coalesce(n.started_at, r.first_at),
           greatest(r.last_at, n.last_activity), r.events + coalesce(n.events, 0), r.page_views + coalesce(n.page_views, 0), r.place,
           r.first_place, r.is_user or r.is_known, r.is_known, n.found = 1,
           case when r.own_id <> '' then r.own_id
               when n.found = 1 then n.session_id
               else 's_' || left(md5(r.visitor_id || '|' || round(date_part('epoch', r.first_at) * 1000000)::bigint), 24) end
    from (
        select r.*, v.visitor_id, v.visitor_no, v.is_known, v.first_seen_at
        from pg_temp.event_runs r
        join pg_temp.event_visitors v on v.organization_id = r.organization_id and v.sent_id = r.sent_id
        where v.is_alone
          -- An own id that looks like one made here has another name in the end.
          and case when r.own_id = '' then r.last_at - r.first_at <= interval '30 minutes' else r.own_id !~ '^(own_)?s_' end
    ) r
    cross join lateral (
        select count(*) as found, min(s.started_at) as started_at, min(s.last_activity) as last_activity, min(s.events) as events,
               min(s.page_views) as page_views, min(s.session_id) as session_id
        from (
            select s.session_id, s.started_at, s.last_activity, s.events, s.page_views
            from public.visitor_sessions s
            where r.own_id = '' and s.organization_id = r.organization_id and s.visitor_id = r.visitor_id and not s.is_own
              and s.started_at >= window_start and s.started_at <= window_end
              and s.started_at - interval '30 minutes' <= r.last_at and s.last_activity >= r.first_at - interval '30 minutes'
            union all
            select s.session_id, s.started_at, s.last_activity, s.events, s.page_views
            from public.visitor_sessions s
            where r.own_id <> '' and s.organization_id = r.organization_id and s.visitor_id = r.visitor_id and s.is_own
              and s.session_id = r.own_id and s.started_at >= window_start
        ) s
        offset 0
    ) n
    where case n.found when 0 then coalesce(r.first_seen_at >= window_start, true) when 1 then n.started_at <= r.first_at else false end;
    get diagnostics placed = row_count;
    return runs - placed;
end $$;
