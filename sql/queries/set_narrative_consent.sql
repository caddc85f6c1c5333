insert into public.narrative_consents as c (organization_id, is_given) values (%(organization_id)s, %(given)s)
on conflict (organization_id) do update set is_given = excluded.is_given where c.is_given <> excluded.is_given
