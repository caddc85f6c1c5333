"""python -m analytics_assets_tests.events.python_clients segment|rudder BASE WRITE_KEY COUNT PAUSE_MS: sends so many events with
Segment's or RudderStack's Python client, and ends with 0 when the client says that all are delivered."""

from __future__ import annotations

import sys
import time
from typing import Any


def main() -> int:
    """Sends. Returns the exit status."""
    kind, base, key, count, pause = sys.argv[1:]
    failures: list[Any] = []

    def failed(error: Any, items: Any) -> None:
        failures.append(error)

    client: Any
    if kind == "segment":
        from segment.analytics.client import Client as Segment

        client = Segment(key, host=base, upload_size=10, upload_interval=0.2, on_error=failed)
    else:
        from rudderstack.analytics.client import Client as Rudder

        client = Rudder(key, host=base, upload_size=10, upload_interval=0.2, on_error=failed)
    user = f"{kind}-python"
    client.identify(user, {"email": "python@example.com"})
    client.page(user, "Shop", "Home", {"url": "https://shop.example/"})
    for n in range(int(count)):
        client.track(user, "Counted", {"n": n, "client": user})
        time.sleep(int(pause) / 1000)
    client.flush()
    client.join()
    if failures:
        print(len(failures), "failures:", failures[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
