"""What time it is in a rehearsal, for all its processes: it stands in a file."""

import os
from datetime import datetime
from pathlib import Path

#: Names the file.
CLOCK_FILE = "REHEARSAL_CLOCK"


def rehearsed_now() -> datetime:
    """The sandbox's time."""
    return datetime.fromisoformat(Path(os.environ[CLOCK_FILE]).read_text())
