-- The live sources of a type of which a run has to ask the vendor: all of them, or those whose hours in the range failed.
select s.id, s.organization_id
from public.data_sources s
where s.organization_id = any (%(ids)s) and s.source_type = %(source_type)s and s.is_active and s.is_connected
  and (%(all)s or exists (
      select from public.partition_ledger l
      where l.organization_id = s.organization_id and l.asset = 'raw_' || s.source_type and l.status = 'failed'
        and l.bucket >= %(start)s and l.bucket < %(end)s))
