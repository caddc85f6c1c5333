"""A server on the loopback address that speaks OpenAI's forms (chat completions, responses), and says what it is told to say."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# An answer: a text, a status, or what is done with the handler instead.
Answer = str | int | Callable[[BaseHTTPRequestHandler], None]


@dataclass
class ModelServer:
    """calls: bodies, in their order; keys: what they brought as Authorization. answers: the next ones; usage: tokens that it counts."""

    url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    usage: dict[str, int] | None = field(
        default_factory=lambda: {"prompt_tokens": 400, "completion_tokens": 100, "total_tokens": 500}
    )
    before: Callable[[], None] = lambda: None

    def facts(self, call: int = -1) -> dict[str, Any]:
        """What a call told of its insight."""
        found: dict[str, Any] = json.loads(self.calls[call]["messages"][-1]["content"])
        return found


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """An answer without end, a byte every tenth of a second: no read of it ever waits for long."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "100000")
    handler.end_headers()
    with suppress(OSError):
        for _ in range(300):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """No answer at all."""
    handler.close_connection = True


def garbage(handler: BaseHTTPRequestHandler) -> None:
    """JSON that is no answer of a model."""
    _send(handler, 200, {"choices": "none"})


def _send(handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def _response(text: str) -> dict[str, Any]:
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
    usage = {"input_tokens": 400, "output_tokens": 100, "total_tokens": 500}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    return {
        "id": "r", "object": "response", "created_at": 1, "model": "gpt-4o-mini", "status": "completed", "parallel_tool_calls": False,
        "tool_choice": "auto", "tools": [], "usage": usage | details,
        "output": [message | {"content": [{"type": "output_text", "text": text, "annotations": []}]}],
    }  # fmt: skip


@contextmanager
def serving() -> Iterator[ModelServer]:
    """A server in a thread."""
    model = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            model.calls.append(body)
            model.keys.append(str(self.headers["authorization"]))
            model.before()
            answer = model.answers.pop(0)
            if callable(answer):
                answer(self)
            elif isinstance(answer, int):
                # Providers quote the key and the prompt.
                said = f"refused {self.headers['authorization']} {body}"
                _send(self, answer, {"error": {"message": said, "type": "x", "code": "x"}})
            elif self.path.endswith("/responses"):
                _send(self, 200, _response(answer))
            else:
                message = {"role": "assistant", "content": answer}
                choice = {"index": 0, "finish_reason": "stop", "message": message}
                completion = {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
                _send(self, 200, completion | ({"usage": model.usage} if model.usage else {}))

        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    model.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
