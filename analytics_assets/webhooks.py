"""JSON to receivers whose address is a secret: webhooks, and what takes the form of Slack's incoming webhooks.

The address is in no message, and what httpx would log or raise, which holds it, goes no further than here.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

import httpx

from analytics_assets.sources.answers import silence_loggers

#: Blocks of a message: Slack takes 50 of 3,000 characters.
MOST_SECTIONS = 45
_MOST_CHARACTERS = 2_900
_TRIES = 2
_PAUSE = 0.5
_TIMEOUT = httpx.Timeout(5.0, connect=3.0)
_HEADERS = {"user-agent": f"analytics-assets/{version('analytics-assets')}"}


def post(url: str, body: dict[str, Any]) -> str | None:
    """POSTs JSON, twice where that may help. None when the receiver answered 2xx, else why not, without the address.

    Redirects are not followed, and no proxy of the environment is asked. Takes 17 seconds at most.
    """
    silence_loggers()
    problem = "no answer"
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=False, headers=_HEADERS) as client:
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE)
            try:
                # Its body is not read: a receiver that answers without end keeps nobody.
                with client.stream("POST", url, json=body) as answer:
                    status = answer.status_code
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                problem = f"no answer ({type(error).__name__})"
                continue
            if 200 <= status < 300:
                return None
            problem = f"the receiver answered {status}"
            if status < 500 and status not in (408, 429):
                break
    return problem


def escaped(text: str) -> str:
    """Text that Slack shows as it stands."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def section(line: str) -> dict[str, Any]:
    """A block of a message in Slack's form."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": line[:_MOST_CHARACTERS]}}
