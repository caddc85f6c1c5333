"""Who may do what with which rows: the expected result, written down by hand.

Rows: every table and view of public and private. Columns: the callers. A cell says what a caller may do with rows of the
organisation acme: r read, i insert, u update (any column), w update of some columns only, d delete; ``-`` nothing.

Callers: anon; an owner, a member and a viewer of acme; somebody of another organisation; somebody who was removed from acme;
service_role; the collector; BI; the pipeline.
"""

CALLERS = ("anon", "owner", "member", "viewer", "other", "removed", "service", "collector", "bi", "pipeline")

#                         anon owner member viewer other removed service collector bi pipeline
ACCESS = """
organizations              -    r     r      r     -      -      r       -        r  riud
organization_members       -    r     r      r     -      -      r       -        r  riud

channels                   -    r     r      r     r      r      r       -        r  riud
metrics                    -    r     r      r     r      r      r       -        r  riud
exchange_rates             -    r     r      r     r      r      r       -        r  riud

hourly_facts               -    r     r      r     -      -      r       -        r  riud
daily_facts                -    r     r      r     -      -      r       -        r  riud
metric_observations        -    r     r      r     -      -      r       -        r  riud
daily_observations         -    r     r      r     -      -      r       -        r  riud
orders                     -    r     r      r     -      -      r       -        r  riud
refunds                    -    r     r      r     -      -      r       -        r  riud
customers                  -    r     r      r     -      -      r       -        r  riud
order_sales                -    r     r      r     -      -      r       -        r  riud
event_tracking             -    r     r      r     -      -      r       -        r  riud
visitor_sessions           -    r     r      r     -      -      r       -        r  riud
live_sessions              -    r     r      r     -      -      r       -        r  riud
visitors                   -    r     r      r     -      -      r       -        r  riud
cohort_analysis            -    r     r      r     -      -      r       -        r  riud
funnel_analysis            -    r     r      r     -      -      r       -        r  riud
partition_ledger           -    r     r      r     -      -      r       -        r  riud
sync_logs                  -    r     r      r     -      -      r       -        r  riud
sync_streams               -    r     r      r     -      -      r       -        r  riud
ai_insights                -    rw    rw     r     -      -      rw      -        r  riud
performance_alerts         -    rw    rw     r     -      -      rw      -        r  riud
funnels                    -    riw   r      r     -      -      riw     -        r  riud
alert_rules                -    rw    r      r     -      -      rw      -        r  riud
alert_notices              -    -     -      -     -      -      -       -        -  riud
narrative_consents         -    riw   r      r     -      -      riw     -        r  riud
narrative_calls            -    -     -      -     -      -      -       -        -  riud

data_sources               -    rw    r      r     -      -      rw      -        r  riud
event_keys                 -    r     r      r     -      -      r       r        r  riud
quarantine                 -    -     -      -     -      -      -       ri       -  riud

operator_alerts            -    -     -      -     -      -      -       -        -  riud
operator_notices           -    -     -      -     -      -      -       -        -  riud
raw_data_backup            -    -     -      -     -      -      -       -        -  riud
raw_page_digests           -    -     -      -     -      -      -       -        -  riud
raw_report_digests         -    -     -      -     -      -      -       -        -  riud
visitor_days               -    -     -      -     -      -      -       -        -  riud
event_identities           -    -     -      -     -      -      -       -        -  riud
event_messages             -    -     -      -     -      -      -       -        -  riud
cohort_members             -    -     -      -     -      -      -       -        -  riud
cohort_persons             -    -     -      -     -      -      -       -        -  riud
cohort_visits              -    -     -      -     -      -      -       -        -  riud
cohort_orders              -    -     -      -     -      -      -       -        -  riud
cohort_state               -    -     -      -     -      -      -       -        -  riud
erasures                   -    r     -      -     -      -      r       -        r  riud
erasure_salts              -    -     -      -     -      -      -       -        -  riud
erased_ids                 -    -     -      -     -      -      -       -        -  riud
organization_retention     -    -     -      -     -      -      -       -        -  riud
private.partition_steps    -    -     -      -     -      -      -       -        -  riud
private.report_metrics     -    -     -      -     -      -      -       -        -  riud
private.memberships        -    -     -      -     -      -      -       -        -  riud

hourly_aggregates          -    r     r      r     -      -      r       -        r  r
daily_aggregates           -    r     r      r     -      -      r       -        r  r
metric_ratios              -    r     r      r     -      -      r       -        r  r
cohort_retention           -    r     r      r     -      -      r       -        r  r
funnel_overview            -    r     r      r     -      -      r       -        r  r
realtime_sessions          -    r     r      r     -      -      r       -        r  r
live_activity              -    r     r      r     -      -      r       -        r  r
connected_sources          -    r     r      r     -      -      r       -        r  r
source_status              -    r     r      r     -      -      r       -        r  r
ledger_status              -    r     r      r     -      -      r       -        r  r
private.hourly_source      -    -     -      -     -      -      -       -        -  r
"""
# Tables in which only some columns can be read: all but these.
WITHHELD = {
    "data_sources": "connection_config lease_owner lease_until reread_at reread_due_at history_from",
    "event_keys": "key_sha256",
}


def expected() -> dict[str, dict[str, str]]:
    """Relation -> caller -> rights."""
    rows = [line.split() for line in ACCESS.splitlines() if line.strip()]
    return {name: dict(zip(CALLERS, (cell.strip("-") for cell in cells), strict=True)) for name, *cells in rows}
