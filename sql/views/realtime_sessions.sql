-- What readers read of live sessions: is_active and duration are true at the moment of reading, whoever closed what when.
create or replace view public.realtime_sessions with (security_invoker = true) as
select s.id, s.organization_id, s.session_id, s.user_id, s.page_url, s.referrer, s.user_agent, s.ip_address, s.country, s.city,
       s.device_type, s.browser, s.os, s.started_at, s.last_activity,
       extract(epoch from s.last_activity - s.started_at)::integer as duration_seconds,
       s.is_active and s.last_activity > now() - interval '30 minutes' as is_active, s.metadata, s.visitor_id
from public.live_sessions s;
