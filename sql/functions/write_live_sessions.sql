-- Sessions of the last 24 hours with what live eyes need of them, from the batch's events.
--
-- page_url: of the last event with one. referrer: of the first. user_agent, device_type, browser and os: of the last event with
-- any of them; country and city, ip_address: likewise. Of events at one instant the greatest value stands. When each was said
-- stands beside it (page_at, ...), so that the order of arrival does not matter.
create or replace function private.write_live_sessions() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    keep_from timestamptz := now() - interval '24 hours';
begin
    if exists (select from pg_temp.event_removed r where r.last_activity > keep_from) then
        perform private.remove_live_sessions(keep_from);
        update pg_temp.event_islands i set place = null
        from pg_temp.event_live_kept k
        where k.visitor_no = i.visitor_no and k.own_id = i.own_id and k.island_start = i.island_start;
    end if;
    if not exists (select from pg_temp.event_islands i where i.last_activity > keep_from) then
        return;
    end if;
    perform private.ensure_partitions('live_sessions', h.hour, h.hour + interval '1 microsecond')
    from (
        select distinct date_trunc('hour', i.island_start) as hour
        from pg_temp.event_islands i where i.last_activity > keep_from order by 1
    ) h;
    if exists (select from pg_temp.event_islands i where i.place is null and i.last_activity > keep_from) then
        perform private.describe_sessions(keep_from);
    end if;

    insert into public.live_sessions as l
        (organization_id, started_at, last_activity, session_id, visitor_id, user_id, page_url, referrer, user_agent, ip_address,
         country, city, device_type, browser, os, is_active, page_at, referrer_at, agent_at, place_at, address_at)
    select i.organization_id, i.island_start, i.last_activity, i.session_id, i.visitor_id,
           case when i.is_user then i.visitor_id end, coalesce(i.page_url, ''), i.referrer, i.user_agent, i.ip_address,
           i.country, i.city, i.device_type, i.browser, i.os, i.last_activity > now() - interval '30 minutes',
           i.page_at, i.referrer_at, i.agent_at, i.place_at, i.address_at
    from (
        -- Nearly always one event says all of it, but for the referrer, which is the first one's.
        select i.*, s.page_url, f.referrer, s.user_agent, s.ip_address, s.country, s.city, s.device_type, s.browser, s.os,
               case when s.page_url is not null then s."timestamp" end as page_at,
               case when f.referrer is not null then f."timestamp" end as referrer_at,
               case when num_nonnulls(s.user_agent, s.device_type, s.browser, s.os) > 0 then s."timestamp" end as agent_at,
               case when num_nonnulls(s.country, s.city) > 0 then s."timestamp" end as place_at,
               case when s.ip_address is not null then s."timestamp" end as address_at
        from pg_temp.event_islands i
        join pg_temp.staged_events s on s.ctid = i.place
        join pg_temp.staged_events f on f.ctid = i.first_place
        union all
        select i.*, d.page_url, d.referrer, d.user_agent, d.ip_address, d.country, d.city, d.device_type, d.browser, d.os,
               d.page_at, d.referrer_at, d.agent_at, d.place_at, d.address_at
        from pg_temp.event_islands i
        left join pg_temp.event_live d
            on d.visitor_no = i.visitor_no and d.own_id = i.own_id and d.island_start = i.island_start
        where i.place is null
    ) i
    where i.last_activity > keep_from
    order by i.visitor_no
    on conflict (organization_id, visitor_id, session_id, started_at) do update set
        last_activity = excluded.last_activity, is_active = excluded.is_active,
        user_id = coalesce(l.user_id, excluded.user_id),
        page_url = case when excluded.page_at > coalesce(l.page_at, '-infinity')
                          or excluded.page_at = l.page_at and excluded.page_url > l.page_url collate "C"
            then excluded.page_url else l.page_url end,
        page_at = greatest(l.page_at, excluded.page_at),
        referrer = case when excluded.referrer_at < coalesce(l.referrer_at, 'infinity')
                          or excluded.referrer_at = l.referrer_at and excluded.referrer < l.referrer collate "C"
            then excluded.referrer else l.referrer end,
        referrer_at = least(l.referrer_at, excluded.referrer_at),
        (user_agent, device_type, browser, os, agent_at) = (
            select case when w.later then excluded.user_agent else l.user_agent end,
                   case when w.later then excluded.device_type else l.device_type end,
                   case when w.later then excluded.browser else l.browser end, case when w.later then excluded.os else l.os end,
                   greatest(l.agent_at, excluded.agent_at)
            from (select excluded.agent_at > coalesce(l.agent_at, '-infinity') or excluded.agent_at = l.agent_at
                         and concat_ws(E'\x1f', coalesce(excluded.device_type, ''), coalesce(excluded.browser, ''),
                                       coalesce(excluded.os, ''), coalesce(excluded.user_agent, ''))
                           > concat_ws(E'\x1f', coalesce(l.device_type, ''), coalesce(l.browser, ''), coalesce(l.os, ''),
                                       coalesce(l.user_agent, '')) collate "C" as later offset 0) w),
        (country, city, place_at) = (
            select case when w.later then excluded.country else l.country end, case when w.later then excluded.city else l.city end,
                   greatest(l.place_at, excluded.place_at)
            from (select excluded.place_at > coalesce(l.place_at, '-infinity') or excluded.place_at = l.place_at
                         and concat_ws(E'\x1f', coalesce(excluded.country, ''), coalesce(excluded.city, ''))
                           > concat_ws(E'\x1f', coalesce(l.country, ''), coalesce(l.city, '')) collate "C" as later offset 0) w),
        ip_address = case when excluded.address_at > coalesce(l.address_at, '-infinity')
                            or excluded.address_at = l.address_at and excluded.ip_address > l.ip_address
            then excluded.ip_address else l.ip_address end,
        address_at = greatest(l.address_at, excluded.address_at);
end $$;

-- Of sessions of which the batch has several events, or that took others in: what they say together, into pg_temp.event_live.
create or replace function private.describe_sessions(keep_from timestamptz) returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    with places as (
        select p.visitor_no, p.own_id, p.island_start, p.place
        from pg_temp.event_islands i
        join pg_temp.event_parts p
            on p.visitor_no = i.visitor_no and p.own_id = i.own_id and p.island_start = i.island_start
        where i.place is null and i.sent_id is null and i.last_activity > keep_from
        union all
        select i.visitor_no, i.own_id, i.island_start, s.ctid
        from pg_temp.event_islands i
        join pg_temp.staged_events s
            on s.organization_id = i.organization_id and coalesce(s.user_id, s.anonymous_id) = i.sent_id
           and coalesce(s.own_session_id, '') = i.own_id
        where i.place is null and i.sent_id is not null and i.last_activity > keep_from
    ), said as (
        select p.visitor_no, p.own_id, p.island_start, s.page_url, s.referrer, s.ip_address,
               array[coalesce(s.device_type, ''), coalesce(s.browser, ''), coalesce(s.os, ''), coalesce(s.user_agent, '')] as agent,
               array[coalesce(s.country, ''), coalesce(s.city, '')] as place,
               case when s.page_url is not null then s."timestamp" end as page_at,
               case when s.referrer is not null then s."timestamp" end as referrer_at,
               case when num_nonnulls(s.user_agent, s.device_type, s.browser, s.os) > 0 then s."timestamp" end as agent_at,
               case when num_nonnulls(s.country, s.city) > 0 then s."timestamp" end as place_at,
               case when s.ip_address is not null then s."timestamp" end as address_at
        from places p
        join pg_temp.staged_events s on s.ctid = p.place
        union all
        select k.visitor_no, k.own_id, k.island_start, k.page_url, k.referrer, k.ip_address,
               array[coalesce(k.device_type, ''), coalesce(k.browser, ''), coalesce(k.os, ''), coalesce(k.user_agent, '')],
               array[coalesce(k.country, ''), coalesce(k.city, '')], k.page_at, k.referrer_at, k.agent_at, k.place_at, k.address_at
        from pg_temp.event_live_kept k
    ), together as (
        select s.visitor_no, s.own_id, s.island_start, max(s.page_at) as page_at, min(s.referrer_at) as referrer_at,
               max(s.agent_at) as agent_at, max(s.place_at) as place_at, max(s.address_at) as address_at,
               (array_agg(s.page_url order by s.page_at desc, s.page_url collate "C" desc) filter (where s.page_at is not null))[1] as page_url,
               (array_agg(s.referrer order by s.referrer_at, s.referrer collate "C") filter (where s.referrer_at is not null))[1] as referrer,
               (array_agg(s.agent order by s.agent_at desc, s.agent collate "C" desc) filter (where s.agent_at is not null))[1:1] as agent,
               (array_agg(s.place order by s.place_at desc, s.place collate "C" desc) filter (where s.place_at is not null))[1:1] as place,
               (array_agg(s.ip_address order by s.address_at desc, s.ip_address desc) filter (where s.address_at is not null))[1] as ip_address
        from said s
        group by s.visitor_no, s.own_id, s.island_start
    )
    insert into pg_temp.event_live
        (visitor_no, own_id, island_start, page_url, referrer, user_agent, ip_address, country, city, device_type, browser, os,
         page_at, referrer_at, agent_at, place_at, address_at)
    select t.visitor_no, t.own_id, t.island_start, t.page_url, t.referrer, nullif(t.agent[1][4], ''), t.ip_address,
           nullif(t.place[1][1], ''), nullif(t.place[1][2], ''), nullif(t.agent[1][1], ''), nullif(t.agent[1][2], ''),
           nullif(t.agent[1][3], ''), t.page_at, t.referrer_at, t.agent_at, t.place_at, t.address_at
    from together t;
end $$;

-- Live sessions that became part of another: what they say is kept for it.
create or replace function private.remove_live_sessions(keep_from timestamptz) returns void
language plpgsql set search_path = '' set timezone = 'UTC' set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
begin
    with gone as (
        delete from public.live_sessions l
        using pg_temp.event_removed r
        where r.last_activity > keep_from and l.organization_id = r.organization_id and l.visitor_id = r.visitor_id
          and l.session_id = r.session_id and l.started_at = r.started_at
        returning l.*, r.visitor_no, r.own_id, r.island_start
    )
    insert into pg_temp.event_live_kept
        (visitor_no, own_id, island_start, page_url, referrer, user_agent, ip_address, country, city, device_type, browser, os,
         page_at, referrer_at, agent_at, place_at, address_at)
    select g.visitor_no, g.own_id, g.island_start, nullif(g.page_url, ''), g.referrer, g.user_agent, g.ip_address, g.country, g.city,
           g.device_type, g.browser, g.os, g.page_at, g.referrer_at, g.agent_at, g.place_at, g.address_at
    from gone g
    where g.visitor_no is not null;
end $$;
