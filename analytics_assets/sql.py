"""The project's SQL files: where they lie, their text, their version."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_PACKAGED = Path(__file__).resolve().parent / "_sql"
SQL_ROOT = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).resolve().parent.parent / "sql"


@cache
def query(name: str) -> str:
    """Text of sql/queries/NAME.sql. Parameters are psycopg's, ``%(name)s``; the text is never put together."""
    return (SQL_ROOT / "queries" / f"{name}.sql").read_text(encoding="utf-8")


def version_of(*files: str, code: Sequence[Path] = ()) -> str:
    """Twelve hex digits over the text of SQL files (relative to sql/): the code_version of the asset that runs them.

    Comments and blank lines of SQL do not count: a better word in one must not make every partition look outdated.
    ``code``: further files, whose text counts as it is.
    """
    digest = hashlib.sha256()
    for name in sorted(files):
        lines = (line.strip() for line in (SQL_ROOT / name).read_text(encoding="utf-8").splitlines())
        digest.update(name.encode())
        digest.update("\n".join(line for line in lines if line and not line.startswith("--")).encode())
    for path in code:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
