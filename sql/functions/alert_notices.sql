-- Telling of alerts: notices are made with the alert's change; these hand them out and note what came of it.

-- Whether an instant lies in quiet hours of a zone: by what its clock shows, so that nights over a change of the clocks hold.
create or replace function private.is_quiet(moment timestamptz, zone text, quiet_from time, quiet_to time) returns boolean
language sql stable set search_path = '' as $$
    select coalesce(case when quiet_from < quiet_to then l.clock >= quiet_from and l.clock < quiet_to
                         else l.clock >= quiet_from or l.clock < quiet_to end, false)
    from (select (moment at time zone zone)::time as clock) l
$$;

-- Takes the notices of up to most alerts of a way of telling that are due at this moment and not in quiet hours, and puts off their
-- next turn (a minute, doubled with each attempt, at most a quarter of an hour): a sender that dies before it says what came of it
-- leaves them due again. Of an alert only its newest change is told, and not where the last that was told says the same, or nothing
-- was told of what is withdrawn: an hour without a receiver ends with what is true then.
create or replace function private.claim_alert_notices(to_channel text, most integer, at timestamptz)
returns table (organization_id uuid, alert_id uuid, transition smallint, state text, organization text, rule text, alert_type text,
               channel text, metric text, message text, current_value numeric, threshold_value numeric, threshold_type text,
               fired_bucket timestamptz, cleared_bucket timestamptz, time_zone text, attempts integer, has_failed boolean)
language sql set search_path = '' as $$
    with newest as materialized (
        select n.organization_id, n.alert_id, max(n.transition) as transition
        from public.alert_notices n
        where n.channel = to_channel and n.delivered_at is null
        group by 1, 2
    ), ready as materialized (
        select n.organization_id, n.alert_id, n.transition,
               n.state is not distinct from t.state or n.state = 'withdrawn' and t.state is distinct from 'open' as is_silent
        from newest w
        join public.alert_notices n
            on n.organization_id = w.organization_id and n.alert_id = w.alert_id and n.transition = w.transition and n.channel = to_channel
        join public.performance_alerts a on a.organization_id = n.organization_id and a.id = n.alert_id
        join public.organizations o on o.id = n.organization_id
        left join public.alert_rules r on r.organization_id = a.organization_id and r.id = a.rule_id
        left join lateral (
            select b.state from public.alert_notices b
            where b.organization_id = n.organization_id and b.alert_id = n.alert_id and b.channel = to_channel
              and b.delivered_at is not null and not b.is_silent
            order by b.transition desc limit 1
        ) t on true
        where n.next_attempt_at <= at and not private.is_quiet(at, o.time_zone, r.quiet_from, r.quiet_to)
    ), silenced as (
        update public.alert_notices n set delivered_at = at, is_silent = true
        from ready y
        where y.is_silent and n.organization_id = y.organization_id and n.alert_id = y.alert_id and n.channel = to_channel
          and n.transition <= y.transition and n.delivered_at is null
    ), taken as (
        update public.alert_notices n
        set attempts = n.attempts + 1, next_attempt_at = at + least(interval '1 minute' * power(2, least(n.attempts, 4)), interval '15 minutes')
        from (select y.* from ready y where not y.is_silent order by y.organization_id, y.alert_id limit most) y
        where n.organization_id = y.organization_id and n.alert_id = y.alert_id and n.transition = y.transition and n.channel = to_channel
          -- (Asked again of the row itself: another sender may have taken it meanwhile.)
          and n.next_attempt_at <= at and n.delivered_at is null
        returning n.organization_id, n.alert_id, n.transition, n.state, n.attempts, n.error is not null as has_failed
    )
    select t.organization_id, t.alert_id, t.transition, t.state, o.slug, a.details ->> 'rule', a.alert_type::text, a.channel::text,
           a.metric::text, a.message, a.current_value, a.threshold_value, a.threshold_type::text, a.fired_bucket, a.cleared_bucket,
           o.time_zone::text, t.attempts, t.has_failed
    from taken t
    join public.performance_alerts a on a.organization_id = t.organization_id and a.id = t.alert_id
    join public.organizations o on o.id = t.organization_id
    order by o.slug, a.fired_bucket, a.details ->> 'rule', t.alert_id
$$;

-- What came of telling: delivered (with what it overtook), or why not. Returns how many that are.
create or replace function private.note_alert_notices(
    to_channel text, organization_ids uuid[], alert_ids uuid[], told smallint[], problem text) returns bigint
language sql set search_path = '' as $$
    with noted as (
        update public.alert_notices n
        set delivered_at = case when problem is null then now() end, is_silent = problem is null and n.transition < t.transition, error = problem
        from unnest(organization_ids, alert_ids, told) as t (organization_id, alert_id, transition)
        where n.organization_id = t.organization_id and n.alert_id = t.alert_id and n.channel = to_channel and n.delivered_at is null
          and (n.transition = t.transition or problem is null and n.transition < t.transition)
        returning 1
    )
    select count(*) from noted
$$;
