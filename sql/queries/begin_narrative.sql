select * from private.begin_narrative(
    %(organization_id)s, %(insight_id)s, %(version)s, %(tokens)s, %(dollars)s::numeric, %(token_limit)s::bigint, %(dollar_limit)s::numeric)
