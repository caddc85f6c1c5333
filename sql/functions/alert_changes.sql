-- From what rules are judged by to the alerts that ought to stand, and how those that stand differ.

-- Fills pg_temp.alert_changes from pg_temp.alert_signals. Grain: alert that is new or has changed.
-- state: open, resolved, withdrawn where that changes, else null. is_news: whether anybody is told.
create or replace function private.find_alert_changes() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off as $$
#variable_conflict use_column
begin
    drop table if exists pg_temp.judged_alert_buckets, pg_temp.alert_stretches, pg_temp.standing_alerts, pg_temp.alert_pairs;
    -- event: 1 fires, 0 clears, null leaves things as they are: between clear_threshold and threshold, or not confirmed yet.
    create temp table judged_alert_buckets on commit drop as
    select c.rule_id, c.bucket, c.ends, c.value, c.signal,
           max(c.bucket) filter (where c.signal is not null) over (
               partition by c.rule_id order by c.bucket rows between unbounded preceding and 1 preceding) as bucket_before,
           case when c.is_reset then 0
                when c.beyond > 0 and (c.beyond > 0.2 * abs(c.threshold) or c.in_a_row >= c.confirm) then 1
                when case when c.is_above then c.signal <= c.clear_threshold else c.signal >= c.clear_threshold end then 0 end as event
    from (
        select p.*, count(*) filter (where p.beyond > 0) over (partition by p.rule_id, p.within order by p.bucket) as in_a_row
        from (
            select s.*, r.window_from, r.judged_from, r.threshold, r.clear_threshold, r.confirm, r.is_above, b.beyond,
                   count(*) filter (where coalesce(b.beyond, 0) <= 0) over (partition by s.rule_id order by s.bucket) as within
            from pg_temp.alert_signals s
            join pg_temp.due_alert_rules r using (rule_id)
            cross join lateral (select case when r.is_above then s.signal - r.threshold else r.threshold - s.signal end as beyond) b
            where s.ends > r.judged_from and (s.signal is not null or s.is_reset)
        ) p
    ) c
    where c.bucket >= c.window_from;
    analyze pg_temp.judged_alert_buckets;

    -- Those that stand and reach into the window or begin in it.
    create temp table standing_alerts on commit drop as
    select a.*, a.fired_bucket < r.window_from as is_earlier
    from public.performance_alerts a
    join pg_temp.due_alert_rules r on r.organization_id = a.organization_id and r.rule_id = a.rule_id
    where a.fired_bucket >= r.window_from
       or a.withdrawn_at is null and (a.cleared_bucket is null and a.is_active or a.cleared_bucket >= r.window_from);

    -- Stretches: from an event that fires to the next that clears. One that began before the window goes on from there.
    create temp table alert_stretches on commit drop as
    select e.rule_id, e.bucket as fired_bucket, e.next_clear as cleared_bucket
    from (
        select c.*, lag(c.event) over (partition by c.rule_id order by c.bucket) as before,
               min(c.bucket) filter (where c.event = 0) over (
                   partition by c.rule_id order by c.bucket rows between 1 following and unbounded following) as next_clear
        from (
            select j.rule_id, j.bucket, j.event from pg_temp.judged_alert_buckets j where j.event is not null
            union all
            select a.rule_id, a.fired_bucket, 1 from pg_temp.standing_alerts a where a.is_earlier
        ) c
    ) e
    where e.event = 1 and e.before is distinct from 1;

    analyze pg_temp.standing_alerts, pg_temp.alert_stretches;
    -- Which alert is which stretch: the earliest that it has an hour in common with, of each the other's first.
    create temp table alert_pairs on commit drop as
    select p.rule_id, p.id, p.fired_bucket
    from (
        select a.rule_id, a.id, s.fired_bucket,
               row_number() over (partition by a.rule_id, a.id order by s.fired_bucket) as stretch_no,
               row_number() over (partition by s.rule_id, s.fired_bucket order by a.withdrawn_at is not null, a.fired_bucket, a.id) as alert_no
        from pg_temp.standing_alerts a
        join pg_temp.alert_stretches s
            on s.rule_id = a.rule_id
           and (a.fired_bucket >= s.fired_bucket and (s.cleared_bucket is null or a.fired_bucket < s.cleared_bucket)
                or s.fired_bucket >= a.fired_bucket
                   and (s.fired_bucket < a.cleared_bucket or a.cleared_bucket is null and a.is_active))
    ) p
    where p.stretch_no = 1 and p.alert_no = 1;

    create temp table alert_changes on commit drop as
    with newest as (
        select j.rule_id, max(j.bucket) as bucket from pg_temp.judged_alert_buckets j where j.signal is not null group by 1
    ), wanted as (
        select r.organization_id, r.rule_id, a.id as alert_id, s.fired_bucket, s.cleared_bucket, s.cleared_bucket is null as is_active,
               false as is_withdrawn, a.id is null as is_new
        from pg_temp.alert_stretches s
        join pg_temp.due_alert_rules r using (rule_id)
        left join pg_temp.alert_pairs p on p.rule_id = s.rule_id and p.fired_bucket = s.fired_bucket
        left join pg_temp.standing_alerts a on a.rule_id = p.rule_id and a.id = p.id
        union all
        -- Never true, where its own hour says so; over, where that hour is not there to judge.
        select a.organization_id, a.rule_id, a.id, a.fired_bucket, n.bucket, false, j.rule_id is not null, false
        from pg_temp.standing_alerts a
        join (select b.rule_id, max(b.bucket) as bucket from pg_temp.judged_alert_buckets b group by 1) n on n.rule_id = a.rule_id
        left join pg_temp.judged_alert_buckets j on j.rule_id = a.rule_id and j.bucket = a.fired_bucket
        where not exists (select from pg_temp.alert_pairs p where p.rule_id = a.rule_id and p.id = a.id)
          and a.withdrawn_at is null and (a.is_active or j.rule_id is not null)
    ), said as (
        select w.*, coalesce(x.signal, a.current_value) as current_value, x.ends,
               case when x.bucket is null then a.message
                    else private.alert_message(r.name, r.metric, r.channel, r.grain, r.kind, r.threshold, d.time_zone, x.bucket, x.value, x.signal) end as message,
               case when x.bucket is null then a.details
                    else jsonb_build_object('rule', r.name, 'grain', r.grain, 'bucket', x.bucket, 'value', x.value,
                                            'clear_threshold', r.clear_threshold) end as details
        from wanted w
        join pg_temp.due_alert_rules d using (rule_id)
        join public.alert_rules r on r.organization_id = w.organization_id and r.id = w.rule_id
        left join pg_temp.standing_alerts a on a.rule_id = w.rule_id and a.id = w.alert_id
        -- While it goes on: the newest; when it is over: the last in which it was not.
        left join newest n on n.rule_id = w.rule_id and w.cleared_bucket is null
        left join pg_temp.judged_alert_buckets e on e.rule_id = w.rule_id and e.bucket = w.cleared_bucket
        left join pg_temp.judged_alert_buckets x
            on x.rule_id = w.rule_id and x.bucket = coalesce(n.bucket, e.bucket_before) and x.bucket >= w.fired_bucket and not w.is_withdrawn
    )
    select s.organization_id, s.rule_id, coalesce(s.alert_id, gen_random_uuid()) as alert_id, s.fired_bucket, s.cleared_bucket,
           s.is_active, s.is_withdrawn, s.is_new, s.current_value, s.message, s.details,
           case when s.is_new or s.is_active <> a.is_active or s.is_withdrawn <> (a.withdrawn_at is not null)
                then case when s.is_withdrawn then 'withdrawn' when s.is_active then 'open' else 'resolved' end end as state,
           -- What was over a day before anybody saw it is in the table, and nobody is woken for it.
           not s.is_new or s.is_active or s.ends > now() - interval '1 day' as is_news
    from said s
    left join pg_temp.standing_alerts a on a.rule_id = s.rule_id and a.id = s.alert_id
    where s.is_new
       or (s.is_active, s.is_withdrawn, s.fired_bucket, s.cleared_bucket, s.current_value, s.message, s.details)
          is distinct from (a.is_active, a.withdrawn_at is not null, a.fired_bucket, a.cleared_bucket, a.current_value, a.message, a.details);
end $$;

-- One line: what, where, when, how much, against what. Times of the organisation's clock.
create or replace function private.alert_message(
    rule_name text, metric text, channel text, grain text, kind text, threshold numeric, zone text, bucket timestamptz, value numeric, signal numeric)
returns text
language sql stable set search_path = '' set timezone = 'UTC' as $$
    select format('%s: %s of %s %s %s, %s', rule_name, metric,
        case channel when 'all' then 'all channels' else channel end,
        case when kind = 'goal' then format('are %s in the month to %s', shown.value, to_char(bucket, 'YYYY-MM-DD'))
             else format('were %s', shown.value) end,
        case when kind = 'goal' then ''
             when grain = 'day' then format('on %s', to_char(bucket, 'YYYY-MM-DD'))
             else format('in the hour of %s (%s)', to_char(bucket at time zone zone, 'YYYY-MM-DD HH24:MI'), zone) end,
        case kind when 'change' then format('%s %% against the week before, limit %s %%', shown.signal, shown.threshold)
                  when 'goal' then format('heading for %s of %s', shown.signal, shown.threshold)
                  else format('%s %s', kind, shown.threshold) end)
    from (select trim_scale(round(value, 4)) as value, trim_scale(round(signal, 2)) as signal, trim_scale(round(threshold, 4)) as threshold) shown
$$;
