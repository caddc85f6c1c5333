select m.parent as "table", 'made ahead' as action, m.made || ' partitions' as partition, null as reason
from public.make_partitions_ahead() m where m.made > 0
