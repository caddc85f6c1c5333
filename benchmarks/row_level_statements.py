"""What the benchmark of row-level security runs: its rows, what a dashboard asks, and the plan's policies."""

FILL_ORGANIZATIONS = """
insert into public.organizations (id, slug, name)
select md5('organisation ' || i)::uuid, 'organisation-' || i, 'Organisation ' || i
from generate_series(1, %(organizations)s) i
"""
# Five members an organisation, and two that the queries run as: one is a member of one organisation, one of twenty.
FILL_MEMBERS = """
insert into public.organization_members (organization_id, user_id)
select md5('organisation ' || i)::uuid, md5('user ' || i || ' ' || u)::uuid
from generate_series(1, %(organizations)s) i, generate_series(1, 5) u
union all
select md5('organisation ' || i)::uuid, md5('member of ' || m)::uuid
from (values (1), (20)) n (m), generate_series(1, m) k,
     lateral (select 1 + (k * 37 + %(organizations)s / 2) %% %(organizations)s as i) o
group by 1, 2
"""
# One day in the order of its key, as close_hourly_partitions leaves a day that is over.
MAKE_HOURS = """
create unlogged table bench.hours as
select o.id, p.metric_id, p.channel_id, h as hour, o.n * 7919 + h * 104729 + p.metric_id * 1299709 as seed
from (select id, row_number() over (order by slug) as n from public.organizations) o,
     (select m.metric_id, c.channel_id
      from (select metric_id from public.metrics where hourly and kind = 'sum' order by 1 limit %(metrics)s) m,
           (select channel_id from public.channels order by 1 limit 2) c) p,
     generate_series(0, 23) h
order by 1, 2, 3, 4
"""
FILL_HOURS = """
insert into public.hourly_facts (organization_id, metric_id, channel_id, "timestamp", value)
select id, metric_id, channel_id, %(day)s::timestamptz + hour * interval '1 hour', ((seed + %(number)s * 31) %% 100003)::numeric / 100
from bench.hours
"""
# As its hours come in.
FILL_TODAY = FILL_HOURS + "order by hour, id"
FILL_DAYS = """
insert into public.daily_facts (organization_id, metric_id, channel_id, date, value)
select organization_id, metric_id, channel_id, ("timestamp" at time zone 'UTC')::date, sum(value)
from public.hourly_facts group by 1, 2, 3, 4 order by 1, 2, 3, 4
"""
# Two hundred an organisation, one in ten unread.
FILL_INSIGHTS = """
insert into public.ai_insights (organization_id, insight_type, insight_key, title, description, severity, is_read, created_at)
select o.id, 'anomaly', 'key-' || i, 'Insight ' || i, 'What happened, when, and by how much.', 'medium', i % 10 > 0,
       now() - i * interval '3 hours'
from generate_series(1, 200) i, public.organizations o
"""
# What a dashboard asks, through the views it reads. {own} is the filter by organisation: the dashboard's, or the one by hand.
QUERIES = {
    "30 days of hours, one metric": """
        select organization_id, channel, "timestamp", value from public.hourly_aggregates
        where metric = %(metric)s and "timestamp" >= %(first)s and "timestamp" < %(until)s {own}
        order by organization_id, channel, "timestamp"
    """,
    "today's sums, all metrics": """
        select organization_id, metric, sum(value) as value from public.hourly_aggregates
        where "timestamp" >= %(today)s and "timestamp" < %(until)s {own}
        group by organization_id, metric order by organization_id, metric
    """,
    "30 days, one metric": """
        select organization_id, channel, date, value from public.daily_aggregates
        where metric = %(metric)s and date >= %(first_day)s and date < %(until_day)s {own}
        order by organization_id, channel, date
    """,
    "unread insights": """
        select organization_id, id, title, severity, created_at from public.ai_insights
        where not is_read {own}
        order by created_at desc, organization_id, id limit 50
    """,
}
NO_FILTER = ""
ONE = "and organization_id = %(organization)s"
SEVERAL = "and organization_id = any (%(organizations)s)"

# What a request does to its connection of the pool: both end with the transaction, so that nothing is left for the next.
BECOME = "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %(claims)s, true)"

# The plan's policies as written, in place of ours. It has none for organisations and their members.
PLAN_POLICIES = """
do $$
declare
    name text;
begin
    foreach name in array array['hourly_facts', 'daily_facts', 'ai_insights'] loop
        execute format('drop policy members_read on public.%I', name);
        execute format('create policy members_read on public.%I for select using (organization_id in '
                       '(select organization_id from public.organization_members where user_id = auth.uid()))', name);
    end loop;
    foreach name in array array['hourly_facts', 'daily_facts'] loop
        execute format('create policy system on public.%I for all using (auth.uid() is null)', name);
    end loop;
    alter table public.organizations disable row level security;
    alter table public.organization_members disable row level security;
end $$
"""
