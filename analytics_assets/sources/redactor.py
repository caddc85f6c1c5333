"""Keeps the secrets of a source out of messages, logs and stored pages, in every form in which they may come back."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from string import ascii_lowercase, ascii_uppercase
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "[secret]"
#: Shorter ones cannot be told from ordinary text.
SHORTEST = 6
# Stored along with tokens, and none themselves: an instant of expiry may well stand in an order too.
_NOT_SECRET = frozenset({"expires_at", "refresh_expires_at", "token_type", "scope"})
# Of a credential that is a document itself (a service account), what is no secret: messages need it.
_NOT_SECRET_WITHIN = _NOT_SECRET | {"type", "project_id", "client_email", "client_id", "universe_domain", "quota_project_id"}

# As the database's data_sources_secrets_sealed has them: what the vendors' secrets look like.
_VENDORS_FORM = re.compile(
    r"EAA[A-Za-z0-9]{20}|shp[a-z]{2,3}_[0-9A-Za-z]{16}|(ck|cs)_[0-9a-f]{32}|-----BEGIN|ya29\.[0-9A-Za-z_-]{16}|1//[0-9A-Za-z_-]{16}"
    r"|GOCSPX-"
)


def looks_secret(text: str) -> bool:
    """Whether something in the text has the form of a vendor's secret, whosever it is."""
    return _VENDORS_FORM.search(text) is not None


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


# What neither JSON nor a URL writes otherwise: most tokens, and most lines of a key.
_SPELT_ONE_WAY = re.compile(r"[A-Za-z0-9_.~-]+")


def _spellings(text: str) -> Iterator[str]:
    """As it is, within JSON (slashes escaped too, as PHP does), within JSON within JSON, within a URL or a form, within a
    URL within a URL."""
    yield text
    if _SPELT_ONE_WAY.fullmatch(text):
        return
    for plain in (True, False):
        escaped = json.dumps(text, ensure_ascii=plain)[1:-1]
        for once in (escaped, escaped.replace("/", "\\/")):
            yield once
            yield json.dumps(once, ensure_ascii=plain)[1:-1]
    for quoted in (
        quote(text, errors="surrogatepass"),
        quote(text, "", errors="surrogatepass"),
        quote_plus(text, errors="surrogatepass"),
        quote(quote(text, "", errors="surrogatepass"), ""),
    ):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    return next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other)))


#: So many characters of the beginning of a secret are taken for a piece of it, where a text was cut off.
PIECE = 10
_CAPITALS = str.maketrans(ascii_uppercase, ascii_lowercase)
_ESCAPE = re.compile(rb"\\(u00[2-7][0-9a-fA-F]|.)", re.DOTALL)


def _unescaped(found: re.Match[bytes]) -> bytes:
    if len(found[1]) == 1:
        return found[0]
    char = bytes([int(found[1][1:], 16)])
    return b"\\" + char if char in b'"\\' else char


def plain_json(body: bytes) -> bytes:
    """The same JSON in which letters, digits and signs of ASCII stand for themselves, not as \\u and a number."""
    # (Some encoders write + / = & < > so; to PostgreSQL both are the same text.)
    return _ESCAPE.sub(_unescaped, body) if re.search(rb"\\u00[2-7]", body) else body


class Redactor:
    """Replaces secrets by [secret], wherever they stand."""

    def __init__(self, secrets: Mapping[str, Any]) -> None:
        self._known: set[str] = set()
        self._forms: list[str] = []
        self.learn(secrets)

    def learn(self, secrets: Mapping[str, Any]) -> None:
        """Further secrets, such as tokens that were renewed; those that are known already cost next to nothing."""
        values = set(_values(secrets)) - self._known
        if not values:
            return
        self._known |= values
        forms = set(self._forms)
        for value in values:
            texts = {value, value.strip()}
            if "\n" in value:
                # A key in PEM form is also known by each of its lines, and on one line.
                texts |= {line.strip() for line in value.splitlines() if len(line.strip()) >= 16 and "---" not in line}
                texts.add(" ".join(value.split()))
            texts = {text for text in texts if len(text) >= SHORTEST}
            texts |= {form for text in list(texts) for form in _base64_forms(text)}
            forms |= {form for text in texts for form in _spellings(text)}
        # The longest first: where one form contains another, nothing of it is left.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        for name in ("_bytes", "_pieces"):
            self.__dict__.pop(name, None)

    def __repr__(self) -> str:
        return f"Redactor({len(self._forms)} forms)"

    @cached_property
    def _bytes(self) -> list[bytes]:
        return [form.encode("utf-8", "surrogatepass") for form in self._forms]

    @cached_property
    def _pieces(self) -> dict[str, list[str]]:
        """The forms in small letters, by how they begin."""
        pieces: dict[str, list[str]] = {}
        for form in {form.translate(_CAPITALS) for form in self._forms}:
            pieces.setdefault(form[:PIECE], []).append(form)
        return pieces

    def text(self, text: str) -> str:
        """The text without them: also without the beginning of one that was cut off, and whether in capitals or not (as
        part of a host, a secret comes back in small letters). For messages and names, which are short."""
        found = [re.escape(form) for form in self._forms if form in text]
        return self._without_pieces(re.sub("|".join(found), MASK, text) if found else text)

    def _without_pieces(self, text: str) -> str:
        low, kept, at, begun = text.translate(_CAPITALS), list[str](), 0, 0
        lengths = sorted({len(piece) for piece in self._pieces}, reverse=True)
        while at < len(low):
            forms = next((found for length in lengths if (found := self._pieces.get(low[at : at + length]))), None)
            if forms is None:
                at += 1
                continue
            kept += [text[begun:at], MASK]
            at += max(_common(form, low[at : at + len(form)]) for form in forms)
            begun = at
        return "".join([*kept, text[begun:]]) if kept else text

    def body(self, body: bytes) -> tuple[bytes, bool]:
        """The bytes without them, and whether there were any."""
        plain = plain_json(body)
        found = [re.escape(form) for form in self._bytes if form in plain]
        return (re.sub(b"|".join(found), MASK.encode(), plain), True) if found else (body, False)
