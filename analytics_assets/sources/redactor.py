"""Keeps the secrets of a source out of messages, logs and stored pages, in every form in which they may come back."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "[secret]"
#: Shorter ones cannot be told from ordinary text.
SHORTEST = 6
# Stored along with tokens, and none themselves: an instant of expiry may well stand in an order too.
_NOT_SECRET = frozenset({"expires_at", "refresh_expires_at", "token_type", "scope"})
# Of a credential that is a document itself (a service account), what is no secret: messages need it.
_NOT_SECRET_WITHIN = _NOT_SECRET | {"type", "project_id", "client_email", "client_id", "universe_domain", "quota_project_id"}


def _is_secret(name: str, within: bool) -> bool:
    return name not in _NOT_SECRET_WITHIN and not name.endswith(("_uri", "_url")) if within else name not in _NOT_SECRET


def _values(value: Any, name: str = "", within: bool = False) -> Iterator[str]:
    """The secret texts of a value; ``within``: it is part of a document."""
    if isinstance(value, Mapping):
        for inner_name, inner in value.items():
            yield from _values(inner, str(inner_name), within or isinstance(inner, Mapping))
    elif isinstance(value, str):
        if not _is_secret(name, within):
            return
        yield value
        if value.lstrip().startswith("{"):
            try:
                document = json.loads(value)
            except ValueError:
                return
            yield from _values(document, name, True)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _values(inner, name, within)


def _base64_forms(value: str) -> Iterator[str]:
    """What a value looks like somewhere within base64 (as in Basic key:secret): by where it begins among three bytes."""
    raw = value.encode("utf-8", "surrogatepass")
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw)
        # Without the characters that hold bits of what comes before or after it.
        text = encoded[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6].decode()
        yield text
        yield text.replace("+", "-").replace("/", "_")


def _spellings(text: str) -> Iterator[str]:
    """As it is, within JSON (slashes escaped too, as PHP does), within JSON within JSON, within a URL or a form."""
    yield text
    for plain in (True, False):
        escaped = json.dumps(text, ensure_ascii=plain)[1:-1]
        for once in (escaped, escaped.replace("/", "\\/")):
            yield once
            yield json.dumps(once, ensure_ascii=plain)[1:-1]
    for quoted in (
        quote(text, errors="surrogatepass"),
        quote(text, "", errors="surrogatepass"),
        quote_plus(text, errors="surrogatepass"),
    ):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)


class Redactor:
    """Replaces secrets by [secret], wherever they stand."""

    def __init__(self, secrets: Mapping[str, Any]) -> None:
        forms: set[str] = set()
        for value in _values(secrets):
            texts = {value, value.strip()}
            if "\n" in value:
                # A key in PEM form is also known by each of its lines.
                texts |= {line.strip() for line in value.splitlines() if len(line.strip()) >= 16 and "---" not in line}
            texts = {text for text in texts if len(text) >= SHORTEST}
            texts |= {form for text in list(texts) for form in _base64_forms(text)}
            forms |= {form for text in texts for form in _spellings(text)}
        # The longest first: where one form contains another, nothing of it is left.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))

    def __repr__(self) -> str:
        return f"Redactor({len(self._forms)} forms)"

    @cached_property
    def _bytes(self) -> list[bytes]:
        return [form.encode("utf-8", "surrogatepass") for form in self._forms]

    def text(self, text: str) -> str:
        """The text without them."""
        found = [re.escape(form) for form in self._forms if form in text]
        return re.sub("|".join(found), MASK, text) if found else text

    def body(self, body: bytes) -> tuple[bytes, bool]:
        """The bytes without them, and whether there were any."""
        found = [re.escape(form) for form in self._bytes if form in body]
        return (re.sub(b"|".join(found), MASK.encode(), body), True) if found else (body, False)
