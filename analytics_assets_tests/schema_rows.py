"""What the schema must hold and what it must refuse, written down by hand."""

import re

# The plan's tables with the plan's columns.
PLAN = {
    "hourly_aggregates": "id organization_id channel metric value timestamp metadata created_at updated_at",
    "daily_aggregates": "id organization_id channel metric value date metadata created_at updated_at",
    "raw_data_backup": "id organization_id source raw_data fetched_at processed created_at",
    "ai_insights": "id organization_id insight_type title description severity confidence_score data_points recommendations"
    " is_actionable is_read expires_at created_at updated_at",
    "performance_alerts": "id organization_id alert_type channel metric current_value threshold_value threshold_type message"
    " is_active is_acknowledged acknowledged_by acknowledged_at created_at updated_at",
    "realtime_sessions": "id organization_id session_id user_id page_url referrer user_agent ip_address country city"
    " device_type browser os started_at last_activity duration_seconds is_active metadata",
    "event_tracking": "id organization_id session_id event_name event_category event_action event_label event_value page_url"
    " timestamp metadata",
    "data_sources": "id organization_id source_type source_name connection_config is_active last_sync_at"
    " sync_frequency_minutes sync_status last_error created_at updated_at",
    "sync_logs": "id data_source_id sync_type status records_processed records_created records_updated records_failed"
    " started_at completed_at duration_seconds error_message metadata",
    "cohort_analysis": "id organization_id cohort_date cohort_type period_number period_type cohort_size active_users"
    " retention_rate revenue created_at",
    "funnel_analysis": "id organization_id funnel_name step_name step_order date visitors conversions conversion_rate"
    " drop_off_rate created_at",
}
# The 61 metrics by kind.
KINDS = {
    "sum": "sessions engaged_sessions users_new page_views events key_events engagement_seconds item_views add_to_carts"
    " checkouts purchases purchase_revenue total_revenue impressions clicks_all link_clicks outbound_clicks ad_spend"
    " landing_page_views ad_add_to_carts ad_checkouts ad_purchases ad_purchase_value video_views orders items_sold gross_sales"
    " discounts shipping_revenue taxes refunds_amount refunds_count net_sales total_sales customers_new cancelled_orders"
    " abandoned_checkouts",
    "distinct": "users_active users_total reach customers_ordering customers_returning",
    "ratio": "bounce_rate engagement_rate pages_per_session cart_to_purchase_rate conversion_rate revenue_per_session frequency"
    " ctr cpc cpm cpa roas aov items_per_order refund_rate mer ncac",
    "weighted_mean": "avg_session_duration",
    "last": "active_sessions_now",
}
NOW, LATER, BEFORE = "2026-03-02 10:00+00", "2026-03-02 10:05+00", "2026-03-02 09:59+00"
# One sound row a table; each refused row differs from it in what its line says (columns and SQL values).
SOUND = """
organizations: id = uuid 'e2', slug = 'other', name = 'Other'
organization_members: organization_id = uuid 'e1', user_id = uuid 'e2', role = 'owner'
channels: channel_id = 99, channel = 'radio'
metrics: metric_id = 99, metric = 'mm', unit = 'count', kind = 'sum', hourly = true, description = ''
exchange_rates: from_currency = 'EUR', to_currency = 'USD', rate_date = '2026-03-02', rate = 1.1
partition_ledger: organization_id = uuid 'e1', asset = 'orders', bucket = {now}, status = 'stale'
data_sources: organization_id = uuid 'e1', source_type = 'shopify', source_name = 's', time_zone = 'UTC', currency = 'EUR'
sync_logs: organization_id = uuid 'e1', started_at = {now}, data_source_id = uuid 'e2', sync_type = 'full', status = 'started'
raw_data_backup: organization_id = uuid 'e1', source = 'shopify', stream = 'orders', fetched_at = {now},\
 content_sha256 = sha256('x'), raw_data = '[]'
quarantine: organization_id = uuid 'e1', source = 'shopify', stream = 'orders', level = 'page', reason = 'r', content_sha256 = 'x'
ai_insights: organization_id = uuid 'e1', insight_type = 'trend', insight_key = 'k', title = 't', description = 'd',\
 severity = 'low'
performance_alerts: organization_id = uuid 'e1', alert_type = 'threshold_breach', channel = 'shopify', metric = 'orders',\
 current_value = 1, threshold_value = 2, threshold_type = 'below', message = 'm'
operator_alerts: organization_id = uuid 'e1', id = uuid 'e3', data_source_id = uuid 'e2', opened_at = {now}, failures = 3,\
 reason = 'failing', message = 'm', what_to_do = 'test'
operator_notices: organization_id = uuid 'e1', alert_id = uuid 'e3', state = 'open', channel = 'slack'
event_tracking: organization_id = uuid 'e1', timestamp = {now}, session_id = 's', event_name = 'e', visitor_id = 'v'
visitor_sessions: organization_id = uuid 'e1', started_at = {now}, last_activity = {later}, events = 2, page_views = 1,\
 is_own = true, session_id = 's', visitor_id = 'v'
live_sessions: organization_id = uuid 'e1', started_at = {now}, last_activity = {later}, session_id = 's', visitor_id = 'v',\
 page_url = '/'
visitors: organization_id = uuid 'e1', first_seen_at = {now}, visitor_id = 'v'
event_identities: organization_id = uuid 'e1', identified_at = {now}, known_as = 'a', user_id = 'u'
event_messages: organization_id = uuid 'e1', id = uuid 'e2'
event_keys: organization_id = uuid 'e1', name = 'k', hint = 'wk_', key_sha256 = sha256('k')
funnels: organization_id = uuid 'e1', funnel_name = 'f', unit = 'user', window_seconds = 60, steps = '[{{"event": "e"}}]'
cohort_analysis: organization_id = uuid 'e1', cohort_type = 'signup', period_type = 'week', cohort_date = '2026-03-02',\
 period_number = 0, cohort_size = 3, active_users = 2, is_complete = true
cohort_members: organization_id = uuid 'e1', cohort_type = 'signup', member = 'user:u', anchor_date = '2026-03-02'
cohort_persons: organization_id = uuid 'e1', member = 'customer:c', person = 'user:u'
cohort_visits: organization_id = uuid 'e1', period_type = 'week', period_start = '2026-03-02', member = 'user:u', days = 127,\
 signup_cohort = '2026-02-23'
cohort_orders: organization_id = uuid 'e1', member = 'customer:c', date = '2026-03-02', is_order = true, revenue = -1
cohort_state: organization_id = uuid 'e1', week = '2026-03-02', month = '2026-03-01', has_orders = true, time_zone = 'UTC',\
 currency = 'EUR'
erasures: organization_id = uuid 'e1', id = uuid 'e2', started_at = {now}
erasure_salts: organization_id = uuid 'e1', salt = sha256('x')
erased_ids: organization_id = uuid 'e1', erasure = uuid 'e2', digest = sha256('x'), token = 'erased_x'
funnel_analysis: organization_id = uuid 'e1', funnel_name = 'f', date = '2026-03-02', step_order = 1, step_name = 's',\
 visitors = 3, conversions = 1
organization_retention: organization_id = uuid 'e1', layer = 'raw', keep_days = 8
"""
REFUSED = """
organizations: currency = 'eur'; currency = 'EURO'; time_zone = 'Mars/Base'; time_zone = 'UTC+3'; partition_key = 'A|B';\
 partition_key = ''
organization_members: role = 'emperor'
channels: channel = 'Radio!'
metrics: unit = 'kg'; kind = 'average'; kind = 'ratio'; numerator = 'orders'; kind = 'distinct';\
 kind = 'ratio', numerator = 'orders', denominator = 'sessions'
exchange_rates: rate = 0; rate = -1; rate = 'NaN'; rate = 'Infinity'; to_currency = 'EUR'; to_currency = 'usd'
partition_ledger: status = 'fine'; status = 'done'; status = 'failed'; status = 'waiting'; row_count = -1; asset = 'No Name'
data_sources: source_type = 'fax'; currency = 'eur'; time_zone = 'Mars/Base'; sync_status = 'bored'; sync_frequency_minutes = 0;\
 is_active = null; connection_config = '[]'; organization_id = uuid 'e2'
sync_logs: sync_type = 'partial'; status = 'maybe'; records_failed = -1; completed_at = {before}; duration_seconds = -1;\
 organization_id = null
raw_data_backup: source = 'fax'; stream = 'Orders!'; page = 0; content_sha256 = 'short'; processed = null; raw_data = null;\
 window_start = {now}, window_end = {before}
quarantine: level = 'book'; resolution = 'forgotten', resolved_at = {now}; resolution = 'discarded'; resolved_at = {now}
ai_insights: severity = 'apocalyptic'; insight_type = 'gossip'; title = ''; confidence_score = 9.99; confidence_score = -0.01;\
 is_read = null; recommendations = '{{}}'; organization_id = uuid 'e2'; period_start = {now}, period_end = {before};\
 withdrawn_at = {now}; is_dismissed = true; is_dismissed = null
performance_alerts: alert_type = 'hunch'; threshold_type = 'around'; is_active = null; is_active = false; is_acknowledged = true;\
 resolved_at = {now}
operator_alerts: reason = 'bored'; message = ''; failures = -1; resolved_at = {before}; organization_id = uuid 'e2'
event_tracking: event_name = ''; session_id = null; event_type = 'fax'; visitor_id = ''; user_id = 'other'; currency = 'eur'
visitor_sessions: last_activity = {before}; events = 0; page_views = 3; session_id = ''; visitor_id = ''
live_sessions: last_activity = {before}; is_active = null; device_type = 'toaster'; country = 'de'; country = 'D'
visitors: visitor_id = ''; user_id = 'other'
event_identities: user_id = 'a'
funnels: funnel_name = ''; unit = 'visit'; window_seconds = 0; version = 0; steps = '[]'; steps = '1'; steps = '[1]';\
 organization_id = uuid 'e2'
event_keys: name = ''; key_sha256 = 'short'; revoked_at = {before}; organization_id = uuid 'e2'
cohort_analysis: cohort_type = 'birth'; period_type = 'year'; period_type = 'month'; period_number = -1; active_users = 4;\
 cohort_size = 0, active_users = 0; active_users = -1; cohort_date = '2026-03-03'
cohort_members: cohort_type = 'birth'; member = 'u'; member = 'user:'; anchor_date = null
cohort_persons: member = 'user:u'; person = 'customer:c'
cohort_visits: period_type = 'year'; member = 'customer:c'; days = 0; days = 128; period_start = '2026-03-03';\
 signup_cohort = '2026-03-09'; visit_cohort = '2026-03-09'
cohort_orders: member = 'c'; revenue = null; is_order = null
cohort_state: week = '2026-03-03'; month = '2026-03-02'; organization_id = uuid 'e2'; currency = null
erasures: finished_at = {before}; counts = '[]'; done_by = ''; organization_id = uuid 'e2'
erasure_salts: salt = 'short'; organization_id = uuid 'e2'
erased_ids: digest = 'short'; token = 'ann'; plain = 'ann'; scope = 'site'; organization_id = uuid 'e2'
funnel_analysis: step_order = 0; conversions = 4; visitors = -1; conversions = -1; version = 0; is_final = null; organization_id = uuid 'e2'
organization_retention: layer = 'orders'; keep_days = 7; keep_days = 36501; organization_id = uuid 'e2'
"""
# Constraints over several columns, by name.
EXPLAINED = {
    "operator_alerts": ["operator_alerts_resolved_after"],
    "metrics": ["metrics_ratio_parts", "metrics_distinct_never_hourly", "metrics_ratio_never_stored"],
    "partition_ledger": ["partition_ledger_done_is_computed", "partition_ledger_failed_says_why"],
    "quarantine": ["quarantine_resolution_has_time"],
    "exchange_rates": ["exchange_rates_check"],
    "raw_data_backup": ["raw_data_backup_check"],
    "sync_logs": ["sync_logs_check"],
    "cohort_analysis": ["cohort_analysis_check", "cohort_analysis_date_begins_period"],
    "cohort_visits": ["cohort_visits_within_period", "cohort_visits_begins_period", "cohort_visits_not_before_cohort"],
    "funnel_analysis": ["funnel_analysis_check"],
    "performance_alerts": ["performance_alerts_acknowledged_when", "performance_alerts_resolved_is_inactive"],
    "event_tracking": ["event_tracking_check"],
    "visitor_sessions": ["visitor_sessions_activity_follows_start", "visitor_sessions_check"],
    "live_sessions": ["live_sessions_activity_follows_start"],
    "visitors": ["visitors_check"],
    "event_identities": ["event_identities_not_itself"],
    "event_keys": ["event_keys_check"],
    "erasures": ["erasures_finish_follows_start"],
    "erased_ids": ["erased_ids_forgotten_whole"],
}
# A second row of the same key, whatever else it says.
TWICE = """
organizations: id = uuid 'e3'
organization_members: role = 'viewer'
partition_ledger: row_count = 5
data_sources: currency = 'USD'
quarantine: reason = 'another'
ai_insights: title = 'another'
performance_alerts: current_value = 7
operator_alerts: id = uuid 'e4'
visitor_sessions: events = 3
live_sessions: page_url = '/2'
visitors: first_seen_at = {later}
event_identities: user_id = 'w'
event_messages: id = uuid 'e2'
event_keys: name = 'other'
funnels: version = 2
cohort_analysis: active_users = 1
cohort_members: anchor_date = '2026-03-03'
cohort_persons: person = 'user:w'
cohort_visits: days = 1
cohort_orders: revenue = 2
cohort_state: has_orders = false
erasures: done_by = 'another'
erasures: id = uuid 'e3'
erasure_salts: salt = sha256('y')
erased_ids: token = 'erased_y'
funnel_analysis: conversions = 0
exchange_rates: rate = 1.2
"""


def cases(text: str) -> list[tuple[str, str]]:
    """(table, what is different) for each case of a list."""
    lines = (line.split(": ", 1) for line in text.strip().splitlines())
    return [(table, case.strip()) for table, rest in lines for case in rest.split(";")]


def values(text: str) -> dict[str, str]:
    """SQL values by column."""
    text = text.format(now=f"'{NOW}'", later=f"'{LATER}'", before=f"'{BEFORE}'")
    text = re.sub(r"uuid 'e(\d)'", r"'00000000-0000-0000-0000-0000000000e\1'", text)
    return dict(pair.split(" = ", 1) for pair in text.split(", ") if pair)
