"""Every check of every asset over one sound world, and the same with one fault at a time: the right check fires, and no other.

The world: three organisations of the sandbox with four vendors each, synced over HTTP, a website's events, cohorts and a funnel.
Each fault is made in a transaction that is rolled back. Faults of one asset alone, in all their forms, are in the tests of its
domain; here are those of each kind, with every other check looking on.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from analytics_assets.aggregates.assets import CHECKS as AGGREGATES
from analytics_assets.cohorts.assets import CHECKS as COHORTS
from analytics_assets.events.assets import CHECKS as EVENTS
from analytics_assets.funnels.assets import CHECKS as FUNNELS
from analytics_assets.funnels.definitions import make_funnel, parse_step
from analytics_assets.funnels.registry import store as store_funnel
from analytics_assets.ledgered import SqlCheck, evaluate
from analytics_assets.orders.assets import CHECKS as ORDERS
from analytics_assets.organizations.checks import CHECKS as ORGANIZATIONS
from analytics_assets.raw.assets import CHECKS as RAW
from analytics_assets.resources import Database
from analytics_assets.sources.assets import CHECKS as SOURCES
from analytics_assets_tests.events.staging import store
from analytics_assets_tests.events.test_summaries import shopping
from analytics_assets_tests.in_transaction import InTransaction
from analytics_assets_tests.sources.live import Connection, Live, live
from analytics_assets_tests.woocommerce import add_organization

CHECKS: dict[str, list[SqlCheck]] = {
    "organizations": ORGANIZATIONS, "data_sources": SOURCES, **RAW, **ORDERS, **EVENTS, **AGGREGATES, **COHORTS, **FUNNELS,
}  # fmt: skip

_ORG = "(select id from public.organizations where slug = 'sandbox-0001')"
_EUR = "(select min(o.id::text)::uuid from public.organizations o where not exists (select from public.data_sources s where s.organization_id = o.id and s.currency <> o.currency))"
_PAGE = "(select p.id from public.raw_data_backup p where p.source = '{source}' and p.stream = '{stream}' order by p.fetched_at desc, p.id limit 1)"


def _newest(source: str, stream: str) -> str:
    return _PAGE.format(source=source, stream=stream)


#: (fault, statement, the check that fires: asset, name). A fault of an hour shows in its day: the second check is that one's.
FAULTS: list[tuple[str, str, set[tuple[str, str]]]] = [
    ("a table without row-level security", "alter table public.orders disable row level security", {("organizations", "rows_are_guarded")}),
    ("a partition without it", "do $$ begin execute format('alter table %s disable row level security', (select min(relid::text) from pg_partition_tree('public.hourly_facts') where isleaf)); end $$", {("organizations", "rows_are_guarded")}),
    ("a policy for everybody", "create policy open on public.orders using (true)", {("organizations", "rows_are_guarded")}),
    ("a view with its owner's rights", "alter view public.hourly_aggregates reset (security_invoker)", {("organizations", "rows_are_guarded")}),
    ("a key lost", "alter table public.orders drop constraint orders_pkey cascade", {("organizations", "keys_hold")}),
    ("a source that nobody synced", f"update public.data_sources set last_sync_at = now() - interval '3 hours' where source_type = 'shopify' and organization_id = {_ORG}", {("data_sources", "sources_fresh")}),
    ("a source whose access was withdrawn", f"update public.data_sources set failure_kind = 'reauthorize', failures = 1, last_error = 'the token was revoked' where source_type = 'shopify' and organization_id = {_ORG}", {("data_sources", "no_operator_needed")}),
    ("a stream that a sync left behind", f"update public.sync_streams set covered_to = covered_to - interval '3 days' where stream = 'hourly' and data_source_id = (select id from public.data_sources where source_type = 'meta_ads' and organization_id = {_ORG})", {("raw_meta_ads", "hours_are_covered")}),
    ("a page set aside", f"insert into public.quarantine (organization_id, source, stream, level, reason, content, content_sha256, quarantined_at) values ({_ORG}, 'shopify', 'orders', 'page', 'no JSON', 'x', sha256('x'), {{at}})", {("raw_shopify", "nothing_set_aside")}),
    ("a record set aside", f"insert into public.quarantine (organization_id, source, stream, level, record_key, field, reason, content, content_sha256, window_start, window_end) values ({_ORG}, 'shopify', 'orders', 'record', '77', 'total', 'no amount', 'x', sha256('x'), {{at}}, {{at}})", {("raw_shopify", "nothing_set_aside")}),
    ("a page of another source", f"update public.raw_data_backup set data_source_id = gen_random_uuid() where id = {_newest('meta_ads', 'daily')}", {("raw_meta_ads", "pages_fit_their_source")}),
    ("an account in another currency", f"update public.raw_data_backup set currency = 'CHF' where id = {_newest('meta_ads', 'daily')}", {("raw_meta_ads", "pages_fit_their_source")}),
    ("an account in another zone", f"update public.raw_data_backup set time_zone = 'Asia/Tokyo' where id = {_newest('google_analytics', 'daily')}", {("raw_google_analytics", "pages_fit_their_source")}),
    ("a field that vanished", f"update public.raw_data_backup set raw_data = jsonb_set(raw_data, '{{{{data}}}}', (select jsonb_agg(d - 'date_stop') from jsonb_array_elements(raw_data -> 'data') d)) where id = {_newest('meta_ads', 'daily')}", {("raw_meta_ads", "payload_keeps_its_shape")}),
    ("a field of another type", f"update public.raw_data_backup set raw_data = jsonb_set(raw_data, '{{{{data}}}}', (select jsonb_agg(d || '{{{{\"reach\": 1}}}}') from jsonb_array_elements(raw_data -> 'data') d)) where id = {_newest('meta_ads', 'daily')}", {("raw_meta_ads", "payload_keeps_its_shape")}),
    ("a metric of another type", f"update public.raw_data_backup set raw_data = jsonb_set(raw_data, '{{{{metricHeaders,0,type}}}}', '\"TYPE_CURRENCY\"') where id = {_newest('google_analytics', 'daily')}", {("raw_google_analytics", "payload_keeps_its_shape")}),
    ("a page that nobody took in", f"update public.raw_data_backup set processed = false where id = {_newest('shopify', 'orders')}", {("orders", "raw_pages_processed")}),
    ("a sale lost", "delete from public.order_sales where (organization_id, sale_id) = (select organization_id, min(sale_id) from public.order_sales where is_counted and total > 0 group by 1 order by 1 limit 1)", {("orders", "sales_add_up"), ("cohort_analysis", "revenue_equals_orders")}),
    ("an order whose parts make another total", "update public.orders set taxes = taxes + 1 where (organization_id, order_id) = (select organization_id, min(order_id) from public.orders where channel_id = 3 group by 1 order by 1 limit 1)", {("orders", "amounts_add_up")}),
    ("an event lost", f"delete from public.event_tracking where event_name = 'Product Added' and organization_id = {_ORG}", {("event_tracking", "events_equal_aggregates"), ("event_tracking", "no_orphan_sessions")}),
    ("a session's end wrong", f"update public.visitor_sessions set last_activity = last_activity + interval '1 second' where organization_id = {_ORG}", {("event_tracking", "no_orphan_sessions")}),
    ("an identity that moved nothing", f"insert into public.event_identities (organization_id, identified_at, known_as, user_id) values ({_ORG}, now(), 'u1', 'u3')", {("event_tracking", "identity_coverage")}),
    ("an event of nobody", f"insert into public.event_tracking (organization_id, \"timestamp\", session_id, event_name, visitor_id) values ('{uuid4()}', {{at}}, 's', 'e', 'v')", {("event_tracking", "known_organizations_only")}),
    ("an hour of nobody", f"insert into public.hourly_facts (organization_id, \"timestamp\", metric_id, channel_id, value) values ('{uuid4()}', {{at}}, 41, 3, 1)", {("hourly_aggregates", "known_organizations_only")}),
    ("an hour that was left out", f"delete from public.partition_ledger where asset = 'hourly_aggregates' and organization_id = {_ORG} and bucket = {{at}}", {("hourly_aggregates", "no_gap_in_processed_hours")}),
    ("store hours changed, days with them", f"with h as (update public.hourly_facts set value = value + 1 where metric_id = 41 and channel_id = 3 and organization_id = {_EUR} and \"timestamp\" = (select min(\"timestamp\") from public.hourly_facts where metric_id = 41 and channel_id = 3 and organization_id = {_EUR}) returning *) update public.daily_facts d set value = d.value + 1 from h, public.organizations o where o.id = h.organization_id and d.organization_id = h.organization_id and d.metric_id = 41 and d.channel_id = 3 and d.date = (h.\"timestamp\" at time zone o.time_zone)::date", {("hourly_aggregates", "equals_recount_from_raw")}),
    ("report hours changed, days with them", f"with h as (update public.hourly_facts set value = value + 1 where metric_id = 1 and channel_id = 1 and organization_id = {_EUR} and \"timestamp\" = (select min(\"timestamp\") + interval '20 hours' from public.hourly_facts where metric_id = 1 and channel_id = 1 and organization_id = {_EUR}) returning *) update public.daily_facts d set value = d.value + 1 from h, public.organizations o where o.id = h.organization_id and d.organization_id = h.organization_id and d.metric_id = 1 and d.channel_id = 1 and d.date = (h.\"timestamp\" at time zone o.time_zone)::date", {("hourly_aggregates", "reports_equal_newest_answer")}),
    ("a day's value changed", f"update public.daily_facts set value = value + 1 where metric_id = 6 and organization_id = {_ORG}", {("daily_aggregates", "day_equals_its_hours")}),
    ("a day lost", f"delete from public.daily_facts where channel_id = 2 and metric_id = 27 and organization_id = {_ORG}", {("daily_aggregates", "day_equals_its_hours")}),
    ("a day of nobody", f"insert into public.daily_facts (organization_id, date, metric_id, channel_id, value) values ('{uuid4()}', {{at}}::date, 41, 3, 1)", {("daily_aggregates", "known_organizations_only")}),
    ("a negative reach", f"update public.daily_facts set value = -value where metric_id = 28 and organization_id = {_ORG}", {("daily_aggregates", "values_in_range")}),
    ("half a visitor", f"update public.daily_facts set value = value + 0.5 where metric_id = 3 and channel_id = 5 and organization_id = {_ORG}", {("daily_aggregates", "values_in_range")}),
    ("a value that is no number", f"update public.daily_facts set value = 'NaN' where metric_id = 10 and organization_id = {_ORG}", {("daily_aggregates", "values_in_range")}),
    ("money spent below 0 where there was none", f"with h as (insert into public.hourly_facts (organization_id, \"timestamp\", metric_id, channel_id, value) values ({_ORG}, {{at}}, 48, 5, -1) returning *) insert into public.daily_facts (organization_id, date, metric_id, channel_id, value) select h.organization_id, (h.\"timestamp\" at time zone o.time_zone)::date, h.metric_id, h.channel_id, h.value from h join public.organizations o on o.id = h.organization_id", {("hourly_aggregates", "values_in_range"), ("daily_aggregates", "values_in_range")}),
    ("a cohort's money changed", f"update public.cohort_analysis set revenue = revenue + 1 where organization_id = {_ORG}", {("cohort_analysis", "revenue_equals_orders")}),
    ("a cohort that everybody left in period 0", f"update public.cohort_analysis set active_users = 0 where period_number = 0 and organization_id = {_ORG}", {("cohort_analysis", "rows_keep_the_definitions")}),
    ("a member lost", f"delete from public.cohort_members where cohort_type = 'first_visit' and organization_id = {_ORG}", {("cohort_analysis", "sizes_equal_recount")}),
    ("a step that loses its visitors", f"update public.funnel_analysis set conversions = 0 where step_order = 2 and organization_id = {_ORG}", {("funnel_analysis", "steps_add_up")}),
    ("a version of a funnel that there never was", f"update public.funnel_analysis set version = 7 where organization_id = {_ORG}", {("funnel_analysis", "known_funnels_only")}),
    ("a day of a funnel that never became final", f"update public.funnel_analysis set is_final = false where organization_id = {_ORG}", {("funnel_analysis", "days_become_final")}),
]  # fmt: skip


class _Judge:
    def __init__(self, world: Live) -> None:
        self.start = datetime.combine(world.world.first_day - timedelta(days=1), datetime.min.time(), UTC)
        self.end = world.now.replace(hour=0) + timedelta(days=1)
        self.database = InTransaction.of(world.connection)

    def fired(self) -> dict[tuple[str, str], Any]:
        """Of all checks of all assets those that do not pass, with what they say."""
        results = {
            (asset, check.name): evaluate(check, asset, self.database, None, self.start, self.end)
            for asset, checks in CHECKS.items()
            for check in checks
        }
        return {name: result for name, result in results.items() if not result.passed}


@pytest.fixture
def judge(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The world, synced twice five hours apart, with everything computed."""
    with live(connection, monkeypatch, 3, 3, orders_per_day=8) as world:
        world.sync()
        organization = world.ids[0]
        steps = [parse_step(name) for name in ("Product Viewed", "Product Added", "Order Completed")]
        funnel = make_funnel("checkout", "session", "24h", steps)
        store_funnel(connection, world.world.organizations[0].slug, funnel)
        for days in (2, 1):
            store(connection, shopping(organization, world.now - timedelta(days=days), f"u{days}"))
        connection.commit()
        world.sandbox.clock.set(world.now + timedelta(hours=5))
        world.due()
        world.sync()
        world._run("summarize_events", world.now - timedelta(days=4), world.now)
        world.compute()
        for statement in ("aggregate_cohorts", "aggregate_funnels"):
            # Whole weeks: revenue is judged by them.
            world._run(statement, world.now.replace(hour=0) - timedelta(days=9), world.now.replace(hour=0) + timedelta(days=7))
        yield _Judge(world)


def test_each_fault_fires_its_check_and_no_other(connection: Connection, judge: _Judge) -> None:
    """No false alarm on sound data, before, between and after."""
    assert {name: result.description for name, result in judge.fired().items()} == {}
    at = f"timestamptz '{judge.end - timedelta(days=2, hours=12):%Y-%m-%d %H:00}+00'"
    wrong = {}
    for fault, statement, expected in FAULTS:
        with connection.transaction(force_rollback=True):
            changed = connection.execute(statement.format(at=at).encode())
            assert changed.rowcount != 0, fault
            fired = judge.fired()
        if set(fired) != expected:
            wrong[fault] = {name: result.description for name, result in fired.items()}
        for result in fired.values():
            assert result.metadata["violations"].value >= 1
    assert wrong == {}
    assert {name for _, _, checks in FAULTS for _, name in checks} | _ELSEWHERE == {
        check.name for checks in CHECKS.values() for check in checks
    }
    assert {name: result.description for name, result in judge.fired().items()} == {}


#: Faults of these are in the tests of events and of funnels, and below.
_ELSEWHERE = {"sessions_hold_their_definition", "entries_equal_recount", "usual_volume"}


def test_an_hour_unlike_those_of_earlier_weeks(connection: Connection) -> None:
    """Told from 25 on; the same local hour, also over a change of clocks; an hour without a row is 0."""
    ours, small = add_organization(connection, "acme"), add_organization(connection, "bolt")
    connection.execute("update public.organizations set time_zone = 'Europe/Berlin'")
    # Monday 26 October 2026, 10 o'clock in Berlin, the day after clocks went back; in the weeks before it was 08:00 UTC.
    at = datetime(2026, 10, 26, 9, tzinfo=UTC)
    hours = [at, *(at - timedelta(days=7 * week, hours=1) for week in range(1, 5))]
    connection.execute(
        "select private.ensure_partitions(t, %s, %s) from unnest(array['hourly_facts', 'partition_ledger']) t", (min(hours), at)
    )
    insert = (
        'insert into public.hourly_facts (organization_id, "timestamp", metric_id, channel_id, value) values (%s, %s, 41, 3, %s)'
    )
    for organization, usual in ((ours, 30), (small, 20)):
        for hour in hours:
            connection.execute(
                "insert into public.partition_ledger (organization_id, asset, bucket, status, computed_version)"
                " values (%s, 'hourly_aggregates', %s, 'done', 1)",
                (organization, hour),
            )
        for hour in hours[1:]:
            connection.execute(insert, (organization, hour, usual))
    connection.commit()
    check = next(check for check in AGGREGATES["hourly_aggregates"] if check.name == "usual_volume")

    def said(end: datetime = at + timedelta(hours=1)) -> Any:
        return evaluate(check, "hourly_aggregates", Database(), None, at, end)

    result = said()
    assert not result.passed and result.severity.value == "WARN" and result.metadata["violations"].value == 1
    assert "acme" in result.description and "woocommerce: 0 orders, the same hour of earlier weeks had 30" in result.description
    # Of an hour that still runs nothing is said.
    assert said(at).passed
    for value, passes in ((6, True), (5, False), (150, True), (151, False)):
        connection.execute(
            insert + ' on conflict (organization_id, metric_id, channel_id, "timestamp") do update set value = excluded.value',
            (ours, at, value),
        )
        connection.commit()
        assert said().passed == passes, value
    # Three weeks are enough, two are not.
    connection.execute("delete from public.partition_ledger where bucket in (%s, %s)", (hours[1], hours[2]))
    connection.commit()
    assert said().passed
