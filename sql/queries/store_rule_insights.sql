select organization_id, insights_new, insights_changed, insights_withdrawn, hours as days
from private.store_insights(
    %(ids)s, %(start)s::timestamptz, %(end)s::timestamptz, %(judged_from)s::timestamptz, %(judged_to)s::timestamptz,
    %(states)s::jsonb, %(found)s::jsonb, %(run_id)s, 'rule_insights', %(judged)s::uuid[])
