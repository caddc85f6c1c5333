-- The visitors of a batch: only those of whom it says something new. The earliest time at which each was seen and signed up, and
-- (of several e-mail addresses) the lowest hash, so that the order of arrival does not matter.
create or replace function private.write_visitors() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    with said as (
        select v.organization_id, v.visitor_id, s."timestamp" as first_seen_at,
               case when s.event_name in ('Signed Up', 'Account Created') then least(s."timestamp", s.signed_up_at)
                    else s.signed_up_at end as signed_up_at, s.email_hash, s.user_id is not null or v.is_known as is_user
        from pg_temp.staged_events s
        join pg_temp.event_visitors v
            on v.organization_id = s.organization_id and v.sent_id = coalesce(s.user_id, s.anonymous_id)
        -- Hardly any of a known visitor.
        where v.first_seen_at is null or s."timestamp" < v.first_seen_at or s.signed_up_at is not null
           or s.event_name in ('Signed Up', 'Account Created') or s.email_hash is not null
           or v.user_id is null and (s.user_id is not null or v.is_known)
        union all
        select p.organization_id, p.visitor_id, p.first_seen_at, p.signed_up_at, p.email_hash, true
        from pg_temp.event_people p
    ), told as (
        select s.organization_id, s.visitor_id, min(s.first_seen_at) as first_seen_at, min(s.signed_up_at) as signed_up_at,
               decode(min(encode(s.email_hash, 'hex') collate "C"), 'hex') as email_hash, bool_or(s.is_user) as is_user
        from said s
        group by 1, 2
    ), stored as (
        select distinct v.organization_id, v.visitor_id, v.first_seen_at, v.signed_up_at, v.email_hash, v.user_id
        from pg_temp.event_visitors v
        where v.first_seen_at is not null
    ), changed as materialized (
        select t.organization_id, t.visitor_id, t.first_seen_at, t.signed_up_at, t.email_hash, t.is_user,
               s.first_seen_at as seen_before
        from told t
        left join stored s using (organization_id, visitor_id)
        where s.first_seen_at is null or t.first_seen_at < s.first_seen_at
           or t.signed_up_at < coalesce(s.signed_up_at, 'infinity') or t.email_hash is not null and s.email_hash is null
           or t.email_hash < s.email_hash or t.is_user and s.user_id is null
    ), moved_back as (
        insert into pg_temp.event_instants (organization_id, at)
        select c.organization_id, a.at
        from changed c
        cross join lateral (values (c.seen_before), (c.first_seen_at)) a (at)
        where a.at is not null and c.first_seen_at < coalesce(c.seen_before, 'infinity')
    )
    insert into public.visitors as v (organization_id, first_seen_at, signed_up_at, visitor_id, user_id, email_hash)
    select c.organization_id, c.first_seen_at, c.signed_up_at, c.visitor_id, case when c.is_user then c.visitor_id end, c.email_hash
    from changed c
    order by c.organization_id, c.visitor_id collate "C"
    on conflict (organization_id, visitor_id) do update set
        first_seen_at = least(v.first_seen_at, excluded.first_seen_at),
        signed_up_at = least(v.signed_up_at, excluded.signed_up_at),
        user_id = coalesce(v.user_id, excluded.user_id), email_hash = least(v.email_hash, excluded.email_hash);
end $$;

-- Visitors' days whose events moved to another visitor move with them, where they were counted.
create or replace function private.move_visitor_days() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
begin
    if not exists (select from pg_temp.event_moved_days) then
        return;
    end if;
    perform private.lock_organizations('event_days', array(select distinct m.organization_id from pg_temp.event_moved_days m));
    perform private.ensure_partitions('visitor_days', m.month, m.month + interval '1 microsecond')
    from (select distinct date_trunc('month', d.date::timestamp) at time zone 'UTC' as month from pg_temp.event_moved_days d order by 1) m;
    insert into public.visitor_days (organization_id, date, visitor_id)
    select distinct m.organization_id, m.date, m.visitor_id
    from pg_temp.event_moved_days m
    join public.visitor_days d on d.organization_id = m.organization_id and d.date = m.date and d.visitor_id = m.old_visitor_id
    on conflict do nothing;
    delete from public.visitor_days d
    using pg_temp.event_moved_days m
    join public.organizations g on g.id = m.organization_id
    where d.organization_id = m.organization_id and d.date = m.date and d.visitor_id = m.old_visitor_id
      and not exists (
          select from public.event_tracking e
          where e.organization_id = m.organization_id and e.visitor_id = m.old_visitor_id
            and e."timestamp" >= m.date::timestamp at time zone g.time_zone
            and e."timestamp" < (m.date + 1)::timestamp at time zone g.time_zone);
end $$;

create or replace function private.mark_moved_days() returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
declare
    ids uuid[];
    dates date[];
begin
    select array_agg(d.organization_id order by d.organization_id, d.date), array_agg(d.date order by d.organization_id, d.date)
    into ids, dates
    from (select distinct m.organization_id, m.date from pg_temp.event_moved_days m) d;
    perform private.mark_stale('daily_aggregates', array_agg(k.id), array_agg(k.date::timestamp at time zone 'UTC'))
    from unnest(ids, dates) k (id, date)
    having count(*) > 0;
    perform private.mark_event_dependents(ids, dates);
end $$;

-- Cohorts and funnels that look at these days of these organisations (pairs) become stale: a funnel's run may have begun as
-- long before as the organisation's longest window.
create or replace function private.mark_event_dependents(organization_ids uuid[], dates date[]) returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    perform private.mark_stale('cohort_analysis', array_agg(k.organization_id order by k.organization_id, k.date),
                               array_agg(k.date::timestamp at time zone 'UTC' order by k.organization_id, k.date))
    from (select distinct u.organization_id, u.date from unnest(organization_ids, dates) u (organization_id, date)) k
    having count(*) > 0;
    perform private.mark_stale('funnel_analysis', array_agg(k.organization_id order by k.organization_id, k.bucket),
                               array_agg(k.bucket order by k.organization_id, k.bucket))
    from (
        select distinct u.organization_id, d.bucket
        from unnest(organization_ids, dates) u (organization_id, date)
        join (
            select f.organization_id, max(f.window_seconds) as seconds
            from public.funnels f
            where f.is_active and f.organization_id = any (organization_ids)
            group by 1
        ) w on w.organization_id = u.organization_id
        -- To the second, not to whole days: a window that begins within a day reaches back into one more.
        cross join lateral generate_series(
            date_trunc('day', u.date::timestamp - make_interval(secs => w.seconds)), u.date::timestamp, interval '1 day') as g (day)
        cross join lateral (select g.day at time zone 'UTC' as bucket) d
    ) k
    having count(*) > 0;
end $$;
