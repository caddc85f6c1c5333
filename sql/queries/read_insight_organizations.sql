select * from private.insight_organizations(
    %(ids)s, %(start)s::timestamptz, %(end)s::timestamptz, %(history_from)s::timestamptz,
    %(judged_from)s::timestamptz, %(until)s::timestamptz)
