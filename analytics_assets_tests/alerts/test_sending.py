"""Who is told, how often, and when: at least once, once where nothing breaks, never in quiet hours, never a secret."""

import logging
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from analytics_assets.alerts.receivers import Receivers
from analytics_assets.alerts.sending import Delivery, deliver
from analytics_assets.organizations import registry
from analytics_assets.resources import Database
from analytics_assets.settings import SettingError
from analytics_assets.sql import query
from analytics_assets_tests.alerts.mailbox import Mailbox, mailbox
from analytics_assets_tests.alerts.world import DAY, TODAY, add_rule, evaluate, put_hours, series
from analytics_assets_tests.surface.tls_server import Authority
from analytics_assets_tests.webhook_receiver import Receiver, receiving
from analytics_assets_tests.woocommerce import Connection, add_organization

SECRET = "T0SECRETxB0SECRETxPATH"
START = TODAY - 2 * DAY
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as found:
        monkeypatch.setenv("ANALYTICS_ALERT_WEBHOOK_URL", f"{found.url}/webhook/{SECRET}?token={SECRET}")
        monkeypatch.setenv("ANALYTICS_ALERT_SLACK_URL", f"{found.url}/slack/{SECRET}")
        yield found


def _later(minutes: float) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


def _deliver(minutes: float = 0) -> Delivery:
    return deliver(Database(), Receivers.load(), at=_later(minutes))


def _tick(connection: Connection, ids: list[UUID], *values: float) -> None:
    for organization in ids:
        put_hours(connection, organization, series(START, *values))
    evaluate(connection, ids, START, told_by=Receivers.load().channels)


def _shops(connection: Connection, *slugs: str) -> list[UUID]:
    ids = []
    for slug in slugs:
        ids.append(add_organization(connection, slug))
        add_rule(connection, slug, name="few")
        add_rule(connection, slug, name="fewer", below="5")
    return ids


def test_alerts_of_a_tick_are_one_message_an_organisation(connection: Connection, receiver: Receiver) -> None:
    ids = _shops(connection, "acme", "bolt")
    _tick(connection, ids, 20, 1)
    result = _deliver()
    assert (result.delivered, result.messages, result.problems) == (8, 4, {})
    opened = [[(slug, "few", "open"), (slug, "fewer", "open")] for slug in ("acme", "bolt")]
    assert [sorted(one) for one in receiver.told("rule")] == opened
    path, body = next((path, body) for path, body in receiver.bodies if "slack" in path)
    assert path == f"/slack/{SECRET}" and body["text"] == "acme: alerts 2 open" and len(body["blocks"]) == 2
    assert ":red_circle: *acme* ALERT: few: orders of woocommerce were 1 in the hour of" in body["blocks"][0]["text"]["text"]
    # Nothing changed, nothing is told; what goes on is not told anew.
    assert _deliver(600).delivered == 0
    _tick(connection, ids, 20, 1, 2)
    assert _deliver(600).delivered == 0
    _tick(connection, ids, 20, 1, 2, 20)
    assert _deliver(600).messages == 4
    assert [sorted(one)[0] for one in receiver.told("rule")[2:]] == [("acme", "few", "resolved"), ("bolt", "few", "resolved")]


def test_a_receiver_that_is_away_loses_nothing_and_is_not_stormed(
    connection: Connection, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("analytics_assets.webhooks._PAUSE", 0)
    monkeypatch.delenv("ANALYTICS_ALERT_SLACK_URL")
    caplog.set_level(logging.DEBUG)
    ids = _shops(connection, "acme")
    _tick(connection, ids, 20, 1)
    receiver.refusals += [500, 0]
    assert _deliver().problems == {"webhook": "no answer (RemoteProtocolError)"}
    assert _deliver().delivered == 0, "not due again at once"
    receiver.refusals += [404, 307]
    # Clears, fires and clears again while nobody answers.
    for minutes, values in ((5, (20, 1, 20)), (30, (20, 1, 20, 1)), (60, (20, 1, 20, 1, 20))):
        _tick(connection, ids, *values)
        _deliver(minutes)
    assert not receiver.refusals
    _deliver(90)
    # Of each of the four incidents one word, in one message.
    assert [sorted(one) for one in receiver.told("rule")] == [
        [("acme", "few", "resolved")] * 2 + [("acme", "fewer", "resolved")] * 2
    ]
    assert _deliver(10_000).delivered == 0
    rows = connection.execute("select count(*) as n, count(delivered_at) as done from public.alert_notices").fetchall()
    assert rows[0]["n"] == rows[0]["done"] == 8
    assert SECRET not in caplog.text and SECRET not in str(rows)


def test_what_is_withdrawn_before_it_was_told_is_not_told(connection: Connection, receiver: Receiver) -> None:
    ids = _shops(connection, "acme")
    _tick(connection, ids, 20, 1)
    _tick(connection, ids, 20, 20)
    assert _deliver().delivered == 0 and receiver.bodies == []
    _tick(connection, ids, 20, 20, 1)
    _deliver()
    _tick(connection, ids, 20, 20, 20)
    _deliver()
    assert [[state for *_, state in one] for one in receiver.told("rule")] == [["open"] * 2, ["withdrawn"] * 2]


def test_a_sender_that_dies_sends_once_more_and_one_that_works_beside_it_does_not(
    connection: Connection, receiver: Receiver
) -> None:
    ids = _shops(connection, "acme")
    _tick(connection, ids, 20, 1)
    database = Database()
    taken = database.rows(query("claim_alert_notices"), {"channel": "webhook", "most": 200, "at": _later(0)})
    assert len(taken) == 2, "taken, perhaps sent, and never noted"
    assert _deliver(0.5).messages == 1, "by Slack alone: the others are in another's hands"
    assert _deliver(2).messages == 1
    assert [len(one) for one in receiver.told("rule")] == [2]


@pytest.mark.parametrize(
    ("zone", "quiet", "moments"),
    [
        # Clocks go forward at 02:00 on 29 March 2026: quiet until 02:30, which that night does not have, ends at 03:00.
        ("Europe/Berlin", "23:00-02:30", [("2026-03-28T21:30Z", True), ("2026-03-29T00:59Z", False), ("2026-03-29T01:01Z", True)]),
        # They go back at 03:00 on 25 October: 02:15 is there twice, and both are quiet.
        ("Europe/Berlin", "22:00-02:20", [("2026-10-25T00:15Z", False), ("2026-10-25T00:30Z", True), ("2026-10-25T01:15Z", False),
                                          ("2026-10-25T01:21Z", True), ("2026-10-25T21:30Z", False)]),
        ("Asia/Kolkata", "12:00-13:00", [("2026-03-02T06:29Z", True), ("2026-03-02T06:30Z", False), ("2026-03-02T07:30Z", True)]),
    ],
)  # fmt: skip
def test_quiet_hours_go_by_the_clock_of_the_organisation(
    connection: Connection, receiver: Receiver, zone: str, quiet: str, moments: list[tuple[str, bool]]
) -> None:
    registry.add(connection, "shop", time_zone=zone)
    organization = registry.get(connection, "shop").id
    add_rule(connection, "shop", quiet=quiet)
    _tick(connection, [organization], 20, 1)
    for text, is_told in moments:
        at = datetime.fromisoformat(text)
        local = at.astimezone(ZoneInfo(zone))
        connection.execute(
            "update public.alert_notices set delivered_at = null, is_silent = false, next_attempt_at = %s", (at - DAY,)
        )
        connection.commit()
        receiver.bodies.clear()
        deliver(Database(), Receivers.load(), at=at)
        assert bool(receiver.bodies) == is_told, local


def test_what_quiet_hours_held_back_is_sent_at_their_end(connection: Connection, receiver: Receiver) -> None:
    ids = _shops(connection, "acme")
    connection.execute("update public.alert_rules set quiet_from = '22:00', quiet_to = '07:00'")
    _tick(connection, ids, 20, 1)
    connection.execute("update public.alert_notices set next_attempt_at = %s", (NOON - DAY,))
    connection.commit()
    for hours, messages in ((11, 0), (18, 0), (19, 2), (20, 2)):
        deliver(Database(), Receivers.load(), at=NOON + timedelta(hours=hours))
        assert len(receiver.bodies) == messages


@pytest.fixture
def certified(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context, and the file of the authority that certified it."""
    authority = Authority("mail")
    certificate, key = authority.certify("localhost")
    files = [tmp_path / name for name in ("ca.pem", "server.pem", "key.pem")]
    for file, content in zip(files, (authority.pem, certificate, key), strict=True):
        file.write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[2])
    return context, files[0]


def _mail_to(monkeypatch: pytest.MonkeyPatch, box: Mailbox, security: str, ca: Path | None = None) -> None:
    for name, value in {
        "ANALYTICS_ALERT_EMAIL_TO": "ann@shop.example, bob@shop.example",
        "ANALYTICS_ALERT_EMAIL_FROM": "alerts@analytics.example",
        "ANALYTICS_SMTP_HOST": "localhost",
        "ANALYTICS_SMTP_PORT": str(box.port),
        "ANALYTICS_SMTP_SECURITY": security,
        "ANALYTICS_SMTP_CA_FILE": str(ca or ""),
        "ANALYTICS_SMTP_USER": "mailer",
        "ANALYTICS_SMTP_PASSWORD": SECRET,
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_an_email_over_tls(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, certified: tuple[ssl.SSLContext, Path], security: str
) -> None:
    context, ca = certified
    with mailbox(context, implicit=security == "tls") as box:
        _mail_to(monkeypatch, box, security, ca)
        ids = _shops(connection, "acme")
        _tick(connection, ids, 20, 1)
        assert _deliver().messages == 1
        ((sender, recipients, message),) = box.messages
        assert (sender, recipients) == ("alerts@analytics.example", ["ann@shop.example", "bob@shop.example"])
        assert message["subject"] == "acme: alerts 2 open" and "ALERT: few: orders of woocommerce were 1" in message.get_content()
        assert box.secured == [True] and box.logins == [("mailer", SECRET)]

        # A server of another authority is told nothing, neither password nor alert.
        monkeypatch.setenv("ANALYTICS_SMTP_CA_FILE", "")
        _tick(connection, ids, 20, 20)
        assert _deliver(1).problems == {"email": "no e-mail sent (SSLCertVerificationError)"}
        assert len(box.messages) == len(box.logins) == 1


def test_a_mail_server_that_refuses_is_asked_again(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with mailbox() as box:
        _mail_to(monkeypatch, box, "none")
        ids = _shops(connection, "acme")
        _tick(connection, ids, 20, 1)
        box.accepted = ("mailer", "another")
        assert _deliver().problems == {"email": "the mail server answered 535"}
        box.accepted = None
        box.answers.append("451 later")
        assert _deliver(2).problems == {"email": "the mail server answered 451"}
        box.refused = {"ann@shop.example", "bob@shop.example"}
        assert _deliver(10).problems == {"email": "the mail server refused every recipient"}
        box.refused = set()
        assert _deliver(60).messages == 1
        first = box.messages[0][2]["message-id"]
        # Sent once more after a crash, it is known again by its id.
        connection.execute("update public.alert_notices set delivered_at = null")
        connection.commit()
        assert _deliver(120).messages == 1 and box.messages[1][2]["message-id"] == first
        said = str(connection.execute("select error from public.alert_notices").fetchall())
        assert SECRET not in caplog.text and SECRET not in said


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ANALYTICS_ALERT_WEBHOOK_URL": f"ftp://hooks.example/{SECRET}"}, "ANALYTICS_ALERT_WEBHOOK_URL: expected an address"),
        ({"ANALYTICS_ALERT_SLACK_URL": f"http://hooks.example/{SECRET}"}, "http on this machine only"),
        ({"ANALYTICS_ALERT_EMAIL_TO": "ann@shop.example"}, "ANALYTICS_SMTP_HOST: expected the mail server's name"),
        ({"ANALYTICS_ALERT_EMAIL_TO": "nobody", "ANALYTICS_SMTP_HOST": "h"}, "ANALYTICS_ALERT_EMAIL_TO: expected e-mail"),
        ({"ANALYTICS_SMTP_SECURITY": "some"}, "ANALYTICS_SMTP_SECURITY=some: expected starttls, tls or none"),
        ({"ANALYTICS_SMTP_SECURITY": "none"}, "only a mail server on this machine"),
        ({"ANALYTICS_SMTP_PORT": "0"}, "ANALYTICS_SMTP_PORT=0: expected a port"),
        ({"ANALYTICS_SMTP_PASSWORD": SECRET}, "expected both or neither"),
        ({"ANALYTICS_SMTP_CA_FILE": "/nowhere.pem"}, "ANALYTICS_SMTP_CA_FILE=/nowhere.pem: there is no such file"),
    ],
)
def test_settings_that_cannot_be_used_are_named_without_their_secret(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    if not any("ALERT" in name for name in variables):
        monkeypatch.setenv("ANALYTICS_ALERT_EMAIL_TO", "ann@shop.example")
        monkeypatch.setenv("ANALYTICS_ALERT_EMAIL_FROM", "alerts@shop.example")
        monkeypatch.setenv("ANALYTICS_SMTP_HOST", "mail.shop.example")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError) as refusal:
        Receivers.load()
    assert said in str(refusal.value) and SECRET not in str(refusal.value)


def test_addresses_are_in_no_representation(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    with mailbox() as box:
        _mail_to(monkeypatch, box, "none")
        assert SECRET not in repr(Receivers.load()) and Receivers.load().channels == ["webhook", "slack", "email"]


def test_a_message_that_is_refused_holds_up_no_other_organisation(
    connection: Connection, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked in the order of names, the first that was refused at every try kept all others from being told."""
    monkeypatch.delenv("ANALYTICS_ALERT_SLACK_URL")
    ids = _shops(connection, "acme", "bolt", "core", "dune", "echo")
    _tick(connection, ids, 20, 1)
    receiver.refusals += [400, 400, 400]
    assert _deliver().messages == 0 and not receiver.refusals
    receiver.refusals += [200, 200, 400, 400, 400]
    _deliver(5)
    assert [one[0][0] for one in receiver.told("rule")] == ["dune", "echo"]
    _deliver(60)
    assert [one[0][0] for one in receiver.told("rule")] == ["dune", "echo", "acme", "bolt", "core"]
