-- Runs are counted anew from the events, by visitors and sessions themselves and apart from the pipeline.
with judged as materialized (
    select o.id, o.slug, o.time_zone, (l.bucket at time zone 'UTC')::date as date, f.funnel_name, f.unit, f.steps -> 0 as step,
           -- The pattern as a regular expression: all signs are themselves, but for the star.
           '^' || regexp_replace(regexp_replace(f.steps -> 0 ->> 'page', '([][\\.^$|(){}+?])', '\\\1', 'g'), '\*', '.*', 'g') || '$'
               as pattern
    from public.organizations o
    join public.funnels f on f.organization_id = o.id and f.is_active
    join public.partition_ledger l on l.organization_id = o.id and l.asset = 'funnel_analysis' and l.status = 'done'
    where (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
      and l.bucket >= %(start)s and l.bucket < %(end)s
      and (l.bucket at time zone 'UTC') at time zone o.time_zone >= private.events_kept_of(o.id)
), events as (
    select e.organization_id, (e."timestamp" at time zone o.time_zone)::date as date, e.visitor_id, e.user_id, e.session_id,
           e.event_name, e.event_type, e.page_url, e.metadata -> 'properties' as properties
    from public.event_tracking e
    join public.organizations o on o.id = e.organization_id
    where e.organization_id in (select id from judged)
      and e."timestamp" >= %(start)s::timestamptz - interval '15 hours' and e."timestamp" < %(end)s::timestamptz + interval '13 hours'
), counted as (
    select j.id, j.funnel_name, j.date,
           count(distinct case when j.unit = 'user' and e.user_id is not null then array[e.user_id]
                               else array[e.visitor_id, e.session_id] end) as entries
    from judged j
    join events e on e.organization_id = j.id and e.date = j.date
    where e.event_name = coalesce(j.step ->> 'event', e.event_name)
      and e.event_type = coalesce(j.step ->> 'type', e.event_type)
      and e.properties @> coalesce(j.step -> 'properties', '{}')
      and (j.step ->> 'page' is null or e.page_url ~ j.pattern
           or coalesce(nullif(substring(e.page_url from '^(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)?([^?#]*)'), ''), '/') ~ j.pattern
              and e.page_url is not null)
    group by 1, 2, 3
)
select j.slug as organization, j.date as at,
       format('%%s: %%s entries, its events make %%s', j.funnel_name, coalesce(r.visitors, 0), coalesce(c.entries, 0)) as problem,
       count(*) over () as found
from judged j
left join counted c on c.id = j.id and c.funnel_name = j.funnel_name and c.date = j.date
left join public.funnel_analysis r
    on r.organization_id = j.id and r.funnel_name = j.funnel_name and r.date = j.date and r.step_order = 1
where coalesce(r.visitors, 0) <> coalesce(c.entries, 0)
order by j.date, j.slug, j.funnel_name
limit %(most)s
