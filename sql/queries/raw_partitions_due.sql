select l.child as partition, l.period_start, l.period_end
from private.list_partitions('raw_data_backup') l
where l.period_end <= %(keep_from)s
  and not exists (select from public.raw_data_backup p
                  where p.fetched_at >= l.period_start and p.fetched_at < l.period_end and not p.processed)
order by l.period_start
