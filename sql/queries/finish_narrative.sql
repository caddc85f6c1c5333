select private.finish_narrative(
    %(organization_id)s, %(call_id)s, %(outcome)s, %(reason)s, %(tokens)s::integer, %(dollars)s::numeric, %(narrative)s) as outcome
