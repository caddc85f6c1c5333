"""`analytics` as a program, within this process: a start of its own costs each call two seconds of a processor."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout

# Loaded now, with the settings of all tests: a command that is given others must not be the first to load them.
import analytics_assets.definitions  # noqa: F401
from analytics_assets.cli import main


def analytics(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`analytics ARGUMENTS`, to its end: all that ``python -m analytics_assets.cli`` does but for the interpreter's start.

    An error that nobody catches is printed, and ends with status 1, as there. What the command changes of this process,
    environment, signals and warnings, is put back.
    """
    environment, argv = dict(os.environ), sys.argv
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    status: int | str | None = 0
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err, warnings.catch_warnings():
        os.environ.update(variables)
        sys.argv = ["analytics", *arguments]
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        except Exception:
            traceback.print_exc()
            status = 1
        finally:
            sys.argv = argv
            os.environ.clear()
            os.environ.update(environment)
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return subprocess.CompletedProcess(["analytics", *arguments], int(status or 0), out.getvalue(), err.getvalue())
