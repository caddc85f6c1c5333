"""Markdown for the metadata of materializations, in which what tenants write is only text.

A funnel's name such as ``![](https://elsewhere.example/x.png)`` was a picture that the browser of whoever looked at the run fetched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

# What begins a link, a picture, code, HTML, an entity or a cell.
_MARKS = re.compile(r"([\\`\[\]<>|&])")


def plain(value: Any) -> Any:
    """Text with its marks escaped, on one line; other values as they are."""
    return _MARKS.sub(r"\\\1", " ".join(value.split())) if isinstance(value, str) else value


def table(rows: Sequence[dict[str, Any]] | pd.DataFrame) -> str:
    """A table of rows, its texts plain."""
    return str(pd.DataFrame(rows).map(plain).to_markdown(index=False))
