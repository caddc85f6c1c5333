"""Secrets of sources: sealed before they reach the database, opened only by the process that syncs.

Keys come from ANALYTICS_CONNECTION_KEYS ("new,old": the first seals, all open), or from a file of the home folder that is
made at the first call. The database, its dumps and its statement logs never see a key or an opened secret.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from analytics_assets.settings import SettingError, home_folder

KEYS_VARIABLE = "ANALYTICS_CONNECTION_KEYS"
KEY_FILE = "connection_keys"
_FORM = "v1"


class SecretError(ValueError):
    """Secrets that cannot be opened; the message says of which source and what to do, and shows none of them."""


class SealedElsewhere(SecretError):
    """They were sealed for another source: the value was copied from row to row."""


class NoKey(SecretError):
    """No key at hand opens them."""


class Damaged(SecretError):
    """The key is there, but what it should open was cut off or changed, or has an unknown form."""


class OpenSecrets(dict[str, Any]):
    """Opened secrets by name. Printed, logged or formatted, it shows the names only.

    (Its values are plain text: a string that masks itself would be masked in the form or header that it has to go into.)
    """

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: [secret]" for name in self) + "}"

    __str__ = __repr__


def _key_id(key: str, where: str) -> str:
    """Eight hex digits that name a key. Raises SettingError, which does not show it."""
    try:
        raw = base64.urlsafe_b64decode(key)
        # The decoder passes over characters that do not belong: only the one right spelling of 32 bytes is a key.
        is_key = len(raw) == 32 and base64.urlsafe_b64encode(raw).decode() == key
    except (ValueError, binascii.Error):
        is_key = False
    if not is_key:
        raise SettingError(
            f"{where} is no key: expected 32 random bytes in URL-safe base64, 44 characters, as `python -c "
            '"from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"` prints'
        ) from None
    return sha256(raw).hexdigest()[:8]


def _make_key_file(file: Path) -> None:
    """Writes a new key, whole and on disk, unless another process has just done so."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f"{KEY_FILE}.")  # readable by its owner only
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(Fernet.generate_key().decode() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        # A link is made only where there is nothing: of two processes one wins, and both read its key. (A rename would
        # put the second key in place of the first, with which something may be sealed already.)
        with suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        os.unlink(temporary)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _keys_of_file() -> tuple[list[str], str]:
    file = home_folder() / KEY_FILE
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _make_key_file(file)
        if file.stat().st_mode & 0o077:
            raise SettingError(f"{file} can be read by others: `chmod 600 {file}`, and replace its key if somebody has read it")
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SettingError(f"{file} cannot be used: {error.strerror}. Correct that, or set {KEYS_VARIABLE}.") from None
    return text.replace(",", " ").split(), str(file)


class SecretBox:
    """Seals and opens the secrets of sources. Safe to share between threads."""

    def __init__(self, keys: Sequence[str], where: str = KEYS_VARIABLE) -> None:
        """``where`` the keys come from, for messages. Raises SettingError where there is none, or one is malformed."""
        if not keys:
            raise SettingError(f"{where} holds no key")
        self._where = where
        self._key_ids = [_key_id(key, f"{where}: number {n} of {len(keys)}") for n, key in enumerate(keys, 1)]
        self._fernets = MultiFernet([Fernet(key) for key in keys])

    @classmethod
    def load(cls) -> SecretBox:
        """The box of this deployment; makes the key file where neither it nor the variable is there. Raises SettingError."""
        text = os.environ.get(KEYS_VARIABLE, "").strip()
        if text:
            return cls([part.strip() for part in text.split(",") if part.strip()])
        return cls(*_keys_of_file())

    def __repr__(self) -> str:
        return f"SecretBox(seals with {self._key_ids[0]}, opens {', '.join(self._key_ids)})"

    @property
    def key_id(self) -> str:
        """Names the key that seals."""
        return self._key_ids[0]

    def seal(self, organization_id: UUID, source_id: UUID, secrets: Mapping[str, Any]) -> dict[str, str]:
        """What the database keeps. Only for this source: put into another row it does not open."""
        bound = {"v": 1, "aad": [str(organization_id), str(source_id)], "s": dict(secrets)}
        text = json.dumps(bound, separators=(",", ":")).encode()
        return {"$enc": _FORM, "kid": self.key_id, "ct": self._fernets.encrypt(text).decode()}

    def open(self, organization_id: UUID, source_id: UUID, sealed: Mapping[str, Any]) -> OpenSecrets:
        """The secrets of a source. Raises NoKey, SealedElsewhere, Damaged."""
        again = f"give source {source_id} its credentials again: `analytics sources authorize`"
        if not isinstance(sealed, Mapping) or sealed.get("$enc") != _FORM or not isinstance(sealed.get("ct"), str):
            raise Damaged(f"what is stored as secrets of source {source_id} has an unknown form; {again}")
        try:
            bound = json.loads(self._fernets.decrypt(sealed["ct"]))
        except InvalidToken:
            if sealed.get("kid") in self._key_ids:
                raise Damaged(f"the stored secrets of source {source_id} were changed or cut off; {again}") from None
            raise NoKey(
                f"no key opens the secrets of source {source_id}: they were sealed with key {sealed.get('kid')}, and {self._where} "
                f"has {', '.join(self._key_ids)}. Put the old key back into {KEYS_VARIABLE} after the new one (new,old) and "
                f"run `analytics sources rotate-keys`; where it is lost, {again}"
            ) from None
        if bound["aad"] != [str(organization_id), str(source_id)]:
            raise SealedElsewhere(f"the stored secrets of source {source_id} belong to another source; {again}")
        return OpenSecrets(bound["s"])

    def is_current(self, sealed: Mapping[str, Any]) -> bool:
        """Whether it is sealed with the first key."""
        return sealed.get("kid") == self.key_id

    def rotate(self, organization_id: UUID, source_id: UUID, sealed: Mapping[str, Any]) -> dict[str, Any]:
        """The same secrets under the first key; what is current stays as it is. Raises as ``open`` does."""
        self.open(organization_id, source_id, sealed)
        if self.is_current(sealed):
            return dict(sealed)
        return {"$enc": _FORM, "kid": self.key_id, "ct": self._fernets.rotate(sealed["ct"]).decode()}
