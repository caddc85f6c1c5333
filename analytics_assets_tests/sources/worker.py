"""A process that starts sync workers on demand: each line on standard input forks one, whose process id it prints.

Forking from a process that has everything imported makes a worker in a moment; twenty can be killed in a few seconds.
"""

import asyncio
import os
import sys
from datetime import datetime


def _work(now: datetime) -> None:
    from analytics_assets.sources.engine import Engine

    asyncio.run(Engine(clock=lambda: now, places=16).run())


def main() -> None:
    """Reads lines until standard input ends."""
    now = datetime.fromisoformat(sys.argv[1])
    import analytics_assets.sources.engine  # noqa: F401

    print("ready", flush=True)
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _work(now)
                status = 0
            finally:
                os._exit(status)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else f"ended {os.WEXITSTATUS(status)}", flush=True)


if __name__ == "__main__":
    main()
