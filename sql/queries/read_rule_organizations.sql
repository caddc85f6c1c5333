select * from private.rule_insight_organizations(
    %(ids)s, %(start)s::timestamptz, %(end)s::timestamptz, %(history_from)s::date, %(judged_from)s::timestamptz,
    %(judged_to)s::timestamptz, %(until)s::date, %(now)s::timestamptz)
