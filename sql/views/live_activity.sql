-- What goes on at this moment, for dashboards: of sessions active in the last 30 minutes by page, country, device, browser and
-- referrer ('total': all of them), and events by the minute of the last 30. Restrict organization_id.
-- visitors, sessions: distinct visitors and their active sessions; of a minute those with an event in it. events: all events of
-- these sessions so far; of a minute the events in it.
create or replace view public.live_activity with (security_invoker = true) as
select s.organization_id, f.facet, f.value, count(distinct s.visitor_id) as visitors, count(*) as sessions,
       coalesce(sum(v.events), 0)::bigint as events
from public.live_sessions s
left join public.visitor_sessions v
    on v.organization_id = s.organization_id and v.visitor_id = s.visitor_id and v.session_id = s.session_id
   and v.started_at = s.started_at
cross join lateral (values
    ('total', ''),
    ('page', coalesce(nullif(split_part(split_part(s.page_url, '#', 1), '?', 1), ''), '(no page)')),
    ('country', coalesce(s.country, '(unknown)')),
    ('device', coalesce(s.device_type, '(unknown)')),
    ('browser', coalesce(s.browser, '(unknown)')),
    ('referrer', coalesce(nullif(split_part(regexp_replace(s.referrer, '^[a-zA-Z][a-zA-Z0-9+.-]*://', ''), '/', 1), ''), '(direct)'))
) as f (facet, value)
where s.is_active and s.last_activity > now() - interval '30 minutes'
group by s.organization_id, f.facet, f.value
union all
select e.organization_id, 'minute', to_char(date_trunc('minute', e."timestamp") at time zone 'UTC', 'YYYY-MM-DD HH24:MI'),
       count(distinct e.visitor_id), count(distinct (e.visitor_id, e.session_id)), count(*)
from public.event_tracking e
where e."timestamp" > date_trunc('minute', now()) - interval '29 minutes' and e."timestamp" <= now()
group by e.organization_id, date_trunc('minute', e."timestamp");
