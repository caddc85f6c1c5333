select r.table_name as "table", o.slug as organization, r.row_count, r.missing, r.wrong, r.error
from private.rebuild(%(layers)s, %(organization_ids)s, %(from_date)s, %(to_date)s) r
join public.organizations o on o.id = r.organization_id
order by 2, 1
