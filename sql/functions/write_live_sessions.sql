-- Sessions of the last 24 hours with what live eyes need of them, from the batch's events.
--
-- page_url: of the last event with one. referrer: of the first. user_agent, device, browser and os: of the last event with a user
-- agent; country and city, address: likewise. Of events at one instant the greatest value stands. When each was said stands in
-- metadata (microseconds since 1970), so that an event that comes late is put where it belongs.

-- The instant as digits of one length, so that text compares as time does.
create or replace function private.live_instant(at timestamptz) returns text
language sql immutable parallel safe set search_path = '' as $$
    select lpad((extract(epoch from at) * 1000000)::bigint::text, 16, '0')
$$;

create or replace function private.write_live_sessions() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    keep_from timestamptz := now() - interval '24 hours';
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
               private.live_instant(s."timestamp") as at, s.page_url, s.referrer,
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
           jsonb_strip_nulls(jsonb_build_object('page', left(d.page, 16), 'referrer', left(d.referrer, 16),
                                                'agent', left(d.agent, 16), 'place', left(d.place, 16),
                                                'address', left(d.address, 16)))
    from pg_temp.event_islands i
    left join described d using (visitor_no, own_id, island_start)
    where i.last_activity > keep_from
    order by i.organization_id, i.visitor_id, i.session_id
    on conflict (organization_id, visitor_id, session_id, started_at) do update set
        last_activity = excluded.last_activity, is_active = excluded.is_active,
        user_id = coalesce(l.user_id, excluded.user_id),
        page_url = case when private.is_later(excluded.metadata, l.metadata, 'page', excluded.page_url, l.page_url)
            then excluded.page_url else l.page_url end,
        referrer = case when (excluded.metadata ->> 'referrer', excluded.referrer collate "C")
                             < (coalesce(l.metadata ->> 'referrer', '9999999999999999'), coalesce(l.referrer, '') collate "C")
            then excluded.referrer else l.referrer end,
        (user_agent, device_type, browser, os) = (
            select excluded.user_agent, excluded.device_type, excluded.browser, excluded.os
            where private.is_later(excluded.metadata, l.metadata, 'agent',
                concat(excluded.device_type, E'\x1f', excluded.browser, E'\x1f', excluded.os, E'\x1f', excluded.user_agent),
                concat(l.device_type, E'\x1f', l.browser, E'\x1f', l.os, E'\x1f', l.user_agent))
            union all
            select l.user_agent, l.device_type, l.browser, l.os
            limit 1),
        (country, city) = (
            select excluded.country, excluded.city
            where private.is_later(excluded.metadata, l.metadata, 'place', concat(excluded.country, E'\x1f', excluded.city),
                                   concat(l.country, E'\x1f', l.city))
            union all
            select l.country, l.city
            limit 1),
        ip_address = case when private.is_later(excluded.metadata, l.metadata, 'address', host(excluded.ip_address), host(l.ip_address))
            then excluded.ip_address else l.ip_address end,
        metadata = jsonb_strip_nulls(jsonb_build_object(
            'page', greatest(l.metadata ->> 'page', excluded.metadata ->> 'page'),
            'referrer', least(l.metadata ->> 'referrer', excluded.metadata ->> 'referrer'),
            'agent', greatest(l.metadata ->> 'agent', excluded.metadata ->> 'agent'),
            'place', greatest(l.metadata ->> 'place', excluded.metadata ->> 'place'),
            'address', greatest(l.metadata ->> 'address', excluded.metadata ->> 'address')));
end $$;

-- Whether what is said under a name comes later (of one instant: is the greater value) than what stood there.
create or replace function private.is_later(new_said jsonb, old_said jsonb, name text, new_value text, old_value text)
returns boolean
language sql immutable parallel safe set search_path = '' as $$
    select coalesce((new_said ->> name, new_value collate "C") > (coalesce(old_said ->> name, ''), coalesce(old_value, '') collate "C"),
                    false)
$$;

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
        returning l.*
    )
    insert into pg_temp.event_live_kept (visitor_no, own_id, island_start, is_user, page, referrer, agent, place, address)
    select p.visitor_no, p.own_id, p.island_start, g.user_id is not null or p.is_known, (g.metadata ->> 'page') || g.page_url,
           (g.metadata ->> 'referrer') || g.referrer,
           (g.metadata ->> 'agent') || concat(g.device_type, E'\x1f', g.browser, E'\x1f', g.os, E'\x1f', g.user_agent),
           (g.metadata ->> 'place') || concat(g.country, E'\x1f', g.city), (g.metadata ->> 'address') || host(g.ip_address)
    from gone g
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
