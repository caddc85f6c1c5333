-- Insights in a language model's words: what is due, what a call may cost, and what came of it. No transaction is open during a call.

-- Changes with everything that a text may be made of.
create or replace function private.narrative_version(insight public.ai_insights) returns uuid
language sql stable set search_path = '' as $$
    select md5(concat_ws('|', insight.title, insight.description, insight.severity, insight.data_points, insight.recommendations,
                         insight.closed_at is null, extract(epoch from insight.period_start), extract(epoch from insight.period_end)))::uuid
$$;

-- What is corrected, grows or is taken back has its text written anew: until then the template stands.
create or replace function private.drop_narrative() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.narrative := null;
    return new;
end $$;

create or replace trigger drop_narrative
    before update of title, description, severity, data_points, recommendations, period_start, period_end, closed_at, withdrawn_at
    on public.ai_insights
    for each row when (
        old.narrative is not null
        and (old.title, old.description, old.severity, old.data_points, old.recommendations, old.period_start, old.period_end,
             old.closed_at is null, old.withdrawn_at)
            is distinct from (new.title, new.description, new.severity, new.data_points, new.recommendations, new.period_start,
             new.period_end, new.closed_at is null, new.withdrawn_at))
    execute function private.drop_narrative();

-- Until when nobody is asked, since the last calls all failed: a minute after the first, then twice as long each time, up to an hour.
create or replace function private.narratives_paused_until() returns timestamptz
language sql stable set search_path = '' as $$
    select max(f.called_at) + least(interval '1 minute' * power(2, count(*) - 1), interval '1 hour')
    from (
        select c.called_at, bool_and(c.outcome = 'failed') over (order by c.called_at desc, c.id) as in_a_row
        from (
            select c.called_at, c.id, c.outcome from public.narrative_calls c
            where c.outcome <> 'begun' and c.called_at >= now() - interval '1 day'
            order by c.called_at desc, c.id limit 10
        ) c
    ) f
    where f.in_a_row
$$;

-- What a text is due for at an instant, the gravest first: high and critical insights that hold, of organisations that agreed. After a
-- call an insight waits ten minutes, and twice as long each time; of the same figures two texts may be refused.
create or replace function private.narratives_due(at timestamptz, most integer)
returns table (organization_id uuid, insight_id uuid, version uuid, insight_type text, severity text, time_zone text, data_points jsonb,
               recommendations jsonb, period_start timestamptz, period_end timestamptz, is_over boolean)
language sql stable set search_path = '' as $$
    with due as (
        select i as insight, o.time_zone, private.severity_rank(i.severity) as rank, coalesce(i.starts_at, i.created_at) as began
        from public.ai_insights i
        join public.narrative_consents c on c.organization_id = i.organization_id and c.is_given
        join public.organizations o on o.id = i.organization_id and o.is_active
        cross join lateral (
            select count(*) as calls, max(k.called_at) as last
            from public.narrative_calls k
            where k.organization_id = i.organization_id and k.insight_id = i.id
        ) k
        where i.narrative is null and i.withdrawn_at is null and not i.is_dismissed and i.severity in ('high', 'critical')
          and coalesce(i.closed_at, 'infinity') > at - interval '2 days' and coalesce(i.expires_at > at, true)
          and coalesce((select private.narratives_paused_until()) <= at, true)
          and (k.calls = 0
               or k.last + least(interval '10 minutes' * power(2, least(k.calls - 1, 10)), interval '1 day') <= at
                  and (select count(*) from public.narrative_calls r
                       where r.organization_id = i.organization_id and r.insight_id = i.id and r.outcome = 'refused'
                         and r.version = private.narrative_version(i)) < 2)
        order by rank desc, began desc, i.organization_id, i.id
        limit most
    )
    -- (The version of those alone: of all it took most of the time.)
    select (d.insight).organization_id, (d.insight).id, private.narrative_version(d.insight), (d.insight).insight_type::text,
           (d.insight).severity::text, d.time_zone::text, (d.insight).data_points, (d.insight).recommendations,
           (d.insight).period_start, (d.insight).period_end, (d.insight).closed_at is not null
    from due d
    order by d.rank desc, d.began desc, (d.insight).organization_id, (d.insight).id
$$;

-- Tokens and dollars of the UTC day of now(), those of calls under way included.
create or replace function private.narratives_spent(out tokens bigint, out dollars numeric)
language sql stable set search_path = '' as $$
    select coalesce(sum(c.tokens), 0)::bigint, coalesce(sum(c.dollars), 0)
    from public.narrative_calls c
    where c.called_at >= date_trunc('day', now(), 'UTC')
$$;

-- Sets aside what a call may cost at most. Its id; null with the refusal 'budget' where the day's limits leave no room for it, and with
-- 'taken' where the insight has changed, has its text or is another's just now, or its organisation agrees no more.
create or replace function private.begin_narrative(
    organization uuid, insight uuid, version uuid, tokens integer, dollars numeric, token_limit bigint, dollar_limit numeric,
    out call_id uuid, out refusal text)
language plpgsql set search_path = '' as $$
declare
    spent record;
begin
    -- One at a time: two that look at the same sum would both find room.
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('narratives', 0));
    delete from public.narrative_calls c where c.called_at < now() - interval '90 days';
    select * into spent from private.narratives_spent();
    if spent.tokens + begin_narrative.tokens > token_limit or spent.dollars + begin_narrative.dollars > dollar_limit then
        refusal := 'budget';
    elsif not exists (
        select from public.ai_insights i
        join public.narrative_consents g on g.organization_id = i.organization_id and g.is_given
        where i.organization_id = organization and i.id = insight and i.narrative is null and i.withdrawn_at is null
          and private.narrative_version(i) = begin_narrative.version
    ) or exists (
        select from public.narrative_calls c
        where c.organization_id = organization and c.insight_id = insight and c.outcome = 'begun' and c.called_at > now() - interval '10 minutes'
    ) then
        refusal := 'taken';
    else
        insert into public.narrative_calls as c (organization_id, insight_id, version, tokens, dollars)
        values (organization, insight, begin_narrative.version, begin_narrative.tokens, begin_narrative.dollars)
        returning c.id into call_id;
    end if;
end $$;

-- What came of a call, and what it took (null: unknown, what was set aside stands). A text for figures that have changed meanwhile is
-- 'outdated' and thrown away. Returns the outcome.
create or replace function private.finish_narrative(
    organization uuid, call uuid, result text, why text, tokens_taken integer, dollars_taken numeric, words text) returns text
language plpgsql set search_path = '' as $$
declare
    asked public.narrative_calls;
begin
    select * into asked from public.narrative_calls c where c.organization_id = organization and c.id = call for update;
    if asked.outcome is distinct from 'begun' then
        return asked.outcome;
    end if;
    if result = 'written' then
        update public.ai_insights i set narrative = words, updated_at = now()
        where i.organization_id = organization and i.id = asked.insight_id and i.withdrawn_at is null
          and private.narrative_version(i) = asked.version;
        result := case when found then 'written' else 'outdated' end;
    end if;
    update public.narrative_calls c
    set outcome = result, reason = why, answered_at = greatest(now(), c.called_at), tokens = coalesce(tokens_taken, c.tokens),
        dollars = coalesce(dollars_taken, c.dollars)
    where c.organization_id = organization and c.id = call;
    return result;
end $$;
