-- Of alerts: how many are open, how many of their notices could not be told yet, and why the latest of these could not.
select (select count(*) from public.operator_alerts a where a.resolved_at is null) as open,
       count(*) as untold, (array_agg(n.error order by n.next_attempt_at desc) filter (where n.error is not null))[1] as problem
from public.operator_notices n
where n.delivered_at is null
