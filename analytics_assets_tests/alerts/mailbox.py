"""A mail server on the loopback address that refuses as often as it is told to."""

from __future__ import annotations

import base64
import email
import email.policy
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any


@dataclass
class Mailbox:
    """messages: (sender, recipients, message) that were taken, secured: over TLS, after that log-in. refused: recipients that are not
    taken; answers: replies in place of the next ones to DATA."""

    port: int = 0
    messages: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    secured: list[bool] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    answers: list[str] = field(default_factory=list)
    accepted: tuple[str, str] | None = None


class _Smtp(socketserver.StreamRequestHandler):
    """As much of RFC 5321, 3207 (STARTTLS) and 4954 (AUTH PLAIN) as a client of them speaks."""

    server: _SmtpServer

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())
        self.wfile.flush()

    def handle(self) -> None:
        box, context, is_secure = self.server.box, self.server.context, self.server.implicit
        if is_secure:
            assert context is not None
            self._secure(context)
        sender, recipients = "", list[str]()
        self._say("220 localhost")
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            command, _, rest = line.partition(" ")
            match command.upper():
                case "EHLO":
                    extras = ["250-STARTTLS"] if context and not is_secure else ["250-AUTH PLAIN"]
                    self._say("\r\n".join(["250-localhost", *extras, "250 8BITMIME"]))
                case "STARTTLS" if context:
                    self._say("220 go on")
                    self._secure(context)
                    is_secure = True
                case "AUTH":
                    _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
                    box.logins.append((user, password))
                    self._say("235 yes" if box.accepted in (None, (user, password)) else f"535 no, not with {password}")
                case "MAIL":
                    sender, recipients = rest.split(":", 1)[1].split()[0].strip("<>"), []
                    self._say("250 yes")
                case "RCPT":
                    recipient = rest.split(":", 1)[1].strip("<> ")
                    if recipient not in box.refused:
                        recipients.append(recipient)
                    self._say("550 nobody here" if recipient in box.refused else "250 yes")
                case "DATA":
                    self._say("354 go on")
                    text = b""
                    while (data := self.rfile.readline()) not in (b".\r\n", b""):
                        text += data.removeprefix(b".")
                    answer = box.answers.pop(0) if box.answers else "250 taken"
                    if answer.startswith("250"):
                        message = email.message_from_bytes(text, policy=email.policy.default)
                        assert isinstance(message, EmailMessage)
                        box.messages.append((sender, recipients, message))
                        box.secured.append(is_secure)
                    self._say(answer)
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 yes")

    def _secure(self, context: ssl.SSLContext) -> None:
        self.request = context.wrap_socket(self.request, server_side=True)
        self.rfile = self.request.makefile("rb")
        self.wfile = self.request.makefile("wb")


class _SmtpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, box: Mailbox, context: ssl.SSLContext | None, implicit: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.box, self.context, self.implicit = box, context, implicit

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle, as one does that does not trust the certificate."""


@contextmanager
def mailbox(context: ssl.SSLContext | None = None, *, implicit: bool = False) -> Iterator[Mailbox]:
    """An SMTP server in a thread. context: of its certificate; implicit: TLS from the first byte."""
    box = Mailbox()
    server = _SmtpServer(box, context, implicit)
    box.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield box
    finally:
        server.shutdown()
        server.server_close()
