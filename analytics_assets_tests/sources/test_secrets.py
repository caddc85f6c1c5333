"""What is sealed opens only where it belongs, and what is secret shows nowhere."""

import base64
import json
import os
import re
import stat
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.fernet import Fernet
from hypothesis import assume, given
from hypothesis import strategies as st

from analytics_assets.settings import SettingError
from analytics_assets.sources.redactor import MASK, Redactor
from analytics_assets.sources.secrets import (
    KEY_FILE,
    KEYS_VARIABLE,
    Damaged,
    NoKey,
    OpenSecrets,
    SealedElsewhere,
    SecretBox,
    SecretError,
)
from analytics_assets_tests.sources.stores import KEY_DOCUMENT, NEW, OLD, PEM, TOKEN

ONE, TWO = UUID(int=1), UUID(int=2)


@given(st.dictionaries(st.text(min_size=1), st.one_of(st.text(), st.integers(), st.booleans(), st.none()), max_size=5))
def test_what_is_sealed_opens_again(secrets: dict[str, object]) -> None:
    """Any JSON; also after it went through JSON itself."""
    sealed = json.loads(json.dumps(SecretBox([NEW]).seal(ONE, TWO, secrets)))
    assert set(sealed) == {"$enc", "kid", "ct"} and sealed["$enc"] == "v1" and len(sealed["kid"]) == 8
    assert SecretBox([NEW]).open(ONE, TWO, sealed) == secrets


def test_moved_to_another_row_it_does_not_open() -> None:
    """Another source of the same organisation, the same id in another organisation, the two swapped."""
    box = SecretBox([NEW])
    sealed = box.seal(ONE, TWO, {"access_token": TOKEN})
    for organization, source in ((ONE, ONE), (TWO, TWO), (TWO, ONE), (uuid4(), TWO)):
        with pytest.raises(SealedElsewhere, match=f"source {source} belong to another source") as refusal:
            box.open(organization, source, sealed)
        assert TOKEN not in str(refusal.value)
        with pytest.raises(SealedElsewhere):
            SecretBox([OLD, NEW]).rotate(organization, source, sealed)


def test_without_its_key_it_says_which_to_put_back() -> None:
    """By the key's id, which is in the message; no key is."""
    sealed = SecretBox([OLD]).seal(ONE, TWO, {"access_token": TOKEN})
    with pytest.raises(
        NoKey, match=f"sealed with key {sealed['kid']}.*has {SecretBox([NEW]).key_id}.*{KEYS_VARIABLE}"
    ) as refusal:
        SecretBox([NEW]).open(ONE, TWO, sealed)
    assert OLD not in str(refusal.value) and NEW not in str(refusal.value)
    assert SecretBox([NEW, OLD]).open(ONE, TWO, sealed) == {"access_token": TOKEN}


@pytest.mark.parametrize(
    "change",
    [{"ct": "gAAAAA"}, {"ct": ""}, {"ct": None}, {"$enc": "v9"}, {"$enc": None}, {"cut": True}, {"flip": True}],
    ids=str,
)
def test_what_was_changed_does_not_open(change: dict[str, object]) -> None:
    """Cut off, one character another, a form of the future."""
    sealed: dict[str, object] = dict(SecretBox([NEW]).seal(ONE, TWO, {"access_token": TOKEN}))
    text = str(sealed["ct"])
    if "cut" in change:
        change = {"ct": text[:-8]}
    if "flip" in change:
        change = {"ct": text[:40] + ("A" if text[40] != "A" else "B") + text[41:]}
    with pytest.raises(Damaged, match="sources authorize"):
        SecretBox([NEW]).open(ONE, TWO, {**sealed, **change})


def test_rotation() -> None:
    """The first key seals; what is sealed with it stays to the letter."""
    before, after = SecretBox([OLD]), SecretBox([NEW, OLD])
    sealed = before.seal(ONE, TWO, {"access_token": TOKEN})
    assert before.is_current(sealed) and not after.is_current(sealed)
    again = after.rotate(ONE, TWO, sealed)
    assert after.is_current(again) and after.rotate(ONE, TWO, again) == again
    assert SecretBox([NEW]).open(ONE, TWO, again) == {"access_token": TOKEN}
    with pytest.raises(NoKey):
        before.open(ONE, TWO, again)


@pytest.mark.parametrize(
    "keys",
    ["short", NEW[:-1], NEW + "A", f"{NEW},{OLD[:-2]}==", f"{NEW},!{OLD}", NEW.replace("=", "é"), f"{'+' * 4}{NEW}", "," * 3],
)
def test_a_malformed_key_is_refused_and_not_shown(keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of them it is, is said. (The decoder passes over '!' and '+': a mistyped key was taken for another one.)"""
    monkeypatch.setenv(KEYS_VARIABLE, keys)
    with pytest.raises(SettingError, match=KEYS_VARIABLE) as refusal:
        SecretBox.load()
    assert not any(part and part in str(refusal.value) for part in keys.split(","))
    assert ("number 2 of 2" in str(refusal.value)) == keys.startswith(f"{NEW},")


def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blanks around them do no harm."""
    monkeypatch.setenv(KEYS_VARIABLE, f" {NEW} , {OLD} ")
    assert SecretBox.load().key_id == SecretBox([NEW]).key_id
    assert SecretBox.load().open(ONE, TWO, SecretBox([OLD]).seal(ONE, TWO, {"a": 1})) == {"a": 1}


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home folder, and no keys in the environment."""
    monkeypatch.setenv("ANALYTICS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    return tmp_path / "home"


def test_the_key_file(home: Path) -> None:
    """Made once, for its owner only; a second key in front of it seals from then on."""
    first = SecretBox.load()
    file = home / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and [entry.name for entry in home.iterdir()] == [KEY_FILE]
    assert SecretBox.load().key_id == first.key_id
    file.write_text(f"{NEW}\n{file.read_text()}")
    assert SecretBox.load().key_id == SecretBox([NEW]).key_id
    assert SecretBox.load().open(ONE, TWO, first.seal(ONE, TWO, {"a": 1})) == {"a": 1}
    file.write_text("no key")
    with pytest.raises(SettingError, match=f"{KEY_FILE}: number 1 of 2"):
        SecretBox.load()
    file.write_text("")
    with pytest.raises(SettingError, match="holds no key"):
        SecretBox.load()
    file.chmod(0o640)
    with pytest.raises(SettingError, match="chmod 600"):
        SecretBox.load()


def test_processes_that_make_the_key_file_at_once_read_one_key(home: Path) -> None:
    """(Of two that each write a file of their own, the second would put another key in place of the first's.)"""
    home.mkdir()
    go = home / "go"
    program = (
        "import os, sys, time\nfrom analytics_assets.sources.secrets import SecretBox\nprint('ready', flush=True)\n"
        "while not os.path.exists(sys.argv[1]): pass\nprint(SecretBox.load().key_id)"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", program, str(go)], stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
    go.touch()
    told = {worker.communicate(timeout=30)[0] for worker in workers}
    assert told == {SecretBox.load().key_id + "\n"}
    assert {entry.name for entry in home.iterdir()} == {"go", KEY_FILE}


def test_nothing_secret_in_what_is_printed() -> None:
    """The box, opened secrets, a redactor, and the failures."""
    box = SecretBox([NEW, OLD])
    opened = box.open(ONE, TWO, box.seal(ONE, TWO, {"access_token": TOKEN, "service_account": json.dumps(KEY_DOCUMENT)}))
    shown = f"{box} {box!r} {opened} {opened!r} {opened:} {Redactor(opened)!r} {'%s %r' % (opened, [opened])}"  # noqa: UP031
    for secret in (TOKEN, NEW, OLD, "PRIVATE", KEY_DOCUMENT["private_key_id"]):
        assert secret not in shown
    assert "access_token" in shown and opened["access_token"] == TOKEN
    assert isinstance(opened, OpenSecrets) and isinstance(opened, dict)
    assert issubclass(NoKey, SecretError) and issubclass(SealedElsewhere, SecretError)


# Letters that [secret] is not made of, and some that URLs, JSON and base64 write otherwise.
SECRETS = st.text(alphabet='ABCDXYZ0123456789_-+/=\\"& ü\n', min_size=6, max_size=60).filter(lambda text: len(text.strip()) >= 6)


@given(SECRETS, st.text(max_size=20), st.text(max_size=20))
def test_every_form_of_a_secret_is_replaced(secret: str, before: str, after: str) -> None:
    """As it is, within JSON (also twice, also as PHP writes it), in URLs and forms, in base64 after anything."""
    redactor = Redactor({"access_token": secret})
    forms = [
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(secret)[1:-1])[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.urlencode({"": secret})[1:],
        re.sub("%..", lambda escape: escape[0].lower(), urllib.parse.quote_plus(secret)),
    ]
    for form in forms:
        told = redactor.text(f"{before}{form}{after}")
        assert MASK in told and form not in told
        body, changed = redactor.body(f"{before}{form}{after}".encode())
        assert changed and body == told.encode()
    for user in ("", "k", "ke", "key", before):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(f"{user}:{secret}".encode()).decode()
            told = redactor.text(f"Basic {encoded}.")
            assert MASK in told
            # At most the characters at its two ends are left.
            assert len(told) <= len("Basic ") + len(base64.b64encode(f"{user}:".encode())) + len(MASK) + 6


@given(st.text(), SECRETS)
def test_what_holds_no_secret_stays_as_it_is(text: str, secret: str) -> None:
    """To the letter, and the same object."""
    redactor = Redactor({"access_token": secret})
    assume(redactor.text(text) == text)
    body = text.encode()
    assert redactor.body(body) == (body, False) and redactor.body(body)[0] is body


def test_a_service_account_in_an_answer() -> None:
    """Its key, the key's lines and its id are replaced; what messages need is left: who, and where."""
    redactor = Redactor({"service_account": json.dumps(KEY_DOCUMENT)})
    for document in (json.dumps(KEY_DOCUMENT), json.dumps(KEY_DOCUMENT, indent=2), repr(KEY_DOCUMENT["private_key"])):
        told = redactor.text(f"cannot use {document}")
        assert not any(word in told for word in ("MIIE", "BKcw", KEY_DOCUMENT["private_key_id"]))
    told = redactor.text(
        f"{KEY_DOCUMENT['client_email']} {KEY_DOCUMENT['token_uri']} service_account: bad line {PEM.splitlines()[1]}"
    )
    assert told == f"{KEY_DOCUMENT['client_email']} {KEY_DOCUMENT['token_uri']} service_account: bad line {MASK}"
    # The same as an object; and what stands elsewhere within a document is secret too.
    assert Redactor({"service_account": KEY_DOCUMENT}).text(f"a {PEM}b") == f"a {MASK}b"
    assert Redactor({"a": {"b": [{"c": TOKEN}]}}).text(TOKEN) == MASK


def test_several_secrets_and_what_is_none() -> None:
    """A longer one is replaced whole; instants that are kept along with tokens, and short texts, are not secret."""
    secrets = {
        "access_token": TOKEN,
        "refresh_token": TOKEN + "-refresh",
        "expires_at": "2026-11-24T10:00:00Z",
        "refresh_expires_at": 1795507200.0,
        "client_secret": "abc",
    }
    redactor = Redactor(secrets)
    text = f'{{"a":"{TOKEN}-refresh","b":"{TOKEN}","at":"2026-11-24T10:00:00Z","n":1795507200.0,"c":"abc"}}'
    told = redactor.text(text)
    assert told == text.replace(f"{TOKEN}-refresh", MASK).replace(TOKEN, MASK) and json.loads(told)["b"] == MASK
    assert Redactor({}).body(b"x") == (b"x", False)


def test_a_large_body_is_looked_through_quickly() -> None:
    """Of eight MB nothing is copied; it takes a fraction of a second."""
    redactor = Redactor({"service_account": json.dumps(KEY_DOCUMENT), "access_token": Fernet.generate_key().decode()})
    body = json.dumps([{"id": n, "total": "10.00", "note": "x" * 80} for n in range(60_000)]).encode()
    # Of this process alone: a machine that is busy with others takes longer by the clock.
    started = time.process_time()
    told, changed = redactor.body(body)
    assert told is body and not changed and time.process_time() - started < 3
