-- Sessions of the last 24 hours with what live eyes need of them, from the batch's events.
--
-- page_url: of the last event with one. referrer: of the first. user_agent, device, browser and os: of the last event with a user
-- agent; country and city, address: likewise. Of events at one instant the greatest value stands. When each was said stands in
-- metadata, so that an event that comes late is put where it belongs: "said" is five times 16 digits, microseconds since 2000 in
-- base 16 of page, referrer, agent, place and address; of equal length, so that text compares as time does.
create or replace function private.write_live_sessions() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    keep_from timestamptz := now() - interval '24 hours';
    never constant text := '0000000000000000';
begin
    if exists (select from pg_temp.event_removed r where r.last_activity > keep_from) then
        perform private.remove_live_sessions(keep_from);
    end if;
    if not exists (select from pg_temp.event_islands i where i.last_activity > keep_from) then
        return;
    end if;
    perform private.ensure_partitions('live_sessions', h.hour, h.hour + interval '1 microsecond')
    from (
        select distinct date_trunc('hour', i.island_start) as hour
        from pg_temp.event_islands i where i.last_activity > keep_from order by 1
    ) h;

    with told as (
        select p.visitor_no, p.own_id, p.island_start, p.is_known or s.user_id is not null as is_user,
               encode(timestamptz_send(s."timestamp"), 'hex') as at, s.page_url, s.referrer,
               case when num_nonnulls(s.user_agent, s.device_type, s.browser, s.os) > 0 then
                   concat(s.device_type, E'\x1f', s.browser, E'\x1f', s.os, E'\x1f', s.user_agent) end as agent,
               case when num_nonnulls(s.country, s.city) > 0 then concat(s.country, E'\x1f', s.city) end as place,
               host(s.ip_address) as address
        from pg_temp.event_parts p
        join pg_temp.staged_events s on s.ctid = p.place
        where p.last_activity > keep_from - interval '24 hours'
    ), parts as (
        select t.visitor_no, t.own_id, t.island_start, t.is_user, t.at || t.page_url as page, t.at || t.referrer as referrer,
               t.at || t.agent as agent, t.at || t.place as place, t.at || t.address as address
        from told t
        union all
        select k.visitor_no, k.own_id, k.island_start, k.is_user, k.page, k.referrer, k.agent, k.place, k.address
        from pg_temp.event_live_kept k
    ), described as (
        select p.visitor_no, p.own_id, p.island_start, bool_or(p.is_user) as is_user, max(p.page collate "C") as page,
               min(p.referrer collate "C") as referrer, max(p.agent collate "C") as agent, max(p.place collate "C") as place,
               max(p.address collate "C") as address
        from parts p
        group by 1, 2, 3
    )
    insert into public.live_sessions as l
        (organization_id, started_at, last_activity, session_id, visitor_id, user_id, page_url, referrer, user_agent,
         ip_address, country, city, device_type, browser, os, is_active, metadata)
    select i.organization_id, i.island_start, i.last_activity, i.session_id, i.visitor_id,
           case when d.is_user then i.visitor_id end, coalesce(substr(d.page, 17), ''), substr(d.referrer, 17),
           nullif(split_part(substr(d.agent, 17), E'\x1f', 4), ''), substr(d.address, 17)::inet,
           nullif(split_part(substr(d.place, 17), E'\x1f', 1), ''), nullif(split_part(substr(d.place, 17), E'\x1f', 2), ''),
           nullif(split_part(substr(d.agent, 17), E'\x1f', 1), ''), nullif(split_part(substr(d.agent, 17), E'\x1f', 2), ''),
           nullif(split_part(substr(d.agent, 17), E'\x1f', 3), ''), i.last_activity > now() - interval '30 minutes',
           jsonb_build_object('said', concat(
               coalesce(left(d.page, 16), never), coalesce(left(d.referrer, 16), never), coalesce(left(d.agent, 16), never),
               coalesce(left(d.place, 16), never), coalesce(left(d.address, 16), never)))
    from pg_temp.event_islands i
    left join described d using (visitor_no, own_id, island_start)
    where i.last_activity > keep_from
    order by i.organization_id, i.visitor_id, i.session_id
    on conflict (organization_id, visitor_id, session_id, started_at) do update set
        last_activity = excluded.last_activity, is_active = excluded.is_active,
        user_id = coalesce(l.user_id, excluded.user_id),
        (page_url, referrer, user_agent, device_type, browser, os, country, city, ip_address, metadata) = (
            select case when w.page then excluded.page_url else l.page_url end,
                   case when w.referrer then excluded.referrer else l.referrer end,
                   case when w.agent then excluded.user_agent else l.user_agent end,
                   case when w.agent then excluded.device_type else l.device_type end,
                   case when w.agent then excluded.browser else l.browser end,
                   case when w.agent then excluded.os else l.os end,
                   case when w.place then excluded.country else l.country end,
                   case when w.place then excluded.city else l.city end,
                   case when w.address then excluded.ip_address else l.ip_address end,
                   jsonb_build_object('said', concat(
                       case when w.page then w.new_page else w.old_page end,
                       case when w.referrer then w.new_referrer else w.old_referrer end,
                       case when w.agent then w.new_agent else w.old_agent end,
                       case when w.place then w.new_place else w.old_place end,
                       case when w.address then w.new_address else w.old_address end))
            from (
                select a.*,
                       a.new_page > a.old_page or a.new_page = a.old_page and excluded.page_url > l.page_url collate "C" as page,
                       a.new_referrer > never and (a.old_referrer = never or a.new_referrer < a.old_referrer
                           or a.new_referrer = a.old_referrer and excluded.referrer < l.referrer collate "C") as referrer,
                       a.new_agent > a.old_agent or a.new_agent = a.old_agent and a.new_agent > never
                           and concat(excluded.device_type, E'\x1f', excluded.browser, E'\x1f', excluded.os, E'\x1f', excluded.user_agent)
                             > concat(l.device_type, E'\x1f', l.browser, E'\x1f', l.os, E'\x1f', l.user_agent) collate "C" as agent,
                       a.new_place > a.old_place or a.new_place = a.old_place and a.new_place > never
                           and concat(excluded.country, E'\x1f', excluded.city)
                             > concat(l.country, E'\x1f', l.city) collate "C" as place,
                       a.new_address > a.old_address or a.new_address = a.old_address
                           and host(excluded.ip_address) > host(l.ip_address) collate "C" as address
                from (
                    select substr(t.n, 1, 16) collate "C" as new_page, substr(t.o, 1, 16) collate "C" as old_page,
                           substr(t.n, 17, 16) collate "C" as new_referrer, substr(t.o, 17, 16) collate "C" as old_referrer,
                           substr(t.n, 33, 16) collate "C" as new_agent, substr(t.o, 33, 16) collate "C" as old_agent,
                           substr(t.n, 49, 16) collate "C" as new_place, substr(t.o, 49, 16) collate "C" as old_place,
                           substr(t.n, 65, 16) collate "C" as new_address, substr(t.o, 65, 16) collate "C" as old_address
                    from (select excluded.metadata ->> 'said' as n, l.metadata ->> 'said' as o offset 0) t
                    offset 0
                ) a
                offset 0
            ) w);
end $$;

-- Live sessions that became part of another: what they say is kept for it.
create or replace function private.remove_live_sessions(keep_from timestamptz) returns void
language plpgsql set search_path = '' set timezone = 'UTC' set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
declare
    never constant text := '0000000000000000';
begin
    with gone as (
        delete from public.live_sessions l
        using pg_temp.event_removed r
        where r.last_activity > keep_from and l.organization_id = r.organization_id and l.visitor_id = r.visitor_id
          and l.session_id = r.session_id and l.started_at = r.started_at
        returning l.*
    )
    insert into pg_temp.event_live_kept (visitor_no, own_id, island_start, is_user, page, referrer, agent, place, address)
    select p.visitor_no, p.own_id, p.island_start, g.user_id is not null or p.is_known,
           nullif(substr(k.said, 1, 16), never) || g.page_url, nullif(substr(k.said, 17, 16), never) || g.referrer,
           nullif(substr(k.said, 33, 16), never)
               || concat(g.device_type, E'\x1f', g.browser, E'\x1f', g.os, E'\x1f', g.user_agent),
           nullif(substr(k.said, 49, 16), never) || concat(g.country, E'\x1f', g.city),
           nullif(substr(k.said, 65, 16), never) || host(g.ip_address)
    from gone g
    cross join lateral (select g.metadata ->> 'said' as said) k
    -- The session in which its start lies.
    join lateral (
        select p.visitor_no, p.own_id, p.island_start, p.is_known
        from pg_temp.event_parts p
        where p.organization_id = g.organization_id and p.old_visitor_id = g.visitor_id and p.old_session_id = g.session_id
          and p.started_at = g.started_at
        order by p.visitor_no
        limit 1
    ) p on true;
end $$;
