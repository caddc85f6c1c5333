-- What the rules of pg_temp.due_alert_rules are judged by.

-- Fills pg_temp.alert_signals. Grain: rule x complete bucket (UTC hour, or midnight UTC of the local day), from scan_from on.
-- signal: the value itself, the change in percent against the same local hour or weekday a week before, or where the month heads;
-- null where there is nothing to judge. value: what it is said with. is_reset: a new month, a new goal.
-- A bucket is complete when it is over, its hours or day are computed once at least, and every live source of the channel was synced
-- since: what a vendor has not told yet is no zero. (One that is marked stale keeps the value that it has until it is computed anew.)
create or replace function private.find_alert_signals() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off as $$
#variable_conflict use_column
declare
    scan_start timestamptz := (select min(r.scan_from) from pg_temp.due_alert_rules r);
    -- (As conditions of their own they reach the facts' keys, whatever joins the server chooses.)
    ids uuid[] := array(select distinct r.organization_id from pg_temp.due_alert_rules r);
    metric_ids smallint[] := array(select r.numerator_id from pg_temp.due_alert_rules r union select r.denominator_id from pg_temp.due_alert_rules r);
begin
    drop table if exists pg_temp.alert_buckets, pg_temp.alert_values, pg_temp.valued_alert_buckets, pg_temp.alert_signals;
    create temp table alert_buckets on commit drop as
    select r.rule_id, l.bucket, e.ends
    from pg_temp.due_alert_rules r
    join public.partition_ledger l
        on l.organization_id = r.organization_id and l.bucket >= r.scan_from and l.computed_version is not null
       and l.asset = case r.grain when 'hour' then 'hourly_aggregates' else 'daily_aggregates' end
    cross join lateral (
        -- In a half-hour zone a UTC hour holds the local hour that begins in its middle.
        select case r.grain
            when 'hour' then l.bucket + interval '1 hour'
                + make_interval(mins => (60 - extract(minute from l.bucket at time zone r.time_zone)::integer) % 60)
            else (l.bucket at time zone 'UTC' + interval '1 day') at time zone r.time_zone end as ends
    ) e
    where l.organization_id = any (ids) and l.asset in ('hourly_aggregates', 'daily_aggregates')
      and l.bucket >= scan_start and e.ends <= now() and e.ends <= r.covered_to;

    create temp table alert_values on commit drop as
    select r.rule_id, date_trunc('hour', f."timestamp") as bucket,
           sum(f.value) filter (where f.metric_id = r.numerator_id) as numerator,
           sum(f.value) filter (where f.metric_id = r.denominator_id) as denominator
    from pg_temp.due_alert_rules r
    join public.hourly_facts f
        on f.organization_id = r.organization_id and f.metric_id in (r.numerator_id, r.denominator_id)
       and (r.channel_id is null or f.channel_id = r.channel_id) and f."timestamp" >= r.scan_from
    where r.grain = 'hour' and f.organization_id = any (ids) and f.metric_id = any (metric_ids) and f."timestamp" >= scan_start
    group by 1, 2
    union all
    select r.rule_id, f.date::timestamp at time zone 'UTC',
           sum(f.value) filter (where f.metric_id = r.numerator_id), sum(f.value) filter (where f.metric_id = r.denominator_id)
    from pg_temp.due_alert_rules r
    join public.daily_facts f
        on f.organization_id = r.organization_id and f.metric_id in (r.numerator_id, r.denominator_id)
       and (r.channel_id is null or f.channel_id = r.channel_id) and f.date >= r.scan_from::date
    where r.grain = 'day' and f.organization_id = any (ids) and f.metric_id = any (metric_ids) and f.date >= scan_start::date
    group by 1, 2;

    -- (Without figures on them the server took these tables for empty, and compared every bucket with every other: a thousand
    -- organisations with five rules each were not judged within five minutes.)
    analyze pg_temp.alert_buckets, pg_temp.alert_values;
    create temp table valued_alert_buckets on commit drop as
    -- No row is 0 for a sum, and nothing to judge for all else.
    select b.rule_id, b.bucket, b.ends, v.denominator,
           case r.metric_kind
               when 'sum' then coalesce(v.numerator, 0)
               when 'ratio' then r.scale * (case when r.numerator_minus then coalesce(v.denominator, 0) - coalesce(v.numerator, 0)
                                                 else coalesce(v.numerator, 0) end) / nullif(v.denominator, 0)
               else v.numerator end as value
    from pg_temp.alert_buckets b
    join pg_temp.due_alert_rules r using (rule_id)
    left join pg_temp.alert_values v using (rule_id, bucket);
    analyze pg_temp.valued_alert_buckets;

    create temp table alert_signals on commit drop as
    with months as (
        select distinct b.rule_id, date_trunc('month', b.bucket) as month
        from pg_temp.alert_buckets b
        join pg_temp.due_alert_rules r using (rule_id)
        where r.kind = 'goal' and b.bucket >= date_trunc('month', r.window_from)
    ), profile as (
        -- What each weekday weighs: its share of the eight weeks before the month.
        select m.rule_id, m.month, w.weekday, greatest(coalesce(sum(v.numerator), 0), 0) as weight
        from months m
        cross join generate_series(1, 7) as w (weekday)
        left join pg_temp.alert_values v
            on v.rule_id = m.rule_id and v.bucket >= m.month - interval '56 days' and v.bucket < m.month
           and extract(isodow from v.bucket) = w.weekday
        group by 1, 2, 3
    ), calendar as (
        select c.rule_id, c.month, c.day, sum(c.weight) over so_far / sum(c.weight) over (partition by c.rule_id, c.month) as share
        from (
            select p.rule_id, p.month, d.day,
                   case when sum(p.weight) over (partition by p.rule_id, p.month) > 0 then p.weight else 1 end as weight
            from profile p
            join lateral generate_series(p.month, p.month + interval '1 month' - interval '1 day', interval '1 day') as d (day)
                on extract(isodow from d.day) = p.weekday
        ) c
        window so_far as (partition by c.rule_id, c.month order by c.day)
    ), running as (
        select v.rule_id, v.bucket, v.ends, date_trunc('month', v.bucket) as month, sum(v.value) over so_far as value, count(*) over so_far as days
        from pg_temp.valued_alert_buckets v
        join months m on m.rule_id = v.rule_id and m.month = date_trunc('month', v.bucket)
        window so_far as (partition by v.rule_id, m.month order by v.bucket)
    )
    select s.rule_id, s.bucket, s.ends, s.value, s.signal, s.is_reset
    from (
        select v.rule_id, v.bucket, v.ends, v.value, false as is_reset,
               case when r.metric_kind = 'ratio' and v.denominator < r.minimum_base then null
                    when r.kind <> 'change' then v.value
                    when r.metric_kind = 'ratio' and p.denominator < r.minimum_base or r.metric_kind <> 'ratio' and p.value < r.minimum_base
                         or p.value <= 0 then null
                    else 100 * (v.value - p.value) / p.value end as signal
        from pg_temp.valued_alert_buckets v
        join pg_temp.due_alert_rules r on r.rule_id = v.rule_id and r.kind <> 'goal'
        left join pg_temp.valued_alert_buckets p
            on r.kind = 'change' and p.rule_id = v.rule_id
           -- The same time of the local clock, seven days of the calendar before.
           and p.bucket = case r.grain when 'day' then v.bucket - interval '7 days'
               else date_trunc('hour', (v.bucket at time zone r.time_zone - interval '7 days') at time zone r.time_zone) end
        union all
        -- Not before a quarter of the month is over, and only where each of its days is computed.
        select n.rule_id, n.bucket, n.ends, n.value, extract(day from n.bucket) = 1,
               case when 4 * extract(day from n.bucket) >= extract(day from n.month + interval '1 month' - interval '1 day')
                         and n.days = extract(day from n.bucket) then n.value / nullif(c.share, 0) end
        from running n
        join calendar c on c.rule_id = n.rule_id and c.month = n.month and c.day = n.bucket
    ) s;
    analyze pg_temp.alert_signals;
end $$;
