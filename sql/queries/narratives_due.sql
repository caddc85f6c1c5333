select * from private.narratives_due(%(at)s, %(most)s)
