insert into public.organizations (slug, name, time_zone, currency, partition_key)
values (%(slug)s, %(name)s, %(time_zone)s, %(currency)s, %(partition_key)s)
on conflict (slug) do nothing
returning id, slug, name, time_zone, currency, partition_key, is_active
