select s.tokens, s.dollars, private.narratives_paused_until() as paused_until from private.narratives_spent() s
