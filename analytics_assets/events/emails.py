"""E-mail addresses in what a client sends: found, and their hash put in their place. Pure.

The hash is that of private.email_hash, so that an address in any field is the customer of the store with the same one. In a URL
an address is often percent-encoded, once or (a URL within a URL) more than once; it is found as such and hashed decoded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from analytics_assets.events.limits import ID_LENGTH

# What leads to no address is passed over as a whole (a run of signs that an address may have, or an escape), and nothing is looked at
# twice, so that no text makes the search slow. What follows the @ is looked at in code.
_SIGN = r"""[^\s@<>()\[\]"',;:/?=&#]"""
_EMAIL = re.compile(rf"{_SIGN}++@({_SIGN}++)|{_SIGN}++")
_WHOLE = re.compile(rf"{_SIGN}{{1,64}}@{_SIGN}{{1,190}}")
# Of encoded characters only those that an address has: an encoded / or = is where it ends, as it is in clear; and none begins within
# an escape: of %3Dann the address is ann.
_PLAIN = r"""[^\s@<>()\[\]"',;:/?=&#%]"""
_ALPHANUMERIC = r"3[0-9]|4[1-9A-F]|5[0-9A]|6[1-9A-F]|7[0-9A]|[89A-F][0-9A-F]"
_LOCAL = rf"(?:{_PLAIN}++|%(?:25){{0,3}}(?:{_ALPHANUMERIC}|2[14ABDE]|5[EF]|60|7[B-E]))++"
_ENCODED = re.compile(
    rf"{_LOCAL}(?:@|%(?:25){{0,3}}40)((?:{_PLAIN}++|%(?:25){{0,3}}(?:{_ALPHANUMERIC}|2[DE]))++)|{_LOCAL}|%(?:25){{0,3}}[0-9A-F]{{2}}",
    re.IGNORECASE,
)
_MASK = "[e-mail]"


def may_hold_email(text: str) -> bool:
    """Whether a closer look is worth its time."""
    return "@" in text or "%40" in text or "%25" in text


def json_may_hold_email(text: bytes) -> bool:
    """The same of JSON as orjson writes it."""
    return b"@" in text or b"%40" in text or b"%25" in text


def email_hash(organization: str, email: Any) -> bytes | None:
    """As private.email_hash: salted with the organisation (its id as text), of the address in lower case."""
    if not isinstance(email, str) or email.find("@") < 1:
        return None
    return hashlib.sha256(f"{organization}:{email.strip(' ').lower()}".encode("utf-8", "backslashreplace")).digest()


def _decoded(text: str) -> str:
    for _ in range(4):
        if "%" not in text:
            break
        text = unquote(text)
    return text


def _replaced(text: str, put: Callable[[str], str]) -> str:
    def one(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        email = _decoded(found[0])
        return put(email) if "." in _decoded(found[1]).strip(".") else found[0]

    return (_ENCODED if "%" in text else _EMAIL).sub(one, text)


def whole_email(organization: str, text: str) -> bytes | None:
    """The hash of a text that is an address and nothing else, percent-encoded or not."""
    if not may_hold_email(text):
        return None
    email = _decoded(text).strip(" ")
    local, _, domain = email.rpartition("@")
    # In a whole value an apostrophe belongs to the name, in a sentence it may be a quotation mark.
    if "." in domain.strip(".") and _WHOLE.fullmatch(f"{local.replace(chr(39), '')}@{domain}"):
        return email_hash(organization, email)
    return None


def hide_emails(organization: str, text: str) -> str:
    """Every e-mail address within a text replaced by its hash (hex)."""
    if not may_hold_email(text):
        return text
    whole = whole_email(organization, text)
    if whole is not None:
        return whole.hex()
    return _replaced(text, lambda email: (email_hash(organization, email) or b"").hex())


def masked(text: str) -> str:
    """Every e-mail address within a text to an operator replaced by "[e-mail]"; before the text is cut, lest half of one is left."""
    return _replaced(text, lambda _: _MASK) if may_hold_email(text) else text


def hidden_id(organization: str, identity: str | None) -> str | None:
    """An id as it is kept: email:<hex> where it is an address; an address within it gives way to its hash."""
    if identity is None or not may_hold_email(identity):
        return identity
    whole = whole_email(organization, identity)
    if whole is not None:
        return f"email:{whole.hex()}"
    hidden = hide_emails(organization, identity)
    if len(hidden) > ID_LENGTH:
        return "id:" + hashlib.sha256(f"{organization}:{hidden}".encode("utf-8", "backslashreplace")).hexdigest()
    return hidden


def without_emails(organization: str, value: Any) -> Any:
    """The same value; in its texts and names every e-mail address is replaced by its hash (hex)."""
    if isinstance(value, str):
        return hide_emails(organization, value)
    if isinstance(value, dict):
        return {
            hide_emails(organization, key) if isinstance(key, str) else key: without_emails(organization, one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [without_emails(organization, one) for one in value]
    return value
