select private.mark_final_funnels(%(start)s, %(end)s)
