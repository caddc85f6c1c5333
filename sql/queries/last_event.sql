-- The newest event of an organisation.
select max("timestamp") as newest from public.event_tracking where organization_id = %(organization_id)s
