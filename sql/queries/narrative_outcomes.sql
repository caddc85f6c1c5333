-- Calls of the language model of the last 30 days, by what came of them.
select c.outcome, coalesce(c.reason, '') as reason, count(*) as calls, sum(c.tokens) as tokens, sum(c.dollars) as dollars, max(c.called_at) as last
from public.narrative_calls c
where c.called_at >= now() - interval '30 days'
group by 1, 2
order by 3 desc, 1, 2
