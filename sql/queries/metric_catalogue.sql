select m.metric, m.kind, m.unit, m.hourly, n.hourly as numerator_hourly, d.hourly as denominator_hourly,
       n.kind as numerator_kind, d.kind as denominator_kind,
       (select array_agg(c.channel order by c.channel_id) from public.channels c) as channels
from public.metrics m
left join public.metrics n on n.metric = m.numerator
left join public.metrics d on d.metric = m.denominator
order by m.metric
